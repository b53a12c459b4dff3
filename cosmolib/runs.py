"""One run's folder, atomic writes, provenance.

A run is (profile, suite, cut, architecture, seed) and owns one folder,
``runs/<profile>/<suite>/<cut>/<architecture>-s<seed>/``. Every file in it is written to a temporary
name and moved into place, and ``metrics.json`` is written last, so that a run killed at any moment
is either complete or seen to be incomplete.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import reprlib
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cosmolib import __version__
from cosmolib.files import atomic_path, read_json, read_yaml, sha256, sweep, write_json
from cosmolib.identity import code, digest, package_version
from cosmolib.plugins import described

if TYPE_CHECKING:
    from cosmolib.profile import Profile

# A run's files are written and read by these, which can be imported from here too.
__all__ = (
    "REPOSITORY", "VERSIONS",
    "Run", "is_folder_name", "provenance", "short_commit", "study_runs",
    "atomic_path", "read_json", "read_yaml", "sha256", "sweep", "write_json",
)  # fmt: skip

REPOSITORY = Path(__file__).resolve().parents[1]  # holds configs/ in a clone


VERSIONS = (
    "cosmolib", "python", "torch", "numpy", "scipy", "Pylians", "captum", "optuna", "snakemake",
)  # fmt: skip


_DEVICE = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]")  # reserved on Windows
_FOLDER_NAME = """a folder name: none of / \\ < > : " | ? * { }, no dot or space at its end"""


def is_folder_name(value) -> bool:
    """Whether every file system, also a Windows one, takes a text as the name of one folder."""
    if not isinstance(value, str) or not value.isprintable() or len(value.encode()) > 200:
        return False
    if value[-1:] in ("", ".", " ") or any(mark in value for mark in '/\\<>:"|?*{}'):
        return False
    return not _DEVICE.fullmatch(value.partition(".")[0].lower())


# --------------------------------------------------------------------------------------------------
# Run: one folder
# --------------------------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True)
class Run:
    """One training: where it lives and whether it is done.

    Raises
    ------
    ValueError
        A part is empty or holds a path separator or "..", so that the folder would lie elsewhere.
    """

    profile: str  # name of the profile
    suite: str
    cut: str  # its folder is named by `cosmolib.grammar.folder_name`
    architecture: str
    seed: int
    root: str | Path = "runs"

    def __post_init__(self):
        from cosmolib.grammar import CutError, folder_name  # which imports this module

        for part in ("profile", "suite", "architecture"):
            value = getattr(self, part)
            if not is_folder_name(value):
                raise ValueError(
                    f"run: {part}: found {reprlib.repr(value)}, expected {_FOLDER_NAME}"
                )
        try:
            folder_name(self.cut)
        except CutError as error:
            raise ValueError(
                f"run: cut: found {reprlib.repr(self.cut)}, expected a cut: {error}"
            ) from None
        seed = self.seed
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ValueError(f"run: seed: found {seed!r}, expected a whole number from 0")

    @property
    def folder(self) -> Path:
        """``root/profile/suite/cut/architecture-s<seed>``, the cut as a folder name."""
        from cosmolib.grammar import folder_name  # which imports this module

        leaf = f"{self.architecture}-s{self.seed}"
        return Path(self.root) / self.profile / self.suite / folder_name(self.cut) / leaf

    def path(self, name: str) -> Path:
        """Path of the file ``name`` in the run's folder."""
        return self.folder / name

    @property
    def complete(self) -> bool:
        """Whether ``metrics.json``, the file that is written last, stands."""
        return self.path("metrics.json").is_file()


def study_runs(profile: Profile, root: str | Path = "runs") -> list[Run]:
    """List all trainings of a study, each once.

    Those that chapter 06 compares; more seeds of the first suite, uncut, for chapter 05; last its
    control with shuffled labels, which must fail.
    """
    first = Run(profile.name, profile.suites[0], "none", profile.architecture, 0, root)
    runs = [
        Run(profile.name, *case, profile.architecture, seed, root)
        for case in profile.cases
        for seed in profile.seeds
    ]
    runs += [dataclasses.replace(first, seed=seed) for seed in profile.attribution_seeds]
    shuffled = dataclasses.replace(first, profile=profile.shuffled.name, seed=profile.seeds[0])
    return list(dict.fromkeys([*runs, shuffled]))


