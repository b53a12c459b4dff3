"""Identity: which changes invalidate each kind of stored result."""

import copy
import importlib.metadata
import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT

from cosmolib.results import baseline
from cosmolib.study import identity
from cosmolib.study.io import read_json
from cosmolib.study.profile import load_profile
from cosmolib.study.registry import load_plugins
from cosmolib.study.run import Run
from cosmolib.training import fit as training_fit
from cosmolib.training import networks
from cosmolib.training import run as training_run
from cosmolib.training.dataset import prepare_data, study_suite
from cosmolib.training.networks import build_network
from cosmolib.tuning import search as tuning_search
from cosmolib.validation import known_posterior
from cosmolib.validation.mocks import draw_mocks
from workflow.runs import notebook_source

SUITE = SimpleNamespace(name="Lite", fingerprint="f0", grid=32, n_simulations=24, box_size=25.0)


def altered(profile, **changes):
    """Return a profile with other values, which are not checked."""
    other = copy.copy(profile)
    vars(other).update(changes)
    return other


@pytest.fixture(scope="module")
def profile(tiny_suite_dir):
    """Return the profile tiny with settings inside the searched ranges, used as first trial."""
    return load_profile(
        "tiny", data_dir=str(tiny_suite_dir), epochs=2, hidden=6, tuning_epochs=1, max_lr=0.003
    )


# --------------------------------------------------------------------------------------------------
# Identities from the functions that store a result
# --------------------------------------------------------------------------------------------------
def of_training(profile, monkeypatch, suite=SUITE, cut="kmax:4", seed=1):
    run = Run("tiny", suite.name, cut, "lite", seed)
    return training_run._config("training", run, profile, suite)["identity"]


def of_pretrained(profile, monkeypatch, suite=SUITE, cut="kmax:4", weights="w0"):
    run = Run("tiny", suite.name, cut, "o3", 1)
    return training_run._config("pretrained", run, profile, suite, weights=weights)["identity"]


def of_metrics(profile, monkeypatch):
    return identity.identity("metrics", profile)


def stored_identities(monkeypatch, module):
    """Return the list to which a module appends the identities of its predictions."""
    kept = []
    monkeypatch.setattr(module, "stored_predictions", lambda folder, now, make: kept.append(now))
    return kept


def of_baseline(profile, monkeypatch, suite=SUITE, cut="kmax:4"):
    kept = stored_identities(monkeypatch, baseline)
    baseline.stored_baseline(suite, profile, cut, "runs")
    return kept[0]


draw = cache(draw_mocks)


def of_known_answer(profile, monkeypatch, cut="kmax:1", seed=1, kind="gaussian", maps_seed=1):
    kept = stored_identities(monkeypatch, known_posterior)
    known = draw(20, 5, 16, maps_seed, kind)
    known_posterior.predict_mocks(known, profile, cut, seed, folder="no-such-folder")
    return kept[0]


def of_tuning(profile, monkeypatch, suite=SUITE, seed=1):
    """Return the name of the study, which contains its identity."""
    monkeypatch.setattr(tuning_search, "study_suite", lambda name, profile: suite)
    monkeypatch.setattr(tuning_search, "prepare_data", lambda *_: None)
    return tuning_search.prepare_search(profile, seed).name


def of_checkpoint(profile, monkeypatch, seed=1, scaling=1.0, labels=1.0, slope=0.2):
    monkeypatch.setattr(networks, "SLOPE", slope)
    monkeypatch.setattr(training_fit, "asdict", lambda scaling: {"mean": scaling})
    theta = SimpleNamespace(double=lambda: np.full(3, labels))
    data = SimpleNamespace(
        suite="Lite", cut="none", fingerprint="f0", train_x=[0], train_theta=theta, scaling=scaling
    )
    return training_fit._identity(build_network("lite", 32, 1), data, profile, seed)


def of_chapter(profile, monkeypatch, name="02_cuts", fingerprint="f0"):
    source = notebook_source(ROOT / "notebooks" / f"{name}.ipynb")
    return identity.identity("chapter", profile, fingerprint=fingerprint, sources=source)


