"""Downloads from a server on this machine that fails as real servers do."""

import hashlib
import io
import json
import re
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from cosmolib import cli
from cosmolib.data.checksums import MANIFEST, verify
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
    """GET of ``server.files`` with ranges; each request for maps takes one of ``server.faults``.

    A fault is a dictionary: ``status``, ``body``, ``headers`` (replaced; None drops one),
    ``ranges`` (False: ignored), ``cut``, ``stall`` (the body ends, or pauses, after so many bytes).
    """

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        server = self.server
        fault = server.faults.pop(0) if self.path.endswith(".npy") and server.faults else {}
        asked, status = self.headers["Range"], fault.get("status", 200)
        body = fault.get("body", server.files.get(self.path))
        if body is None:
            status, body = 404, b"no such file"
        headers = {"ETag": server.etag}
        if asked and status == 200 and fault.get("ranges", True):
            first, total = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]), len(body)
            status, body = (206, body[first:]) if first < total else (416, b"")
            span = f"{first}-{total - 1}" if body else "*"
            headers["Content-Range"] = f"bytes {span}/{total}"
        headers |= {"Content-Length": str(len(body))} | fault.get("headers", {})
        server.log.append((self.path, asked, status))
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        stop = fault.get("cut", fault.get("stall"))
        self.wfile.write(body[:stop])
        if "stall" in fault:
            server.released.wait(20)
        self.close_connection = stop is not None


class Server(ThreadingHTTPServer):
    daemon_threads = False  # closing the server waits for every connection

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.faults, self.log, self.etag = {}, [], [], '"1"'
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/CMD"

    def handle_error(self, request, client_address):
        pass  # a client that hangs up is part of these tests

    def asked(self):
        """Range and status of each request for the maps."""
        return [(start, status) for path, start, status in self.log if path.endswith(MAPS)]


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    server.files = {NEW + MAPS: DATA, NEW + TABLE: ROWS}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def fetch(server, tmp_path, monkeypatch):
    """Call ``download`` from the server into ``tmp_path``; ``between`` replaces each wait."""

    def call(suite=SUITE, between=lambda: None, **options):
        call.lines, call.waits = [], []
        monkeypatch.setattr("time.sleep", lambda s: (call.waits.append(s), between()))
        options = {"data_dir": tmp_path, "url": server.url, "timeout": 5.0} | options
        return download(suite, report=call.lines.append, **options)

    return call


