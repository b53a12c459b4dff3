"""Downloads against a real server on this machine that does what bad servers do."""

import hashlib
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pooch
import pytest

from cosmolib import checksums, transport
from cosmolib.checksums import MANIFEST, verify
from cosmolib.download import (
    CMD_SIMULATIONS,
    ResumableDownloader,
    check_maps,
    download,
    map_urls,
    maps_head,
    table_urls,
)
from cosmolib.runs import sha256, write_json
from cosmolib.suites import open_suite

SUITE = "IllustrisTNG"
MAPS = f"Maps_Mtot_{SUITE}_LH_z=0.00.npy"
TABLE = f"params_LH_{SUITE}.txt"
NEW = f"/CMD/2D_maps/data/{SUITE}/"
FLAT = "/CMD/2D_maps/data/"
HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>" * 40


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def maps_file(seed=0, n=4, grid=16):
    rng = np.random.default_rng(seed)
    return npy(rng.uniform(1e10, 1e12, (15 * n, grid, grid)).astype(np.float32))


DATA = maps_file()  # 61,568 bytes
ROWS = b"#Omega_m sigma_8 A_SN1 A_AGN1 A_SN2 A_AGN2\n" + b"0.3 0.8 1 1 1 1\n" * 4


class Handler(BaseHTTPRequestHandler):
    """GET of ``server.files``, with ranges; ``server.faults`` is used up, one a request for MAPS.

    A fault is a dictionary: ``status``, ``body``, ``headers`` (replaced; None drops one),
    ``ranges`` (False: Range is ignored), ``if_range`` (False: If-Range is ignored), ``cut`` (the
    connection is closed after so many bytes of the body), ``stall`` (silence after so many),
    ``until`` (a range ends at this byte of the file).
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
        etag = server.etags.get(self.path, '"1"')
        headers = {"ETag": etag, "Content-Type": "application/octet-stream"}
        same = self.headers["If-Range"] in (None, etag) or not fault.get("if_range", True)
        if asked and status == 200 and fault.get("ranges", True) and same:
            first, total = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]), len(body)
            status = 206 if first < total else 416
            body = body[first : fault.get("until")] if status == 206 else b""
            span = f"{first}-{first + len(body) - 1}" if status == 206 else "*"
            headers["Content-Range"] = f"bytes {span}/{total}"
        headers |= {"Content-Length": str(len(body))} | fault.get("headers", {})
        server.encodings.add(self.headers["Accept-Encoding"])
        server.log.append((self.path, asked, self.headers["If-Range"], status))
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        stop = fault.get("cut", fault.get("stall"))
        self.send(body[:stop], status)
        if "stall" in fault:
            server.released.wait(20)
        if stop is not None or headers["Content-Length"] is None:
            self.close_connection = True

    def send(self, body, status):
        for first in range(0, len(body), 4096):
            self.wfile.write(body[first : first + 4096])
            if status in (200, 206):
                self.server.sent += len(body[first : first + 4096])


class Server(ThreadingHTTPServer):
    daemon_threads = False  # closing the server waits for every connection

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.etags, self.faults, self.log, self.sent = {}, {}, [], [], 0
        self.encodings = set()
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/CMD"

    def handle_error(self, request, client_address):
        pass  # a client that hangs up is part of these tests

    def asked(self, name=MAPS):
        """(Range, status) of each request for a file."""
        return [(entry[1], entry[3]) for entry in self.log if entry[0].endswith(name)]


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
def fetch(server, tmp_path):
    """Call ``download`` from the server into ``tmp_path``; lines and waits are kept.

    ``between`` is called instead of each wait between two attempts.
    """

    def call(suite=SUITE, between=lambda: None, **options):
        call.lines, call.waits = [], []

        def sleep(seconds):
            call.waits.append(seconds)
            between()

        options = {"data_dir": tmp_path, "url": server.url, "timeout": 5.0} | options
        return download(suite, sleep=sleep, report=call.lines.append, **options)

    return call


def sha256_of(data):
    return hashlib.sha256(data).hexdigest()


def left(folder):
    """Names of the files below a folder."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def part_of(tmp_path):
    return tmp_path / SUITE / f"{MAPS}.part"


