"""Studies that many processes share: journal and PostgreSQL, workers that are killed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from cosmolib.study.locks import Busy, held
from cosmolib.tuning import shared_study
from cosmolib.tuning.shared_study import finished_trials, is_shared, open_study

TRIALS = 40
# A worker whose trainings take a moment and have a known loss; its heart beats fast.
WORKER = """
import os, signal, sys, time
from types import SimpleNamespace
import torch
from cosmolib.tuning import search as tuning_search, shared_study
from cosmolib.study.profile import load_profile

shared_study.HEARTBEAT, shared_study.GRACE = 1, 3

trials = []

def fit(network, data, profile, *, seed, device, epoch_callback):
    trials.append(profile)
    for epoch in range(1, profile.epochs + 1):
        time.sleep(0.1)
        if "dies" in sys.argv and len(trials) == 2 and epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        epoch_callback({"epoch": epoch, "valid_loss": profile.dropout + 1 / epoch})

tuning_search.fit, tuning_search.build_network = fit, lambda *arguments: None
data = SimpleNamespace(train_x=torch.zeros(4, 1, 32, 32))
profile = load_profile("tiny", tuning_epochs=3)
tuning_search.run_study(data, profile, storage=sys.argv[1], n_trials=int(sys.argv[2]))
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    """Address of a PostgreSQL server of our own, which is stopped at the end."""
    pytest.importorskip("psycopg", reason="the extra 'postgres' is not installed")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")) or [shutil.which("pg_ctl")]
    if not found[-1]:
        pytest.skip("no PostgreSQL server here (Debian: apt install postgresql)")
    tools = Path(found[-1]).parent
    folder = tmp_path_factory.mktemp("postgres")
    user = None
    if os.getuid() == 0:  # it refuses to run as root
        import pwd

        user = "postgres" if "postgres" in {row.pw_name for row in pwd.getpwall()} else "nobody"
        shutil.chown(folder, user)
        for parent in folder.parents:  # one more under pytest-xdist
            if parent.stat().st_mode & 0o5 == 0o5:
                break
            parent.chmod(0o755)
    port = free_port()

    def tool(name, *arguments):
        subprocess.run(
            [tools / name, *arguments], check=True, user=user, cwd=folder, timeout=120,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    tool("initdb", "-D", folder / "data", "-A", "trust", "-U", "tester", "-N")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -F"
    tool("pg_ctl", "start", "-w", "-D", folder / "data", "-l", folder / "log", "-o", options)
    yield f"postgresql://tester@127.0.0.1:{port}/postgres"
    tool("pg_ctl", "stop", "-D", folder / "data", "-m", "immediate")


@pytest.fixture(params=["journal", "postgres"])
def storage(request, tmp_path):
    if request.param == "journal":
        return str(tmp_path / "new" / "study.journal")
    return request.getfixturevalue("postgres")


def start_worker(storage, trials=TRIALS, *more):
    return subprocess.Popen([sys.executable, "-c", WORKER, storage, str(trials), *more])


def trials_of(storage):
    with open_study(storage, "tuning", optuna.pruners.NopPruner()) as shared:
        return shared.study.get_trials()


def wait_for(storage, count):
    for _ in range(600):
        done = [t for t in trials_of(storage) if t.state.name in ("COMPLETE", "PRUNED")]
        if len(done) >= count:
            return
        time.sleep(0.1)
    raise AssertionError(f"{storage}: no {count} trials in a minute")


def test_four_workers_one_killed_no_trial_lost_or_doubled(storage):
    # The first kills itself (SIGKILL) in the middle of its second training.
    workers = [start_worker(storage, TRIALS, *["dies"] * (i == 0)) for i in range(4)]
    try:
        for worker in workers:
            worker.wait(timeout=120)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert [worker.returncode for worker in workers] == [-signal.SIGKILL, 0, 0, 0]
    trials = trials_of(storage)
    done = [t for t in trials if t.state.name in ("COMPLETE", "PRUNED")]
    assert TRIALS <= len(done) <= TRIALS + 3
    assert {t.state.name for t in trials} <= {"COMPLETE", "PRUNED", "FAIL"}
    settings = [tuple(sorted(t.params.items())) for t in done]
    assert len(set(settings)) == len(done)  # none twice
    failed = [t for t in trials if t.state.name == "FAIL"]
    assert len(failed) == 1  # the one that was killed, ...
    assert tuple(sorted(failed[0].params.items())) in settings  # ... which another worker did
    assert len({t.user_attrs["worker"] for t in done}) == 4

    late = start_worker(storage)  # a study that is complete gets no trial more
    assert late.wait(timeout=60) == 0
    assert len(trials_of(storage)) == len(trials)


def test_one_worker_alone_takes_over_at_once(tmp_path):
    """After a kill of everything nobody waits for a heartbeat: the locks of the dead are free."""
    path = str(tmp_path / "study.journal")
    worker = start_worker(path, 5)
    wait_for(path, 2)
    worker.kill()
    worker.wait()
    left = [t for t in trials_of(path) if t.state.name == "RUNNING"]
    second = start_worker(path, 5)
    assert second.wait(timeout=60) == 0
    trials = trials_of(path)
    assert sum(t.state.name in ("COMPLETE", "PRUNED") for t in trials) == 5
    assert sum("failed_trial" in t.system_attrs for t in trials) == len(left)


def value(trial, place):
    return trial.suggest_float("x", 0, 1) + place


def test_settings_that_kill_every_worker_are_given_up(tmp_path):
    with open_study(tmp_path / "s.db", "s", optuna.pruners.NopPruner()) as shared:
        for _ in range(shared_study.RETRIES + 1):
            trial = shared.study.ask()  # and the worker dies with it
            trial.suggest_float("x", 0, 1)
            shared.retry_dead()
        states = [t.state.name for t in shared.study.trials]
        settings = {t.params["x"] for t in shared.study.trials}
    assert states == ["FAIL"] * (shared_study.RETRIES + 1)  # nothing waits
    assert len(settings) == 1


def test_the_trial_of_a_dead_worker_is_queued_once_and_a_live_one_is_left_alone(tmp_path):
    path = tmp_path / "s.journal"
    with open_study(path, "s", optuna.pruners.NopPruner()) as shared:
        for worker in ("dead", "alive"):
            shared.study.ask().set_user_attr("worker", worker)
        shared.study.ask()  # not signed yet
        with held(tmp_path / "s.journal.alive.lock"):
            shared.retry_dead()
            shared.retry_dead()
        trials = shared.study.trials
    assert [t.state.name for t in trials] == ["FAIL", "RUNNING", "RUNNING", "WAITING"]
    assert "worker" not in trials[3].user_attrs  # or the next look would fail it again


def test_half_a_line_at_the_end_of_a_journal_is_cut_off(tmp_path):
    path = tmp_path / "s.journal"
    with open_study(path, "s", optuna.pruners.NopPruner()) as shared:
        shared.run(2, value)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":4,"worker_i')  # a disk that was full
    with open_study(path, "s", optuna.pruners.NopPruner()) as shared:
        shared.run(3, value)
        assert len(finished_trials(shared.study)) == 3
    assert path.read_bytes().startswith(whole)


def test_one_process_a_sqlite_file(tmp_path):
    path = tmp_path / "s.db"
    with open_study(path, "s", optuna.pruners.NopPruner()):
        with pytest.raises(Busy, match=r"in use by process \d+ on "):
            with open_study(path, "s", optuna.pruners.NopPruner()):
                pass
    with held(tmp_path / "s.db.lock", wait=False):  # let go
        pass
    assert not is_shared(path)
    assert is_shared("a.journal")
    assert is_shared("postgresql://host/db")
    assert not is_shared("sqlite:///s.db")
