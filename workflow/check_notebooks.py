"""Run executed notebooks again under nbval: ``check_notebooks.py FOLDER [CORES]``.

nbval has no parameters, so papermill injects them first and this checks its copies: every cell
must run again without an error, and cells tagged ``nbval-check-output`` must print the same.
"""

import subprocess
import sys
from pathlib import Path

from run_notebook import configure_kernel

ROOT = Path(__file__).resolve().parent.parent


def main(folder, cores="2"):
    """Return pytest's exit code; 2 if there is nothing to check."""
    notebooks = sorted(Path(folder).resolve().glob("[0-9]*.ipynb"))
    notebooks = [path for path in notebooks if ".failed" not in path.name]
    if not notebooks:
        print(f"error: {folder}: found no notebook, expected executed chapters", file=sys.stderr)
        return 2
    command = [sys.executable, "-m", "pytest", "-q", "-n", cores, "--dist", "loadfile"]
    command += ["--nbval-lax", "--nbval-cell-timeout=300", "--nbval-current-env"]
    command += [f"--nbval-sanitize-with={ROOT / 'workflow' / 'nbval_sanitize.cfg'}"]
    command += ["-p", "no:cacheprovider", "-W", "ignore", f"--rootdir={folder}"]
    configure_kernel()
    return subprocess.run([*command, *map(str, notebooks)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
