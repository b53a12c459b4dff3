"""Where a study stands: which of its runs are done, and which were made by what is gone."""

from __future__ import annotations

from dataclasses import dataclass

from cosmolib.study.io import read_json
from cosmolib.study.locks import LOCK, is_held, owner
from cosmolib.study.profile import Profile
from cosmolib.study.run import Run, study_runs
from cosmolib.study.state_dicts import read_state
from cosmolib.training.dataset import study_suite
from cosmolib.training.run import run_changes

STATES = ("done", "stale", "at work", "interrupted", "not begun", "damaged")


@dataclass(frozen=True)
class Standing:
    """State of one run.

    Attributes
    ----------
    run : Run
    state : str
        One of `STATES`. "stale": done, but with another identity than now, see
        `cosmolib.study.identity`.
    detail : str
        What is stale, who is at work, how far it came.
    made : dict or None
        Its ``provenance.json``.
    """

    run: Run
    state: str
    detail: str = ""
    made: dict | None = None


def study_standing(profile: Profile, root="runs") -> list[Standing]:
    """Look at every run of a study; nothing is trained or changed."""
    suites = {name: study_suite(name, profile) for name in dict.fromkeys(profile.suites)}
    return [
        run_standing(run, _own(profile, run), suites[run.suite])
        for run in study_runs(profile, root)
    ]


def _own(profile, run):
    return profile if run.profile == profile.name else profile.shuffled


def run_standing(run: Run, profile: Profile, suite) -> Standing:
    """Look at one run of a suite."""
    if is_held(run.path(LOCK)):
        return Standing(run, "at work", owner(run.path(LOCK)))
    try:
        if run.complete:
            made = read_json(run.path("provenance.json"))
            changes = run_changes(run, profile, suite)
            return Standing(run, "stale" if changes else "done", "; ".join(changes), made)
        checkpoint = run.path("checkpoint.pt")
        if not checkpoint.is_file():
            return Standing(run, "not begun")
        epochs = len(read_state(checkpoint, "checkpoint", "one")["history"])
        return Standing(run, "interrupted", f"after epoch {epochs} of {profile.epochs}")
    except (ValueError, OSError, KeyError, TypeError) as error:
        return Standing(run, "damaged", str(error))
