"""Locks: one process at a time; the lock of a killed process is released."""

import errno
import subprocess
import sys

import filelock
import pytest

from cosmolib.study import locks
from cosmolib.study.locks import held, is_held, owner

HOLDER = """
import sys, time
from cosmolib.study.locks import held
with held(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Start another process that holds ``tmp_path/.lock``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / ".lock")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_lock_file_is_removed(tmp_path):
    path = tmp_path / "new" / ".lock"
    with held(path):
        assert is_held(path)
    assert not is_held(path)
    assert list(path.parent.iterdir()) == []


def test_a_waiting_process_reports_once_and_continues_if_the_owner_is_killed(tmp_path, holder):
    lines = []

    def progress(line):
        lines.append(line)
        holder.kill()  # SIGKILL: it cannot remove the file

    with held(tmp_path / ".lock", progress=progress):
        assert str(holder.pid) not in owner(tmp_path / ".lock")
    assert len(lines) == 1
    assert lines[0].startswith(f"{tmp_path}: in use by process {holder.pid} on ")


def test_on_a_file_system_without_locks_the_block_runs(tmp_path, monkeypatch):
    class Unsupported(filelock.FileLock):
        def acquire(self, *arguments, **options):
            raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks, "FileLock", Unsupported)
    with held(tmp_path / ".lock"):
        assert owner(tmp_path / ".lock") == "another process"
