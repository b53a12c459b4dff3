"""Provenance: the versions, code, commit, time, machine and data behind a result."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cosmolib import __version__
from cosmolib.study.identity import code, digest, package_version
from cosmolib.study.io import REPOSITORY
from cosmolib.study.registry import described

if TYPE_CHECKING:
    from cosmolib.study.profile import Profile

VERSIONS = (
    "cosmolib", "python", "torch", "numpy", "scipy", "Pylians", "captum", "optuna", "snakemake",
)  # fmt: skip


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
        Digests of the modules that were used, see `cosmolib.study.identity.code`; by default of
        all.
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
