"""SHA-256 of data files, in ``checksums.json`` of their folder with size, time and origin."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from cosmolib.study.io import read_json, sha256, write_json
from cosmolib.study.locks import held

MANIFEST = "checksums.json"
_ROW = {"sha256": str, "size": int, "mtime_ns": int, "url": (str, type(None)), "utc": str}


def record(path: str | Path, url: str | None = None) -> str:
    """Hash a file, write its row into the manifest, and return the SHA-256.

    Without ``url``, an earlier row of the same bytes keeps its own.
    """
    path = Path(path)
    _read(path.parent)  # a broken manifest is reported before minutes of hashing
    state = path.stat()  # before hashing: a file that changes meanwhile must not look verified
    digest = sha256(path)
    _write_row(path, state, digest, url)
    return digest


def verify(path: str | Path, full: bool = False) -> str:
    """Compare a file with its row in the manifest; ``ValueError`` if it changed.

    Returns "unknown" (no row), "verified" (the bytes were hashed), or, unless ``full``, "recorded":
    size and time are those of the last verification, and the bytes were not read.
    """
    path = Path(path)
    state, row = path.stat(), _read(path.parent).get(path.name)
    if row is None:
        return "unknown"
    if state.st_size == row["size"] and state.st_mtime_ns == row["mtime_ns"] and not full:
        return "recorded"
    key, found = "size", state.st_size
    if found == row["size"]:
        key, found = "sha256", sha256(path)
    if found != row[key]:
        raise ValueError(
            f"{path}: found {key} {found}, expected {row[key]} as {path.parent / MANIFEST} has "
            f"recorded on {row['utc']}: the file changed"
        )
    if state.st_mtime_ns != row["mtime_ns"]:
        with suppress(OSError):  # a read-only folder: the file is hashed again next time
            _write_row(path, state, found, None)
    return "verified"


def _read(folder: Path) -> dict[str, dict]:
    path = folder / MANIFEST
    try:
        rows = read_json(path)
    except FileNotFoundError:
        return {}
    for row in rows.values() if isinstance(rows, dict) else [rows]:
        sound = isinstance(row, dict) and all(isinstance(row.get(k, 0.0), _ROW[k]) for k in _ROW)
        if not sound:
            raise ValueError(f"{path}: found {row!r:.99}, expected {{file: {{{', '.join(_ROW)}}}}}")
    return rows


def _write_row(path: Path, state, digest: str, url: str | None) -> None:
    with held(path.with_name(f".{MANIFEST}.lock")):
        rows = _read(path.parent)  # again: another process may have added its own meanwhile
        old = rows.get(path.name, {})
        if url is None and old.get("sha256") == digest:
            url = old["url"]
        utc = datetime.now(UTC).isoformat(timespec="seconds")
        values = (digest, state.st_size, state.st_mtime_ns, url, utc)
        rows[path.name] = dict(zip(_ROW, values, strict=True))
        write_json(path.parent / MANIFEST, dict(sorted(rows.items())))