MAPS = "field sim_set n_simulations train_simulations split_seed scaling_scope targets "
INPUTS = MAPS + "scaling shuffle_labels "
STEPS = "betas schedule symmetries shifts precision compile "
SEARCHED = "max_lr weight_decay dropout hidden "
CODE_OF_MAPS = (
    "cuts.grammar cuts.apply cuts.noise data.suites data.cmd_format data.lite training.dataset "
    "data.scaling data.arrays "
)
OTHERS = (
    "plots.style plots.cuts results.claims results.controls cli data.download data.check "
    "study.io study.locks study.run "
)
# kind: function, profile keys, modules that count, modules that do not, packages, other options
TABLE = {
    "training": (
        of_training, INPUTS + STEPS + SEARCHED
        + "storage epochs batch_size average_symmetries",
        CODE_OF_MAPS + "training.networks training.fit training.run", OTHERS
        + "tuning.search training.scores results.baseline validation.known_posterior",
        "numpy scipy torch", [{"cut": "kmax:5"}, {"seed": 2}],
    ),
    "checkpoint": (
        of_checkpoint, STEPS + "targets epochs batch_size max_lr weight_decay",
        CODE_OF_MAPS + "training.networks training.fit", OTHERS + "tuning.search training.scores",
        "numpy scipy torch", [{"seed": 2}, {"scaling": 2.0}, {"labels": 2.0}, {"slope": 0.01}],
    ),
    "pretrained": (
        of_pretrained, INPUTS + "average_symmetries",
        CODE_OF_MAPS + "training.networks training.run", OTHERS + "training.scores tuning.search",
        "numpy scipy torch", [{"cut": "kmax:5"}, {"weights": "w1"}],
    ),
    "metrics": (
        of_metrics, "bootstrap_samples", "training.scores", OTHERS + "training.networks cuts.apply",
        "numpy scipy torch", [],
    ),
    "baseline": (
        of_baseline, MAPS,
        CODE_OF_MAPS + "results.baseline data.spectra",
        OTHERS + "training.networks training.fit tuning.search training.scores",
        "numpy scipy torch scikit-learn", [{"cut": "kmax:5"}],
    ),
    "known_answer": (
        of_known_answer, STEPS + "known_answer_architecture known_answer_hidden "
        "known_answer_epochs known_answer_batch known_answer_max_lr average_symmetries",
        "cuts.grammar cuts.apply cuts.noise data.suites data.scaling training.networks "
        "training.fit validation.gaussian_fields validation.mocks validation.injected_signals "
        "validation.known_posterior",
        OTHERS + "interpretation.attribution results.table validation.calibration tuning.search "
        "training.scores",
        "numpy scipy torch",
        [{"cut": "kmax:2"}, {"seed": 2}, {"kind": "lognormal"}, {"maps_seed": 2}],
    ),
    "tuning": (
        of_tuning, INPUTS + STEPS + SEARCHED + "storage batch_size tuning_epochs architecture",
        CODE_OF_MAPS + "training.networks training.fit tuning.search tuning.shared_study",
        OTHERS + "training.scores training.run results.baseline",
        "numpy scipy torch optuna", [{"seed": 2}],
    ),
    "chapter": (
        of_chapter, None, CODE_OF_MAPS.replace("training.dataset", "plots.style") + "study.run "
        "data.spectra plots.cuts",
        "results.claims results.table cli data.download interpretation.experiments",
        "numpy scipy torch matplotlib", [{"name": "01_data"}, {"fingerprint": "f1"}],
    ),
}  # fmt: skip
PATHS = {"data_dir", "plugins"}


@pytest.fixture
def edit(monkeypatch):
    """Return a function that changes the source of a module, as for a later process."""

    def change(name, text):
        monkeypatch.setitem(identity._SOURCES, name, identity._SOURCES[name] + text.encode())

    return change


# Other values of keys that are not numbers
OTHER = {
    "repeated": ["none"], "answer": None, "uncut_suites": ["Lite_strong"],
    "name": "tiny2", "plugins": ["x"], "suites": ["Lite"], "data_dir": "x", "field": "HI",
    "sim_set": "CV", "n_simulations": 23, "train_simulations": 7, "scaling": "asinh",
    "storage": "disk", "scaling_scope": "file", "cuts": ["none"], "controls": [],
    "architecture": "k4s2", "targets": ["Omega_m"], "seeds": [7], "betas": [0.5, 0.999],
    "schedule": "cyclic", "precision": "bfloat16", "compile": "compiled",
    "tuning_suite": "Nbody_Lite", "tuning_simulations": 12, "attribution_seeds": [7],
    "known_answer_architecture": "lite", "known_answer_cuts": ["kmax:3"],
}  # fmt: skip


def other_value(key, value):
    if key in OTHER:
        return OTHER[key]
    return not value if isinstance(value, bool) else value * 2 + 1 if value else 0.5


