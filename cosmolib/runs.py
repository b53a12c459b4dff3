"""One run's folder: the profile that it follows, atomic writes, provenance.

A run is (profile, suite, cut, architecture, seed) and owns one folder,
``runs/<profile>/<suite>/<cut>/<architecture>-s<seed>/``. Every file in it is written to a temporary
name and moved into place, and ``metrics.json`` is written last, so that a run killed at any moment
is either complete or seen to be incomplete.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import math
import os
import platform
import re
import reprlib
import subprocess
import types
import typing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from cosmolib import __version__
from cosmolib.files import atomic_path, read_json, read_yaml, sha256, sweep, write_json
from cosmolib.plugins import described, load_plugins

# A run's files are written and read by these, which can be imported from here too.
__all__ = (
    "COMPILING", "PRECISIONS", "REPOSITORY", "RUN_KEYS", "TRAINING_MODULES", "VERSIONS",
    "Profile", "Run", "is_folder_name", "load_profile", "provenance",
    "short_commit", "study_runs", "training_code",
    "atomic_path", "read_json", "read_yaml", "sha256", "sweep", "write_json",
)  # fmt: skip

# The choices of `cosmolib.devices`, which is not imported: it brings torch.
PRECISIONS = ("auto", "float32", "bfloat16")
COMPILING = ("auto", "eager", "compiled", "graphs")

REPOSITORY = Path(__file__).resolve().parents[1]  # holds configs/ in a clone


# --------------------------------------------------------------------------------------------------
# Profile: one flat YAML file, no hidden defaults
# --------------------------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True)
class Profile:
    """Everything that fixes a study, as one flat ``configs/<name>.yaml`` gives it.

    No field has a default: what a study did can be read in its file alone.
    """

    name: str  # also the folder of its runs, runs/<name>/
    plugins: list[str]  # Python files that add suites, cuts, networks, methods: cosmolib.plugins

    # Data
    suites: list[str]  # e.g. ["Lite", "Nbody_Lite"]; maps are index-matched twins
    data_dir: str | None  # folder of CMD files; null = embedded suite or $COSMOLIB_DATA
    field: str  # CMD field; "Mtot" is the one that hydrodynamic and N-body suites share
    set: str  # CMD set; "LH" = latin hypercube in all six parameters
    n_simulations: int | None  # the first n of a suite; null = all; 15 maps each
    train_simulations: int | None  # at most so many of the training part; null = all of it
    split_seed: int  # 1 = the published split
    scaling: str  # "log" (published: signed log10), "asinh" or "linear", then (x - mean) / std
    storage: str  # of the maps: "float32" or "float16" in memory, "disk" = made anew each batch
    scaling_scope: str  # pixels behind mean and std: "train", or "file" (published: test maps too)
    cuts: list[str]  # strings of cosmolib.grammar; "none" is the reference
    controls: list[str]  # more cuts, on the first suite alone: what the others are judged against

    # Network
    architecture: str  # "lite", "o3" (published code) or "k4s2" (published README)
    targets: list[str]  # parameters that are predicted; more of them change the moment loss
    hidden: int  # width H, sets the channels of every block; published best 7
    dropout: float  # before each fully connected layer, 0..1; published best 0.209

    # Training
    seeds: list[int]  # one training each; the spread is the training noise
    epochs: int  # passes over the training maps; published 200
    batch_size: int  # maps a step; the moment loss averages over it; published 128
    max_lr: float  # peak learning rate; published best 4.88e-3
    weight_decay: float  # AdamW, decoupled; published best 2.44e-4
    betas: list[float]  # AdamW momenta; published (0.5, 0.999)
    schedule: str  # "onecycle" or "cyclic" (published: 500 steps up, 500 down)
    symmetries: bool  # random flips and rotations of the square: a map has no orientation
    shifts: bool  # random periodic shifts: the box has no origin
    precision: str  # of convolutions: "float32", "bfloat16" or "auto", see cosmolib.devices
    compile: str  # torch.compile: "eager", "compiled", "graphs" (CUDA graphs) or "auto"
    shuffle_labels: bool  # true = nothing to learn: parameters permuted among the simulations

    # Evaluation
    bootstrap_samples: int  # resamplings of whole simulations behind each 95 % interval

    # Tuning
    tuning_suite: str  # the suite on which hyper-parameters are searched
    tuning_trials: int  # published 50
    tuning_epochs: int  # epochs a trial
    tuning_simulations: int | None  # the first n of the suite; null = n_simulations

    # Attribution
    attribution_seeds: list[int]  # trainings of the first suite, uncut, that are compared
    attribution_maps: int  # test maps explained
    attribution_check_maps: int  # the first of them go through the checks and the other baselines
    ig_steps: int  # first steps of Integrated Gradients, tripled for maps that are not complete
    ig_tolerance: float  # relative completeness error below which a map is
    shap_samples: int  # GradientSHAP draws a map; captum's default 5

    # Validation on maps with a known answer
    known_answer_architecture: str  # as architecture above
    known_answer_hidden: int  # its width
    known_answer_cuts: list[str]  # of Gaussian maps: "none" and Fourier cuts
    known_answer_maps: int  # simulated training maps
    known_answer_epochs: int  # passes over them
    planted_maps: int  # training maps of each planted signal
    known_answer_batch: int  # maps a step
    known_answer_max_lr: float  # peak learning rate: maps are free, so that it can be high

    @property
    def cases(self) -> list[tuple[str, str]]:
        """Suite and cut of every training: all cuts of all suites, the controls of the first."""
        cases = [(name, cut) for name in self.suites for cut in self.cuts]
        return list(dict.fromkeys(cases + [(self.suites[0], cut) for cut in self.controls]))

    @property
    def shuffled(self) -> Profile:
        """The same with shuffled labels, in a folder of its own: nothing to be learnt."""
        return dataclasses.replace(self, shuffle_labels=True, name=f"{self.name}-shuffled")


# Keys of a profile that a single run hangs on: when one of them changes, the run is done anew.
RUN_KEYS = (
    "field", "set", "n_simulations", "train_simulations", "split_seed", "scaling", "scaling_scope",
    "storage", "targets", "hidden", "dropout", "epochs", "batch_size", "max_lr", "weight_decay",
    "betas", "schedule", "symmetries", "shifts", "precision", "compile",
    "shuffle_labels", "bootstrap_samples",
)  # fmt: skip
# Modules that a training stands on: plots, attribution and claims train nothing anew.
TRAINING_MODULES = (
    "devices", "embedded", "formats", "suites", "observing", "grammar", "cuts", "scaling", "inputs",
    "networks", "training", "scores", "evaluation",
)  # fmt: skip
VERSIONS = (
    "cosmolib", "python", "torch", "numpy", "scipy", "Pylians", "captum", "optuna", "snakemake",
)  # fmt: skip
# Names of folders and files, or parts of them.
_FOLDERS = (
    "name", "suites", "tuning_suite", "field", "set", "cuts", "controls", "architecture",
)  # fmt: skip
_DEVICE = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]")  # reserved on Windows
_FOLDER_NAME = """a folder name: none of / \\ < > : " | ? * { }, no dot or space at its end"""
_CHOICES = {
    "scaling": ("log", "asinh", "linear"),
    "storage": ("float32", "float16", "disk"),
    "scaling_scope": ("train", "file"),
    "schedule": ("onecycle", "cyclic"),
    "precision": PRECISIONS,
    "compile": COMPILING,
}
_AT_LEAST = {  # three simulations: one each to train, validate and test on
    "n_simulations": 3,
    "train_simulations": 1,
    "tuning_simulations": 3,
    "attribution_maps": 1,
    "attribution_check_maps": 1,
    "ig_steps": 1,
    "ig_tolerance": 0.0,
    "shap_samples": 1,
    "hidden": 1,
    "epochs": 1,
    "batch_size": 2,  # the moment loss needs a mean
    "max_lr": 0.0,
    "known_answer_epochs": 1,
    "known_answer_batch": 2,
    "known_answer_max_lr": 0.0,
    "weight_decay": 0.0,
    "dropout": 0.0,
}


