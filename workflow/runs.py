"""List the training runs of a study."""

from dataclasses import replace
from pathlib import Path

from cosmolib.study.profile import Profile
from cosmolib.study.run import Run


def study_runs(profile: Profile, root: str | Path = "runs") -> list[Run]:
    """List all training runs of a study in order, without duplicates.

    The runs that chapter 06 compares come first. A study whose chapters explain its own networks
    also needs further seeds of the first suite, uncut, and last the controls with shuffled labels,
    one per seed, which must fail.
    """
    first = Run(profile.name, profile.suites[0], "none", profile.architecture, 0, root)
    runs = [
        Run(profile.name, *case, profile.architecture, seed, root)
        for case in profile.cases
        for seed in profile.seeds_of(*case)
    ]
    if profile.answer:  # the networks of the stored study are explained
        return runs
    runs += [replace(first, seed=seed) for seed in profile.attribution_seeds]
    return list(dict.fromkeys(runs)) + [
        replace(first, profile=profile.shuffled.name, seed=seed)
        for seed in profile.attribution_seeds
    ]
