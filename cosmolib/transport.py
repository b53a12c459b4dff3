"""Transport: one file over HTTP into ``NAME.part``, through broken connections, stalls and kills.

`requests` speaks HTTP; this module asks for the bytes that are missing, refuses what is not the
file that was begun, and tries again. `cosmolib.download` says what a file must be.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cosmolib import __version__
from cosmolib.runs import read_json, write_json

_CHUNK = 2**18  # bytes taken from the connection at once, at most
HEAD_BYTES = 2**16  # bytes that an .npy header may have; numpy writes 128
_SPARE = 0.01  # of the bytes to come, left free on the disk
_LONGEST_WAIT = 60.0  # [s] between two attempts
_LINE_SECONDS = 30.0  # between two lines of progress, where there is no terminal


class NotOnServer(FileNotFoundError):
    """The server has no such file (HTTP 404 or 410)."""


class _Broken(Exception):
    """A transfer that broke: what has come is kept, and it is tried again."""


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
        # pooch's empty file would stay behind after a kill; the move at the end makes it anew.
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
        head, accepted = b"" if fresh else file.read(HEAD_BYTES), False
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