@pytest.mark.parametrize("kind", TABLE)
def test_settings(kind, profile, monkeypatch):
    """Exactly the listed keys of the profile invalidate a result."""
    of, keys, _, _, _, options = TABLE[kind]
    wanted = vars(profile).keys() - PATHS if keys is None else set(keys.split())
    assert wanted <= vars(profile).keys()
    if kind == "tuning":  # it has a separate number of simulations
        wanted = wanted - {"n_simulations"} | {"tuning_simulations"}
    before = of(profile, monkeypatch)
    assert of(altered(profile), monkeypatch) == before
    for key, value in vars(profile).items():
        if (kind, key) == ("chapter", "plugins"):
            continue  # the text of the plugin counts, and this file does not exist
        now = of(altered(profile, **{key: other_value(key, value)}), monkeypatch)
        assert (now != before) == (key in wanted), f"{kind}: {key}"
    for option in options:
        assert of(profile, monkeypatch, **option) != before, option
    if "suite" in of.__code__.co_varnames:
        other = SimpleNamespace(**{**vars(SUITE), "fingerprint": "f1"})
        assert of(profile, monkeypatch, suite=other) != before


@pytest.mark.parametrize("kind", TABLE)
def test_code_and_versions(kind, profile, monkeypatch):
    """A changed module or package invalidates results that use it; comments do not count."""
    of, _, used, unused, packages, _ = TABLE[kind]
    before, real = of(profile, monkeypatch), importlib.metadata.version
    for names, text, counts in (
        (used, "\nEXTRA = 1\n", True),
        (unused, "\nEXTRA = 1\n", False),
        (used, '\n# a comment\n\n"""A text."""\n\n\n', False),
    ):
        for name in names.split():
            with monkeypatch.context() as patch:
                patch.setitem(identity._SOURCES, name, identity._SOURCES[name] + text.encode())
                assert (of(profile, monkeypatch) != before) == counts, f"{kind}: {name} {text!r}"
    for package in (*packages.split(), "papermill"):
        with monkeypatch.context() as patch:
            version = lambda name, p=package: "9.9" if name == p else real(name)  # noqa: E731
            patch.setattr(importlib.metadata, "version", version)
            assert (of(profile, monkeypatch) != before) == (package in packages), package


def test_the_table_is_complete(profile):
    """All listed keys and modules exist, and all kinds are tested."""
    assert TABLE.keys() == identity.KINDS.keys()
    for kind in identity.KINDS.values():
        assert {*(kind.keys or ())} <= vars(profile).keys()
        assert {*kind.modules, *kind.apart, *identity.PLUMBING} <= identity._SOURCES.keys()


def test_equal_values_have_one_identity(profile):
    def of(cut="above:1e12", seed=1, **changes):
        return identity.identity("training", altered(profile, **changes), cut=cut, seed=seed)

    assert of() == of("above:1000000000000:clamp", np.int64(1), weight_decay=profile.weight_decay)
    assert of(max_lr=1) == of(max_lr=1.0) == json.loads(json.dumps(of(max_lr=1)))
    assert of(betas=(0.5, 1.0)) == of(betas=[0.5, 1])
    assert identity.digest({"a": 1, "b": (2.0,)}) == identity.digest({"b": [2], "a": 1.0})
    assert of(targets=["sigma_8", "Omega_m"]) != of(targets=["Omega_m", "sigma_8"])


def test_changes_are_named(profile, edit):
    stored = identity.identity("training", profile, seed=1)
    assert identity.changes(stored, stored) == []
    assert identity.changes(3, stored) == ["found no identity, expected that of a training"]
    edit("cuts.grammar", "\nEXTRA = 1\n")
    now = identity.identity("training", altered(profile, max_lr=0.1), seed=2)
    assert identity.changes(stored, now) == [
        "other code in cuts.grammar",
        "max_lr: found 0.003, expected 0.1",
        "seed: found 1, expected 2",
    ]


def test_plugins_count_by_text_and_imports(profile, tmp_path, edit, no_plugins):
    path = tmp_path / "mine.py"
    text = "from cosmolib.interpretation import cosmic_web\n"
    text += "from cosmolib.cuts.apply import register_cut\n"
    text += "@register_cut('mine')\ndef mine(maps):\n    return maps\n"

    def of(cut, text):
        no_plugins()
        path.write_text(text)
        load_plugins([path])
        return identity.identity("training", profile, cut=cut)

    before = of("nomean:mine", text)
    edit("interpretation.cosmic_web", "\nEXTRA = 1\n")
    assert identity.changes(before, of("nomean:mine", text)) == [
        "other code in interpretation.cosmic_web"
    ]


def test_a_notebook_counts_by_its_code(tmp_path):
    def of(*cells):
        path = tmp_path / "x.ipynb"
        path.write_text(json.dumps({"cells": cells}))
        return [*notebook_source(path)]

    cell = {"cell_type": "code", "source": ["a = 1"], "metadata": {}}
    hidden = {"cell_type": "code", "source": ["b = 1"], "metadata": {"tags": ["remove-cell"]}}
    prose = {"cell_type": "markdown", "source": ["# b"], "metadata": {}}
    assert of(hidden, prose, {**cell, "source": ["a = 1  # one"]}) == of(cell)
    assert of({**cell, "source": ["a = 2"]}) != of(cell)


