"""The study: its space, resuming, pruning, what it reports."""

import sqlite3
from types import SimpleNamespace

import optuna
import pytest
import torch

from cosmolib.data.suites import open_suite
from cosmolib.study.profile import load_profile
from cosmolib.training.dataset import prepare_data
from cosmolib.tuning import search as tuning_search
from cosmolib.tuning.search import boundary_flags, importances, run_study, study_table
from cosmolib.tuning.shared_study import finished_trials


@pytest.fixture(scope="module")
def profile():
    return load_profile("tiny", tuning_trials=3, tuning_epochs=2)


@pytest.fixture(scope="module")
def data(tiny_suite_dir, profile):
    return prepare_data(open_suite("Lite", tiny_suite_dir), profile)


@pytest.fixture
def fast(monkeypatch):
    """Trainings without a network: the loss is a known function of the hyper-parameters."""

    def fit(network, data, profile, *, seed, device, epoch_callback):
        for epoch in range(1, profile.epochs + 1):
            loss = abs(profile.dropout - 0.3) + 0.01 * profile.hidden + 1 / epoch
            epoch_callback({"epoch": epoch, "valid_loss": loss})

    monkeypatch.setattr(tuning_search, "fit", fit)
    monkeypatch.setattr(tuning_search, "build_network", lambda *arguments: None)


def test_a_killed_study_finds_what_it_would_have_found(tmp_path, data, profile, fast, monkeypatch):
    whole = run_study(data, profile, storage=tmp_path / "whole.db", n_trials=12, seed=3)

    done = 0
    fit = tuning_search.fit

    def killed(*arguments, **options):
        nonlocal done
        done += 1
        if done == 8:
            raise KeyboardInterrupt
        fit(*arguments, **options)

    monkeypatch.setattr(tuning_search, "fit", killed)
    path = tmp_path / "killed.db"
    with pytest.raises(KeyboardInterrupt):
        run_study(data, profile, storage=path, n_trials=12, seed=3)
    # A process that is killed outright leaves its trial running.
    study = optuna.load_study(study_name="tuning", storage=f"sqlite:///{path}")
    study.ask()
    monkeypatch.setattr(tuning_search, "fit", fit)
    resumed = run_study(data, profile, storage=path, n_trials=12, seed=3)
    assert [t.params for t in finished_trials(resumed)] == [t.params for t in whole.trials]
    assert [t.state.name for t in resumed.trials].count("FAIL") == 2

    monkeypatch.setattr(tuning_search, "fit", None)  # complete: nothing is trained any more
    again = run_study(data, profile, storage=path, n_trials=12, seed=3)
    assert len(finished_trials(again)) == 12
    with sqlite3.connect(path) as database:
        assert database.execute("select count(*) from studies").fetchone() == (1,)
    database.close()


def test_tpe_finds_the_optimum(tmp_path, data, profile, fast):
    study = run_study(data, profile, storage=tmp_path / "s.db", n_trials=40, seed=1)
    rows = study_table(study)
    assert abs(study.best_params["dropout"] - 0.3) < 0.05
    assert study.best_params["hidden"] <= 7
    assert [row["number"] for row in rows] == list(range(40))
    assert any(row["pruned"] for row in rows)  # the median pruner works
    assert len({row["dropout"] for row in rows}) == 40  # no trial twice
    shares = importances(study)
    assert max(shares, key=shares.get) == "dropout"
    assert sum(shares.values()) == pytest.approx(1)


def test_the_profile_itself_is_the_first_trial(tmp_path, data, profile, fast):
    inside = load_profile("tiny", hidden=7, dropout=0.25, max_lr=1e-3, weight_decay=0.01)
    study = run_study(data, inside, storage=tmp_path / "s.db", n_trials=2)
    rows = study_table(study)
    assert [row["profile"] for row in rows] == [True, False]
    assert (rows[0]["hidden"], rows[0]["dropout"]) == (7, 0.25)
    outside = run_study(data, profile, storage=tmp_path / "t.db", n_trials=1)  # hidden: 2
    assert not study_table(outside)[0]["profile"]


