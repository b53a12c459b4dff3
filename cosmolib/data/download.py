"""Download suites of CMD with curl; an interrupted transfer is resumed (``cosmolib download``).

Bytes go to ``NAME.part``, which is renamed once it is complete and checked. ``NAME.part.json``
identifies the version of the remote file: address, length, ETag and date.
"""

from __future__ import annotations

import email
import io
import math
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from tqdm import tqdm

from cosmolib.data import checksums, cmd_format
from cosmolib.data.lite import embedded_suites
from cosmolib.data.suites import read_table
from cosmolib.study.io import read_json, redact, write_json
from cosmolib.study.locks import Busy, held

CMD_URL = (  # CMD's documentation calls it slow and unstable; users report about 6 MB/s
    "https://users.flatironinstitute.org/~fvillaescusa/priv/DEPnzxoWlaTQ6CjrXqsm0vYi8L7Jy/CMD"
)
_CURL = "curl -q -isSL --globoff --proto =http,https --proto-redir =http,https -Y 1".split()
_FATAL = (1, 3, 47, 60)  # curl's exit codes for a bad scheme, address, redirect or certificate
_FIRST = 2**16  # bytes that show whether this is the right file; headers are shorter


class _Broken(Exception):
    """The transfer failed, and another attempt may succeed."""


def download(
    suite, sim_set="LH", field="Mtot", data_dir=None, url=CMD_URL, *, retries=10, timeout=60.0,
    report=print,
) -> tuple[Path, Path]:  # fmt: skip
    """Fetch maps and parameter table of a suite into ``data_dir/<suite>/`` and return their paths.

    Files that exist are verified instead, without network. An attempt fails after ``timeout``
    seconds without a byte; ``retries`` attempts in a row may bring no new one.

    Raises
    ------
    ValueError
        A name, an address or a file is not as expected; a wrong file is not kept.
    OSError
        The server has no such file or fails, the disk is full, or curl is missing.
    """
    for key, value in (("suite", suite), ("set", sim_set), ("field", field)):
        if not re.fullmatch(r"(Nbody_)?[A-Za-z0-9-]+", str(value)) or value in embedded_suites():
            raise ValueError(f"{key}: found {value!r}, expected one that CMD's server has")
    if not re.fullmatch(r"https?://[^/\s]\S*", url):
        raise ValueError(f"url: found {url!r}, expected one that starts with http:// or https://")
    if retries < 0 or not 0 < timeout < math.inf:
        raise ValueError(f"retries, timeout: found {retries}, {timeout}, expected >= 0, > 0 s")
    if not (data_dir := data_dir or os.environ.get("COSMOLIB_DATA")):
        raise FileNotFoundError("data folder: found none, expected --data-dir or $COSMOLIB_DATA")
    data_dir, maps = Path(data_dir).expanduser(), f"Maps_{field}_{suite}_{sim_set}_z=0.00.npy"
    tables = [table for table in cmd_format.table_names(suite, sim_set) if suite in table]
    paths = []
    for names, urls, check in (  # the table first: a wrong address shows before four gigabytes
        (
            tables,
            cmd_format.table_urls(url, suite, sim_set),
            partial(read_table, name=suite, sim_set=sim_set),
        ),
        ([maps], cmd_format.map_urls(url, suite, maps), cmd_format.map_file),
    ):
        folders = cmd_format.folders_of(data_dir, suite) if data_dir.is_dir() else []
        places = [folder / name for name in names for folder in folders]
        path = next(filter(Path.is_file, places), data_dir / suite / names[0])
        if path.is_file():
            _verify(path, check, report)
        else:
            _fetch(path, urls, check, retries, timeout, report)
        paths.insert(0, path)
    n = len(cmd_format.map_file(paths[0])) // cmd_format.MAPS_PER_SIMULATION
    if n != (usual := cmd_format.SIMULATIONS.get(sim_set, n)):
        report(f"{paths[0]}: note: {n} simulations, where CMD's set {sim_set} has {usual}")
    return paths[0], paths[1]


def _verify(path, check, report):
    try:
        check(path)
        state = checksums.verify(path, full=True)
    except ValueError as error:
        raise ValueError(f"{error}; remove the file to download it again") from None
    if state == "unknown":
        with suppress(OSError):  # a read-only folder
            checksums.record(path)
            state = "recorded now"
    report(f"{path}: exists, SHA-256 {state}")