# --------------------------------------------------------------------------------------------------
# The good case
# --------------------------------------------------------------------------------------------------
def test_both_files_come_and_open(server, fetch, tmp_path):
    maps, table = fetch()
    assert maps == tmp_path / SUITE / MAPS
    assert table == tmp_path / SUITE / TABLE
    assert maps.read_bytes() == DATA
    assert table.read_bytes() == ROWS
    assert left(tmp_path) == sorted([MAPS, TABLE, MANIFEST])
    manifest = json.loads((tmp_path / SUITE / MANIFEST).read_text())
    assert manifest[MAPS]["sha256"] == sha256(maps)
    assert manifest[MAPS]["url"] == server.url.removesuffix("/CMD") + NEW + MAPS
    assert verify(maps) == verify(table) == "recorded"
    assert open_suite(SUITE, tmp_path).maps.shape == (60, 16, 16)
    assert fetch.waits == []
    # as any file that the user makes: a temporary file's mode would hide it from colleagues
    mask = os.umask(0)
    os.umask(mask)
    assert maps.stat().st_mode & 0o777 == 0o666 & ~mask


def test_number_of_simulations_is_noted_not_refused(fetch):
    assert CMD_SIMULATIONS == {"LH": 1000, "CV": 27, "EX": 4, "BE": 27}
    fetch()
    assert fetch.lines[-1].endswith("note: 4 simulations, where CMD's set LH has 1000")


def test_the_usual_number_is_not_noted(server, fetch):
    server.files = {(NEW + n).replace("_LH_", "_EX_"): server.files[NEW + n] for n in (MAPS, TABLE)}
    fetch(set="EX")
    assert not any("note" in line for line in fetch.lines)


def test_a_second_call_verifies_without_network(server, fetch, tmp_path):
    fetch()
    requests = len(server.log)
    fetch(url="http://127.0.0.1:9")  # nobody listens there
    assert len(server.log) == requests
    assert sum("is there already, its SHA-256 is the one recorded" in s for s in fetch.lines) == 2
    (tmp_path / SUITE / MANIFEST).unlink()
    fetch(url="http://127.0.0.1:9")
    assert sum("no checksum on record, now it has" in line for line in fetch.lines) == 2
    assert verify(tmp_path / SUITE / MAPS) == "recorded"


def test_files_in_a_folder_that_cannot_be_written(server, fetch, tmp_path, monkeypatch):
    fetch()
    (tmp_path / SUITE / MANIFEST).unlink()

    def refuse(path, obj):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(checksums, "write_json", refuse)  # a mode would not stop root
    fetch(url="http://127.0.0.1:9")
    assert sum("nor could one be written (Permission" in line for line in fetch.lines) == 2


def test_a_file_in_the_flat_layout_is_not_fetched_again(server, fetch, tmp_path):
    (tmp_path / MAPS).write_bytes(DATA)
    (tmp_path / f"params_{SUITE}.txt").write_bytes(ROWS)
    assert fetch() == (tmp_path / MAPS, tmp_path / f"params_{SUITE}.txt")
    assert server.log == []


def test_a_changed_file_is_refused_and_kept(server, fetch, tmp_path):
    maps, _ = fetch()
    changed = bytearray(DATA)
    changed[-1] ^= 1
    state = maps.stat()
    maps.write_bytes(changed)
    os.utime(maps, ns=(state.st_atime_ns, state.st_mtime_ns))
    requests = len(server.log)
    expected = f"{MAPS}: found SHA-256 .*, expected {sha256_of(DATA)}.*remove the file"
    with pytest.raises(ValueError, match=expected):
        fetch()
    assert maps.read_bytes() == changed
    assert len(server.log) == requests


def test_pooch_itself_can_use_the_downloader(server, tmp_path):
    """The interface is pooch's: its own ``retrieve`` checks the hash of what we resumed."""
    server.faults = [{"cut": 1000}]
    downloader = ResumableDownloader(
        tmp_path / MAPS, maps_head, check_maps, sleep=lambda s: None, report=lambda s: None
    )
    path = pooch.retrieve(
        server.url + "/2D_maps/data/" + f"{SUITE}/{MAPS}",
        known_hash=sha256_of(DATA),
        fname=MAPS,
        path=tmp_path,
        downloader=downloader,
    )
    assert path == str(tmp_path / MAPS)
    assert (tmp_path / MAPS).read_bytes() == DATA
    assert left(tmp_path) == [MAPS]


# --------------------------------------------------------------------------------------------------
# Broken transfers
# --------------------------------------------------------------------------------------------------
def test_cut_connections_lose_nothing(server, fetch):
    """Bytes sent are the bytes of the file: none is asked for twice, all that came is kept."""
    server.faults = [{"cut": n} for n in (1, 50, 127, 20_000, 4096)]
    maps, _ = fetch()
    assert maps.read_bytes() == DATA
    assert server.sent == len(DATA) + len(ROWS)
    starts = np.cumsum([1, 50, 127, 20_000, 4096]).tolist()
    assert server.asked() == [(None, 200)] + [(f"bytes={n}-", 206) for n in starts]
    assert [entry[2] for entry in server.log if entry[1]] == ['"1"'] * 5  # If-Range
    assert fetch.waits == [1.0] * 5  # each attempt brought something
    assert server.encodings == {"identity"}  # compressed, its bytes would not be those of the file