def test_a_training_that_diverges_is_pruned(tmp_path, data, profile, fast, monkeypatch):
    def diverge(*arguments, **options):
        raise FloatingPointError("epoch 1: found a loss of nan")

    monkeypatch.setattr(tuning_search, "fit", diverge)
    study = run_study(data, profile, storage=tmp_path / "s.db", n_trials=2)
    assert [row["value"] for row in study_table(study)] == [None, None]
    assert study.trials[0].user_attrs["diverged"] == "epoch 1: found a loss of nan"
    assert importances(study) == {}


@pytest.mark.parametrize(
    ("best", "edges"),
    [
        ({}, {}),
        ({"max_lr": 4.9e-3}, {"max_lr": "high"}),
        ({"max_lr": 1.2e-5, "hidden": 6}, {"max_lr": "low", "hidden": "low"}),
        ({"weight_decay": 1e-1}, {"weight_decay": "high"}),
        ({"weight_decay": 1e-7}, {}),  # far from the edge in the logarithm
        ({"hidden": 11}, {}),
    ],
)
def test_boundary_flags(best, edges):
    middle = {"max_lr": 1e-3, "weight_decay": 1e-4, "dropout": 0.4, "hidden": 9}
    flags = boundary_flags(SimpleNamespace(best_params={**middle, **best}))
    assert {flag["parameter"]: flag["edge"] for flag in flags} == edges


@pytest.fixture
def one_thread():
    """Sums come out the same to the last bit only with as many threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_workers_share_a_study(tmp_path, data, profile, one_thread):
    """Real trainings in two processes; one alone draws the same random settings."""
    lines = []
    options = {"n_trials": 4}  # all of them random
    with pytest.raises(ValueError, match=r"s.db: found SQLite for 2 workers, expected a .journal"):
        run_study(data, profile, storage=tmp_path / "s.db", workers=2, **options)
    path = tmp_path / "s.journal"
    study = run_study(
        data, profile, storage=path, workers=2, progress=lines.append, **options
    )  # fmt: skip
    assert lines == []  # nobody died; the workers say their lines themselves
    assert 4 <= len(study.trials) <= 5  # each worker completes the trial that it began
    assert {t.state.name for t in study.trials} == {"COMPLETE"}
    assert all(t.value == min(t.intermediate_values.values()) for t in study.trials)
    alone = run_study(data, profile, storage=tmp_path / "alone.journal", **options)
    settings, values = (
        {tuple(t.params.values()): t.value for t in s.trials} for s in (study, alone)
    )
    assert settings.items() >= values.items()


@pytest.mark.parametrize(
    "plugin", ["raise ValueError('no such map')", "import os\nos.kill(os.getpid(), 9)"]
)
def test_a_worker_that_fails_is_an_error_and_one_that_is_killed_is_not(
    tmp_path, data, profile, fast, plugin
):
    """Workers are new processes: they load the plugins, and nothing else fails there."""
    (tmp_path / "mine.py").write_text(plugin)
    own, lines = profile.replace(plugins=[str(tmp_path / "mine.py")]), []
    options = {"workers": 2, "n_trials": 2, "progress": lines.append}
    if "kill" in plugin:
        study = run_study(data, own, storage=tmp_path / "s.journal", **options)
        assert len(finished_trials(study)) == 2
        assert lines[:2] == [f"worker {i} of 2 was killed by signal 9; the others continue"
                             for i in (1, 2)]  # fmt: skip
    else:
        with pytest.raises(ChildProcessError, match=r"worker [12] of 2: .*mine.py.*no such map"):
            run_study(data, own, storage=tmp_path / "s.journal", **options)


def test_every_worker_gets_a_gpu_in_turn(monkeypatch):
    seen = []

    def process(target, args):
        seen.append(args[4])
        return SimpleNamespace(start=lambda: None, join=lambda: None, exitcode=0)

    queue = SimpleNamespace(empty=lambda: True)
    context = SimpleNamespace(Process=process, SimpleQueue=lambda: queue)
    monkeypatch.setattr(torch.multiprocessing, "get_context", lambda kind: context)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-a")
    tuning_search._start_workers(3, (None, None), {}, "cuda", None)
    assert seen == ["2", "GPU-a", "2"]
