"""Print the status of every run of a profile, without training: ``status.py PROFILE``."""

import argparse
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cosmolib.study.io import exit_code, read_json, read_state  # noqa: E402
from cosmolib.study.locks import LOCK, is_held, owner  # noqa: E402
from cosmolib.study.profile import Profile, load_profile  # noqa: E402
from cosmolib.study.run import Run  # noqa: E402
from cosmolib.training.dataset import study_suite  # noqa: E402
from cosmolib.training.run import run_changes  # noqa: E402
from workflow.runs import study_runs  # noqa: E402

STATES = ("done", "stale", "running", "interrupted", "not started", "damaged")


@dataclass(frozen=True)
class Status:
    """Status of one run.

    Attributes
    ----------
    run : Run
    state : str
        One of `STATES`; a stale run is complete, but its identity has changed since
        (`cosmolib.study.identity`).
    detail : str
        The changes, the process that holds the run, or the last epoch.
    made : dict or None
        Contents of ``provenance.json``.
    """

    run: Run
    state: str
    detail: str = ""
    made: dict | None = None


def study_status(profile: Profile, root="runs") -> list[Status]:
    """Return the status of every run of a study."""
    suites = {name: study_suite(name, profile) for name in dict.fromkeys(profile.suites)}
    shuffled = profile.shuffled
    return [
        run_status(run, profile if run.profile == profile.name else shuffled, suites[run.suite])
        for run in study_runs(profile, root)
    ]


def run_status(run: Run, profile: Profile, suite) -> Status:
    """Return the status of one run."""
    if is_held(run.path(LOCK)):
        return Status(run, "running", owner(run.path(LOCK)))
    try:
        if run.complete:
            changes = run_changes(run, profile, suite)
            made = read_json(run.path("provenance.json"))
            return Status(run, "stale" if changes else "done", "; ".join(changes), made)
        checkpoint = run.path("checkpoint.pt")
        if not checkpoint.is_file():
            return Status(run, "not started")
        epochs = len(read_state(checkpoint, "checkpoint", "one")["history"])
        return Status(run, "interrupted", f"after epoch {epochs} of {profile.epochs}")
    except (ValueError, OSError, KeyError, TypeError) as error:
        return Status(run, "damaged", str(error))


def show(profile):
    """Print one line per run of a profile, then the number of runs in each state."""
    statuses = study_status(load_profile(profile))
    for one in statuses:
        state = one.state + (f": {one.detail}" if one.detail else "")
        print(f"{one.run.folder.as_posix():60}  {state}")
    counts = Counter(one.state for one in statuses)
    parts = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    print(f"{len(statuses)} runs: {parts}")


def main(arguments=None):
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("profile", help="name of a file in configs/, or a path to one")
    return exit_code("error", show, parser.parse_args(arguments).profile)


if __name__ == "__main__":
    sys.exit(main())
