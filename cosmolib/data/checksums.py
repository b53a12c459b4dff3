"""Record and verify the SHA-256 of data files, in ``checksums.json`` of their folder."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from cosmolib.study.io import read_json, sha256, write_json
from cosmolib.study.locks import held

MANIFEST = "checksums.json"


def record(path: Path, url: str | None = None) -> None:
    """Hash a file and write its row (SHA-256, size, times, origin) into the manifest."""
    state = path.stat()  # before hashing: a file that changes meanwhile must not pass as verified
    row = {"sha256": sha256(path), "size": state.st_size, "mtime_ns": state.st_mtime_ns, "url": url}
    row["utc"] = datetime.now(UTC).isoformat(timespec="seconds")
    with held(path.with_name(f".{MANIFEST}.lock")):  # another process may add a row
        rows = _read(path) | {path.name: row}
        write_json(path.with_name(MANIFEST), dict(sorted(rows.items())))


def verify(path: Path, full: bool = False) -> bool:
    """Return whether the manifest has a row for a file; raise ``ValueError`` if the file changed.

    Unless ``full``, the file is hashed only if its size or time differs from the last verification.
    """
    row, state = _read(path).get(path.name), path.stat()
    same = row and (row["size"], row["mtime_ns"]) == (state.st_size, state.st_mtime_ns)
    if row and (full or not same):
        if (found := sha256(path)) != row["sha256"]:
            expected = f"{row['sha256']} as recorded in {MANIFEST} on {row['utc']}"
            raise ValueError(f"{path}: found SHA-256 {found}, expected {expected}: it has changed")
        if not same:
            with suppress(OSError):  # in a read-only folder, the file is hashed again next time
                record(path, row["url"])
    return row is not None


def _read(path):
    manifest, keys = path.with_name(MANIFEST), {"sha256", "size", "mtime_ns", "url", "utc"}
    rows = read_json(manifest) if manifest.exists() else {}
    for row in rows.values() if isinstance(rows, dict) else [rows]:
        if not (isinstance(row, dict) and row.keys() >= keys):
            raise ValueError(f"{manifest}: found {row!r:.99}, expected rows of {sorted(keys)}")
    return rows
