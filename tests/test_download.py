"""Downloads from a local server that fails like real servers, and checksums of files."""

import hashlib
import io
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest import mock

import numpy as np
import pytest

from cosmolib import cli
from cosmolib.data import checksums
from cosmolib.data.checksums import MANIFEST, record, verify
from cosmolib.data.download import download
from cosmolib.data.suites import open_suite

SUITE = "IllustrisTNG"
MAPS = f"Maps_Mtot_{SUITE}_LH_z=0.00.npy"
TABLE = f"params_LH_{SUITE}.txt"
NEW, FLAT = f"/CMD/2D_maps/data/{SUITE}/", "/CMD/2D_maps/data/"
HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>" * 40


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def maps_file(seed=0, n=4):
    rng = np.random.default_rng(seed)
    return npy(rng.uniform(1e10, 1e12, (15 * n, 16, 16)).astype(np.float32))


DATA, OTHER = maps_file(), maps_file(seed=1)  # 61,568 bytes
ROWS = b"#Omega_m sigma_8 A_SN1 A_AGN1 A_SN2 A_AGN2\n" + b"0.3 0.8 1 1 1 1\n" * 4


class Handler(BaseHTTPRequestHandler):
    """Answer HEAD and GET for ``server.files``; each GET of maps uses one of ``server.faults``.

    A fault is a dictionary of ``status``, ``ranges`` (False: ignored), and ``cut`` or ``stall``
    (number of bytes after which the body ends or pauses).
    """

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        body = self.server.files.get(self.path)
        self.answer(404 if body is None else 200, len(body or b""), self.server.version)

    def do_GET(self):
        server, body, status, headers = self.server, self.server.files[self.path], 200, {}
        fault = server.faults.pop(0) if self.path.endswith(".npy") and server.faults else {}
        if (asked := self.headers["Range"]) and fault.get("ranges", True):
            first, total, status = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]), len(body), 206
            body, headers = body[first:], {"Content-Range": f"bytes {first}-{total - 1}/{total}"}
        status = fault.get("status", status)
        server.log.append((self.path, asked, status))
        self.answer(status, len(body), headers)
        stop = fault.get("cut", fault.get("stall"))
        self.wfile.write(body[:stop])
        if "stall" in fault:
            server.released.wait(20)
        self.close_connection = stop is not None

    def answer(self, status, length, headers):
        self.send_response(status)
        for name, value in (headers | {"Content-Length": length}).items():
            self.send_header(name, value)
        self.end_headers()


class Server(ThreadingHTTPServer):
    daemon_threads = False  # closing the server waits for every connection

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.faults, self.log = {NEW + MAPS: DATA, NEW + TABLE: ROWS}, [], []
        self.version, self.released = {"ETag": '"1"'}, threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/CMD"

    def handle_error(self, request, client_address):
        pass  # clients disconnect in these tests

    def asked(self):
        """Range and status of each request for the maps."""
        return [(start, status) for path, start, status in self.log if path.endswith(MAPS)]


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def fetch(server, tmp_path, monkeypatch):
    """Return a function that downloads to ``tmp_path`` and calls ``between`` instead of waiting."""

    def call(suite=SUITE, between=lambda: None, **options):
        call.lines = []
        monkeypatch.setattr("time.sleep", lambda s: between())
        options = {"data_dir": tmp_path, "url": server.url, "timeout": 5.0} | options
        return download(suite, report=call.lines.append, **options)

    return call