def left(folder):
    """Names of the files below a folder."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def part_of(tmp_path):
    return tmp_path / SUITE / f"{MAPS}.part"


# --------------------------------------------------------------------------------------------------
# The good case
# --------------------------------------------------------------------------------------------------
def test_both_files_come_open_and_are_verified_the_next_time(server, fetch, tmp_path):
    maps, table = fetch()
    assert maps == tmp_path / SUITE / MAPS
    assert maps.read_bytes() == DATA
    assert table.read_bytes() == ROWS
    assert left(tmp_path) == sorted([MAPS, TABLE, MANIFEST])
    manifest = json.loads((tmp_path / SUITE / MANIFEST).read_text())
    assert manifest[MAPS]["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert manifest[MAPS]["url"] == server.url.removesuffix("/CMD") + NEW + MAPS
    assert verify(maps) == verify(table) == "recorded"
    assert open_suite(SUITE, tmp_path).maps.shape == (60, 16, 16)
    assert fetch.waits == []
    assert fetch.lines[-1].endswith("note: 4 simulations, where CMD's set LH has 1000")
    requests = len(server.log)
    fetch(url="http://127.0.0.1:9")  # nobody listens there
    assert len(server.log) == requests
    assert sum("exists, SHA-256 verified" in line for line in fetch.lines) == 2
    (tmp_path / SUITE / MANIFEST).unlink()
    fetch(url="http://127.0.0.1:9")
    assert sum("exists, SHA-256 recorded now" in line for line in fetch.lines) == 2
    assert verify(maps) == "recorded"


def test_a_password_in_the_address_is_not_kept(server, tmp_path, capsys):
    address = server.url.replace("://", "://me:hunter2@")
    argv = ["download", "--suite", SUITE, "--data-dir", str(tmp_path), "--url", address]
    assert cli.main(argv) == 0
    manifest = (tmp_path / SUITE / MANIFEST).read_text()
    out, err = capsys.readouterr()
    assert "://me:***@" in manifest
    assert "://me:***@" in out
    assert "hunter2" not in manifest + out + err


def test_a_changed_file_on_disk_is_refused_and_kept(server, fetch):
    maps, _ = fetch()
    maps.write_bytes(OTHER)
    with pytest.raises(ValueError, match=f"{MAPS}: found sha256 .*remove the file"):
        fetch()
    assert maps.read_bytes() == OTHER


def test_a_file_in_the_flat_layout_is_not_fetched_again(server, fetch, tmp_path):
    (tmp_path / MAPS).write_bytes(DATA)
    (tmp_path / f"params_{SUITE}.txt").write_bytes(ROWS)
    assert fetch() == (tmp_path / MAPS, tmp_path / f"params_{SUITE}.txt")
    assert server.log == []


# --------------------------------------------------------------------------------------------------
# Broken transfers
# --------------------------------------------------------------------------------------------------
def test_cut_connections_and_refusals_lose_nothing(server, fetch):
    server.faults = [{"cut": 200}, {"cut": 20_000}, {"status": 503}, {"status": 429}, {"cut": 1}]
    maps, _ = fetch()
    assert maps.read_bytes() == DATA
    starts = [200, 20_200, 20_200, 20_200, 20_201]
    assert [start for start, _ in server.asked()] == [None] + [f"bytes={n}-" for n in starts]
    assert fetch.waits == [1, 1, 2, 4, 1]
    assert sum("20200 bytes are kept, next attempt in" in line for line in fetch.lines) == 3
    assert verify(maps, full=True) == "verified"


def test_a_stall_is_a_broken_transfer(server, fetch):
    server.faults = [{"stall": 30_000}]
    maps, _ = fetch(timeout=0.5)
    assert maps.read_bytes() == DATA
    assert server.asked() == [(None, 200), ("bytes=30000-", 206)]


def test_it_gives_up_and_the_next_call_resumes(server, fetch, tmp_path):
    server.faults = [{"status": 503}, {"cut": 500}] + [{"status": 503}] * 3
    with pytest.raises(OSError, match="HTTP 503; 500 bytes are kept; gave up after 3 attempts"):
        fetch(retries=2)
    assert fetch.waits == [1, 1, 2]
    assert part_of(tmp_path).read_bytes() == DATA[:500]
    maps, _ = fetch()
    assert maps.read_bytes() == DATA
    assert server.asked()[-1] == ("bytes=500-", 206)


def test_nobody_listens(fetch):
    with pytest.raises(OSError, match="connect to 127.0.0.1 port 9.* gave up after 3 attempts"):
        fetch(url="http://127.0.0.1:9", retries=2)


NO_VERSION = {"headers": {"ETag": None}}


@pytest.mark.parametrize("faults", [[{"ranges": False}], [{"cut": 5000} | NO_VERSION, {}]])
def test_a_server_that_cannot_resume_starts_again(server, fetch, faults):
    """It ignores ranges, or nothing distinguishes versions of the file."""
    server.faults = [{"cut": 5000}, *faults] if len(faults) == 1 else faults
    maps, _ = fetch()
    assert maps.read_bytes() == DATA
    assert server.asked()[-1] == (None, 200)
    if len(faults) == 1:
        assert any("the server cannot resume, starting again" in line for line in fetch.lines)


def test_a_server_that_cannot_resume_and_always_breaks_is_given_up(server, fetch, tmp_path):
    server.faults = [{"cut": 5000, "ranges": False}] * 30
    with pytest.raises(OSError, match="gave up after 4 attempts without a new byte"):
        fetch(retries=3)
    assert not (tmp_path / SUITE / MAPS).exists()


@pytest.mark.parametrize("by", ["etag", "date", "length", "shorter"])
def test_a_file_that_changes_between_attempts_is_not_mixed(server, fetch, by):
    other = maps_file(seed=1, n={"length": 6, "shorter": 2}.get(by, 4))
    date = "Wed, 01 May 2024 00:00:00 GMT"

    def change():
        server.files[NEW + MAPS] = other
        if by == "etag":
            server.etag = '"2"'

    headers = {"headers": {"ETag": None, "Last-Modified": date}} if by == "date" else {}
    server.faults = [{"cut": 50_000} | headers]
    maps, _ = fetch(between=change)
    assert maps.read_bytes() == other
    assert any("the file has changed, starting again" in line for line in fetch.lines)
    assert [start for start, _ in server.asked()] == [None, "bytes=50000-", None]


def test_a_part_without_a_sound_sidecar_is_not_trusted(server, fetch, tmp_path):
    (tmp_path / SUITE).mkdir()
    for text in (None, "{", "[]", '{"url": 1}', '["x", 1, 2, 3]'):
        part_of(tmp_path).write_bytes(DATA[:100] + bytes(100))
        if text is not None:
            part_of(tmp_path).with_suffix(".part.json").write_text(text)
        maps, _ = fetch()
        assert maps.read_bytes() == DATA
        assert server.asked()[-1] == (None, 200)
        maps.unlink()


def test_a_second_process_at_one_file_is_refused(server, fetch, tmp_path):
    server.faults = [{"stall": 9000}]
    first = threading.Thread(target=fetch, kwargs={"timeout": 10.0})
    first.start()
    wait_for(lambda: server.asked())
    with pytest.raises(OSError, match=f"{MAPS}: already being downloaded by another process"):
        download(SUITE, data_dir=tmp_path, url=server.url, report=lambda line: None)
    server.released.set()
    first.join()
    assert (tmp_path / SUITE / MAPS).read_bytes() == DATA


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end


# --------------------------------------------------------------------------------------------------
# Wrong files, full disks
# --------------------------------------------------------------------------------------------------
CUBE = np.ones((30, 8, 8), np.float32)
WRONG = {
    "html": (HTML, "found no valid .npy header .b'<!DOCTYPE html>"),
    "empty": (b"", "b'', 0 bytes"),
    "half a header": (DATA[:60], "60 bytes., expected a .npy file"),
    "endless header": (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + DATA, "no valid .npy header"),
    "truncated": (DATA[:-4096], f"found {len(DATA) - 4096} bytes .truncated., expected"),
    "too long": (DATA + b"more", f"found {len(DATA) + 4} bytes .too long., expected"),
    "float64": (npy(CUBE.astype(float)), "found dtype <f8"),
    "14 maps": (npy(CUBE[:14]), "found 14 maps"),
    "not square": (npy(CUBE[:, :4]), r"found shape \(30, 4, 8\)"),
    "Fortran": (npy(np.asfortranarray(CUBE)), "Fortran order"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_maps_are_refused_at_their_first_bytes(server, fetch, tmp_path, case):
    server.files[NEW + MAPS], found = WRONG[case]
    with pytest.raises(ValueError, match=found) as caught:
        fetch()
    assert str(caught.value).startswith(f"{server.url}/2D_maps/data/{SUITE}/{MAPS}: found")
    assert left(tmp_path) == sorted([TABLE, MANIFEST])


def test_a_log_in_page_does_not_cost_what_was_there(server, fetch, tmp_path):
    server.faults = [{"cut": 40_000}] + [{"body": HTML, "ranges": False}] * 2
    with pytest.raises(ValueError, match="b'<!DOCTYPE html>"):
        fetch()
    assert part_of(tmp_path).read_bytes() == DATA[:40_000]
    maps, _ = fetch()
    assert maps.read_bytes() == DATA
    assert server.asked()[-1] == ("bytes=40000-", 206)


def test_a_length_that_is_not_given_is_refused(server, fetch, tmp_path):
    server.faults = [{"headers": {"Content-Length": None}, "cut": 60_000}]
    with pytest.raises(ValueError, match="found length None, expected a number of bytes"):
        fetch()
    assert left(tmp_path) == sorted([TABLE, MANIFEST])


@pytest.mark.parametrize(
    ("table", "found"),
    [
        (HTML, "line 1: found '<!DOCTYPE html>"),
        (b"", "found no rows"),
        (DATA[:500], "found no text"),
        (b"0.3 0.8 1 1 1\n", "line 1: found 5 columns"),
        (b"0.3 0.8 3.6 1 7.4 20\n" * 4, "line 1: found A_SN2 = 7.4"),
        (ROWS + b"0.3 0.8 1 1 1 nan\n", "line 6: found 'nan' for A_AGN2"),
    ],
)
def test_wrong_tables_are_refused_before_the_maps_are_asked_for(
    server, fetch, tmp_path, table, found
):
    server.files[NEW + TABLE] = table
    with pytest.raises(ValueError, match=found):
        fetch()
    assert left(tmp_path) == []
    assert server.asked() == []


def test_a_full_disk_is_reported_before_the_first_byte(server, fetch, tmp_path):
    server.faults = [{"headers": {"Content-Length": str(4 * 10**18)}, "cut": 60_000}]
    with pytest.raises(OSError, match=f"{SUITE}: found [0-9.]+ GB free, expected 4000000000.000"):
        fetch()
    assert left(tmp_path) == sorted([TABLE, MANIFEST])


def test_a_folder_that_cannot_be_made_is_named(fetch, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=f"{tmp_path}/file"):
        fetch(data_dir=tmp_path / "file")


def test_curl_is_missing(fetch, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="curl: found no such program"):
        fetch()


# --------------------------------------------------------------------------------------------------
# Addresses and arguments
# --------------------------------------------------------------------------------------------------
def test_the_old_layout_is_found_and_resumed(server, fetch, tmp_path):
    """The 404 of the new layout, requested first again, does not cost what was there."""
    server.files = {FLAT + MAPS: DATA, FLAT + f"params_{SUITE}.txt": ROWS}
    server.faults = [{}, {"cut": 7000}, {"status": 403}]
    with pytest.raises(OSError, match=f"{MAPS}: found HTTP 403"):
        fetch()
    maps, table = fetch()
    assert maps.read_bytes() == DATA
    assert table == tmp_path / SUITE / TABLE
    assert server.asked()[-2:] == [(None, 404), ("bytes=7000-", 206)]
    tables = [NEW + TABLE, FLAT + TABLE, NEW + f"params_{SUITE}.txt", FLAT + f"params_{SUITE}.txt"]
    assert [path for path, _, _ in server.log if path.endswith(".txt")] == tables


@pytest.mark.parametrize("own", [True, False])
def test_nbody_prefers_its_own_table_to_that_of_its_twin(server, fetch, own):
    name = f"Maps_Mtot_Nbody_{SUITE}_LH_z=0.00.npy"
    server.files = {f"{FLAT}Nbody/{name}": DATA, NEW + TABLE: ROWS}
    if own:
        server.files[f"{FLAT}Nbody/params_Nbody_{SUITE}.txt"] = ROWS.replace(b"0.3", b"0.4")
    maps, table = fetch(f"Nbody_{SUITE}")
    assert (maps.name, table.name) == (name, f"params_LH_Nbody_{SUITE}.txt")
    assert (b"0.4" in table.read_bytes()) == own


def test_nowhere_lists_what_was_tried(server, fetch, tmp_path):
    server.files = {}
    with pytest.raises(FileNotFoundError, match=f"found at none of .*{NEW + TABLE}, .*{FLAT}"):
        fetch()
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("location", "found"), [("file:///etc/passwd", "Protocol"), ("/CMD/loop", "redirects")]
)
def test_bad_redirects_are_not_tried_again(server, fetch, location, found):
    server.faults = [{"status": 302, "headers": {"Location": location}}]
    server.files["/CMD/loop"] = b""
    if "loop" in location:
        server.faults = [{"status": 302, "headers": {"Location": NEW + MAPS}}] * 99
    with pytest.raises(OSError, match=found):
        fetch()
    assert fetch.waits == []


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"suite": "../IllustrisTNG"}, "suite: found '../IllustrisTNG'"),
        ({"suite": "TNG\n"}, "suite: found"), ({"suite": "Nbody_"}, "suite: found"),
        ({"sim_set": "LH?x"}, "set: found"), ({"field": ".."}, "field: found"),
        ({"suite": "Lite"}, "suite: found 'Lite'"), ({"url": "file:///etc"}, "url: found"),
        ({"url": "http://"}, "url: found"), ({"retries": -1}, "retries, timeout: found -1"),
        ({"timeout": float("nan")}, "retries, timeout: found 10, nan"),
    ],
)  # fmt: skip
def test_wrong_arguments(server, fetch, tmp_path, options, found):
    with pytest.raises(ValueError, match=f"^{found}"):
        fetch(**options)
    assert (server.log, list(tmp_path.iterdir())) == ([], [])


# --------------------------------------------------------------------------------------------------
# Killed and started again
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_download_is_resumed(server, tmp_path, how):
    """As processes, with progress on standard error."""
    arguments = ["download", "--suite", SUITE, "--url", server.url, "--data-dir", str(tmp_path)]
    command = [sys.executable, "-W", "error", "-m", "cosmolib.cli", *arguments]
    server.files[NEW + MAPS] = data = maps_file(n=20)  # the first 64 KiB are checked, then written
    server.faults = [{"stall": 150_000}]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        # a shell that runs tests in the background has them ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    part = part_of(tmp_path)
    try:
        wait_for(lambda: part.exists() and part.stat().st_size >= 100_000)
        process.send_signal(how)
        _, shown = process.communicate(timeout=20)
    finally:
        process.kill()
    kept = part.read_bytes()
    assert data.startswith(kept)
    assert f"{MAPS}:" in shown
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert shown.endswith(f"0.000 GB are kept in {part}; the same command resumes\n")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / SUITE / MAPS).read_bytes() == data
    assert server.asked() == [(None, 200), (f"bytes={len(kept)}-", 206)]
    assert f"SHA-256 {hashlib.sha256(data).hexdigest()}" in done.stdout
    assert re.search(r"100%\|.*B/s", done.stderr)
    assert left(tmp_path) == sorted([MAPS, TABLE, MANIFEST])
