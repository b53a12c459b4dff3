"""Locks: one process at a time works in a folder, and another one is told who does.

The lock is the kernel's (`filelock`), so a process that is killed lets go at once: the lock
file that it leaves locks nothing. The lock file says who holds it and since when.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".lock"  # name of the lock file of a folder
_WAIT = 0.5  # [s] between two attempts
_REMIND = 600.0  # [s] between two lines of one that waits
_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class Busy(OSError):
    """Another process holds the lock."""


@contextmanager
def held(
    path: str | Path,
    *,
    wait: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Hold the lock file ``path`` inside the block; its folder is made.

    Parameters
    ----------
    path : path
        Of the lock file, which is removed when the block ends.
    wait : bool
        Wait for another holder, however long, and say so; False raises `Busy`.
    progress : callable, optional
        Called with a line of text when waiting begins, and every ten minutes.

    Raises
    ------
    Busy
        Another process holds it and `wait` is False; names the owner and the lock's age.
    OSError
        The folder cannot be written: names it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, said = FileLock(path), -_REMIND
    while True:
        try:
            lock.acquire(timeout=_WAIT if wait else 0, poll_interval=0.05)
            break
        except Timeout:
            found = f"{path.parent}: found at work {owner(path)}"
            if not wait:
                raise Busy(f"{found}, expected nobody") from None
            if progress is not None and time.monotonic() - said >= _REMIND:
                said = time.monotonic()
                progress(f"{found}: waiting for it")
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise OSError(error.errno, error.strerror, str(path)) from None
            # A file system without locks. Whole files still replace whole files, so two processes
            # there do the same work twice and spoil nothing.
            lock = None
            break
    try:
        if lock is not None:
            _sign(path)
        yield
    finally:
        if lock is not None:
            # While it is held: who waits with the file open sees that it has no name any more, and
            # makes a new one (filelock looks at the number of its links).
            path.unlink(missing_ok=True)
            lock.release()


def is_held(path: str | Path) -> bool:
    """Whether a living process holds the lock file; False where there is none."""
    path = Path(path)
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def owner(path: str | Path) -> str:
    """Who signed a lock file and how long ago, in words."""
    try:
        signed = json.loads(Path(path).read_text(encoding="utf-8"))
        since = datetime.fromisoformat(signed["since"])
        # a clock that was set back must not make a lock of the future
        age = max(0.0, (datetime.now(UTC) - since).total_seconds())
        return f"process {int(signed['pid'])} on {signed['host']!s:.64} for {age:.0f} s"
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return "another process"


def _sign(path):
    """Write the holder into the lock file. The lock is on the file: it is never replaced."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    signed = {"pid": os.getpid(), "host": platform.node(), "since": since}
    try:
        path.write_text(json.dumps(signed), encoding="utf-8")
    except OSError:  # a full disk: the lock holds without a name on it
        pass