def left(folder):
    """Return the names of the files below a folder."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def part_of(tmp_path):
    return tmp_path / SUITE / f"{MAPS}.part"


# --------------------------------------------------------------------------------------------------
# Complete downloads
# --------------------------------------------------------------------------------------------------
def test_a_complete_download_is_verified_the_next_time(server, fetch, tmp_path):
    maps, table = fetch()
    assert maps == tmp_path / SUITE / MAPS
    assert maps.read_bytes() == DATA
    assert table.read_bytes() == ROWS
    assert left(tmp_path) == sorted([MAPS, TABLE, MANIFEST])
    manifest = json.loads((tmp_path / SUITE / MANIFEST).read_text())
    assert manifest[MAPS]["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert manifest[MAPS]["url"] == server.url.removesuffix("/CMD") + NEW + MAPS
    assert open_suite(SUITE, tmp_path).maps.shape == (60, 16, 16)
    requests = len(server.log)
    for _ in range(2):
        fetch(url="http://127.0.0.1:9")  # no server there
        assert sum("exists, nothing wrong found" in line for line in fetch.lines) == 2
        assert verify(maps)
        (tmp_path / SUITE / MANIFEST).unlink()
    fetch()
    maps.write_bytes(OTHER)
    with pytest.raises(ValueError, match=f"{MAPS}: found SHA-256 .* has changed"):
        fetch()
    assert maps.read_bytes() == OTHER
    assert len(server.log) == requests


def test_a_password_in_the_url_is_not_stored(server, tmp_path, capfd):
    address = server.url.replace("://", "://me:hunter2@")
    argv = ["download", "--suite", SUITE, "--data-dir", str(tmp_path), "--url", address]
    assert cli.main(argv) == 0
    manifest = (tmp_path / SUITE / MANIFEST).read_text()
    out, err = capfd.readouterr()
    assert "://me:***@" in manifest
    assert "://me:***@" in out
    assert "hunter2" not in manifest + out + err


def test_a_file_in_the_flat_layout_is_not_fetched_again(server, fetch, tmp_path):
    (tmp_path / MAPS).write_bytes(DATA)
    (tmp_path / f"params_{SUITE}.txt").write_bytes(ROWS)
    assert fetch() == [tmp_path / MAPS, tmp_path / f"params_{SUITE}.txt"]
    assert server.log == []


# --------------------------------------------------------------------------------------------------
# Broken transfers
# --------------------------------------------------------------------------------------------------
def test_interrupted_stalled_and_refused_transfers_are_resumed(server, fetch):
    server.faults = [{"cut": 200}, {"stall": 20_000}, {"status": 503}, {"status": 429}, {"cut": 1}]
    maps, _ = fetch(retries=2, timeout=1)
    assert maps.read_bytes() == DATA
    starts = [0, 200, 20_200, 20_200, 20_200, 20_201]
    assert [start for start, _ in server.asked()] == [n and f"bytes={n}-" or None for n in starts]
    assert sum("; 20200 bytes are kept" in line for line in fetch.lines) == 3
    assert verify(maps, full=True)


@pytest.mark.parametrize("old", [False, True])
def test_after_too_many_failures_the_next_call_resumes(server, fetch, tmp_path, old):
    """Also in the old layout of the server, which has another name of the table."""
    if old:
        server.files = {FLAT + MAPS: DATA, FLAT + f"params_{SUITE}.txt": ROWS}
    server.faults = [{"status": 503}, {"cut": 500}, {"status": 403}] + [{"status": 503}] * 2
    with pytest.raises(OSError, match="gave up after 3 attempts without a new byte"):
        fetch(retries=2)
    assert part_of(tmp_path).read_bytes() == DATA[:500]
    maps, table = fetch()
    assert maps.read_bytes() == DATA
    assert table == tmp_path / SUITE / TABLE
    assert server.asked()[-1] == ("bytes=500-", 206)


def test_a_server_that_does_not_answer(fetch, capfd):
    with pytest.raises(OSError, match="TNG.txt: found HTTP status 000 .curl: 7., expected 200"):
        fetch(url="http://127.0.0.1:9", retries=0)
    assert re.search(r"Failed to connect to 127.0.0.1 port 9", capfd.readouterr().err)


@pytest.mark.parametrize("version", [{"ETag": '"1"'}, {}])
def test_a_server_that_cannot_resume_starts_again(server, fetch, tmp_path, version):
    """It ignores ranges, or its headers or the partial file do not identify the version."""
    (tmp_path / SUITE).mkdir()
    part_of(tmp_path).write_bytes(DATA[:100] + bytes(100))
    server.version = version
    server.faults = [{"cut": 5000}, {"ranges": False}]
    maps, _ = fetch()
    assert maps.read_bytes() == DATA
    assert server.asked()[0] == server.asked()[-1] == (None, 200)


@pytest.mark.parametrize("by", ["ETag", "Last-Modified", "length"])
def test_a_file_that_changes_between_attempts_is_not_mixed(server, fetch, by):
    other = maps_file(seed=1, n={"length": 6}.get(by, 4))
    server.version |= {"Last-Modified": "Thu, 26 Nov 2026 12:00:00 GMT"}

    def change():
        server.files[NEW + MAPS] = other
        server.version |= {} if by == "length" else {by: "another"}

    server.faults = [{"cut": 50_000}]
    maps, _ = fetch(between=change)
    assert maps.read_bytes() == other
    assert [start for start, _ in server.asked()] == [None, None]
    assert sum(f"{MAPS}: {len(DATA)} bytes; if int" in line for line in fetch.lines) >= 1


def test_a_second_download_of_a_file_is_refused(server, fetch, tmp_path):
    server.faults = [{"stall": 9000}]
    first = threading.Thread(target=fetch, kwargs={"timeout": 10.0})
    first.start()
    wait_for(lambda: server.asked())
    with pytest.raises(OSError, match=f"{SUITE}: in use by process"):
        download(SUITE, data_dir=tmp_path, url=server.url, report=lambda line: None)
    server.released.set()
    first.join()
    assert (tmp_path / SUITE / MAPS).read_bytes() == DATA


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end


# --------------------------------------------------------------------------------------------------
# Wrong files and addresses
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        (MAPS, HTML, "that begin with b'<!DOCTYPE html>"), (MAPS, b"", "found 0 bytes"),
        (MAPS, DATA[:-4096], f"found {len(DATA) - 4096} bytes .* expected"),
        (MAPS, DATA + b"more", f"found .* {len(DATA) + 4} bytes, expected"),
        (TABLE, HTML, "found no rows"), (TABLE, b"0.3 0.8 3.6 1 7.4 20\n" * 4, "found A_SN2 = 7.4"),
    ],
)  # fmt: skip
def test_invalid_files_are_deleted(server, fetch, tmp_path, name, content, found):
    """An invalid table is refused before the maps are requested."""
    server.files[NEW + name] = content
    with pytest.raises(ValueError, match=found):
        fetch()
    assert left(tmp_path) == (sorted([TABLE, MANIFEST]) if name == MAPS else [])
    assert len(server.asked()) == (name == MAPS and len(content) > 0)


@pytest.mark.parametrize("own", [True, False])
def test_an_nbody_suite_prefers_its_table_to_that_of_its_twin(server, fetch, own):
    name = f"Maps_Mtot_Nbody_{SUITE}_LH_z=0.00.npy"
    server.files = {f"{FLAT}Nbody/{name}": DATA, NEW + TABLE: ROWS}
    if own:
        server.files[f"{FLAT}Nbody/params_Nbody_{SUITE}.txt"] = ROWS.replace(b"0.3", b"0.4")
    maps, table = fetch(f"Nbody_{SUITE}")
    assert (maps.name, table.name) == (name, f"params_LH_Nbody_{SUITE}.txt")
    assert (b"0.4" in table.read_bytes()) == own


@pytest.mark.parametrize("suite", [SUITE, "../IllustrisTNG"])
def test_a_missing_file_lists_the_urls(server, fetch, tmp_path, suite):
    server.files = {}
    with pytest.raises(FileNotFoundError, match=f"found at none of .*/params_LH_{suite}.txt, .*"):
        fetch(suite)
    assert left(tmp_path) == []


# --------------------------------------------------------------------------------------------------
# Killed and started again
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_download_is_resumed(server, tmp_path, how):
    """In separate processes, with the progress of curl on stderr."""
    arguments = ["download", "--suite", SUITE, "--url", server.url, "--data-dir", str(tmp_path)]
    command = [sys.executable, "-W", "error", "-m", "cosmolib.cli", *arguments]
    server.files[NEW + MAPS] = data = maps_file(n=20)
    server.faults = [{"stall": 150_000}]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        # Processes started by a background shell ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    part = part_of(tmp_path)
    try:
        wait_for(lambda: part.exists() and part.stat().st_size >= 100_000)
        process.send_signal(how)
        assert process.wait(20) == (130 if how == signal.SIGINT else -how)
    finally:
        process.kill()
    kept = part.read_bytes()
    assert data.startswith(kept)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / SUITE / MAPS).read_bytes() == data
    assert server.asked() == [(None, 200), (f"bytes={len(kept)}-", 206)]
    assert "Dload" in done.stderr  # curl's own progress
    assert left(tmp_path) == sorted([MAPS, TABLE, MANIFEST])


# --------------------------------------------------------------------------------------------------
# Checksums: a file that changed since it was recorded is detected
# --------------------------------------------------------------------------------------------------
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
