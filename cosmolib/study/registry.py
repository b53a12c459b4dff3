"""Suites, cuts, networks and attribution methods that a user's Python files add.

Four dictionaries, `SUITES`, `CUTS`, `NETWORKS` and `METHODS`, empty until ``register_suite``,
``register_cut``, ``register_network`` or ``register_method`` is called; these functions are defined
in the modules that use the names. The profile key ``plugins`` lists the files that call them:
`cosmolib.study.profile.load_profile` executes each file once per process, so that notebooks run by
papermill and tuning workers have the same names.

A name belongs to the package, to one file, or to the session. In a session it may be registered
again, as when a cell is run twice.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import re
import sys
import traceback
from pathlib import Path
from typing import Any

from cosmolib.study.io import reason_of

SUITES: dict[str, Any] = {}
CUTS: dict[str, Any] = {}
NETWORKS: dict[str, Any] = {}
METHODS: dict[str, Any] = {}
_TABLES = {"suite": SUITES, "cut": CUTS, "architecture": NETWORKS, "method": METHODS}
_FILES: dict[tuple[str, str], Path] = {}  # (kind, name) -> its file; none in a session
_TEXTS: dict[Path, bytes] = {}  # files that were executed, and their text at that time


def register(kind: str, name: str, value, own=()) -> None:
    """Add a name to the table of a kind.

    Parameters
    ----------
    kind : {"suite", "cut", "architecture", "method"}
    name : str
        Becomes part of file and folder names.
    value
        What the name stands for.
    own : iterable of str
        The package's names of this kind.

    Raises
    ------
    ValueError
        The name is malformed or already taken.
    """
    table = _TABLES[kind]
    pattern, expected = r"[a-z][a-z0-9_]*", "lower-case letters, digits and _, a letter first"
    if kind == "suite":
        pattern = r"(?!Nbody_)[A-Za-z][A-Za-z0-9]*"
        expected = "letters and digits, a letter first, no Nbody_"
    if not isinstance(name, str) or not re.fullmatch(pattern, name):
        raise ValueError(f"{kind}: found the name {name!r}, expected {expected}")
    # Names are folders, and some file systems do not distinguish Toy from TOY.
    taken = {key.lower(): _FILES.get((kind, key), "this session") for key in table}
    if name in table and (kind, name) not in _FILES:
        del taken[name.lower()]
    taken |= {key.lower(): "cosmolib" for key in own}
    if name.lower() in taken:
        raise ValueError(f"{kind} {name!r} is taken by {taken[name.lower()]}: use another name")
    table[name] = value


def load_plugins(paths) -> None:
    """Execute each Python file that this process has not executed yet.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        The file fails (names the line and the reason), registers nothing, or has changed since it
        was executed.
    """
    for path in (Path(path).resolve() for path in paths):
        text = path.read_bytes()
        if _TEXTS.get(path, text) != text:
            raise ValueError(f"{path}: changed since it was executed; restart Python or the kernel")
        if path not in _TEXTS:
            _execute(path, text)
            _TEXTS[path] = text


def _execute(path, text):
    before = _registered()
    name = f"cosmolib_plugin_{hashlib.sha256(bytes(path)).hexdigest()[:8]}"
    module = importlib.util.module_from_spec(importlib.util.spec_from_file_location(name, path))
    sys.modules[name] = module  # where dataclasses and pickle look for it
    try:
        # Not the spec's loader: its cache of compiled files misses an edit within a second.
        exec(compile(text, path, "exec"), vars(module))
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        where = f", line {lines[-1]}" if lines else ""
        reason = f"{type(error).__name__}: {reason_of(error)}"
        raise ValueError(f"{path}{where}: {reason}") from error
    new = [key for key, value in _registered().items() if before.get(key) is not value]
    if not new:
        raise ValueError(f"{path}: registers no suite, cut, network or method")
    _FILES.update(dict.fromkeys(new, path))


def _registered():
    return {(kind, name): table[name] for kind, table in _TABLES.items() for name in table}


def described(path: str | Path) -> str:
    """Return the name of an executed plugin and a digest of its text, as provenance stores it."""
    return f"{Path(path).name} {hashlib.sha256(_TEXTS[Path(path)]).hexdigest()[:16]}"


def sources_of(paths) -> dict[str, bytes]:
    """Return the texts of some executed plugins, by their description."""
    return {described(path): _TEXTS[Path(path)] for path in paths}


def origins(**names: str | None) -> dict[str, bytes]:
    """Return the texts of the files that define some names, as `sources_of`; none for our own.

    Editing the function of a cut therefore repeats the runs under this cut, and no others.

    Parameters
    ----------
    **names
        A name of each kind: ``suite``, ``cut`` (its first word), ``architecture``, ``method``.

    Raises
    ------
    ValueError
        A name was registered in this session only: a stored result must be reproducible.
    """
    files = set()
    for kind, name in names.items():
        name = (name or "").removeprefix("Nbody_")  # twins share one name
        if name in _TABLES[kind]:
            if (kind, name) not in _FILES:
                raise ValueError(
                    f"{kind} {name!r} is registered in this session only: move it to a file and "
                    "list the file in the profile's key plugins"
                )
            files.add(_FILES[kind, name])
    return sources_of(files)


def keywords_of(function, positional: int | None, offered) -> tuple[list[str], tuple[str, ...]]:
    """Return the names of a user's function's positional and of its keyword-only arguments.

    Parameters
    ----------
    function : callable
    positional : int, optional
        Required number of positional arguments; None for one or more.
    offered : sequence of str
        Keyword-only arguments that it may have.

    Raises
    ------
    ValueError
        It has other arguments.
    """
    signature = inspect.signature(function)
    by_kind: dict[Any, list[str]] = {}
    for parameter in signature.parameters.values():
        by_kind.setdefault(parameter.kind, []).append(parameter.name)
    places = by_kind.pop(inspect.Parameter.POSITIONAL_OR_KEYWORD, [])
    asked = tuple(by_kind.pop(inspect.Parameter.KEYWORD_ONLY, []))
    if by_kind or not places or len(places) != (positional or len(places)) or {*asked} - {*offered}:
        name = getattr(function, "__name__", repr(function))
        raise ValueError(
            f"{name}{signature}: expected {positional or '1 or more'} positional arguments and, "
            f"after *, any of {', '.join(offered)}"
        )
    return places, asked