def _convert(value, hint):
    """Return ``value`` as the annotated type ``hint``, or raise ``TypeError``."""
    if isinstance(hint, types.UnionType):  # only "X | None" occurs
        return None if value is None else _convert(value, typing.get_args(hint)[0])
    if typing.get_origin(hint) is list:
        if not isinstance(value, (list, tuple)):
            raise TypeError
        return [_convert(item, typing.get_args(hint)[0]) for item in value]
    if hint is float:
        if isinstance(value, str):  # YAML 1.1 reads 1e-3, without a point, as text
            try:
                value = float(value)
            except ValueError:
                raise TypeError from None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError
        if not math.isfinite(value):
            raise TypeError
        return float(value)
    if type(value) is not hint:  # exact: True is no int here
        raise TypeError
    return value


def _describe(hint) -> str:
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


def load_profile(name_or_path: str | Path, **overrides) -> Profile:
    """Read a profile, and execute its plugins once it is seen to be one.

    Parameters
    ----------
    name_or_path
        A name, for ``configs/<name>.yaml`` in the repository or the current folder, or a path to a
        ``.yaml`` file.
    **overrides
        Values that replace those of the file, checked like them.

    Returns
    -------
    Profile
        Its ``plugins`` are full paths: in the file they count from the file's own folder.

    Raises
    ------
    FileNotFoundError
        No such file; lists the names that exist.
    ValueError
        Unknown, missing or wrongly typed key: names file, key, found and expected. Or a plugin that
        fails, see `cosmolib.plugins.load_plugins`.
    """
    path = _profile_path(name_or_path)
    values = read_yaml(path)
    hints = typing.get_type_hints(Profile)
    for source, given in ((path, values), ("override", overrides)):
        for key in given:
            if key not in hints:
                known = ", ".join(hints)
                raise ValueError(f"{source}: found unknown key {key!r}, expected one of: {known}")
    missing = [key for key in hints if key not in values and key not in overrides]
    if missing:
        raise ValueError(f"{path}: found no key {', '.join(missing)}, expected every profile key")

    converted = {}
    for key, hint in hints.items():
        value = overrides.get(key, values.get(key))
        source = f"override of {path}" if key in overrides else path
        try:
            converted[key] = _convert(value, hint)
        except TypeError:
            raise ValueError(
                f"{source}: key {key!r}: found {reprlib.repr(value)}, expected {_describe(hint)}"
            ) from None
        _check_value(source, key, converted[key])
    given = "plugins" in overrides
    source, start = (f"override of {path}", Path()) if given else (path, path.parent)
    try:
        converted["plugins"] = [str((start / name).resolve()) for name in converted["plugins"]]
        load_plugins(converted["plugins"])
    except (ValueError, OSError) as error:
        raise ValueError(f"{source}: key 'plugins': {error}") from error
    return Profile(**converted)


