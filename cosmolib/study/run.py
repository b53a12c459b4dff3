"""One run's folder and the runs of a study.

A run is (profile, suite, cut, architecture, seed) and owns one folder,
``runs/<profile>/<suite>/<cut>/<architecture>-s<seed>/``. Each file in it is written atomically, and
``metrics.json`` is written last: a run without it is incomplete.
"""

import dataclasses
import reprlib
from pathlib import Path

import numpy as np

from cosmolib.cuts.grammar import folder_name
from cosmolib.study.io import FOLDER_NAME, is_folder_name
from cosmolib.study.profile import Profile


@dataclasses.dataclass(frozen=True)
class Run:
    """One training: its folder, and whether it is complete.

    Raises
    ------
    ValueError
        The cut is invalid, another part is no folder name, or the seed is negative.
    """

    profile: str  # name of the profile
    suite: str
    cut: str  # its folder is named by `cosmolib.cuts.grammar.folder_name`
    architecture: str
    seed: int
    root: str | Path = "runs"

    def __post_init__(self):
        for part in ("profile", "suite", "architecture"):
            if not is_folder_name(value := getattr(self, part)):
                found = reprlib.repr(value)
                raise ValueError(f"run: {part}: found {found}, expected {FOLDER_NAME}")
        folder_name(self.cut)
        seed = self.seed
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ValueError(f"run: seed: found {seed!r}, expected a whole number from 0")

    @property
    def folder(self) -> Path:
        """``root/profile/suite/cut/architecture-s<seed>``, the cut as a folder name."""
        leaf = f"{self.architecture}-s{self.seed}"
        return Path(self.root) / self.profile / self.suite / folder_name(self.cut) / leaf

    def path(self, name: str) -> Path:
        """Path of the file ``name`` in the run's folder."""
        return self.folder / name

    @property
    def complete(self) -> bool:
        """Whether ``metrics.json``, the file that is written last, exists."""
        return self.path("metrics.json").is_file()


def study_runs(profile: Profile, root: str | Path = "runs") -> list[Run]:
    """List all trainings of a study, each once.

    First those that chapter 06 compares, then more seeds of the first suite, uncut, for chapter 05,
    last its controls with shuffled labels, one per seed, which must fail.
    """
    first = Run(profile.name, profile.suites[0], "none", profile.architecture, 0, root)
    runs = [
        Run(profile.name, *case, profile.architecture, seed, root)
        for case in profile.cases
        for seed in profile.seeds_of(*case)
    ]
    runs += [dataclasses.replace(first, seed=seed) for seed in profile.attribution_seeds]
    return list(dict.fromkeys(runs)) + [
        dataclasses.replace(first, profile=profile.shuffled.name, seed=seed)
        for seed in profile.attribution_seeds
    ]
