"""One identity for everything that is stored: what a result depends on, and whether it is current.

Weights, checkpoints, predictions, metrics, tuning studies and workflow jobs are stored with their
`identity` and are reused only while `changes` finds no difference from the present one. `KINDS` is
the only list of what each kind of result depends on.
"""

import ast
import hashlib
import importlib.metadata
import json
import reprlib
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cosmolib.cuts.grammar import Cut
from cosmolib.study.registry import origins, sources_of

_PUBLIC = sys.modules["cosmolib"]._PUBLIC  # modules of the names that the package itself exports
_ROOT = Path(__file__).parents[1]
# Read once, when this process imports the package: if a file is edited while a training runs, the
# results of the old code must not get the digest of the new one.
_SOURCES = {
    ".".join(path.relative_to(_ROOT).with_suffix("").parts).removesuffix("__init__").rstrip("."):
    path.read_bytes() for path in _ROOT.rglob("*.py")
}  # fmt: skip

# Modules that store, lock, name or describe and determine no number; all others count.
PLUMBING = ("data.checksums", "study.identity", "study.io", "study.locks", "study.profile",
            "study.provenance", "study.registry", "study.run")  # fmt: skip
_NUMERICAL = ("numpy", "scipy", "torch")


@dataclass(frozen=True)
class Kind:
    """What one kind of stored result depends on, besides its own names and data."""

    keys: tuple[str, ...] | None  # of the profile; None: all but paths
    modules: tuple[str, ...]  # whose code it uses, with all modules that they import ...
    apart: tuple[str, ...] = ()  # ... except these, `PLUMBING` and what only they import
    packages: tuple[str, ...] = _NUMERICAL


_MAPS = ("field", "sim_set", "n_simulations", "train_simulations", "split_seed",
         "scaling_scope", "targets")  # fmt: skip
_INPUTS = (*_MAPS, "scaling", "shuffle_labels")
_STEPS = ("betas", "schedule", "symmetries", "shifts", "precision", "compile")

KINDS = {
    # weights, history and predictions of a run
    "training": Kind(
        (*_INPUTS, *_STEPS, "storage", "hidden", "dropout", "epochs", "batch_size", "max_lr",
         "weight_decay", "average_symmetries"),
        ("training.run",), apart=("training.scores",),
    ),
    # an interrupted training; its maps and its network are compared separately
    "checkpoint": Kind(
        (*_STEPS, "targets", "epochs", "batch_size", "max_lr", "weight_decay"),
        ("training.fit", "training.networks"),
    ),
    # predictions of a network that was trained elsewhere
    "pretrained": Kind(
        (*_INPUTS, "average_symmetries"), ("training.run",), apart=("training.scores",)
    ),
    # the scores of a run's predictions
    "metrics": Kind(("bootstrap_samples",), ("training.scores",)),
    # predictions from summary statistics
    "baseline": Kind(
        _MAPS, ("results.baseline",),
        apart=("training.networks", "training.scores", "training.fit"),
        packages=(*_NUMERICAL, "scikit-learn"),
    ),
    # predictions of a network on maps with a known posterior or an injected signal
    "known_answer": Kind(
        (*_STEPS, "known_answer_hidden", "known_answer_epochs", "known_answer_batch",
         "known_answer_max_lr"),
        ("validation.known_posterior",),
        apart=("interpretation.attribution", "validation.calibration", "results.table",
               "training.scores"),
    ),
    # trials of one objective; the parameters that they search do not count
    "tuning": Kind(
        (*_INPUTS, *_STEPS, "storage", "batch_size", "tuning_epochs"),
        ("tuning.search",), packages=(*_NUMERICAL, "optuna"),
    ),
    # an executed notebook: the modules that it imports are added
    "chapter": Kind(
        None, PLUMBING, packages=(*_NUMERICAL, "scikit-learn", "optuna", "captum", "matplotlib"),
    ),
}  # fmt: skip


def identity(kind: str, profile, *, fingerprint=None, sources=(), **settings) -> dict:
    """Describe everything that a stored result depends on, in plain values.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    profile : Profile
        Provides the values of the kind's keys.
    fingerprint
        Of the data behind the result, such as ``Suite.fingerprint``.
    sources : mapping, optional
        Code outside the package that the result uses, by a name that identifies its text, see
        `notebook_source`.
    **settings
        Anything else that it depends on, such as a seed. Of the names ``suite``, ``cut`` and
        ``architecture``, the texts of the plugins that define them count.

    Raises
    ------
    ValueError
        A name is registered in this session only, see `cosmolib.study.registry.origins`.
    """
    uses = KINDS[kind]
    # Of the paths, the data and the texts of the plugins count instead.
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
        An identity as it was read; anything else than a dict counts as changed.
    now : dict
        From `identity`.
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
    """Return 16 hexadecimal digits of plain values, whatever the order of their keys.

    The first one is a letter, because YAML reads 1234e5678 as a number.
    """
    text = json.dumps(_canonical(value), sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest().lstrip("0123456789")[:16]


def _canonical(value):
    """Return plain values such that equal values have equal texts: 1 for 1.0, lists for tuples."""
    if isinstance(value, dict):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    if hasattr(value, "item"):  # of numpy
        value = value.item()
    return int(value) if isinstance(value, float) and value.is_integer() else value


# --------------------------------------------------------------------------------------------------
# Code and packages
# --------------------------------------------------------------------------------------------------
def code(modules=None, apart=PLUMBING) -> dict[str, str]:
    """Return a digest of each module and of all modules of the package that they import, by name.

    Comments, docstrings and layout do not count.

    Parameters
    ----------
    modules : iterable of str, optional
        Without the package's name; by default all.
    apart : iterable of str
        Modules that neither count nor are followed, unless they are among ``modules``.
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
    return _code_digest(tree), sorted(_imports(tree))


def _code_digest(tree):
    """Digest of a program without the statements that are only a string, such as docstrings."""
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [line for line in body if not _is_text(line)] or [ast.Pass()]
    return digest(ast.unparse(tree))


def _is_text(line):
    return isinstance(line, ast.Expr) and isinstance(getattr(line.value, "value", None), str)


def _imports(tree) -> set[str]:
    """Return the package's modules that some code imports, also inside its functions."""
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
                found.update([module] if module else _SOURCES)  # the package itself: anything
    return found


def notebook_source(path: str | Path) -> dict[str, str]:
    """Return the code of a notebook, named by the file and a digest, as `identity` takes it.

    Prose and cells that are hidden from the book do not count.
    """
    cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
    shown = [cell for cell in cells if "remove-cell" not in cell["metadata"].get("tags", [])]
    text = "\n".join("".join(cell["source"]) for cell in shown if cell["cell_type"] == "code")
    return {f"{Path(path).stem} {_code_digest(ast.parse(text))}": text}


def package_version(name: str) -> str | None:
    """Version of an installed distribution, None where there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
