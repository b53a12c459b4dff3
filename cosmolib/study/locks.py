"""Locks between processes (filelock). The kernel frees the lock of a process that is killed."""

import errno
import os
import platform
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".lock"  # name of the lock file of a folder
_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class Busy(OSError):
    """Another process holds the lock."""


@contextmanager
def held(path: str | Path, *, wait: bool = True, progress=None):
    """Hold a lock file inside the block; make its folder first and remove the file at the end.

    While another process holds it, report that to ``progress`` and wait, or raise `Busy` if not
    ``wait``. On a file system without locks the block runs unlocked: files are written atomically.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise Busy(f"{path.parent}: in use by {owner(path)}") from None
        if progress is not None:
            progress(f"{path.parent}: in use by {owner(path)}, waiting")
        lock.acquire()
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    try:
        if lock.is_locked:
            with suppress(OSError):  # a full disk: the lock works without its owner's name
                path.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
        yield
    finally:
        if lock.is_locked:  # unlinked first: a waiting process then makes a new file
            path.unlink(missing_ok=True)
            lock.release()


def is_held(path: str | Path) -> bool:
    """Whether a living process holds the lock file; False where there is none."""
    if not Path(path).exists():
        return False
    with suppress(Timeout), FileLock(path, timeout=0):
        return False
    return True


def owner(path: str | Path) -> str:
    """Return the owner of a lock file: ``"process 12 on host"``."""
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace")[:99] or "another process"
    return "another process"