def test_a_range_that_ends_early_is_gone_on_with(server, fetch):
    """A server need not send all of what is asked for (RFC 9110 section 14.2)."""
    server.faults = [{"cut": 5000}, {"until": 9000}, {"until": 30_000}]
    maps, _ = fetch()
    assert maps.read_bytes() == DATA
    assert [start for start, _ in server.asked()[2:]] == ["bytes=9000-", "bytes=30000-"]
    assert server.sent == len(DATA) + len(ROWS)


@pytest.mark.parametrize("seed", range(12))
def test_any_cuts(server, fetch, seed):
    """Random cuts, by closing or by silence, with refusals between them."""
    rng = random.Random(seed)
    cuts = []
    for _ in range(rng.randint(1, 8)):
        kind = rng.choice(["cut", "cut", "cut", "stall", "status"])
        cuts.append({kind: 503 if kind == "status" else rng.choice([0, 1, rng.randint(0, 20_000)])})
    server.faults = [dict(cut) for cut in cuts]
    maps, _ = fetch(timeout=0.4)
    assert maps.read_bytes() == DATA
    assert server.sent == len(DATA) + len(ROWS)
    asked = [0 if start is None else int(start[6:-1]) for start, _ in server.asked()]
    assert asked == sorted(asked)
    assert verify(maps, full=True) == "verified"


def test_a_stall_is_a_broken_transfer(server, fetch):
    server.faults = [{"stall": 30_000}, {"stall": 0}]
    maps, _ = fetch(timeout=0.5)
    assert maps.read_bytes() == DATA
    assert server.asked()[1:] == [("bytes=30000-", 206)] * 2
    assert server.sent == len(DATA) + len(ROWS)
    assert any("30000 bytes are kept" in line for line in fetch.lines)


def test_503_then_success_waits_longer_each_time(server, fetch):
    server.faults = [{"status": 503}, {"status": 500}, {"status": 429}]
    maps, _ = fetch()
    assert maps.read_bytes() == DATA
    assert fetch.waits == [1.0, 2.0, 4.0]


def test_it_is_given_up_and_gone_on_with(server, fetch, tmp_path):
    """`retries` failures in a row without a byte end it; bytes between them count anew."""
    server.faults = [{"status": 503}, {"cut": 500}] + [{"status": 503}] * 3
    with pytest.raises(OSError, match="found HTTP 503, after 3 attempts .* 500 bytes are kept"):
        fetch(retries=2)
    assert fetch.waits == [1.0, 1.0, 2.0]
    assert part_of(tmp_path).read_bytes() == DATA[:500]
    assert not (tmp_path / SUITE / MAPS).exists()
    maps, _ = fetch()
    assert maps.read_bytes() == DATA
    assert server.asked()[-1] == ("bytes=500-", 206)
    assert server.sent == len(DATA) + len(ROWS)


def test_nobody_listens(fetch, tmp_path):
    with pytest.raises(OSError, match="found no answer .ConnectionError., after 3 attempts"):
        fetch(url="http://127.0.0.1:9", retries=2)
    assert list(tmp_path.iterdir()) == []


def test_a_server_without_ranges_begins_anew(server, fetch):
    server.faults = [{"cut": 5000}, {"ranges": False, "cut": 7000}, {"ranges": False}]
    maps, _ = fetch()
    assert maps.read_bytes() == DATA
    assert server.asked() == [(None, 200), ("bytes=5000-", 200), ("bytes=7000-", 200)]


def test_a_server_without_ranges_that_always_breaks_is_given_up(server, fetch, tmp_path):
    server.faults = [{"cut": 5000, "ranges": False}] * 30
    with pytest.raises(OSError, match="after 4 attempts without a new byte"):
        fetch(retries=3)
    assert not (tmp_path / SUITE / MAPS).exists()


def test_nothing_tells_versions_apart(server, fetch):
    """Without ETag and date a range could be of another file: the whole one is asked for."""
    server.faults = [{"cut": 5000, "headers": {"ETag": None}}]
    maps, _ = fetch()
    assert maps.read_bytes() == DATA
    assert server.asked() == [(None, 200), (None, 200)]


