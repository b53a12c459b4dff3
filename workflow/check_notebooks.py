"""Run executed notebooks again under nbval: ``check_notebooks.py FOLDER [CORES]``.

Every cell must run without an error, and cells tagged ``nbval-check-output`` must print the same
output. nbval cannot set parameters, so the notebooks are copies into which papermill injected them.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from run_notebook import ROOT, configure_kernel

from cosmolib.study.io import exit_code


def check(folder, cores):
    """Run pytest on the executed chapters of a folder and return its exit code."""
    notebooks = sorted(Path(folder).resolve().glob("[0-9]*.ipynb"))
    notebooks = [path for path in notebooks if ".failed" not in path.name]
    if not notebooks:
        raise FileNotFoundError(f"{folder} contains no executed chapters")
    command = [sys.executable, "-m", "pytest", "-q", "-n", cores, "--dist", "loadfile"]
    command += ["--nbval-lax", "--nbval-cell-timeout=300", "--nbval-current-env"]
    command += [f"--nbval-sanitize-with={ROOT / 'workflow' / 'nbval_sanitize.cfg'}"]
    command += ["-p", "no:cacheprovider", "-W", "ignore", f"--rootdir={folder}"]
    configure_kernel()
    return subprocess.run([*command, *map(str, notebooks)], check=False).returncode


def main(arguments=None):
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="folder of executed chapters")
    parser.add_argument("cores", nargs="?", default="2", help="number of processes (default: 2)")
    options = parser.parse_args(arguments)
    return exit_code("error", check, options.folder, options.cores)


if __name__ == "__main__":
    sys.exit(main())