# --------------------------------------------------------------------------------------------------
# Runs
# --------------------------------------------------------------------------------------------------
def contents(run, *names):
    return [run.path(name).read_bytes() for name in names]


TRAINED = ("config.yaml", "history.csv", "weights.pt", "provenance.json")


def test_new_scores_need_no_training(run, profile, monkeypatch):
    before, metrics = contents(run, *TRAINED, "predictions.npz"), contents(run, "metrics.json")
    monkeypatch.setattr(training_run, "fit", None)
    monkeypatch.setattr(training_run, "predict", None)
    more = altered(profile, bootstrap_samples=99)
    suite = study_suite("Lite", profile)
    assert "bootstrap_samples" in training_run.run_changes(run, more, suite)[0]
    training_run.train_run(run, more)
    assert contents(run, *TRAINED, "predictions.npz") == before
    assert contents(run, "metrics.json") != metrics
    assert training_run.run_changes(run, more, suite) == []


def test_provenance_is_recorded_by_the_training(run, profile, monkeypatch):
    """A run that was killed after the training is completed with the original provenance."""
    shutil.rmtree(run.folder)
    with monkeypatch.context() as patch:
        patch.setattr(training_run, "predict", None)
        with pytest.raises(TypeError):
            training_run.train_run(run, profile)
    before = contents(run, *TRAINED)
    with monkeypatch.context() as patch:
        patch.setattr(training_fit, "_train_epoch", None)
        patch.setattr(training_run, "provenance", None)
        training_run.train_run(run, profile)
    assert contents(run, *TRAINED) == before

    stored = training_run._read_config(run)["identity"]
    assert read_json(run.path("provenance.json"))["code"] == identity.digest(stored["code"])


def test_weights_of_other_code_are_loaded_if_they_predict_the_same(run, profile, edit, monkeypatch):
    edit("cli", "\nEXTRA = 1\n")
    training_run.load_run(run)
    edit("training.networks", "\nEXTRA = 1\n")
    training_run.load_run(run)  # other code, and the same predictions
    shifted = training_run.run_network
    monkeypatch.setattr(
        training_run, "run_network", lambda *a, **o: [x + 0.01 for x in shifted(*a, **o)]
    )
    with pytest.raises(ValueError, match=r"weights\.pt: the weights were made by other code of"):
        training_run.load_run(run)


@pytest.mark.parametrize("left", [("weights.pt", "history.csv"), ("checkpoint.pt",)])
def test_an_incomplete_run_of_other_code_is_retrained(run, profile, edit, left, monkeypatch):
    data = prepare_data(study_suite("Lite", profile), profile)
    if left == ("checkpoint.pt",):
        network = build_network("lite", 32, profile.hidden, profile.dropout, 2)
        options = {"seed": 1, "checkpoint": run.path("checkpoint.pt")}
        training_fit.fit(network, data, altered(profile, epochs=1), **options)
    for path in run.folder.iterdir():
        if path.name not in ("config.yaml", "provenance.json", *left):
            path.unlink()
    edit("training.dataset", "\nEXTRA = 1\n")
    epochs = []
    training_run.train_run(run, profile, progress=epochs.append)
    assert len(epochs) == profile.epochs


SEEN = """
from pathlib import Path
from cosmolib.study import identity
source = Path("cosmolib/training/networks.py")
source.write_text(source.read_text().replace("SLOPE = 0.2", "SLOPE = 0.01"))
print(identity.__file__, identity.code(["training.networks"])["training.networks"])
"""


def test_an_edit_after_the_import_does_not_count(tmp_path):
    """The first of two processes edits the network after importing it."""
    shutil.copytree(ROOT / "cosmolib", tmp_path / "cosmolib")
    seen = []
    for _ in range(2):
        output = subprocess.check_output([sys.executable, "-c", SEEN], cwd=tmp_path, text=True)
        path, code = output.split()
        assert Path(path).is_relative_to(tmp_path)
        seen.append(code)
    assert seen[0] == identity.code(["training.networks"])["training.networks"] != seen[1]


# --------------------------------------------------------------------------------------------------
# Other stores
# --------------------------------------------------------------------------------------------------
def test_more_trials_continue_a_study(profile, monkeypatch):
    names = [
        of_tuning(altered(profile, **changes), monkeypatch)
        for changes in ({}, {"tuning_trials": 50}, {"max_lr": 1.0}, {"max_lr": 2.0})
    ]
    assert names[0] == names[1]  # the first trial has the settings of the profile,
    assert names[2] == names[3] != names[0]  # unless they are outside the ranges