@pytest.mark.parametrize("etag", [None, 'W/"1"'])
def test_the_date_stands_in_for_a_missing_or_weak_etag(server, fetch, etag):
    date = "Wed, 01 May 2024 00:00:00 GMT"
    headers = {"headers": {"ETag": etag, "Last-Modified": date}}
    server.faults = [{"cut": 5000} | headers, {"if_range": False} | headers]
    maps, _ = fetch()
    assert maps.read_bytes() == DATA
    assert server.log[-1][1:] == ("bytes=5000-", date, 206)


@pytest.mark.parametrize("honest", [True, False])
def test_a_file_that_changes_between_attempts_is_not_mixed(server, fetch, honest):
    """Of the same length; with a server that minds If-Range, and with one that does not."""
    other = maps_file(seed=1)
    assert len(other) == len(DATA)

    def change():
        server.files[NEW + MAPS], server.etags[NEW + MAPS] = other, '"2"'

    server.faults = [{"cut": 5000}, {"if_range": honest}]
    maps, _ = fetch(between=change)
    assert maps.read_bytes() == other
    assert (
        server.asked()[1:] == [("bytes=5000-", 200 if honest else 206), (None, 200)][: 2 - honest]
    )


@pytest.mark.parametrize("n", [2, 6])
@pytest.mark.parametrize("if_range", [True, False])
def test_a_file_of_another_length_is_not_mixed(server, fetch, n, if_range):
    """Longer or shorter (a range beyond its end is HTTP 416), even under the same ETag."""
    other = maps_file(seed=1, n=n)

    def change():
        server.files[NEW + MAPS] = other

    server.faults = [{"cut": 50_000}, {"if_range": if_range}]
    maps, _ = fetch(between=change)
    assert maps.read_bytes() == other


def test_death_between_sidecar_and_bytes(server, fetch, monkeypatch, tmp_path):
    """The sidecar of the new file must not vouch for bytes of the old one."""
    other = maps_file(seed=1)

    def write_and_die(path, obj):
        write_json(path, obj)
        if obj["etag"] == '"2"':
            raise KeyboardInterrupt

    def change():
        server.files[NEW + MAPS], server.etags[NEW + MAPS] = other, '"2"'

    monkeypatch.setattr(transport, "write_json", write_and_die)
    server.faults = [{"cut": 5000}]
    with pytest.raises(KeyboardInterrupt):
        fetch(between=change)
    monkeypatch.undo()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    maps, _ = fetch()
    assert maps.read_bytes() == other


def test_a_part_without_its_sidecar_is_not_trusted(server, fetch, tmp_path):
    (tmp_path / SUITE).mkdir()
    part_of(tmp_path).write_bytes(DATA[:100] + bytes(100))
    del server.files[NEW + MAPS]
    for text in (None, "{", "[]", '{"url": 1}'):
        if text is not None:
            part_of(tmp_path).with_suffix(".part.json").write_text(text)
        with pytest.raises(FileNotFoundError, match="found HTTP 404"):
            fetch()
        assert part_of(tmp_path).stat().st_size == 200  # a file that is not there costs nothing
    server.files[NEW + MAPS] = DATA
    maps, _ = fetch()
    assert maps.read_bytes() == DATA
    assert server.asked()[-1] == (None, 200)


def test_a_whole_part_needs_no_byte_more(server, fetch, tmp_path):
    """Killed after the last byte and before the final name."""
    fetch()
    maps = tmp_path / SUITE / MAPS
    state = {"url": server.url + f"/2D_maps/data/{SUITE}/{MAPS}", "total": len(DATA)}
    os.replace(maps, part_of(tmp_path))
    sidecar = part_of(tmp_path).with_suffix(".part.json")
    sidecar.write_text(json.dumps(state | {"etag": '"1"', "last_modified": None}))
    requests = len(server.log)
    fetch()
    assert maps.read_bytes() == DATA
    assert len(server.log) == requests
    assert left(tmp_path) == sorted([MAPS, TABLE, MANIFEST])


