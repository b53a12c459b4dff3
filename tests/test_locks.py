"""Locks: one process at a time, owners with names and ages, the dead hold nothing."""

import errno
import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import filelock
import pytest

from cosmolib import locks
from cosmolib.locks import Busy, held, is_held, owner

HOLDER = """
import sys, time
from cosmolib.locks import held
with held(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds ``tmp_path/.lock``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / ".lock")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_one_at_a_time_and_nothing_left(tmp_path):
    path = tmp_path / "new" / ".lock"
    with held(path):
        assert is_held(path)
        assert "pid" in json.loads(path.read_text())
    assert not is_held(path)
    assert list(path.parent.iterdir()) == []


def test_the_owner_is_named(tmp_path, holder):
    path = tmp_path / ".lock"
    with pytest.raises(Busy) as error, held(path, wait=False):
        pass
    assert f"found at work process {holder.pid} on" in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert "expected nobody" in str(error.value)


def test_who_waits_says_so_and_goes_on_when_the_owner_is_killed(tmp_path, holder):
    lines = []

    def progress(line):
        lines.append(line)
        holder.kill()  # kill -9: it removes nothing

    with held(tmp_path / ".lock", progress=progress):
        assert str(holder.pid) not in (tmp_path / ".lock").read_text()
    assert len(lines) == 1
    assert f"process {holder.pid}" in lines[0]
    assert "waiting" in lines[0]


def test_age_by_a_clock_that_was_set_back(tmp_path):
    path = tmp_path / ".lock"
    for hours, expected in ((1, "for 0 s"), (-1, "for 3600 s")):
        since = (datetime.now(UTC) + timedelta(hours=hours)).isoformat()
        path.write_text(json.dumps({"pid": 7, "host": "far", "since": since}))
        assert owner(path) == f"process 7 on far {expected}"
    path.write_text('{"pid": 7}')  # a full disk
    assert owner(path) == owner(tmp_path / "none") == "another process"


def test_a_file_system_without_locks_is_no_obstacle(tmp_path, monkeypatch):
    class Unsupported(filelock.FileLock):
        def acquire(self, *arguments, **options):
            raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks, "FileLock", Unsupported)
    with held(tmp_path / ".lock"):
        time.sleep(0)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    path = tmp_path / "file" / ".lock"
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file"), held(path):
        pass
