"""Decide whether a stored result is current, by an identity of everything that it depends on.

Weights, checkpoints, predictions, metrics, tuning studies and workflow jobs are stored with their
`identity`. They are reused only while `changes` finds no difference between the stored identity and
the present one. `KINDS` lists the dependencies of each kind of result; there is no other list.
"""

import ast
import hashlib
import importlib.metadata
import json
import reprlib
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

from cosmolib.cuts.grammar import Cut
from cosmolib.study.registry import origins, sources_of

_PUBLIC = sys.modules["cosmolib"]._PUBLIC  # names that the package exports, with their modules
_ROOT = Path(__file__).parents[1]
# The sources are read once, when the package is imported: if a file is edited during a training,
# the results of the old code must not get the digest of the new code.
_SOURCES = {
    ".".join(path.relative_to(_ROOT).with_suffix("").parts).removesuffix("__init__").rstrip("."):
    path.read_bytes() for path in _ROOT.rglob("*.py")
}  # fmt: skip

# Modules that store, lock, name or describe results but do not change a number; all others count.
PLUMBING = ("data.checksums", "study.identity", "study.io", "study.locks", "study.profile",
            "study.provenance", "study.registry", "study.run")  # fmt: skip
_NUMERICAL = ("numpy", "scipy", "torch")


class Kind(NamedTuple):
    """Dependencies of one kind of stored result, in addition to its names and its data."""

    keys: tuple[str, ...] | None  # profile keys; None: all except paths
    modules: tuple[str, ...]  # modules that it uses, directly or through imports, ...
    apart: tuple[str, ...] = ()  # ... without these, `PLUMBING` and modules only they import
    packages: tuple[str, ...] = _NUMERICAL


_MAPS = ("field", "sim_set", "n_simulations", "train_simulations", "split_seed",
         "scaling_scope", "targets")  # fmt: skip
_INPUTS = (*_MAPS, "scaling", "shuffle_labels")
_STEPS = ("betas", "schedule", "symmetries", "shifts", "precision", "compile")

KINDS = {
    # weights, history and predictions of a run
    "training": Kind(
        (*_INPUTS, *_STEPS, "storage", "hidden", "dropout", "epochs", "batch_size", "max_lr",
         "weight_decay", "average_symmetries"), ("training.run",), apart=("training.scores",)),
    # an interrupted training; maps and network are compared separately
    "checkpoint": Kind((*_STEPS, "targets", "epochs", "batch_size", "max_lr", "weight_decay"),
                       ("training.fit", "training.networks")),
    # predictions of a pretrained network
    "pretrained": Kind((*_INPUTS, "average_symmetries"), ("training.run",), ("training.scores",)),
    # the scores of a run's predictions
    "metrics": Kind(("bootstrap_samples",), ("training.scores",)),
    # predictions from summary statistics
    "baseline": Kind(_MAPS, ("results.baseline",),
                     apart=("training.networks", "training.scores", "training.fit"),
                     packages=(*_NUMERICAL, "scikit-learn")),
    # predictions of a network on maps with an analytic posterior or an injected signal
    "known_answer": Kind(
        (*_STEPS, "known_answer_hidden", "known_answer_epochs", "known_answer_batch",
         "known_answer_max_lr", "average_symmetries"), ("validation.known_posterior",),
        apart=("interpretation.attribution", "validation.calibration", "results.table",
               "training.scores")),
    # trials of one objective; the searched parameters do not count
    "tuning": Kind((*_INPUTS, *_STEPS, "storage", "batch_size", "tuning_epochs"),
                   ("tuning.search",), packages=(*_NUMERICAL, "optuna")),
    # an executed notebook; the modules that it imports are added
    "chapter": Kind(
        None, PLUMBING, packages=(*_NUMERICAL, "scikit-learn", "optuna", "captum", "matplotlib")),
}  # fmt: skip