def test_two_at_one_file(server, fetch, tmp_path):
    """The second is refused; the first is not disturbed."""
    server.faults = [{"stall": 9000}]
    first = threading.Thread(target=fetch, kwargs={"timeout": 10.0})
    first.start()
    wait_for(lambda: part_of(tmp_path).exists() and part_of(tmp_path).stat().st_size == 9000)
    with pytest.raises(OSError, match=r"\.part: found another process at it, expected one"):
        download(SUITE, data_dir=tmp_path, url=server.url, report=lambda line: None)
    assert part_of(tmp_path).read_bytes() == DATA[:9000]
    server.released.set()
    first.join()
    assert (tmp_path / SUITE / MAPS).read_bytes() == DATA


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# --------------------------------------------------------------------------------------------------
# Wrong files
# --------------------------------------------------------------------------------------------------
CUBE = np.ones((30, 8, 8), np.float32)
WRONG = {
    "html": (HTML, "found b'<!D"),
    "empty": (b"", "found b''..., 0 bytes"),
    "magic": (b"\x93NUM", r"found b'.{1,2}x93NUM?'\.\.\., 4 bytes"),
    "another magic": (b"\x93NUMPX" + DATA[6:], "found b.*x93NUM?P?X?"),
    "version": (b"\x93NUMPY\x09\x00" + DATA[8:], r"\(15 n, N, N\) of <f4"),
    "half a header": (DATA[:60], "60 bytes, expected a .npy file"),
    "no dictionary": (DATA[:10] + b"x" * 118 + DATA[128:], "expected a .npy file"),
    "endless header": (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + DATA, "expected a .npy file"),
    "truncated": (DATA[:-4096], f"found {len(DATA) - 4096} bytes, expected {len(DATA)}"),
    "too long": (DATA + b"more", f"found {len(DATA) + 4} bytes, expected {len(DATA)}"),
    "float64": (npy(CUBE.astype(float)), r"found shape \(30, 8, 8\), <f8, C order"),
    "big-endian": (npy(CUBE.astype(">f4")), "found shape .*, >f4"),
    "14 maps": (npy(CUBE[:14]), r"found shape \(14, 8, 8\)"),
    "not square": (npy(CUBE[:, :4]), r"found shape \(30, 4, 8\)"),
    "flat": (npy(CUBE.ravel()), r"found shape \(1920,\)"),
    "none": (npy(CUBE[:0]), r"found shape \(0, 8, 8\)"),
    "Fortran": (npy(np.asfortranarray(CUBE)), "Fortran order"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("pieces", [False, True])
def test_wrong_maps_are_refused(server, fetch, tmp_path, case, pieces):
    """Whole, and with a connection that breaks within the header."""
    server.files[NEW + MAPS], found = WRONG[case]
    server.faults = [{"cut": n} for n in (3, 4, 20)] if pieces else []
    with pytest.raises(ValueError, match=found) as caught:
        fetch()
    # by the first bytes, of the address, not by the file when all of it has come
    assert str(caught.value).startswith(f"{server.url}/2D_maps/data/{SUITE}/{MAPS}: found")
    assert "expected" in str(caught.value)
    assert left(tmp_path) == sorted([TABLE, MANIFEST])
    assert MAPS not in json.loads((tmp_path / SUITE / MANIFEST).read_text())


def test_a_wrong_file_is_refused_at_its_beginning(server, fetch):
    """Not after its gigabytes: of 40 MB the first chunks are sent."""
    server.files[NEW + MAPS] = HTML + bytes(40_000_000)
    with pytest.raises(ValueError, match="found b'<!DOCTYPE html>"):
        fetch()
    assert server.sent < 20_000_000


def test_a_header_that_never_ends_is_refused_at_its_beginning(server, fetch):
    head = b"\x93NUMPY\x02\x00" + (10**8).to_bytes(4, "little") + b"{" * 1000
    server.files[NEW + MAPS] = head
    server.faults = [{"headers": {"Content-Length": str(2 * 10**8)}, "cut": None}]
    with pytest.raises(ValueError, match="200000000 bytes, expected a .npy file"):
        fetch()


def test_a_log_in_page_does_not_cost_what_was_there(server, fetch, tmp_path):
    """HTTP 200 with HTML in answer to a range: refused, and the part is kept as it was."""
    server.faults = [{"cut": 40_000}, {"body": HTML, "ranges": False}]
    with pytest.raises(ValueError, match="found b'<!DOCTYPE html>"):
        fetch()
    assert part_of(tmp_path).read_bytes() == DATA[:40_000]
    maps, _ = fetch()
    assert maps.read_bytes() == DATA
    assert server.asked()[-1] == ("bytes=40000-", 206)


@pytest.mark.parametrize(
    "found",
    [
        "bytes 0-61567/61568",
        "bytes 4999-61567/61568",
        "bytes 5001-61567/61568",
        "bytes */61568",
        "",
    ],
)
def test_a_range_that_was_not_asked_for_is_refused(server, fetch, tmp_path, found):
    assert len(DATA) == 61568
    server.faults = [{"cut": 5000}, {"headers": {"Content-Range": found}}]
    with pytest.raises(ValueError, match=f"Content-Range '{re.escape(found)}', expected .* 5000"):
        fetch()
    assert part_of(tmp_path).read_bytes() == DATA[:5000]
    maps, _ = fetch()
    assert maps.read_bytes() == DATA


def test_a_range_that_nobody_asked_for_is_refused(server, fetch, tmp_path):
    server.faults = [{"status": 206, "headers": {"Content-Range": "bytes 0-61567/61568"}}]
    with pytest.raises(ValueError, match="found Content-Range"):
        fetch()
    assert left(tmp_path) == sorted([TABLE, MANIFEST])


def test_more_bytes_than_the_file_has_are_refused(server, fetch, tmp_path):
    server.faults = [
        {"cut": 5000},
        {
            "status": 206,
            "body": DATA[5000:] + b"more",
            "headers": {"Content-Range": "bytes 5000-61567/61568"},
        },
    ]
    with pytest.raises(ValueError, match="found 61572 bytes, expected 61568"):
        fetch()
    assert left(tmp_path) == sorted([TABLE, MANIFEST])


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"Content-Length": None}, "found Content-Length ''"),
        ({"Content-Encoding": "gzip"}, "found Content-Encoding 'gzip'"),
    ],
)
def test_lengths_that_tell_nothing_are_refused(server, fetch, tmp_path, headers, found):
    server.faults = [{"headers": headers}]
    with pytest.raises(ValueError, match=found):
        fetch()
    assert left(tmp_path) == sorted([TABLE, MANIFEST])


