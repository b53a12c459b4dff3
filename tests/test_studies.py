"""Tuning studies that several processes share: killed workers, a full disk."""

import signal
import subprocess
import sys
import time
from datetime import timedelta

import optuna

from cosmolib.study.locks import held
from cosmolib.tuning import shared_study
from cosmolib.tuning.shared_study import finished_trials, open_study, retry_dead, run_trials

TRIALS = 40
# A worker whose trainings take 0.3 s and have a known loss.
WORKER = """
import os, signal, sys, time
from types import SimpleNamespace
import torch
from cosmolib.tuning import search as tuning_search
from cosmolib.study.profile import load_profile

trials = []

def fit(network, data, profile, *, seed, device, epoch_callback):
    trials.append(profile)
    for epoch in range(1, profile.epochs + 1):
        time.sleep(0.1)
        if "dies" in sys.argv and len(trials) == 6 and epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        epoch_callback({"epoch": epoch, "valid_loss": profile.dropout + 1 / epoch})

tuning_search.fit, tuning_search.build_network = fit, lambda *arguments: None
data = SimpleNamespace(train_x=torch.zeros(4, 1, 32, 32))
profile = load_profile("tiny", tuning_epochs=3)
search = tuning_search.Search(None, data, profile, "tuning")
tuning_search.run_study(search, sys.argv[1], n_trials=int(sys.argv[2]))
"""


def start_worker(storage, trials=TRIALS, *more):
    return subprocess.Popen([sys.executable, "-c", WORKER, storage, str(trials), *more])


def opened(storage):
    return open_study(storage, "tuning", optuna.pruners.NopPruner())


def test_no_trial_is_lost_or_repeated_if_one_of_four_workers_is_killed(tmp_path):
    storage = tmp_path / "new" / "study.journal"
    workers = [start_worker(storage, TRIALS, "dies")]  # killed during its sixth trial
    try:
        while workers[0].poll() is None and not opened(storage).trials:  # wait on a busy machine
            time.sleep(0.1)
        workers += [start_worker(storage) for _ in range(3)]
        for worker in workers:
            worker.wait(timeout=120)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert [worker.returncode for worker in workers] == [-signal.SIGKILL, 0, 0, 0]
    trials = opened(storage).trials
    done = [t for t in trials if t.state.name in ("COMPLETE", "PRUNED")]
    assert TRIALS <= len(done) <= TRIALS + 3
    assert {t.state.name for t in trials} <= {"COMPLETE", "PRUNED", "FAIL"}
    settings = [tuple(sorted(t.params.items())) for t in done]
    assert len(set(settings)) == len(done)  # none twice
    failed = [t for t in trials if t.state.name == "FAIL"]
    assert len(failed) == 1  # the trial of the killed worker,
    assert tuple(sorted(failed[0].params.items())) in settings  # which another one repeated
    assert len({t.user_attrs["worker"] for t in done}) == 4

    late = start_worker(storage)  # a complete study gets no further trials
    assert late.wait(timeout=60) == 0
    assert len(opened(storage).trials) == len(trials)


def test_settings_that_kill_every_worker_are_given_up(tmp_path):
    path = tmp_path / "s.journal"
    study = opened(path)
    for _ in range(shared_study.RETRIES + 1):
        trial = study.ask()  # the worker dies during this trial
        trial.set_user_attr("worker", "dead")
        trial.suggest_float("x", 0, 1)
        retry_dead(study, path)
    states = [t.state.name for t in study.trials]
    assert states == ["FAIL"] * (shared_study.RETRIES + 1)  # nothing is queued
    assert len({t.params["x"] for t in study.trials}) == 1


def test_only_the_trial_of_a_dead_worker_is_queued_again(tmp_path, monkeypatch):
    path = tmp_path / "s.journal"
    study = opened(path)
    for worker in ("dead", "alive"):
        study.ask().set_user_attr("worker", worker)
    study.ask()  # without the name of its worker
    with held(tmp_path / "s.journal.alive.lock"):
        retry_dead(study, path)
        retry_dead(study, path)
        trials = study.trials
        assert [t.state.name for t in trials] == ["FAIL", "RUNNING", "RUNNING", "WAITING"]
        assert "worker" not in trials[3].user_attrs  # otherwise it would be marked as failed again
        monkeypatch.setattr(shared_study, "GRACE", timedelta(0))  # an older trial
        retry_dead(study, path)
    assert [t.state.name for t in study.trials][1:3] == ["RUNNING", "FAIL"]


def test_a_partial_last_line_of_a_journal_is_removed(tmp_path):
    path = tmp_path / "s.journal"
    for n_trials in (2, 3):
        study = opened(path)
        run_trials(study, path, n_trials, lambda trial, place: float(place), lambda *_: None)
        assert [trial.value for trial in finished_trials(study)] == [0, 1, 2][:n_trials]
        with open(path, "ab") as file:
            file.write(b'{"op_code":4,"worker_i')  # written to a full disk
