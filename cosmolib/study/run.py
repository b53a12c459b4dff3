"""Folder and state of a single run.

A run is one training: (profile, suite, cut, architecture, seed). It owns the folder
``runs/<profile>/<suite>/<cut>/<architecture>-s<seed>/``. Every file in it is written atomically,
and ``metrics.json`` last: a folder without it is incomplete.
"""

import dataclasses
import reprlib
from pathlib import Path

import numpy as np

from cosmolib.cuts.grammar import folder_name
from cosmolib.study.io import FOLDER_NAME, is_folder_name


@dataclasses.dataclass(frozen=True)
class Run:
    """Name a run and give access to its folder.

    Raises
    ------
    ValueError
        The cut is invalid, another part is not a valid folder name, or the seed is negative.
    """

    profile: str  # name of the profile
    suite: str
    cut: str  # encoded in the path by `cosmolib.cuts.grammar.folder_name`
    architecture: str
    seed: int
    root: str | Path = "runs"

    def __post_init__(self):
        for part in ("profile", "suite", "architecture"):
            if not is_folder_name(value := getattr(self, part)):
                found = reprlib.repr(value)
                raise ValueError(f"run: {part}: found {found}, expected {FOLDER_NAME}")
        folder_name(self.cut)
        whole = isinstance(self.seed, (int, np.integer)) and not isinstance(self.seed, bool)
        if not (whole and self.seed >= 0):
            raise ValueError(f"run: seed: found {self.seed!r}, expected a whole number from 0")

    @property
    def folder(self) -> Path:
        """Path of the folder: ``root/profile/suite/cut/architecture-s<seed>``."""
        leaf = f"{self.architecture}-s{self.seed}"
        return Path(self.root) / self.profile / self.suite / folder_name(self.cut) / leaf

    def path(self, name: str) -> Path:
        """Return the path of a file in the folder."""
        return self.folder / name

    @property
    def complete(self) -> bool:
        """Whether ``metrics.json``, the file that is written last, exists."""
        return self.path("metrics.json").is_file()