WRONG_TABLES = {
    "html": (HTML, "found b'<!DOCTYPE html>"),
    "empty": (b"", "0 bytes, expected a text table"),
    "blank": (b" \n \n", "found no rows"),
    "binary": (DATA[:500], "found b.*x93NUMPY"),
    "latin-1": (b"0.3 \xe9", "found no text"),
    "five columns": (b"0.3 0.8 1 1 1\n", "line 1: found 5 columns"),
    "unknown columns": (b"0.3 0.8 1 1 1 1 0.5 7\n" * 4, "found 8 columns without names"),
    "physical units": (b"0.3 0.8 3.6 1 7.4 20\n" * 4, "line 1: found A_SN2 = 7.4"),
    "ragged": (ROWS + b"0.3 0.8 1 1 1 1 1\n", "line 6: found 7 columns"),
    "words": (ROWS + b"0.3 0.8 1 1 1 one\n", "line 6: found 'one' for A_AGN2"),
    "nan": (ROWS + b"0.3 0.8 1 1 1 nan\n", "line 6: found 'nan' for A_AGN2"),
    "header only": (ROWS.splitlines()[0], "found no rows"),
}


@pytest.mark.parametrize("case", WRONG_TABLES)
def test_wrong_tables_are_refused_before_the_maps_are_asked_for(server, fetch, tmp_path, case):
    server.files[NEW + TABLE], found = WRONG_TABLES[case]
    with pytest.raises(ValueError, match=found):
        fetch()
    assert list(tmp_path.iterdir()) == []
    assert server.asked() == []


def test_a_full_disk_is_told_before_the_first_byte(server, fetch, tmp_path):
    """A header of an honest file of 4 EB, which no disk here has room for."""
    shape = (15 * 10**12, 256, 256)
    head = io.BytesIO()
    description = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, description)
    total = len(head.getvalue()) + 4 * 15 * 10**12 * 256 * 256
    server.files[NEW + MAPS] = head.getvalue()
    server.faults = [{"headers": {"Content-Length": str(total)}, "cut": None}]
    needed = re.escape(f"{total * 1.01 / 1e9:.3f} GB for the rest of {MAPS}")
    with pytest.raises(OSError, match=rf"{SUITE}: found [0-9.]+ GB free, expected {needed}"):
        fetch()
    assert left(tmp_path) == sorted([TABLE, MANIFEST])


# --------------------------------------------------------------------------------------------------
# Where files are
# --------------------------------------------------------------------------------------------------
def test_addresses_in_order():
    root = "http://server/CMD/2D_maps/data"
    assert map_urls("http://server/CMD/", SUITE, MAPS) == [
        f"{root}/{SUITE}/{MAPS}",
        f"{root}/{MAPS}",
    ]
    assert map_urls("http://server/CMD", "Nbody_SIMBA", "x.npy") == [
        f"{root}/{folder}x.npy" for folder in ("Nbody_SIMBA/", "Nbody/", "")
    ]
    assert table_urls("http://server/CMD", "Nbody_SIMBA", "CV") == [
        *(f"{root}/{f}params_CV_Nbody_SIMBA.txt" for f in ("Nbody_SIMBA/", "Nbody/", "")),
        *(f"{root}/{f}params_CV_SIMBA.txt" for f in ("SIMBA/", "")),
    ]


