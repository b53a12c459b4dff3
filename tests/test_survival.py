"""Test runs that are killed, on full disks, in read-only folders and in two processes."""

import csv
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cosmolib.study.io import sweep
from cosmolib.study.locks import LOCK
from cosmolib.study.profile import load_profile
from cosmolib.study.run import Run
from cosmolib.training import run as training_run
from cosmolib.training.predictions import read_predictions
from cosmolib.training.run import train_run

# A training of some seconds in a separate process, which prints every epoch.
TRAIN = """
import sys, torch
from cosmolib.training.run import train_run
from cosmolib.study.profile import load_profile
from cosmolib.study.run import Run
torch.set_num_threads(1)
data, root, epochs = sys.argv[1:]
profile = load_profile("tiny", data_dir=data, epochs=int(epochs), dropout=0.2, batch_size=8)
run = Run("tiny", "Lite", "none", "lite", 1, root)
train_run(run, profile, progress=lambda line: print(line, flush=True))
"""
EPOCHS = 6


def command(*arguments):
    return [sys.executable, "-c", TRAIN, *map(str, arguments)]


def run_of(root):
    return Run("tiny", "Lite", "none", "lite", 1, root)


@pytest.fixture(scope="module")
def quiet(tiny_suite_dir, tmp_path_factory):
    """Return a run that was not disturbed."""
    root = tmp_path_factory.mktemp("quiet")
    subprocess.run(command(tiny_suite_dir, root, EPOCHS), check=True, stdout=subprocess.DEVNULL)
    return run_of(root)


@pytest.fixture
def profile(tiny_suite_dir):
    settings = {"epochs": EPOCHS, "dropout": 0.2, "batch_size": 8}
    return load_profile("tiny", data_dir=str(tiny_suite_dir), **settings)


def assert_same(run, other):
    """Assert that two runs are equal bit by bit, except for times."""
    assert run.path("metrics.json").read_bytes() == other.path("metrics.json").read_bytes()
    left, right = (torch.load(r.path("weights.pt"), weights_only=True) for r in (run, other))
    assert all(torch.equal(left[key], right[key]) for key in left)
    left, right = (read_predictions(r.path("predictions.npz")) for r in (run, other))
    assert all(np.array_equal(left[key], right[key]) for key in left)
    names = {path.name for path in run.folder.iterdir()}
    assert names == {path.name for path in other.folder.iterdir()}
    rows = [r.path("history.csv").read_text().splitlines() for r in (run, other)]
    kept = [[",".join(row.split(",")[:4]) for row in table] for table in rows]
    assert kept[0] == kept[1]


def test_killed_trainings_resume_with_the_same_result(tiny_suite_dir, tmp_path, quiet):
    chance, kills, run = random.Random(0), 0, run_of(tmp_path)
    rows = list(csv.DictReader(quiet.path("history.csv").read_text().splitlines()))
    epoch = float(np.median([float(row["seconds"]) for row in rows]))  # [s]
    while not run.complete:
        process = subprocess.Popen(
            command(tiny_suite_dir, tmp_path, EPOCHS), stdout=subprocess.PIPE, text=True
        )
        if kills < 3:
            process.stdout.readline()  # kill it during the next epoch
            time.sleep(chance.uniform(0, epoch))
            process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills >= 2
    assert_same(run, quiet)


def test_a_run_killed_before_its_metrics_is_not_trained_again(
    tmp_path, quiet, profile, monkeypatch
):
    """The same run also has temporary files of the killed process, which are removed."""
    run = replace(quiet, root=tmp_path)
    shutil.copytree(quiet.folder, run.folder)
    monkeypatch.setattr(training_run, "fit", None)  # an attempt to train would fail
    run.path("metrics.json").unlink()
    run.path(".weights.0123456789ab.pt").write_bytes(b"half")
    run.path(LOCK).write_text("{}")
    train_run(run, profile)
    assert_same(run, quiet)
    run.path(".keep").write_text("a file of the user")
    sweep(run.folder)
    assert run.path(".keep").exists()


def test_two_processes_on_one_run_folder(tiny_suite_dir, tmp_path, quiet, profile, monkeypatch):
    first = subprocess.Popen(
        command(tiny_suite_dir, tmp_path, EPOCHS), stdout=subprocess.PIPE, text=True
    )
    first.stdout.readline()  # the training has begun
    lines = []
    for work in ("fit", "prepare_data"):  # the second process only waits and reads
        monkeypatch.setattr(training_run, work, None)
    train_run(run_of(tmp_path), profile, progress=lines.append)
    assert first.wait() == 0
    first.stdout.close()
    assert len(lines) == 1
    assert f"in use by process {first.pid} on " in lines[0]
    assert_same(run_of(tmp_path), quiet)


def limited(size):
    """Limit the size of files of this process, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("size", [500, 4000, 20_000])
def test_a_full_disk_gives_one_error_and_leaves_no_partial_files(
    tiny_suite_dir, tmp_path, quiet, profile, size
):
    done = subprocess.run(
        command(tiny_suite_dir, tmp_path, EPOCHS), capture_output=True, text=True,
        preexec_fn=lambda: limited(size),
    )  # fmt: skip
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("OSError: [Errno 27] File too large: ")
    assert str(run_of(tmp_path).folder) in last
    left = [path.name for path in run_of(tmp_path).folder.iterdir()]
    assert not [name for name in left if name.startswith(".") or name == "metrics.json"]
    train_run(run_of(tmp_path), profile)
    assert_same(run_of(tmp_path), quiet)


@pytest.fixture
def bound():
    """Return the start of a command that respects file permissions even for root."""
    if os.getuid():
        return []
    prefix = ["setpriv", "--bounding-set", "-dac_override"]
    if shutil.which("setpriv") is None or subprocess.run([*prefix, "true"]).returncode:
        pytest.skip("requires another user than root, or setpriv")
    return prefix


def test_read_only_folders(tiny_suite_dir, tmp_path, quiet, bound):
    """A complete run can be read; an incomplete one gives an error with its path."""
    root = tmp_path / "runs"
    shutil.copytree(quiet.folder, run_of(root).folder)
    folders = [Path(folder) for folder, _, _ in os.walk(root)]
    for folder in folders:
        folder.chmod(0o555)
    try:
        for epochs, code in ((EPOCHS, 0), (EPOCHS + 1, 1)):
            arguments = [*bound, *command(tiny_suite_dir, root, epochs)]
            done = subprocess.run(arguments, capture_output=True, text=True)
            assert done.returncode == code, done.stderr[-500:]
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("PermissionError: [Errno 13]")
        assert str(run_of(root).folder) in last
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert_same(run_of(root), quiet)
