"""Plugins: suites, cuts, networks and attribution methods that a user's own Python file adds.

Four tables of names, empty until somebody's code adds to them: `SUITES`, `CUTS`, `NETWORKS` and
`METHODS`. The functions that add, ``register_suite``, ``register_cut``, ``register_network`` and
``register_method``, stand in the modules that use the names. A notebook that papermill runs, and a
worker, is another process: a profile's key ``plugins`` names the files, and
`cosmolib.study.profile.load_profile` executes each of them once.

A name belongs to the place that gave it: the package, one file, or the session at hand. Within a
session it may be given again, as when a cell is run twice; a file that was changed is executed
again and its names are replaced.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
import traceback
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmolib.study.io import reason_of

_EXPECTED = "a Python file that registers a suite, cut, network or method"


@dataclass(frozen=True)
class Entry:
    """What a name stands for, and the file that gave it; None in a session."""

    value: Any
    file: Path | None


class Registry:
    """Names of one kind that were added to the package's own.

    Parameters
    ----------
    kind : str
        For errors.
    pattern, said : str
        What a name must match, and how to say it: names become parts of file and folder names.
    """

    def __init__(self, kind: str, pattern: str, said: str):
        self.kind, self.pattern, self.said = kind, re.compile(pattern), said
        self.entries: dict[str, Entry] = {}

    def __contains__(self, name) -> bool:
        return name in self.entries

    def __iter__(self):
        return iter(self.entries)

    def __getitem__(self, name):
        return self.entries[name].value

    def add(self, name: str, value, own=()) -> None:
        """Give a name; ValueError where it is none, is among the package's ``own``, or is taken."""
        if not isinstance(name, str) or not self.pattern.fullmatch(name):
            raise ValueError(f"{self.kind}: found the name {name!r}, expected {self.said}")
        taken = "cosmolib" if name.lower() in map(str.lower, own) else None
        # Names are folders, and some file systems do not tell Toy from TOY.
        same = [key for key in self.entries if key.lower() == name.lower()]
        taken = taken or next((f"{key!r}" for key in same if key != name), None)
        old = self.entries.get(name)
        if old is not None and (old.file, _loading) != (None, None):
            taken = old.file or "this session"
        if taken:
            raise ValueError(
                f"{self.kind} {name!r}: found it taken by {taken}, expected a name of its own"
            )
        self.entries[name] = Entry(value, _loading)


_SMALL = r"[a-z][a-z0-9_]*", "small letters, digits and _, a letter first"
SUITES = Registry(
    "suite", r"(?!Nbody_)[A-Za-z][A-Za-z0-9]*", "letters and digits, a letter first, no Nbody_"
)
CUTS = Registry("cut", *_SMALL)
NETWORKS = Registry("architecture", *_SMALL)
METHODS = Registry("method", *_SMALL)

_loading: Path | None = None  # the file that is being executed
_loaded: dict[Path, bytes] = {}  # files that were, and what was executed


def load_plugins(paths) -> None:
    """Execute Python files, those that were not or have changed since.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        The file fails, or registers nothing: names it, the line and the reason.
    """
    for path in paths:
        _load(Path(path).resolve())


def _load(path):
    global _loading
    if not path.is_file():
        raise FileNotFoundError(f"{path}: found no such file, expected {_EXPECTED}")
    source = path.read_bytes()
    if _loaded.get(path) == source:
        return
    tables = (SUITES, CUTS, NETWORKS, METHODS)
    before, outer = [table.entries for table in tables], _loading
    for table in tables:
        table.entries = {k: e for k, e in table.entries.items() if e.file != path}
    # Not by an import: its cache of compiled files goes by times, and the digest must be right.
    digest = hashlib.sha256(source).hexdigest()[:8]
    module = types.ModuleType(f"cosmolib_plugin_{path.stem}_{digest}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses and pickle look for it
    try:
        _loading = path
        exec(compile(source, path, "exec"), module.__dict__)
        if not any(e.file == path for table in tables for e in table.entries.values()):
            raise ValueError("nothing registered")
    except Exception as error:
        for table, entries in zip(tables, before, strict=True):
            table.entries = entries
        del sys.modules[module.__name__]
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__)
                 if f.filename == str(path)]  # fmt: skip
        where = f" in line {lines[-1]}" if lines else ""
        raise ValueError(
            f"{path}: found {type(error).__name__}{where} ({reason_of(error)}), "
            f"expected {_EXPECTED}"
        ) from error
    finally:
        _loading = outer
    _loaded[path] = source


def described(path: str | Path) -> str:
    """Name of a plugin and the digest of what was executed of it, as provenance keeps it."""
    source = _loaded.get(Path(path))
    digest = "not loaded" if source is None else hashlib.sha256(source).hexdigest()[:16]
    return f"{Path(path).name} {digest}"


def sources_of(paths) -> dict[str, bytes]:
    """Return what was executed of some plugins, by their description."""
    return {described(path): _loaded.get(Path(path), b"") for path in paths}


def origins(**names: str) -> dict[str, bytes]:
    """Return the text of the files that define some names, as `sources_of`; none for our own.

    Where a cut's function is edited, the runs under this cut are repeated, and no others.

    Parameters
    ----------
    **names
        ``suite``, ``cut`` (its first word), ``network``, ``method``.

    Raises
    ------
    ValueError
        A name was given in this session only: what is kept must be possible to make again.
    """
    tables = {"suite": SUITES, "cut": CUTS, "network": NETWORKS, "method": METHODS}
    files = set()
    for kind, name in names.items():
        entry = tables[kind].entries.get(name.removeprefix("Nbody_"))  # of twins, the one name
        if entry is None:
            continue
        if entry.file is None:
            raise ValueError(
                f"{tables[kind].kind} {name!r}: found it in this session only, expected it in a "
                "file that the profile's key plugins names: a run must be possible to make again"
            )
        files.add(entry.file)
    return sources_of(files)


def keywords_of(function, positional: int | None, offered) -> tuple[list[str], tuple[str, ...]]:
    """Read what a user's function asks for: names by place, and names after its ``*``.

    Parameters
    ----------
    function : callable
    positional : int, optional
        How many it must take by place; None for one or more.
    offered : sequence of str
        What it may ask for by name.

    Raises
    ------
    ValueError
        It takes others: says which are on offer.
    """
    parameters = inspect.signature(function).parameters.values()
    places = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    asked = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
    others = [str(p) for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    wrong = not places if positional is None else len(places) != positional
    if wrong or others or not set(asked) <= set(offered):
        name = getattr(function, "__name__", repr(function))
        expected = "one argument or more" if positional is None else f"{positional} arguments"
        raise ValueError(
            f"{name}{inspect.signature(function)}: expected {expected} by place, and after * "
            f"none or some of {', '.join(offered)}"
        )
    return places, asked