def test_the_old_layout_is_found(server, fetch, tmp_path):
    server.files = {FLAT + MAPS: DATA, FLAT + f"params_{SUITE}.txt": ROWS}
    maps, table = fetch()
    assert maps.read_bytes() == DATA
    assert table == tmp_path / SUITE / TABLE
    assert table.read_bytes() == ROWS
    assert [entry[0] for entry in server.log] == [
        NEW + TABLE, FLAT + TABLE, NEW + f"params_{SUITE}.txt", FLAT + f"params_{SUITE}.txt",
        NEW + MAPS, FLAT + MAPS,
    ]  # fmt: skip
    assert open_suite(SUITE, tmp_path).n_simulations == 4


def test_a_part_of_the_old_layout_is_gone_on_with(server, fetch):
    """The 404 of the new layout, asked first again, does not cost it."""
    server.files = {FLAT + MAPS: DATA, NEW + TABLE: ROWS}
    server.faults = [{}, {"cut": 7000}, {"status": 400}]
    with pytest.raises(OSError, match="found HTTP 400"):
        fetch()
    maps, _ = fetch()
    assert maps.read_bytes() == DATA
    assert server.asked()[-2:] == [(None, 404), ("bytes=7000-", 206)]


def test_nbody_takes_the_table_of_its_twin(server, fetch, tmp_path):
    name = f"Maps_Mtot_Nbody_{SUITE}_LH_z=0.00.npy"
    server.files = {f"/CMD/2D_maps/data/Nbody/{name}": DATA, NEW + TABLE: ROWS}
    maps, table = fetch(f"Nbody_{SUITE}")
    assert maps == tmp_path / f"Nbody_{SUITE}" / name
    assert table == tmp_path / f"Nbody_{SUITE}" / f"params_LH_Nbody_{SUITE}.txt"
    manifest = json.loads((table.parent / MANIFEST).read_text())
    assert manifest[table.name]["url"].endswith(NEW + TABLE)
    assert any("its twin's holds the same rows" in line for line in fetch.lines)
    assert open_suite(f"Nbody_{SUITE}", tmp_path).params_path == table


def test_nbody_prefers_a_table_of_its_own(server, fetch):
    name = f"Maps_Mtot_Nbody_{SUITE}_LH_z=0.00.npy"
    nbody = "/CMD/2D_maps/data/Nbody/"
    other = ROWS.replace(b"0.3", b"0.4")
    server.files = {nbody + name: DATA, NEW + TABLE: ROWS}
    server.files[f"{nbody}params_Nbody_{SUITE}.txt"] = other
    _, table = fetch(f"Nbody_{SUITE}")
    assert table.read_bytes() == other


def test_nowhere_lists_what_was_tried(server, fetch, tmp_path):
    del server.files[NEW + MAPS]
    tried = ", ".join(re.escape(u) for u in map_urls(server.url, SUITE, MAPS))
    with pytest.raises(FileNotFoundError, match=f"{MAPS}: found HTTP 404 for all of {tried}, "):
        fetch()
    server.files = {}
    (tmp_path / SUITE / TABLE).unlink()
    (tmp_path / SUITE / MANIFEST).unlink()
    with pytest.raises(FileNotFoundError, match="params_LH_IllustrisTNG.txt: found HTTP 404"):
        fetch()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [401, 403])
def test_other_refusals_are_not_tried_again(server, fetch, status):
    server.faults = [{"status": status}]
    with pytest.raises(OSError, match=f"found HTTP {status}"):
        fetch()
    assert fetch.waits == []


def test_redirects(server, fetch):
    """To http they are followed, to other schemes not; a loop ends."""
    location = server.url.replace("CMD", "moved")
    server.files["/moved"] = DATA
    server.faults = [{"status": 302, "headers": {"Location": location}}]
    maps, _ = fetch()
    assert maps.read_bytes() == DATA
    maps.unlink()
    for target in (f"file://{maps.parent / TABLE}", "ftp://127.0.0.1/maps.npy", "x" + NEW + MAPS):
        server.faults = [{"status": 302, "headers": {"Location": target}}] * 40
        server.faults += [{"status": 302, "headers": {"Location": NEW + MAPS}}] * 40
        with pytest.raises(OSError, match="expected an answer by http or https|found HTTP 404"):
            fetch()
        assert not maps.exists()
        assert fetch.waits == []


