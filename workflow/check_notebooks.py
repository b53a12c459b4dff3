"""Run the executed notebooks of a folder once more under nbval: ``check_notebooks.py FOLDER``.

nbval has no parameters, so papermill injects them first and this checks its copies: every cell
must run again without an error, and cells tagged ``nbval-check-output`` must print the same.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from run_notebook import ROOT, configure_kernel

from cosmolib.files import exit_code


def check(folder):
    """Return pytest's exit code.

    Raises
    ------
    FileNotFoundError
        The folder has no executed chapter.
    """
    notebooks = sorted(Path(folder).resolve().glob("[0-9]*.ipynb"))
    notebooks = [path for path in notebooks if ".failed" not in path.name]
    if not notebooks:
        raise FileNotFoundError(f"{folder}: found no notebook, expected executed chapters")
    command = [sys.executable, "-m", "pytest", "-q", "--nbval-lax", "--nbval-cell-timeout=300"]
    command += ["--nbval-current-env"]
    command += [f"--nbval-sanitize-with={ROOT / 'workflow' / 'nbval_sanitize.cfg'}"]
    command += [
        "-p",
        "no:cacheprovider",
        "-W",
        "ignore",
        f"--rootdir={folder}",
        *map(str, notebooks),
    ]
    configure_kernel()
    return subprocess.run(command, check=False).returncode


def main(arguments=None):
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="folder of executed chapters")
    return exit_code("error", check, parser.parse_args(arguments).folder)


if __name__ == "__main__":
    sys.exit(main())
