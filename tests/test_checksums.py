"""Checksums: a file that changed since it was recorded is detected."""

import hashlib
import json
import multiprocessing
import os
from unittest import mock

import pytest

from cosmolib.data import checksums
from cosmolib.data.checksums import MANIFEST, record, verify

URL = "https://example.org/maps.npy"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "maps.npy"
    path.write_bytes(b"0123456789" * 1000)
    return path


def rows(folder):
    return json.loads((folder / MANIFEST).read_text())


def later(path):
    """Increase the modification time of a file by one second."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))


def test_the_row_of_a_file_and_one_verification_after_a_new_time(path, monkeypatch):
    assert not verify(path)
    record(path, URL)
    row = rows(path.parent)["maps.npy"]
    assert row.pop("utc").endswith("+00:00")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    size, mtime = path.stat().st_size, path.stat().st_mtime_ns
    assert row == {"sha256": digest, "size": size, "mtime_ns": mtime, "url": URL}
    later(path)
    assert verify(path)
    monkeypatch.setattr(checksums, "sha256", None)
    assert verify(path)
    assert rows(path.parent)["maps.npy"]["url"] == URL


def test_a_flipped_bit_is_detected(path):
    """If the time is the same, only a full verification detects it."""
    record(path)
    state, expected = path.stat(), rows(path.parent)["maps.npy"]["sha256"]
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    found = hashlib.sha256(data).hexdigest()
    later(path)
    with pytest.raises(ValueError, match=f"maps.npy: found SHA-256 {found}, expected {expected}"):
        verify(path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert verify(path)
    with pytest.raises(ValueError, match=f"found SHA-256 {found}, expected {expected}"):
        verify(path, full=True)
    assert rows(path.parent)["maps.npy"]["sha256"] == expected


def test_a_file_that_changes_while_it_is_hashed_is_detected(path, monkeypatch):
    def slowly(name):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        path.write_bytes(b"9876543210" * 1000)
        later(path)
        return digest

    monkeypatch.setattr(checksums, "sha256", slowly)
    record(path)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="found SHA-256"):
        verify(path)


def test_a_read_only_folder_is_verified(path, monkeypatch):
    record(path)
    later(path)
    refuse = mock.Mock(side_effect=PermissionError(13, "Permission denied"))
    monkeypatch.setattr(checksums, "write_json", refuse)  # file permissions do not stop root
    assert verify(path)
    refuse.assert_called_once()


def _record_many(folder, first):
    for i in range(first, first + 20):
        path = folder / f"{i}.txt"
        path.write_text(str(i))
        record(path)


def test_several_processes_lose_no_row(tmp_path):
    with multiprocessing.get_context("fork").Pool(3) as pool:
        pool.starmap(_record_many, [(tmp_path, 100 * n) for n in range(3)], chunksize=1)
    assert set(rows(tmp_path)) == {f"{100 * n + i}.txt" for n in range(3) for i in range(20)}
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".txt") == [MANIFEST]
