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


def _git(*arguments: str) -> str | None:
    """Return the output of a git command in the repository, None outside git or without git."""
    command = ["git", "-C", str(REPOSITORY), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _git_state() -> dict | None:
    """Return the commit and whether tracked files differ from it; None outside a clone.

    An environment inside another repository must not report that repository's commit.
    """
    top = _git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != REPOSITORY:
        return None
    commit = _git("rev-parse", "--verify", "HEAD")
    status = _git("status", "--porcelain", "--untracked-files=no")
    return None if commit is None else {"commit": commit, "dirty": bool(status)}


def short_commit(git: dict | None) -> str:
    """Abbreviate the ``git`` entry of a `provenance`."""
    if git is None:
        return "unknown"
    return git["commit"][:12] + (" with changes" if git["dirty"] else "")


def what_made(steps, fingerprints: dict[str, str]) -> str:
    """Return a page's provenance as Markdown: commands, commits, seconds and data.

    Parameters
    ----------
    steps : list of (str, str, dict)
        A verb ("Made", "Trained"), the command, and its `provenance`.
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
    profile: Profile | None = None,
    data_fingerprint: str | None = None,
    seconds: float | None = None,
    device: str = "cpu",
    made_by: dict | None = None,
    **extra,
) -> dict:
    """Describe how a result is made: versions, commit, code, time, machine, data and configuration.

    It is recorded when the result is computed and never replaced. It names no host, user or path:
    of ``data_dir`` only the last folder is kept, of a plugin its name and the digest of its text.

    Parameters
    ----------
    profile
        The configuration that was followed.
    data_fingerprint
        ``Suite.fingerprint`` of the data that was read.
    seconds
        Wall-clock time [s].
    device
        As torch names it, "cpu" or "cuda".
    made_by
        Digests of the modules that were used, see `cosmolib.study.identity.code`; default: all.
    **extra
        Anything else worth keeping, JSON-able.
    """
    config = None if profile is None else profile.model_dump()
    if config:
        config["data_dir"] = config["data_dir"] and Path(config["data_dir"]).name
        config["plugins"] = [described(path) for path in config["plugins"]]
    return {
        "versions": {name: package_version(name) for name in VERSIONS}
        | {"cosmolib": __version__, "python": platform.python_version()},
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
