"""Tuning studies: resuming, pruning, workers, tables and flags."""

import os
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import Mock

import optuna
import pytest
import torch

from cosmolib.study.profile import load_profile
from cosmolib.training.dataset import prepare_data
from cosmolib.tuning import search as tuning_search
from cosmolib.tuning.search import (
    SEARCH_SPACE,
    Search,
    boundary_flags,
    importances,
    run_study,
    study_table,
)
from cosmolib.tuning.shared_study import finished_trials, open_study


@pytest.fixture(scope="module")
def search(suite):
    profile = load_profile("tiny", tuning_trials=3, tuning_epochs=2)
    return Search(suite, prepare_data(suite, profile), profile, "tuning")


@pytest.fixture
def fast(monkeypatch):
    """Replace training: the loss is a known function of the hyper-parameters."""

    def fit(network, data, profile, *, seed, device, epoch_callback):
        for epoch in range(1, profile.epochs + 1):
            loss = abs(profile.dropout - 0.3) + 0.01 * profile.hidden + 1 / epoch
            epoch_callback({"epoch": epoch, "valid_loss": loss})

    monkeypatch.setattr(tuning_search, "fit", fit)
    monkeypatch.setattr(tuning_search, "build_network", lambda *arguments: None)


def test_a_killed_study_gives_the_result_of_an_undisturbed_one(tmp_path, search, fast, monkeypatch):
    whole = run_study(search, tmp_path / "whole.journal", n_trials=12)

    path = tmp_path / "killed.journal"
    run_study(search, path, n_trials=7)
    with monkeypatch.context() as patch:
        patch.setattr(tuning_search, "fit", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_study(search, path, n_trials=12)
    # A killed process leaves its trial in the state RUNNING.
    open_study(path, "tuning", optuna.pruners.NopPruner()).ask().set_user_attr("worker", "dead")
    resumed = run_study(search, path, n_trials=12)
    assert [t.params for t in finished_trials(resumed)] == [t.params for t in whole.trials]
    assert [t.state.name for t in resumed.trials].count("FAIL") == 2

    monkeypatch.setattr(tuning_search, "fit", None)  # the study is complete: nothing may be trained
    again = run_study(search, path, n_trials=12)
    assert len(finished_trials(again)) == 12


def test_tpe_finds_the_optimum(tmp_path, search, fast):
    study = run_study(search, tmp_path / "s.journal", n_trials=40)
    rows = study_table(study)
    assert abs(study.best_params["dropout"] - 0.3) < 0.05
    assert study.best_params["hidden"] <= 7
    assert any(row["pruned"] for row in rows)  # by the median pruner
    assert len({row["dropout"] for row in rows}) == 40  # no trial twice
    shares = importances(study)
    assert max(shares, key=shares.get) == "dropout"
    assert sum(shares.values()) == pytest.approx(1)


def test_the_settings_of_the_profile_are_the_first_trial(tmp_path, search, fast):
    inside = load_profile("tiny", hidden=7, dropout=0.25, max_lr=1e-3, weight_decay=0.01)
    study = run_study(replace(search, profile=inside), tmp_path / "s.journal", n_trials=2)
    rows = study_table(study)
    assert [row["profile"] for row in rows] == [True, False]
    assert (rows[0]["hidden"], rows[0]["dropout"]) == (7, 0.25)
    wide = replace(search, profile=inside.replace(hidden=9))
    outside = run_study(wide, tmp_path / "t.journal", n_trials=1)
    assert not study_table(outside)[0]["profile"]


def test_a_training_that_diverges_is_pruned(tmp_path, search, fast, monkeypatch):
    monkeypatch.setattr(tuning_search, "fit", Mock(side_effect=FloatingPointError))
    study = run_study(search, tmp_path / "s.journal", n_trials=2)
    assert [row["value"] for row in study_table(study)] == [None, None]
    assert importances(study) == {}


@pytest.mark.parametrize(
    ("best", "edges"),
    [
        ({}, {}),
        ({"max_lr": 4.9e-3}, {"max_lr": "high"}),
        ({"max_lr": 1.2e-5, "hidden": 6}, {"max_lr": "low", "hidden": "low"}),
        ({"weight_decay": 1e-7}, {}),  # far from the edge in the logarithm
        ({"hidden": 11}, {}),
    ],
)
def test_boundary_flags(best, edges):
    middle = {"max_lr": 1e-3, "weight_decay": 1e-4, "dropout": 0.4, "hidden": 9}
    flags = boundary_flags(
        SimpleNamespace(
            best_params={**middle, **best}, best_trial=SimpleNamespace(distributions=SEARCH_SPACE)
        )
    )
    assert {flag["parameter"]: flag["edge"] for flag in flags} == edges


@pytest.fixture
def one_thread():
    """Sums are equal bit by bit only with the same number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_workers_share_a_study(tmp_path, search, one_thread):
    """Two processes train, and a single process draws the same random settings."""
    lines = []
    study = run_study(search, tmp_path / "s.journal", n_trials=4, workers=2, progress=lines.append)
    assert lines == []  # no worker died; they print their own lines
    assert 4 <= len(study.trials) <= 5  # each worker completes its current trial
    assert {t.state.name for t in study.trials} == {"COMPLETE"}
    assert all(t.value == min(t.intermediate_values.values()) for t in study.trials)
    alone = run_study(search, tmp_path / "alone.journal", n_trials=4)  # all of them random
    settings, values = (
        {tuple(t.params.values()): t.value for t in s.trials} for s in (study, alone)
    )
    assert settings.items() >= values.items()


@pytest.mark.parametrize(
    "plugin", ["raise ValueError('no such map')", "import os\nos.kill(os.getpid(), 9)"]
)
def test_a_worker_that_fails_is_an_error_and_one_that_is_killed_is_not(
    tmp_path, search, fast, plugin
):
    """Workers are new processes, in which only loading the plugin fails."""
    (tmp_path / "mine.py").write_text(plugin)
    own = replace(search, profile=search.profile.replace(plugins=[str(tmp_path / "mine.py")]))
    lines = []
    options = {"workers": 2, "n_trials": 2, "progress": lines.append}
    if "kill" in plugin:
        study = run_study(own, tmp_path / "s.journal", **options)
        assert len(finished_trials(study)) == 2
        assert lines[0].endswith("terminated with signal SIGKILL; the others continue")
    else:
        with pytest.raises(ChildProcessError, match=r"worker [12] of 2: .*mine.py.*no such map"):
            run_study(own, tmp_path / "s.journal", **options)


def test_every_worker_gets_a_gpu_in_turn(search, monkeypatch):
    seen = []
    monkeypatch.setattr(
        tuning_search, "run_study", lambda *_, **__: seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for index in range(3):
        tuning_search._work(index, search, {}, torch.get_num_threads(), ["2", "GPU-a"])
    assert seen == ["2", "GPU-a", "2"]