def _fetch(path, urls, check, retries, timeout, report):
    """Download a file from the first address that has it, check it, and record its SHA-256."""
    if shutil.which("curl") is None:
        raise FileNotFoundError("curl: found no such program, expected it on the PATH")
    part, sidecar = (path.with_name(path.name + end) for end in (".part", ".part.json"))
    try:
        with held(path.with_name(f".{path.name}.lock"), wait=False):
            url = next((u for u in urls if _complete(u, part, retries, timeout, report)), None)
            if url is None:
                raise FileNotFoundError(f"{path.name}: found at none of {', '.join(urls)}")
            try:
                check(part)
            except ValueError:
                part.unlink()
                sidecar.unlink()
                raise
            part.replace(path)
            sidecar.unlink()
            digest = checksums.record(path, redact(url))
    except Busy:
        raise Busy(f"{path}: already being downloaded by another process") from None
    except KeyboardInterrupt:
        kept = f"{_size(part) / 1e9:.3f} GB are kept in {part}"
        raise KeyboardInterrupt(f"{kept}; the same command resumes") from None
    report(f"{path}: {_size(path)} bytes from {url}, SHA-256 {digest}")


def _complete(url, part, retries, timeout, report) -> bool:
    """Attempt until the part is complete; False if the server has no such file."""
    failures, most = 0, _size(part)
    while True:
        try:
            return _attempt(url, part, timeout, report)
        except _Broken as error:
            reason = f"{url}: {error}; {_size(part)} bytes are kept"
        failures = 1 if _size(part) > most else failures + 1
        most = max(most, _size(part))
        if failures > retries:
            raise OSError(f"{reason}; gave up after {failures} attempts without a new byte")
        wait = min(2 ** (failures - 1), 60)
        report(f"{reason}, next attempt in {wait} s")
        time.sleep(wait)


def _attempt(url, part, timeout, report, resume=True) -> bool:
    known, done, sidecar, named = None, 0, part.with_suffix(".part.json"), redact(url)
    with suppress(FileNotFoundError, ValueError):
        known = read_json(sidecar)
    match known:
        case [address, int(total), etag, date] if resume and address == named and (etag or date):
            done = _size(part)
            if done == total:
                return True
    command = [*_CURL, "--continue-at", str(done), "--connect-timeout", str(timeout)]
    command += ["--speed-time", str(math.ceil(timeout)), url]
    # Through a pipe: when this process is killed, curl cannot go on writing to the file.
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as curl:
        try:
            body, status, headers = curl.stdout.read(_FIRST), 0, {}
            while body.startswith(b"HTTP/"):  # one block for each redirect
                block, _, body = body.partition(b"\r\n\r\n")
                first, _, block = block.partition(b"\r\n")
                status, headers = int(first.split()[1]), email.message_from_bytes(block)
            if status in (404, 410):
                return False
            if status != 200 and not (done and status in (206, 416)):
                error = curl.communicate()[1].decode().strip()
                error = f"found HTTP {status}" if status >= 400 else error
                fatal = 400 <= status < 500 and status not in (408, 425, 429)
                fatal = fatal or curl.returncode in _FATAL
                raise OSError(f"{url}: {error}") if fatal else _Broken(error)
            length = headers["Content-Length" if status == 200 else "Content-Range"]
            total = str(length).rpartition("/")[2]
            total = int(total) if total.isdecimal() else None
            remote = [named, total, headers["ETag"], headers["Last-Modified"]]
            if done and (status != 206 or remote != known):
                why = "the server cannot resume" if remote == known else "the file has changed"
                report(f"{url}: {why}, starting again")
                return _attempt(url, part, timeout, report, resume=False)
            if total is None:
                raise ValueError(f"{url}: found length {length!r}, expected a number of bytes")
            free, needed = shutil.disk_usage(part.parent).free, total - done
            if free < needed:
                room = f"found {free / 1e9:.3f} GB free, expected {needed / 1e9:.3f} GB"
                raise OSError(f"{part.parent}: {room} for the rest of {part.stem}")
            if not done:
                if part.stem.endswith(".npy"):
                    if len(body) < min(total, 128):
                        raise _Broken("the connection broke at the first bytes")
                    cmd_format.check_header(io.BytesIO(body), total, url)
                part.write_bytes(b"")  # first: the sidecar must not vouch for other bytes
                write_json(sidecar, remote)
            look = {"desc": part.stem, "total": total, "initial": done, "ascii": True}
            look |= {"unit": "B", "unit_scale": True}
            often = 0.1 if sys.stderr.isatty() else 30  # [s] between two updates
            with open(part, "ab") as file, tqdm(**look, mininterval=often) as bar:
                while body:
                    bar.update(file.write(body))
                    file.flush()
                    body = curl.stdout.read1(2**18)
                os.fsync(file.fileno())  # the final name must not outlive the bytes
            if curl.wait() or _size(part) != total:
                raise _Broken(curl.stderr.read().decode().strip() or "found another length")
            return True
        finally:
            curl.kill()


def _size(path):
    return path.stat().st_size if path.exists() else 0
