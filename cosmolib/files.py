"""Files: written whole or not at all, read with one clear error.

Everything that the project writes goes to a temporary name first, so that a process killed at any
moment leaves the old file or the new one, never half of either.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import re
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import yaml

_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{12}(\.\w+)?")  # of `atomic_path`


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and move it there when the block ends well.

    Parent folders are made. If the block raises, the temporary file is removed and whatever stood
    at ``path`` before still stands. The temporary name keeps the suffix of ``path``, because
    ``numpy.save`` and others append one that they miss.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "new" / "ones.npy"
    >>> with atomic_path(target) as temporary:
    ...     np.save(temporary, np.ones(3))
    >>> np.load(target).sum()
    np.float64(3.0)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A hidden name of its own, so that two processes that write one file never share a half of it.
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}{path.suffix}")
    try:
        yield temporary
        _to_disk(temporary)
        os.replace(temporary, path)
    except BaseException as error:  # also KeyboardInterrupt: no partial output is left
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            if error.filename in (None, str(temporary)):  # a full disk does not say of what file
                raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def check_writable(folder: str | Path, variable: str) -> None:
    """Make a cache folder; raise OSError, naming the variable that moves it, if that fails."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = f"{error.strerror}; set {variable} to a folder that can be written"
        raise OSError(error.errno, reason, str(folder)) from None


def _to_disk(path: Path) -> None:
    """Wait until a file's bytes are on the disk: its name must not outlive them in a power cut."""
    if path.is_file():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def reason_of(error: BaseException) -> str:
    """What an error of another package says, in one line that is not too long."""
    return " ".join(str(error).split())[:120]


def sweep(folder: str | Path) -> int:
    """Remove the temporary files that killed processes left in a folder; return how many.

    Only for one that nobody else writes to now: see `cosmolib.locks`.
    """
    left = [path for path in Path(folder).glob(".*") if _TEMPORARY.fullmatch(path.name)]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)


def _plain(obj):
    """Turn numpy, path and dataclass values into what JSON holds; NaN and infinities into null."""
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        obj = dataclasses.asdict(obj)
    if isinstance(obj, dict):
        return {str(key): _plain(value) for key, value in obj.items()}
    if isinstance(obj, (list, tuple)):
        return [_plain(value) for value in obj]
    if isinstance(obj, (np.ndarray, np.generic)):
        return _plain(obj.tolist())
    if isinstance(obj, Path):
        return str(obj)
    if isinstance(obj, float) and not math.isfinite(obj):
        return None
    return obj


def write_json(path: str | Path, obj) -> None:
    """Write ``obj`` to ``path`` atomically, as strict JSON that any reader takes.

    Numpy scalars and arrays become numbers and lists. NaN and infinities, which JSON lacks, become
    ``null``: a statistic that is undefined is then read back as ``None``.
    """
    text = json.dumps(_plain(obj), indent=1, allow_nan=False, ensure_ascii=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: str | Path):
    """Read a JSON file; ``ValueError`` names the file if it is not one."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of decoding, of JSON, or nested too deep
        raise ValueError(
            f"{path}: found no valid JSON ({reason_of(error)}), expected a JSON file"
        ) from None


def read_yaml(path: str | Path) -> dict:
    """Read a YAML file that is a mapping; no tag of it makes an object.

    Raises
    ------
    ValueError
        The file is something else: names it.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:  # e.g. the 99th month
        raise ValueError(
            f"{path}: found no valid YAML ({reason_of(error)}), expected flat keys"
        ) from None
    if not isinstance(values, dict):
        kind = type(values).__name__
        raise ValueError(f"{path}: found a {kind}, expected a flat mapping of keys to values")
    return values


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
