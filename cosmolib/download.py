"""Download of suites of the CAMELS Multifield Dataset (CMD): ``cosmolib download``.

CMD's server is slow and its connections break, and a file of maps has four gigabytes. So bytes go
to ``NAME.part`` and are kept over broken connections, stalls, Ctrl-C and kills; what is wrong is
refused at its first bytes; and only a file that is whole gets its name.

Who does what: `requests` speaks HTTP. `pooch` decides whether there is anything to download, keeps
the final name away from files in the making, and calls our hooks (`ResumableDownloader`, the
checksum). Its own downloader would begin at zero each time, and its hashes would read four
gigabytes once more only to log them: CMD publishes none to compare with, so pooch is asked for
none, and `cosmolib.checksums` keeps our own.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import math
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from cosmolib import __version__, checksums
from cosmolib.embedded import embedded_suites
from cosmolib.formats import (
    MAPS_PER_SIMULATION,
    folders_of,
    map_file,
    read_params,
    table_names,
)
from cosmolib.formats import SIMULATIONS as CMD_SIMULATIONS
from cosmolib.runs import read_json, write_json
from cosmolib.suites import CMD_ACCESS

CMD_URL = (  # CMD's documentation calls it slow and unstable; users report about 6 MB/s
    "https://users.flatironinstitute.org/~fvillaescusa/priv/DEPnzxoWlaTQ6CjrXqsm0vYi8L7Jy/CMD"
)

# What may stand in a file name: nothing that climbs out of the folder, nothing that a URL reads.
_NAMES = {
    "suite": re.compile(r"(Nbody_)?[A-Za-z][A-Za-z0-9-]*"),
    "set": re.compile(r"[A-Za-z0-9]+"),
    "field": re.compile(r"[A-Za-z][A-Za-z0-9]*"),
}
_CHUNK = 2**18  # bytes taken from the connection at once, at most
_HEAD = 2**16  # bytes that an .npy header may have; numpy writes 128
_TABLE_BYTES = 10**8  # no table of parameters is larger
_SPARE = 0.01  # of the bytes to come, left free on the disk
_LONGEST_WAIT = 60.0  # [s] between two attempts
_LINE_SECONDS = 30.0  # between two lines of progress, where there is no terminal


class NotOnServer(FileNotFoundError):
    """The server has no such file (HTTP 404 or 410)."""


class _Broken(Exception):
    """A transfer that broke: what has come is kept, and it is tried again."""


# --------------------------------------------------------------------------------------------------
# What is downloaded
# --------------------------------------------------------------------------------------------------
def download(
    suite: str,
    set: str = "LH",
    field: str = "Mtot",
    data_dir: str | Path | None = None,
    url: str = CMD_URL,
    *,
    retries: int = 10,
    timeout: float = 60.0,
    sleep: Callable[[float], object] = time.sleep,
    report: Callable[[str], object] = print,
) -> tuple[Path, Path]:
    """Fetch the parameter table and the maps of one suite, set and field.

    What is there already is verified in full instead, without network.

    Parameters
    ----------
    suite, set, field
        CMD's names, e.g. "IllustrisTNG" or "Nbody_IllustrisTNG", "LH", "Mtot".
    data_dir
        Files go to ``data_dir/<suite>/``; None means ``$COSMOLIB_DATA``.
    url
        Address of the folder that holds ``2D_maps/``, http or https.
    retries
        Attempts in a row that may fail without one new byte before it is given up.
    timeout
        Seconds without connection or without a byte that count as a broken transfer.
    sleep, report
        Called with the seconds to wait before an attempt, and with lines for the user.

    Returns
    -------
    maps_path, params_path : Path

    Raises
    ------
    FileNotFoundError
        No folder was named, or the server has none of the known layouts: lists what was tried.
    ValueError
        A name, an address or a file that is not what it should be; nothing of it is kept, and
        no file that was there is changed.
    OSError
        Too little space on the disk, or the server gave up.
    """
    for key, value in (("suite", suite), ("set", set), ("field", field)):
        if not isinstance(value, str) or not _NAMES[key].fullmatch(value):
            raise ValueError(f"{key}: found {value!r}, expected a name such as CMD's files have")
    if suite in embedded_suites():
        raise ValueError(
            f"suite: found {suite!r}, expected a suite of CMD; this one comes with the repository"
        )
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"url: found {url!r}, expected one that starts with http:// or https://")
    if retries < 0 or not 0 < timeout < math.inf:
        raise ValueError(
            f"retries, timeout: found {retries}, {timeout}, expected at least 0, and seconds > 0"
        )
    data_dir = data_dir or os.environ.get("COSMOLIB_DATA")
    if not data_dir:
        raise FileNotFoundError(
            "data folder: found none, expected --data-dir or the environment variable "
            "COSMOLIB_DATA to say where the files go"
        )
    data_dir = Path(data_dir).expanduser()
    options = {"retries": retries, "timeout": timeout, "sleep": sleep, "report": report}

    # The table first: a wrong address shows before the four gigabytes.
    own = [name for name in table_names(suite, set) if suite in name]
    table = _present(data_dir, suite, own)
    if table is None:
        table = data_dir / suite / own[0]
        source = _fetch(table, table_urls(url, suite, set), table_head, check_table, **options)
        if suite not in source.rsplit("/", 1)[1]:
            report(f"{table}: the server has none of its own; its twin's holds the same rows")
    else:
        _verify(table, check_table, report)

    name = f"Maps_{field}_{suite}_{set}_z=0.00.npy"
    maps = _present(data_dir, suite, [name])
    if maps is None:
        maps = data_dir / suite / name
        _fetch(maps, map_urls(url, suite, name), maps_head, check_maps, **options)
    else:
        _verify(maps, check_maps, report)
    n, usual = check_maps(maps)[0] // MAPS_PER_SIMULATION, CMD_SIMULATIONS.get(set)
    if usual not in (None, n):
        report(f"{maps}: note: {n} simulations, where CMD's set {set} has {usual}")
    return maps, table


def map_urls(url: str, suite: str, name: str) -> list[str]:
    """Where the server can have a file of maps: a folder a suite, ``Nbody``, or flat (older)."""
    root = f"{url.rstrip('/')}/2D_maps/data"
    folders = [f"{suite}/", "Nbody/", ""] if suite.startswith("Nbody_") else [f"{suite}/", ""]
    return [f"{root}/{folder}{name}" for folder in folders]


def table_urls(url: str, suite: str, set: str) -> list[str]:
    """Where the server can have a parameter table, under its new or old name.

    An N-body suite may go without one: that of its hydrodynamic twin, asked for last, holds the
    same rows.
    """
    twin = suite.removeprefix("Nbody_")
    urls = []
    for name in table_names(suite, set):
        urls += map_urls(url, suite if suite in name else twin, name)
    return urls


def _present(data_dir: Path, suite: str, names: list[str]) -> Path | None:
    """First of the names that lies where `cosmolib.suites.open_suite` finds it."""
    folders = folders_of(data_dir, suite) if data_dir.is_dir() else []
    paths = [folder / name for name in names for folder in folders]
    return next((path for path in paths if path.is_file()), None)


def _verify(path: Path, check_file: Callable, report: Callable) -> None:
    """Say that a file is there already, and in which state; ``ValueError`` if in a bad one."""
    try:
        check_file(path)
        state = checksums.verify(path, full=True)
    except ValueError as error:
        raise ValueError(f"{error}; remove the file to download it again") from None
    if state == "verified":
        report(f"{path}: is there already, its SHA-256 is the one recorded")
        return
    try:
        checksums.record(path)
        now = "now it has"
    except OSError as error:  # a shared, read-only folder
        now = f"nor could one be written ({error.strerror})"
    report(f"{path}: is there already; it had no checksum on record, {now}")


def _fetch(path: Path, urls: list[str], check_head, check_file, report, **options) -> str:
    """Download ``path`` from the first URL that has it, record its checksum, return the URL."""
    import pooch

    downloader = ResumableDownloader(path, check_head, check_file, report=report, **options)
    try:
        for url in urls:
            cache = pooch.create(path.parent, "", registry={path.name: None}, urls={path.name: url})
            try:
                cache.fetch(path.name, downloader=downloader)
            except NotOnServer:
                continue
            digest = checksums.record(path, url)
            report(f"{path}: {path.stat().st_size} bytes, SHA-256 {digest}")
            return url
    finally:
        with suppress(OSError):
            path.parent.rmdir()  # only if nothing came
    raise FileNotFoundError(
        f"{path.name}: found HTTP 404 for all of {', '.join(urls)}, expected one of them; "
        f"{CMD_ACCESS} says where the files are now (--url)"
    )


# --------------------------------------------------------------------------------------------------
# What a file must be
# --------------------------------------------------------------------------------------------------
def maps_head(head: bytes, total: int, source) -> tuple[int, ...] | None:
    """Return the shape of a file of maps from its first bytes and its length.

    None means that the header has not come whole yet.

    Raises
    ------
    ValueError
        This is no .npy file (15 n, N, N) of float32 in C order, or its length is another.
    """
    expected = f"a .npy file ({MAPS_PER_SIMULATION} n, N, N) of <f4 in C order"
    refused = ValueError(f"{source}: found {head[:48]!r}..., {total} bytes, expected {expected}")
    if not np.lib.format.MAGIC_PREFIX.startswith(head[:6]):
        raise refused
    readers = {
        (1, 0): (2, np.lib.format.read_array_header_1_0),
        (2, 0): (4, np.lib.format.read_array_header_2_0),
    }
    if len(head) >= 8 and tuple(head[6:8]) not in readers:
        raise refused
    begin, end = 8, 12
    if len(head) >= end:
        width, reader = readers[tuple(head[6:8])]
        end = begin + width + int.from_bytes(head[begin : begin + width], "little")
    if end > min(total, _HEAD):
        raise refused
    if len(head) < end:
        return None
    try:
        shape, fortran, dtype = reader(io.BytesIO(head[begin:end]))
    except ValueError:
        raise refused from None
    wrong = len(shape) != 3 or 0 in shape or shape[1] != shape[2] or shape[0] % MAPS_PER_SIMULATION
    if wrong or fortran or dtype != np.dtype("<f4"):
        order = "Fortran" if fortran else "C"
        raise ValueError(
            f"{source}: found shape {shape}, {dtype.str}, {order} order, expected {expected}"
        )
    needed = end + math.prod(shape) * dtype.itemsize
    if needed != total:
        raise ValueError(f"{source}: found {total} bytes, expected {needed} for shape {shape}")
    return shape


def check_maps(path: Path) -> tuple[int, ...]:
    """Return the shape of a file of maps; ``ValueError`` if header and length do not agree."""
    return map_file(path).shape


def table_head(head: bytes, total: int, source) -> bool:
    """Whether the first bytes are those of a text of numbers; False if more of them are needed."""
    text = head.lstrip()
    if total > _TABLE_BYTES or b"\0" in head or text.startswith(b"<") or len(head) == total == 0:
        raise ValueError(
            f"{source}: found {head[:48]!r}..., {total} bytes, expected a text table of numbers"
        )
    return bool(text)


def check_table(path: Path) -> None:
    """Refuse what is no table of finite numbers, at least six in every row, as many in each."""
    read_params(path, wide=True)


# --------------------------------------------------------------------------------------------------
# Transport
# --------------------------------------------------------------------------------------------------
@dataclasses.dataclass
class ResumableDownloader:
    """A downloader for `pooch` that goes on where it was broken off.

    Bytes go to ``PATH.part``; ``PATH.part.json`` says of which file they are: address, length, and
    the server's ETag or date. A later attempt, in this process or another, asks for the rest
    (``Range``) of the same file only (``If-Range``, RFC 9110 section 13.1.5), and begins anew if
    the file changed, the server sends it whole, or nothing tells versions of the file apart.
    """

    path: Path  # final name, which pooch gives after the call
    check_head: Callable  # (first bytes, length of the file, address): true once they are accepted
    check_file: Callable  # (path): raises ValueError for a bad file
    retries: int = 10  # failures in a row without a new byte; each byte gained sets it back to 0
    timeout: float = 60.0  # [s] to connect, and between two bytes
    sleep: Callable[[float], object] = time.sleep
    report: Callable[[str], object] = print

    def __post_init__(self):
        self.part = self.path.with_name(self.path.name + ".part")
        self.sidecar = self.path.with_name(self.path.name + ".part.json")

    def __call__(self, url: str, output_file: str, pooch=None) -> None:
        """Put the whole, checked file at ``output_file``."""
        # pooch's placeholder would stay behind after a kill; the move at the end makes it anew.
        Path(output_file).unlink(missing_ok=True)
        with open(self.part, "a+b") as file:
            self._lock(file)
            try:
                self._fill(url, file)
                self._accept(file, self.check_file, self.part)
                os.fsync(file.fileno())  # the name must not outlive the bytes in a power cut
                os.replace(self.part, output_file)
                self.sidecar.unlink()
            except KeyboardInterrupt:
                kept = f"{_size(file) / 1e9:.3f} GB are kept in {self.part}"
                raise KeyboardInterrupt(f"{kept}; the same command goes on from there") from None
            finally:
                if not _size(file):
                    self.part.unlink(missing_ok=True)
                    self.sidecar.unlink(missing_ok=True)

    def _lock(self, file) -> None:
        """Two processes must not append to one file."""
        import fcntl  # POSIX only, as is the lock

        busy = OSError(f"{self.part}: found another process at it, expected one download a file")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        except OSError:
            return  # a network file system without locks
        # The other may have ended, and given the file its name, between our opening and locking.
        ours = os.fstat(file.fileno())
        if not self.part.exists() or not os.path.samestat(ours, os.stat(self.part)):
            raise busy

    def _fill(self, url: str, file) -> None:
        """Attempt until the file is whole."""
        failures, furthest = 0, _size(file)
        while True:
            try:
                return self._attempt(url, file)
            except _Broken as broken:
                reason = str(broken)
            # Counted against the furthest byte, not the last: a server that begins anew and
            # breaks at the same place each time makes no progress.
            size = _size(file)
            failures = failures + 1 if size <= furthest else 1
            furthest = max(furthest, size)
            if failures > self.retries:
                raise OSError(
                    f"{url}: found {reason}, after {failures} attempts without a new byte, "
                    f"expected the file; {size} bytes are kept for the next time"
                )
            wait = min(2.0 ** (failures - 1), _LONGEST_WAIT)
            self.report(f"{url}: {reason}; {size} bytes are kept, next in {wait:g} s")
            self.sleep(wait)

    def _attempt(self, url: str, file) -> None:
        """Ask for what is missing and append it; raise `_Broken` if not all of it came."""
        import requests

        state = self._state(url)
        validator = state and _validator(state)
        offset = _size(file) if validator and _size(file) <= state["total"] else 0
        if offset and offset == state["total"]:
            return
        # Compressed on the way, bytes on disk would not be bytes of the file. A connection that is
        # kept would outlive its use: a pool of them closes with the garbage, not with its session.
        headers = {"Accept-Encoding": "identity", "Connection": "close"}
        headers["User-Agent"] = f"cosmolib/{__version__}"
        if offset:
            headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
        try:
            timeout = (self.timeout, self.timeout)
            response = requests.get(url, headers=headers, stream=True, timeout=timeout)
        except requests.exceptions.SSLError as error:  # a bad certificate stays bad
            raise OSError(f"{url}: found {error}, expected a certificate to trust") from None
        except (requests.ConnectionError, requests.Timeout) as error:
            raise _Broken(f"no answer ({type(error).__name__})") from None
        except requests.RequestException as error:  # a redirect to nowhere, or to no http(s)
            raise OSError(f"{url}: found {error}, expected an answer by http or https") from None
        with response:
            self._receive(response, url, file, state, offset)

    def _receive(self, response, url: str, file, state: dict | None, offset: int) -> None:
        """Judge an answer by its headers, then append its body."""
        fresh = _described(response, url)
        if fresh is None:  # the server goes on where asked to
            self._check_range(response, url, file, state, offset)
            total = state["total"]
        else:
            total = fresh["total"]
        self._check_space(total - _size(file))
        if fresh and not _size(file):
            self._begin(file, fresh)
            fresh = None
        # A body that is sent whole takes the place of bytes that we have once its head is good: a
        # log-in page must not cost gigabytes. Until then it is held in memory.
        file.seek(0)
        head, accepted = b"" if fresh else file.read(_HEAD), False
        with _progress(self.path.name, total, 0 if fresh else _size(file)) as advance:
            for chunk in _chunks(response):
                advance(len(chunk))
                if not accepted:
                    head += chunk
                    accepted = self._accept(
                        None if fresh else file, self.check_head, head, total, url
                    )
                if fresh and accepted:
                    self._begin(file, fresh)
                    chunk, fresh = head, None
                if not fresh:
                    file.write(chunk)
                    file.flush()  # a kill finds it in the file
        if not accepted:
            self._accept(None if fresh else file, self.check_head, head, total, url)
        if fresh or _size(file) < total:
            raise _Broken("part of what was asked for")
        if _size(file) > total:
            size = _size(file)
            file.truncate(0)
            raise ValueError(f"{url}: found {size} bytes, expected {total}")

    def _check_range(self, response, url: str, file, state: dict | None, offset: int) -> None:
        """Refuse other bytes than those asked for; begin anew if the file changed meanwhile."""
        if response.status_code == 416 and offset:  # it has become shorter than what we have
            file.truncate(0)
            raise _Broken("another file than before (HTTP 416)")
        found = response.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", found)
        if not offset or not match or int(match[1]) != offset:
            raise ValueError(f"{url}: found Content-Range {found!r}, expected it from {offset}")
        now = _versions(response)
        other = any(state[key] and now[key] and state[key] != now[key] for key in now)
        if other or int(match[3]) != state["total"]:
            file.truncate(0)
            raise _Broken("another file than before")

    def _check_space(self, missing: int) -> None:
        free, needed = shutil.disk_usage(self.path.parent).free, missing * (1 + _SPARE)
        if needed > free:
            raise OSError(
                f"{self.path.parent}: found {free / 1e9:.3f} GB free, expected "
                f"{needed / 1e9:.3f} GB for the rest of {self.path.name}"
            )

    def _accept(self, file, check: Callable, *arguments):
        """Result of a check; what it refuses is not kept."""
        try:
            return check(*arguments)
        except ValueError:
            if file is not None:
                file.truncate(0)
            raise

    def _begin(self, file, state: dict) -> None:
        """Empty the file, and only then say of what file the coming bytes are."""
        file.truncate(0)
        write_json(self.sidecar, state)

    def _state(self, url: str) -> dict | None:
        """Return what the sidecar says, if it is sound and of this address."""
        try:
            state = read_json(self.sidecar)
        except (FileNotFoundError, ValueError):
            return None
        kinds = {"url": str, "total": int, "etag": (str, type(None))}
        kinds["last_modified"] = kinds["etag"]
        if not isinstance(state, dict) or state.get("url") != url:
            return None
        return state if all(isinstance(state.get(k, 0.0), kinds[k]) for k in kinds) else None


def _described(response, url: str) -> dict | None:
    """Return what the headers say of a file sent whole; None if they are of a range of it."""
    status, headers = response.status_code, response.headers
    if status in (404, 410):
        raise NotOnServer(f"{url}: found HTTP {status}, expected the file")
    if status in (408, 425, 429) or status >= 500:
        raise _Broken(f"HTTP {status}")
    if status not in (200, 206, 416):
        raise OSError(f"{url}: found HTTP {status} {response.reason}, expected 200 or 206")
    if headers.get("Content-Encoding", "identity") != "identity":
        encoding = headers["Content-Encoding"]
        raise ValueError(f"{url}: found Content-Encoding {encoding!r}, expected the file itself")
    if status != 200:
        return None
    length = headers.get("Content-Length", "")
    if not length.isdecimal():  # without it, a broken connection looks like the end
        raise ValueError(f"{url}: found Content-Length {length!r}, expected the file's length")
    return {"url": url, "total": int(length), **_versions(response)}


def _versions(response) -> dict[str, str | None]:
    """What tells versions of a file apart."""
    names = {"etag": "ETag", "last_modified": "Last-Modified"}
    return {key: response.headers.get(name) for key, name in names.items()}


def _validator(state: dict) -> str | None:
    """ETag or date for ``If-Range``; a weak ETag may not stand there (RFC 9110)."""
    etag = state["etag"]
    return etag if etag and not etag.startswith("W/") else state["last_modified"]


def _chunks(response) -> Iterator[bytes]:
    """Yield a body as it comes. ``iter_content`` would lose what came before a break."""
    import urllib3

    while True:
        try:
            chunk = response.raw.read1(_CHUNK, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _Broken(f"a broken transfer ({type(error).__name__})") from None
        if not chunk:
            return
        yield chunk


def _size(file) -> int:
    return os.fstat(file.fileno()).st_size


@contextmanager
def _progress(name: str, total: int, initial: int) -> Iterator[Callable[[int], object]]:
    """Yield a function of the bytes that came: a bar on a terminal, else a line now and then."""
    from tqdm import tqdm

    look = {"unit": "B", "unit_scale": True, "ascii": True, "initial": initial}
    if sys.stderr.isatty():
        with tqdm(desc=name, total=total, file=sys.stderr, **look) as bar:
            yield bar.update
        return
    begun = last = time.monotonic()
    done = initial

    def advance(n: int) -> None:
        nonlocal last, done
        done += n
        now = time.monotonic()
        if now - last >= _LINE_SECONDS:
            last = now
            line = tqdm.format_meter(done, total, now - begun, prefix=name, ncols=120, **look)
            print(line, file=sys.stderr, flush=True)

    yield advance


# --------------------------------------------------------------------------------------------------
# Command line
# --------------------------------------------------------------------------------------------------
def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cosmolib download``."""
    parser.add_argument("--suite", required=True, help="e.g. IllustrisTNG, Nbody_IllustrisTNG")
    parser.add_argument("--set", default="LH", help="set of simulations (default: LH)")
    parser.add_argument("--field", default="Mtot", help="field of the maps (default: Mtot)")
    parser.add_argument(
        "--data-dir", help="files go to DIR/<suite>/ (default: $COSMOLIB_DATA)", metavar="DIR"
    )
    parser.add_argument(
        "--url", default=CMD_URL, help="folder that holds 2D_maps/ (default: CMD's)"
    )
    parser.add_argument(
        "--retries", type=int, default=10, help="attempts in a row without a new byte (default: 10)"
    )
    parser.add_argument(
        "--timeout", type=float, default=60.0, help="seconds without a byte (default: 60)"
    )


def run_from_args(arguments: argparse.Namespace) -> None:
    """Run ``cosmolib download``."""
    download(
        arguments.suite,
        set=arguments.set,
        field=arguments.field,
        data_dir=arguments.data_dir,
        url=arguments.url,
        retries=arguments.retries,
        timeout=arguments.timeout,
        report=lambda line: print(line, flush=True),
    )
