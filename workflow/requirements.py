"""Print the requirements of the package and of some extras, without Pylians.

Pylians is compiled, which takes minutes; ``make install`` does so while it installs the others.
"""

import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def main(*extras: str) -> None:
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    own = [project["dependencies"], *(project["optional-dependencies"][name] for name in extras)]
    print(*(line for part in own for line in part if not line.startswith("Pylians")), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
