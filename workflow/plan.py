"""Say where a study stands before anything is started: ``plan.py PROFILE`` (make plan)."""

import argparse
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cosmolib.study.io import exit_code  # noqa: E402
from cosmolib.study.profile import load_profile  # noqa: E402
from workflow.standing import STATES, study_standing  # noqa: E402


def main(arguments=None):
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("profile", help="name of a file in configs/, or a path to one")
    return exit_code("error", show, parser.parse_args(arguments).profile)


def show(profile):
    """Print a line for each run of a profile, and how many are in each state."""
    standings = study_standing(load_profile(profile))
    for one in standings:
        state = one.state + (f": {one.detail}" if one.detail else "")
        print(f"{one.run.folder.as_posix():60}  {state}")
    counts = Counter(one.state for one in standings)
    said = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    print(f"{len(standings)} runs: {said}")


if __name__ == "__main__":
    sys.exit(main())
