"""Register suites, cuts, networks and attribution methods from users' Python files (plugins).

The dictionaries `SUITES`, `CUTS`, `NETWORKS` and `METHODS` are filled by ``register_suite``,
``register_cut``, ``register_network`` and ``register_method``, which are defined in the modules
that use the names. The profile key ``plugins`` lists the files that call these functions.
`cosmolib.study.profile.load_profile` executes each file once per process, so that notebooks run by
papermill and tuning workers have the same names.

A name belongs to the package, to one file or to an interactive session. Within a session it may be
registered again, for example by running a cell twice.
"""

import hashlib
import inspect
import re
import sys
import traceback
import types
from pathlib import Path

from cosmolib.study.io import reason_of

_TABLES: dict[str, dict] = {"suite": {}, "cut": {}, "architecture": {}, "method": {}}
SUITES, CUTS, NETWORKS, METHODS = _TABLES.values()  # by name
_NEW: list[tuple[str, str]] = []  # (kind, name) registered by the file that is being executed
_FILES: dict[tuple[str, str], Path] = {}  # (kind, name) -> file; names of a session have none
_TEXTS: dict[Path, bytes] = {}  # executed files, with their text at that time


def register(kind: str, name: str, value, own=()) -> None:
    """Register a name for a suite, cut, architecture or method.

    Parameters
    ----------
    kind : {"suite", "cut", "architecture", "method"}
    name : str
        Becomes part of file and folder names.
    value
        Object to register.
    own : iterable of str
        Names that the package itself uses for this kind.

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
    # Names become folders, and some file systems do not distinguish Toy from TOY.
    others = [key for key in table if key != name or (kind, key) in _FILES]
    taken = {key.lower(): _FILES.get((kind, key), "this session") for key in others}
    taken |= {key.lower(): "cosmolib" for key in own}
    if name.lower() in taken:
        raise ValueError(f"{kind} {name!r} is taken by {taken[name.lower()]}: use another name")
    table[name] = value
    _NEW.append((kind, name))


def load_plugins(paths) -> None:
    """Execute each Python file that this process has not executed yet.

    Raises
    ------
    ValueError
        A file cannot be read, fails (the message has line and reason), registers nothing, or has
        changed since it was executed.
    """
    for path in (Path(path).resolve() for path in paths):
        name = f"cosmolib_plugin_{hashlib.sha256(bytes(path)).hexdigest()[:8]}"
        module = types.ModuleType(name)
        _NEW.clear()
        try:
            text = path.read_bytes()
            if path not in _TEXTS:
                sys.modules[name] = module  # dataclasses and pickle look it up there
                # Not imported, because Python's cache of compiled files can miss a recent edit.
                exec(compile(text, path, "exec"), vars(module))
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            lines = [f", line {frame.lineno}" for frame in frames if frame.filename == str(path)]
            reason = f"{type(error).__name__}: {reason_of(error)}"
            raise ValueError(f"{path}{''.join(lines[-1:])}: {reason}") from error
        _FILES.update(dict.fromkeys(_NEW, path))
        if path not in _FILES.values():
            raise ValueError(f"{path}: registers no suite, cut, network or method")
        if _TEXTS.setdefault(path, text) != text:
            raise ValueError(f"{path}: changed since it was executed; restart Python or the kernel")


def sources_of(paths) -> dict[str, bytes]:
    """Return the texts of executed plugins, by the name of the file and a digest of the text."""
    texts = [(Path(path).name, _TEXTS[Path(path)]) for path in paths]
    return {f"{name} {hashlib.sha256(text).hexdigest()[:16]}": text for name, text in texts}


def origins(**names: str | None) -> dict[str, bytes]:
    """Return the texts of the plugins that define some names, as `sources_of`.

    Names of the package itself have no entry. The texts are part of the identity of a result:
    editing the function of a cut invalidates the runs under this cut and no others.

    Parameters
    ----------
    **names
        Name by kind: ``suite``, ``cut`` (the first word of the string), ``architecture``,
        ``method``.

    Raises
    ------
    ValueError
        A name is registered in this session only, so a stored result would not be reproducible.
    """
    files = set()
    for kind, name in names.items():
        name = (name or "").removeprefix("Nbody_")  # both twins are registered under one name
        if name in _TABLES[kind]:
            if (kind, name) not in _FILES:
                advice = "move it to a file and list the file in the profile's key plugins"
                raise ValueError(f"{kind} {name!r} is registered in this session only: {advice}")
            files.add(_FILES[kind, name])
    return sources_of(files)


def keywords_of(function, positional: int | None, offered) -> tuple[list[str], tuple[str, ...]]:
    """Return the positional and the keyword-only argument names of a user's function.

    Parameters
    ----------
    function : callable
    positional : int, optional
        Required number of positional arguments; None for one or more.
    offered : sequence of str
        Keyword-only arguments that the function may have.

    Raises
    ------
    ValueError
        The function has other arguments.
    """
    signature = inspect.signature(function)
    arguments = signature.parameters.values()
    places = [one.name for one in arguments if one.kind is one.POSITIONAL_OR_KEYWORD]
    asked = tuple(one.name for one in arguments if one.kind is one.KEYWORD_ONLY)
    whole = len(places) + len(asked) == len(arguments)  # no *others
    if not whole or len(places) != (positional or max(len(places), 1)) or {*asked} - {*offered}:
        name, number = getattr(function, "__name__", function), positional or "1 or more"
        expected = f"{number} positional arguments and, after *, any of {', '.join(offered)}"
        raise ValueError(f"{name}{signature}: expected {expected}")
    return places, asked
