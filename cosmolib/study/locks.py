"""Locks between processes (filelock); the kernel releases the lock of a process that is killed."""

import errno
import os
import platform
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".lock"  # name of a folder's lock file
_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class Busy(OSError):
    """Another process holds the lock."""


@contextmanager
def held(path: str | Path, *, wait: bool = True, progress=None):
    """Hold a lock file while the block runs, and remove the file afterwards.

    Missing folders are created. If another process holds the lock, report this to ``progress`` and
    wait, or raise `Busy` if ``wait`` is false. On a file system without locks the block runs
    unlocked; atomic writes still prevent partial files.
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
            with suppress(OSError):  # on a full disk, the lock works without its owner's name
                path.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
        yield
    finally:
        if lock.is_locked:  # unlink first: a waiting process then creates a new file
            path.unlink(missing_ok=True)
            lock.release()


def is_held(path: str | Path) -> bool:
    """Return whether a running process holds the lock file; False if the file does not exist."""
    if not Path(path).exists():
        return False
    with suppress(Timeout), FileLock(path, timeout=0):
        return False
    return True


def owner(path: str | Path) -> str:
    """Return the owner that a lock file names, such as ``"process 12 on host"``."""
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace")[:99] or "another process"
    return "another process"
