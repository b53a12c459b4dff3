"""Record how a result was made: versions, code, commit, time, machine, data and configuration."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from cosmolib import __version__
from cosmolib.study.identity import code, digest, package_version
from cosmolib.study.io import REPOSITORY
from cosmolib.study.registry import sources_of

PACKAGES = ("torch", "numpy", "scipy", "Pylians", "captum", "optuna", "snakemake")


def _git_state() -> dict | None:
    """Return the commit and whether tracked files differ from it; None outside a clone."""
    # A package installed inside another repository must not report the commit of that repository.
    if not (REPOSITORY / ".git").exists():
        return None

    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--abbrev=40"]
    options = {"capture_output": True, "text": True, "timeout": 30, "check": True}
    try:
        found = subprocess.run([*command, "--exclude=*"], **options).stdout.strip()
    except (OSError, subprocess.SubprocessError):  # git is not installed, or there is no commit
        return None
    return {"commit": found.removesuffix("-dirty"), "dirty": found.endswith("-dirty")}


def short_commit(git: dict | None) -> str:
    """Abbreviate the ``git`` entry of a `provenance`."""
    return git["commit"][:12] + " with changes" * git["dirty"] if git else "unknown"


def what_made(steps, fingerprints: dict[str, str]) -> str:
    """Return the provenance of a page as Markdown: commands, commits, seconds and data.

    Parameters
    ----------
    steps : list of (str, str, dict)
        A verb ("Made", "Trained"), the command and its `provenance`.
    fingerprints : dict
        ``Suite.fingerprint`` by name, for every suite that was read.
    """
    lines = []
    for verb, command, made in steps:
        lines += [
            f"- **{verb} by** `{command}`",
            f"- commit `{short_commit(made['git'])}`, {made['utc'][:16].replace('T', ' ')} UTC, "
            f"{made['seconds'] or 0:.0f} seconds on {made['platform']}, {made['device']}",
            "- " + ", ".join(f"{name} {x}" for name, x in made["versions"].items() if x),
        ]
    data = ", ".join(f"{name} `{digest}`" for name, digest in fingerprints.items())
    return "\n".join([*lines, f"- **Data** (fingerprint): {data or 'simulated here'}"]) + "\n"


def provenance(
    profile=None, data_fingerprint=None, seconds=None, device="cpu", made_by=None, **extra
) -> dict:
    """Describe how a result is made, in plain values.

    Call it when the result is computed, and store it with the result. It contains no name of a
    host or user and no path: only the last folder of ``data_dir``, and for each plugin its name and
    a digest of its text.

    Parameters
    ----------
    profile : Profile, optional
        Configuration of the study.
    data_fingerprint : str, optional
        ``Suite.fingerprint`` of the data that was read.
    seconds : float, optional
        Wall-clock time [s].
    device : str
        Name of the torch device, such as "cpu" or "cuda".
    made_by : dict, optional
        Digests of the modules that were used (`cosmolib.study.identity.code`); by default of all.
    **extra
        Further entries that can be stored as JSON.
    """
    config = None if profile is None else profile.model_dump()
    if config:
        config["data_dir"] = config["data_dir"] and Path(config["data_dir"]).name
        config["plugins"] = [*sources_of(config["plugins"])]
    return {
        "versions": {"cosmolib": __version__, "python": platform.python_version()}
        | {name: package_version(name) for name in PACKAGES},
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
