"""Files: written atomically, read with one clear error; errors in one line.

Everything that the project writes goes to a temporary name first, so that a process killed at any
moment leaves the old file or the new one, never a part of either.
"""

import hashlib
import io
import json
import os
import pickle
import re
import sys
import tempfile
import uuid
from contextlib import contextmanager
from pathlib import Path

from pydantic_core import to_jsonable_python
from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.resolver import VersionedResolver

_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{12}(\.\w+)?")  # of `atomic_path`
REPOSITORY = Path(__file__).resolve().parents[2]  # holds configs/ in a clone
# No hidden file, no option of a command, no parent folder, no device of Windows
_FOLDER = re.compile(
    r"(?!(con|prn|aux|nul|(com|lpt)\d)(\.|$))(?!.*\.\.)[a-z0-9][\w.=-]*(?<!\.)", re.I | re.ASCII
)
FOLDER_NAME = "a folder name (letters, digits, . _ = -; a letter or digit first; no '..', no 'con')"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# A password follows the user's name in an address, up to its last "@", or a key of its query.
_PASSWORD = re.compile(r"(:/+[^\s:/@]*:)\S*@")
_QUERY = re.compile(r"((?:pass\w*|pwd|secret|token)\s*=\s*)[^\s&;'\"]+", re.IGNORECASE)
EXTRAS = {"pysco": "simulate", "camb": "simulate", "playwright": "test", "papermill": "book"}


@contextmanager
def atomic_path(path: str | Path):
    """Yield a temporary path next to ``path`` and move it there when the block succeeds.

    Parent folders are made. If the block raises, the temporary file is removed and ``path`` is not
    touched. The temporary name has the suffix of ``path``, because ``numpy.save`` and others append
    a missing one.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> target = Path(tempfile.mkdtemp()) / "new" / "ones.npy"
    >>> with atomic_path(target) as temporary:
    ...     np.save(temporary, np.ones(3))
    >>> np.load(target).sum()
    np.float64(3.0)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A unique hidden name: two processes that write one file never share a temporary file.
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}{path.suffix}")
    try:
        yield temporary
        if temporary.is_file():  # its bytes must reach the disk before its name does
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(temporary)):
            raise OSError(error.errno, error.strerror, str(path)) from error  # e.g. a full disk
        raise
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(folder: str | Path, variable: str) -> None:
    """Make a cache folder; raise OSError, naming the variable that moves it, if that fails."""
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = f"{error.strerror}; set {variable} to a folder that can be written"
        raise OSError(error.errno, reason, str(folder)) from None


def redact(text: object) -> str:
    """Replace the passwords of addresses in a text by ``***``."""
    return _QUERY.sub(r"\1***", _PASSWORD.sub(r"\1***@", str(text)))


def reason_of(error: BaseException) -> str:
    """Return the first line of another package's error, without colours and passwords."""
    text = _ANSI.sub("", str(error)).strip() or type(error).__name__
    return redact(" ".join(text.splitlines()[0].split()))[:200]


def exit_code(program: str, function, *arguments) -> int:
    """Call a command; return its exit code, with one line on stderr if it failed.

    Failures of the input or the machine (``ValueError``, ``OSError``, a missing extra) return 2, an
    interruption 130, as in a shell. Any other exception is a fault of this package and propagates
    with its traceback.

    Parameters
    ----------
    program : str
        Begins the line.
    function : callable
        Called with ``arguments``; returns an exit code, or None for 0.
    """
    try:
        return int(function(*arguments) or 0)
    except ModuleNotFoundError as error:
        if (package := str(error.name).split(".")[0]) not in EXTRAS:
            raise
        message = f"module {error.name!r} is missing: pip install -e '.[{EXTRAS[package]}]'"
    except (ValueError, OSError) as error:
        message = " ".join(_ANSI.sub("", redact(error)).split()) or type(error).__name__
    except KeyboardInterrupt as stop:
        print(f"{program}: stopped; {redact(stop)}".removesuffix("; "), file=sys.stderr)
        return 130
    print(f"{program}: {message}", file=sys.stderr)
    return 2