def _check_value(source, key: str, value) -> None:
    """Refuse a value of the right type that no run could use."""
    expected = None
    if key in _CHOICES and value not in _CHOICES[key]:
        expected = "one of " + ", ".join(_CHOICES[key])
    elif key in _AT_LEAST and value is not None and value < _AT_LEAST[key]:
        expected = f"at least {_AT_LEAST[key]}"
    elif key == "dropout" and value >= 1:
        expected = "less than 1"
    elif key == "betas" and (len(value) != 2 or not all(0 <= beta < 1 for beta in value)):
        expected = "two numbers from 0 to below 1"
    elif isinstance(value, list) and not value and key not in ("controls", "plugins"):
        expected = "at least one entry"
    elif isinstance(value, int) and value < 0:
        expected = "no negative number"
    elif key in _FOLDERS:
        names = [value] if isinstance(value, str) else value
        if key in ("cuts", "controls"):  # `cosmolib.grammar.folder_name` encodes the colons
            names = [name.replace(":", "_") for name in names]
        if not all(map(is_folder_name, names)):
            expected = _FOLDER_NAME
    if expected:
        raise ValueError(f"{source}: key {key!r}: found {reprlib.repr(value)}, expected {expected}")


def is_folder_name(value) -> bool:
    """Whether every file system, also a Windows one, takes a text as the name of one folder."""
    if not isinstance(value, str) or not value.isprintable() or len(value.encode()) > 200:
        return False
    if value[-1:] in ("", ".", " ") or any(mark in value for mark in '/\\<>:"|?*{}'):
        return False
    return not _DEVICE.fullmatch(value.partition(".")[0].lower())


def _profile_path(name_or_path: str | Path) -> Path:
    path = Path(str(name_or_path))  # papermill makes a number of the name 2025
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        if path.is_file():
            return path
        raise FileNotFoundError(f"{path}: found no such file, expected a profile in YAML")
    folders = [REPOSITORY / "configs", Path("configs")]
    for folder in folders:
        candidate = folder / f"{path}.yaml"
        if candidate.is_file():
            return candidate
    names = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
    raise FileNotFoundError(
        f"configs/{path}.yaml: found no such profile, expected one of: "
        f"{', '.join(names) or '(no configs/ folder here)'}, or the path of a .yaml file"
    )


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
def training_code() -> str:
    """Digest of the sources that a training's numbers hang on, 12 hexadecimal digits.

    Also of uncommitted changes, which a commit does not tell apart.
    """
    digest = hashlib.sha256()
    for name in TRAINING_MODULES:
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return digest.hexdigest()[:12]


def _version(distribution: str) -> str | None:
    if distribution == "cosmolib":
        return __version__
    if distribution == "python":
        return platform.python_version()
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


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
    **extra,
) -> dict:
    """What made a result: versions, commit, code, time, machine kind, data and configuration.

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
    **extra
        Anything else worth keeping, JSON-able.
    """
    config = dataclasses.asdict(profile) if isinstance(profile, Profile) else profile
    if config is not None and config.get("data_dir"):
        config = {**config, "data_dir": Path(config["data_dir"]).name}
    if config is not None and config.get("plugins"):
        config = {**config, "plugins": [described(path) for path in config["plugins"]]}
    return {
        "versions": {name: _version(name) for name in VERSIONS},
        "git": _git_state(),
        "code": training_code(),
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "device": str(device),
        "seconds": None if seconds is None else round(float(seconds), 2),
        "data_fingerprint": data_fingerprint,
        "config": config,
        **extra,
    }
