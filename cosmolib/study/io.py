"""Write files atomically, read them safely, and reduce errors to one clear line.

Every file of the project is written under a temporary name first. A process that is killed at any
moment leaves either the old file or the complete new one.
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

REPOSITORY = Path(__file__).resolve().parents[2]  # contains configs/ in a clone
EXTRAS = {"pysco": "simulate", "camb": "simulate", "playwright": "test", "papermill": "book"}
FOLDER_NAME = "a folder name (letters, digits, . _ = -; a letter or digit first; no '..', no 'con')"
# Excludes hidden files, command-line options, parent folders and device names of Windows.
_FOLDER = re.compile(
    r"(?!(con|prn|aux|nul|(com|lpt)\d)(\.|$))(?!.*\.\.)[a-z0-9][\w.=-]*(?<!\.)", re.I | re.ASCII
)
_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{12}(\.\w+)?")  # names made by `atomic_path`
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# A URL has its password between the user name and the last "@", or in a key of its query.
_PASSWORD = re.compile(r"(:/+[^\s:/@]*:)\S*@")
_QUERY = re.compile(r"((?:pass\w*|pwd|secret|token)\s*=\s*)[^\s&;'\"]+", re.IGNORECASE)


@contextmanager
def atomic_path(path: str | Path):
    """Yield a temporary path in the folder of ``path`` and rename it when the block succeeds.

    Missing parent folders are created. If the block raises an exception, the temporary file is
    removed and ``path`` stays as it was. The temporary name has the suffix of ``path``, because
    functions such as ``numpy.save`` append a missing suffix.

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
    # The name is unique, so that two processes that write one file do not share a temporary file.
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
    """Create a cache folder; if that fails, raise OSError with the variable that moves it."""
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = f"{error.strerror}; set {variable} to a folder that can be written"
        raise OSError(error.errno, reason, str(folder)) from None


def redact(text: object) -> str:
    """Replace passwords in URLs by ``***``."""
    return _QUERY.sub(r"\1***", _PASSWORD.sub(r"\1***@", str(text)))


def reason_of(error: BaseException) -> str:
    """Return the first line of an error message, without colours and passwords."""
    text = _ANSI.sub("", str(error)).strip() or type(error).__name__
    return redact(" ".join(text.splitlines()[0].split()))[:200]


def exit_code(program: str, function, *arguments) -> int:
    """Run a command and return its exit code; report a failure in one line on stderr.

    Bad input and failures of the machine (``ValueError``, ``OSError``, an optional package that is
    missing) return 2, an interruption 130. Any other exception is a bug and propagates with its
    traceback.

    Parameters
    ----------
    program : str
        Name at the start of the line.
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
    """Remove temporary files of killed processes from a folder; the caller must hold its lock."""
    for path in Path(folder).glob(".*"):
        if _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def write_json(path: str | Path, obj) -> None:
    """Write an object to ``path`` atomically, as strict JSON.

    Numpy scalars and arrays become numbers and lists. NaN and infinities, which JSON does not
    have, become ``null``: an undefined statistic is read back as ``None``.
    """
    plain = to_jsonable_python(obj, inf_nan_mode="null", fallback=lambda array: array.tolist())
    text = json.dumps(plain, indent=1, allow_nan=False, ensure_ascii=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: str | Path):
    """Read a JSON file; raise ``ValueError`` with the file name if it is invalid."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of decoding, of JSON, or nested too deep
        raise ValueError(f"{path}: found no valid JSON: {reason_of(error)}") from None


def _yaml():
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = yaml.sort_base_mapping_type_on_output = False
    return yaml


def write_yaml(path: str | Path, obj) -> None:
    """Write plain values to ``path`` atomically, as YAML for `read_yaml`."""
    with atomic_path(path) as temporary:
        _yaml().dump(obj, temporary)


def read_yaml(path: str | Path) -> dict:
    """Read a mapping in YAML 1.2, without executing tags.

    Raises
    ------
    ValueError
        The file is invalid, contains a key twice or is not a mapping; the message has file and
        line.
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

    They are serialised in memory first: on a full disk, torch's own writer raises a RuntimeError
    without the name of the file, while this function raises OSError with it.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def read_state(path: str | Path, what: str, expected: str) -> dict:
    """Read a dict written by `write_state` or ``torch.save``, on the CPU.

    Pickled objects are refused and never created: torch reads with ``weights_only=True``.

    Parameters
    ----------
    path : path
    what, expected : str
        Parts of the error: "found no <what> (<reason>), expected <expected>".

    Raises
    ------
    FileNotFoundError
        The file does not exist.
    ValueError
        The file is damaged or contains something else.
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: found no such file, expected a {what}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for files that it cannot read
        reason = reason_of(error).split(". ")[0].rstrip(".")
        if pickled := re.search(r"GLOBAL ([\w.]+)", str(error)):
            reason = f"it holds a pickled {pickled[1]}, and pickled objects can run code"
        elif isinstance(error, (EOFError, pickle.UnpicklingError)):  # torch advises to trust it
            reason = "it was not written by torch.save"
        raise ValueError(f"{path}: found no {what} ({reason}), expected {expected}") from None
    if not isinstance(state, dict):
        raise ValueError(f"{path}: found {type(state).__name__}, expected {expected}")
    return state


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_folder_name(value) -> bool:
    """Return whether every file system, shell and artefact store accepts a text as folder name."""
    return isinstance(value, str) and len(value) <= 200 and bool(_FOLDER.fullmatch(value))