def sweep(folder: str | Path) -> None:
    """Remove the temporary files that killed processes left in a folder.

    Only under the lock of the folder, see `cosmolib.study.locks`.
    """
    for path in Path(folder).glob(".*"):
        if _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def write_json(path: str | Path, obj) -> None:
    """Write ``obj`` to ``path`` atomically, as strict JSON.

    Numpy scalars and arrays become numbers and lists. NaN and infinities, which JSON lacks, become
    ``null``, so that an undefined statistic is read back as ``None``.
    """
    plain = to_jsonable_python(obj, inf_nan_mode="null", fallback=lambda array: array.tolist())
    text = json.dumps(plain, indent=1, allow_nan=False, ensure_ascii=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: str | Path):
    """Read a JSON file; ``ValueError`` names the file if it is not one."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of decoding, of JSON, or nested too deep
        raise ValueError(f"{path}: found no valid JSON: {reason_of(error)}") from None


_PLAIN = {
    "null": "|~|null|Null|NULL",
    "bool": "true|True|TRUE|false|False|FALSE",
    "int": "-?(0|[1-9][0-9]*)",
    "float": r"-?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?|-?\.inf|\.nan",
}


class _Scalars(VersionedResolver):
    """Plain scalars of YAML 1.2's JSON schema, whatever version a file declares.

    Only numbers of JSON are numbers: 010, 1:30, 1_000, yes and 2025-01-01 are text.
    """

    processing_version = (1, 2)
    versioned_resolver = {  # by first character; None: any
        None: [(f"tag:yaml.org,2002:{kind}", re.compile(f"({p})\\Z")) for kind, p in _PLAIN.items()]
    }


def _yaml():
    yaml = YAML(typ="safe", pure=True)
    yaml.Resolver, yaml.default_flow_style = _Scalars, False
    yaml.sort_base_mapping_type_on_output = False
    return yaml


def write_yaml(path: str | Path, obj) -> None:
    """Write plain ``obj`` to ``path`` atomically, as YAML for `read_yaml`."""
    with atomic_path(path) as temporary:
        _yaml().dump(obj, temporary)


def read_yaml(path: str | Path) -> dict:
    """Read a mapping in YAML 1.2; tags make no objects.

    Raises
    ------
    ValueError
        It is something else, or has a key twice: names the file and the line.
    """
    try:
        values = _yaml().load(Path(path).read_bytes())
    except (YAMLError, ValueError, TypeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        reason = reason_of(getattr(error, "problem", None) or error)
        expected = "expected flat keys, each once"
        raise ValueError(f"{path}: {where}found no valid YAML ({reason}), {expected}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: found a {type(values).__name__}, expected a flat mapping")
    return values


def write_state(path: str | Path, state) -> None:
    """Write tensors and plain values to ``path`` atomically.

    By way of memory: on a full disk torch's own writer ends in a RuntimeError that names no file.

    Raises
    ------
    OSError
        The disk is full or the folder cannot be written: names the file.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def read_state(path: str | Path, what: str, expected: str) -> dict:
    """Read a dict that `write_state` or ``torch.save`` wrote, on the CPU.

    Pickled objects are refused and never made: torch reads with ``weights_only=True``.

    Parameters
    ----------
    path : path
    what, expected : str
        For the error: "found no <what> (<torch's reason>), expected <expected>".

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        The file is something else, or damaged: names it, and torch's reason.
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: found no such file, expected a {what}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for files that are not its own
        found = f"no {what} ({_why_refused(error)})"
        raise ValueError(f"{path}: found {found}, expected {expected}") from None
    if not isinstance(state, dict):
        raise ValueError(f"{path}: found {type(state).__name__}, expected {expected}")
    return state


def _why_refused(error):
    """Say in a few words why torch refused a file; its own message advises to trust the file."""
    if pickled := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return f"it holds a pickled {pickled[1]}, and pickled objects can run code"
    if isinstance(error, EOFError):
        return "it is empty"
    if isinstance(error, pickle.UnpicklingError):
        return "it was not written by torch.save"
    return reason_of(error).split(". ")[0].rstrip(".")


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_folder_name(value) -> bool:
    """Whether every file system, shell tool and artefact store accepts a text as a folder name."""
    return isinstance(value, str) and len(value) <= 200 and bool(_FOLDER.fullmatch(value))