# --------------------------------------------------------------------------------------------------
# Provenance
# --------------------------------------------------------------------------------------------------
def _version(distribution: str) -> str | None:
    own = {"cosmolib": __version__, "python": platform.python_version()}
    return own.get(distribution) or package_version(distribution)


def _git(*arguments: str) -> str | None:
    """Output of one git command in the repository, None outside git or without git."""
    command = ["git", "-C", str(REPOSITORY), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _git_state() -> dict | None:
    """Commit and whether tracked files differ from it; None unless this package is the clone's own.

    A package installed in an environment that lies inside somebody else's repository must not
    report that repository's commit.
    """
    top = _git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != REPOSITORY:
        return None
    commit = _git("rev-parse", "--verify", "HEAD")
    status = _git("status", "--porcelain", "--untracked-files=no")
    return None if commit is None else {"commit": commit, "dirty": bool(status)}


def short_commit(git: dict | None) -> str:
    """Say the ``git`` of a `provenance` in a few characters."""
    if git is None:
        return "unknown"
    return git["commit"][:12] + (" with changes" if git["dirty"] else "")


def what_made(steps, fingerprints: dict[str, str]) -> str:
    """Say as Markdown what made a page: commands, commits, seconds and data.

    Parameters
    ----------
    steps : list of (str, str, dict)
        What was done ("Made", "Trained"), by which command, and its `provenance`.
    fingerprints : dict
        ``Suite.fingerprint`` of each suite that was read, by its name.
    """
    lines = []
    for verb, command, made in steps:
        versions = made["versions"]
        packages = ", ".join(f"{name} {versions[name]}" for name in VERSIONS if versions[name])
        lines += [
            f"- **{verb} by** `{command}`",
            f"- commit `{short_commit(made['git'])}`, {made['utc'][:16].replace('T', ' ')} UTC, "
            f"{made['seconds'] or 0:.0f} seconds on {made['platform']}, {made['device']}",
            f"- {packages}",
        ]
    data = ", ".join(f"{name} `{digest}`" for name, digest in fingerprints.items())
    return "\n".join([*lines, f"- **Data** (fingerprint): {data}"]) + "\n"


def provenance(
    profile: Profile | dict | None = None,
    data_fingerprint: str | None = None,
    seconds: float | None = None,
    device: str = "cpu",
    made_by: dict | None = None,
    **extra,
) -> dict:
    """What made a result: versions, commit, code, time, machine kind, data and configuration.

    To be recorded when the result is computed; nothing that is stored gets a new one.

    Names no host, user or path: of ``data_dir`` only the last folder is kept, of a plugin its name
    and the digest of its text.

    Parameters
    ----------
    profile
        The configuration that was followed.
    data_fingerprint
        ``Suite.fingerprint`` of the data that was read.
    seconds
        Wall-clock time taken [s].
    device
        As torch names it, "cpu" or "cuda".
    made_by
        Digests of the modules that were used, see `cosmolib.identity.code`; by default of all.
    **extra
        Anything else worth keeping, JSON-able.
    """
    config = profile if isinstance(profile, dict | None) else profile.model_dump()
    if config is not None and config.get("data_dir"):
        config = {**config, "data_dir": Path(config["data_dir"]).name}
    if config is not None and config.get("plugins"):
        config = {**config, "plugins": [described(path) for path in config["plugins"]]}
    return {
        "versions": {name: _version(name) for name in VERSIONS},
        "git": _git_state(),
        "code": digest(code() if made_by is None else made_by),
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "device": str(device),
        "seconds": None if seconds is None else round(float(seconds), 2),
        "data_fingerprint": data_fingerprint,
        "config": config,
        **extra,
    }
