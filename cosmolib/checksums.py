"""Checksums of data files: what was downloaded, and whether it is still what lies on disk.

Every folder of data has one manifest, ``checksums.json``: file name -> SHA-256, size, time of last
change, where the file came from, and when. Four gigabytes take many seconds to hash, so a file
whose size and time are those of its last verification is not read again, unless that is asked for.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from cosmolib.files import read_json, sha256, write_json
from cosmolib.locks import held

MANIFEST = "checksums.json"


def record(path: str | Path, url: str | None = None) -> str:
    """Hash a file and write its row into the manifest of its folder.

    Parameters
    ----------
    path
        The file.
    url
        Where it came from; None keeps what an earlier row of the same bytes says.

    Returns
    -------
    str
        SHA-256 in hexadecimal.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        The folder's manifest is not one; it is left as it is.
    """
    path = _existing(path)
    _read(path.parent)  # a broken manifest is told before minutes of hashing
    # The state before hashing: a file that changes meanwhile will not look verified.
    before = path.stat()
    digest = sha256(path)
    _write_row(path, before, digest, url)
    return digest


def verify(path: str | Path, full: bool = False) -> str:
    """Compare a file with its row in the manifest.

    Parameters
    ----------
    path
        The file.
    full
        Hash it even if its size and time of change are those of its last verification.

    Returns
    -------
    str
        ``"unknown"``: no row, nothing is known; ``"recorded"``: size and time are as at the last
        verification, the bytes were not read; ``"verified"``: the bytes were hashed and agree. A
        file that was hashed because its time had changed (a copy, a ``touch``) gets its new time
        into the manifest, where the folder can be written.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        The file is not the one recorded: names file, found and expected size or SHA-256. Or the
        manifest is not one.
    """
    path = _existing(path)
    row = _read(path.parent).get(path.name)
    if row is None:
        return "unknown"
    before = path.stat()
    manifest = path.parent / MANIFEST
    if before.st_size != row["size"]:
        raise ValueError(
            f"{path}: found {before.st_size} bytes, expected {row['size']} as {manifest} has "
            f"recorded on {row['utc']}: the file changed"
        )
    same_time = before.st_mtime_ns == row["mtime_ns"]
    if same_time and not full:
        return "recorded"
    digest = sha256(path)
    if digest != row["sha256"]:
        raise ValueError(
            f"{path}: found SHA-256 {digest}, expected {row['sha256']} as {manifest} has "
            f"recorded on {row['utc']}: the file changed"
        )
    if not same_time:
        try:
            _write_row(path, before, digest, None)
        except OSError:  # a shared, read-only folder: it will be hashed again next time
            pass
    return "verified"


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: found no such file, expected one to hash")
    return path


def _read(folder: Path) -> dict[str, dict]:
    """Rows of a folder's manifest, {file name: row}; none where there is no manifest."""
    path = folder / MANIFEST
    try:
        rows = read_json(path)
    except FileNotFoundError:
        return {}
    expected = "{file name: {sha256, size, mtime_ns, url, utc}}"
    if not isinstance(rows, dict):
        raise ValueError(f"{path}: found a {type(rows).__name__}, expected {expected}")
    kinds = {"sha256": str, "size": int, "mtime_ns": int, "url": (str, type(None)), "utc": str}
    for name, row in rows.items():
        sound = isinstance(row, dict) and all(isinstance(row.get(k, 0.0), kinds[k]) for k in kinds)
        if not sound:
            raise ValueError(f"{path}: found the row {name!r}: {row!r}, expected {expected}")
    return rows


def _write_row(path: Path, state: os.stat_result, digest: str, url: str | None) -> None:
    with held(path.parent / f".{MANIFEST}.lock"):  # one process or thread at a time
        rows = _read(path.parent)  # again: another process may have added its own meanwhile
        old = rows.get(path.name)
        if url is None and old is not None and old["sha256"] == digest:
            url = old["url"]
        rows[path.name] = {
            "sha256": digest,
            "size": state.st_size,
            "mtime_ns": state.st_mtime_ns,
            "url": url,
            "utc": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_json(path.parent / MANIFEST, dict(sorted(rows.items())))