def identity(kind: str, profile, *, fingerprint=None, sources=(), **settings) -> dict:
    """Return everything that a stored result depends on, as plain values.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    profile : Profile
        Provides the values of the profile keys.
    fingerprint
        Fingerprint of the data, such as ``Suite.fingerprint``.
    sources : mapping, optional
        Source code outside the package, by a name that identifies its text (see `code_digest`).
    **settings
        Other dependencies, such as a seed. If a plugin defines the ``suite``, ``cut`` or
        ``architecture``, the text of the plugin counts as well.

    Raises
    ------
    ValueError
        A name is registered in this session only (see `cosmolib.study.registry.origins`).
    """
    uses = KINDS[kind]
    # Instead of paths, the fingerprint of the data and the texts of the plugins count.
    keys = uses.keys or [key for key in vars(profile) if key not in ("data_dir", "plugins")]
    names = {name: settings.get(name) for name in ("suite", "cut", "architecture")}
    if names["cut"] is not None:
        cut = Cut.parse(names["cut"])
        settings["cut"], names["cut"] = str(cut), cut.kind
    sources = origins(**names) | dict(sources)
    if uses.keys is None:
        sources |= sources_of(profile.plugins)
    modules = {*uses.modules}.union(*(_imports(ast.parse(text)) for text in sources.values()))
    result = {"kind": kind, "fingerprint": fingerprint} | settings
    result |= {key: getattr(profile, key) for key in keys}
    result |= {"sources": sorted(sources), "code": code(modules, {*PLUMBING, *uses.apart})}
    return _canonical(result | {name: package_version(name) for name in uses.packages})


def changes(stored, now: dict) -> list[str]:
    """List the differences between the identity of a stored result and the present one.

    Parameters
    ----------
    stored
        Stored identity; anything other than a dict counts as changed.
    now : dict
        Present identity, from `identity`.
    """
    if not isinstance(stored, dict):
        return [f"found no identity, expected that of a {now['kind']}"]
    stored, found = _canonical(stored), []
    for key in sorted({*stored, *now}, key=str):
        old, new = stored.get(key), now.get(key)
        if key == "code" and isinstance(old, dict) and old != new:
            modules = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
            found.append(f"other code in {', '.join(modules)}")
        elif old != new:
            found.append(f"{key}: found {reprlib.repr(old)}, expected {reprlib.repr(new)}")
    return found


def digest(value) -> str:
    """Return 16 hexadecimal digits that identify plain values; the order of keys does not count.

    The first one is a letter, because YAML reads 1234e5678 as a number.
    """
    text = json.dumps(_canonical(value), sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest().lstrip("0123456789")[:16]


def _canonical(value):
    """Return plain values such that equal values have equal texts (1 for 1.0, lists for tuples)."""
    if isinstance(value, dict):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    if hasattr(value, "item"):  # a numpy scalar
        value = value.item()
    return int(value) if isinstance(value, float) and value.is_integer() else value


# --------------------------------------------------------------------------------------------------
# Code and packages
# --------------------------------------------------------------------------------------------------
def code(modules=None, apart=PLUMBING) -> dict[str, str]:
    """Return a digest per module, for some modules and everything that they import from cosmolib.

    Comments, docstrings and layout do not change a digest.

    Parameters
    ----------
    modules : iterable of str, optional
        Names without the leading ``cosmolib.``; by default all modules.
    apart : iterable of str
        Modules to leave out with their imports, unless they are among ``modules``.
    """
    waiting, found = list(_SOURCES if modules is None else modules), {}
    apart = {*apart}.difference(waiting)
    while waiting:
        name = waiting.pop()
        if name not in found and name not in apart:
            found[name], imported = _module(_SOURCES[name])
            waiting += imported
    return dict(sorted(found.items()))


@cache
def _module(source):
    """Return the digest of a module and the modules that it imports."""
    tree = ast.parse(source)
    return code_digest(tree), sorted(_imports(tree))


def code_digest(tree):
    """Return the digest of a program without docstrings and other statements that are a string."""

    def is_text(line):
        return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)

    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [line for line in body if not is_text(line)] or [ast.Pass()]
    return digest(ast.unparse(tree))


def _imports(tree) -> set[str]:
    """Return the modules of cosmolib that some code imports, also inside functions."""
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        start = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        for package, *parts in ((start + alias.name).split(".") for alias in node.names):
            if package == "cosmolib" and parts != ["__version__"]:
                module = ".".join(parts)
                module = _PUBLIC.get(module, module)
                while module not in _SOURCES:  # the name of a function or class
                    module = module.rpartition(".")[0]
                found.update([module] if module else _SOURCES)  # ``import cosmolib``: all modules
    return found


def package_version(name: str) -> str | None:
    """Return the version of an installed package, or None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