# --------------------------------------------------------------------------------------------------
# Arguments
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "names",
    [
        {"suite": "../IllustrisTNG"}, {"suite": "Illustris/TNG"}, {"suite": ".."}, {"suite": ""},
        {"suite": "A_B"}, {"suite": "TNG\n"}, {"suite": "TNG%2e"}, {"suite": "Nbody_"},
        {"set": "../LH"}, {"set": "LH?x"}, {"set": ""}, {"field": ".."}, {"field": "Mtot/x"},
        {"field": "Mtot#"}, {"field": "_"}, {"set": None},
    ],
)  # fmt: skip
def test_names_cannot_climb(server, fetch, tmp_path, names):
    key = next(iter(names))
    with pytest.raises(ValueError, match=f"^{key}: found {re.escape(repr(names[key]))}, expected"):
        fetch(**names)
    assert server.log == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["Lite", "Nbody_Lite"])
def test_the_embedded_suites_need_no_download(fetch, name):
    with pytest.raises(ValueError, match=f"found '{name}', .* comes with the repository"):
        fetch(name)


@pytest.mark.parametrize("url", ["file:///etc", "ftp://server/CMD", "server/CMD", "http://", ""])
def test_only_http(fetch, url):
    with pytest.raises(ValueError, match=f"url: found '{url}', expected"):
        fetch(url=url)


@pytest.mark.parametrize("options", [{"retries": -1}, {"timeout": 0}, {"timeout": float("nan")}])
def test_retries_and_timeout(fetch, options):
    with pytest.raises(ValueError, match="retries, timeout: found"):
        fetch(**options)


def test_folder_by_the_environment(server, fetch, tmp_path, monkeypatch):
    monkeypatch.delenv("COSMOLIB_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="expected --data-dir or .* COSMOLIB_DATA"):
        fetch(data_dir=None)
    assert server.log == []
    monkeypatch.setenv("COSMOLIB_DATA", str(tmp_path / "new" / "folder"))
    maps, _ = fetch(data_dir=None)
    assert maps == tmp_path / "new" / "folder" / SUITE / MAPS


def test_lines_of_progress_without_a_terminal(fetch, capsys, monkeypatch):
    monkeypatch.setattr(transport, "_LINE_SECONDS", 0.0)
    fetch()
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(MAPS)]
    assert re.search(r"100%\|.*61\.6k/61\.6k \[.*B/s", lines[-1])


# --------------------------------------------------------------------------------------------------
# Killed and started again
# --------------------------------------------------------------------------------------------------
def command_line(server, tmp_path):
    return [
        *(sys.executable, "-W", "error", "-m", "cosmolib.cli", "download", "--suite", SUITE),
        *("--url", server.url, "--data-dir", str(tmp_path)),
    ]


def read_all(terminal):
    """What a process that has ended wrote to its terminal."""
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 100_000)
        except OSError:  # EIO: nobody writes to it any more
            return shown.decode()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_download_goes_on(server, tmp_path, how):
    """As processes; standard error is a terminal in the first, so that it draws its bar."""
    server.faults = [{"stall": 25_000}]
    terminal, client = os.openpty()
    termios.tcsetwinsize(client, (24, 100))
    process = subprocess.Popen(
        command_line(server, tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=client,
        # a shell that runs tests in the background has them ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(client)
    try:
        part = part_of(tmp_path)
        wait_for(lambda: part.exists() and part.stat().st_size == 25_000)
        process.send_signal(how)
        code = process.wait(20)
        shown = read_all(terminal)
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    assert f"{MAPS}:" in shown
    assert "B/s" in shown
    assert part.read_bytes() == DATA[:25_000]
    assert left(tmp_path) == sorted([TABLE, MANIFEST, part.name, f"{part.name}.json"])
    if how == signal.SIGINT:
        assert code == 130
        told = (
            f"cosmolib: stopped; 0.000 GB are kept in {part}; the same command goes on from there"
        )
        assert told in shown
    done = subprocess.run(command_line(server, tmp_path), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / SUITE / MAPS).read_bytes() == DATA
    assert server.asked() == [(None, 200), ("bytes=25000-", 206)]
    assert server.sent == len(DATA) + len(ROWS)
    assert f"{MAPS}: 61568 bytes, SHA-256 {sha256_of(DATA)}" in done.stdout
    assert left(tmp_path) == sorted([MAPS, TABLE, MANIFEST])
