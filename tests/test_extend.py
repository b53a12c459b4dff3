"""The code of book/extend.md; plugins; names and functions that are refused."""

import re
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch import nn

from cosmolib import cli
from cosmolib.cuts.apply import apply_cut, cut_mask, register_cut
from cosmolib.cuts.grammar import Cut
from cosmolib.data.suites import read_maps, write_suite
from cosmolib.data.tables import parameter_ranges, register_suite
from cosmolib.interpretation.attribution import attribute, register_method
from cosmolib.interpretation.experiments import faithfulness, randomisation
from cosmolib.interpretation.subject import explain, load_subject
from cosmolib.study import registry
from cosmolib.study.io import read_json, read_yaml, write_yaml
from cosmolib.study.profile import load_profile
from cosmolib.study.run import Run
from cosmolib.training import run as training_run
from cosmolib.training.dataset import normalise, prepare_data, study_suite
from cosmolib.training.fit import run_network, seeded
from cosmolib.training.networks import MomentNetwork, build_network, register_network
from cosmolib.training.predictions import read_predictions
from cosmolib.training.run import load_run, train_run
from cosmolib.tuning import search as tuning_search

PAGE = (ROOT / "book" / "extend.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)
USE = BLOCKS.pop(2)  # explains a run
pytestmark = pytest.mark.usefixtures("no_plugins")


@pytest.fixture
def page():
    """Execute the code blocks of the page in one namespace and return it."""
    names = {"__name__": "page"}
    for block in BLOCKS:
        exec(block, names)
    return names


@pytest.fixture
def study(tmp_path):
    """Write a profile with the page's plugins and settings; return path and profile."""
    (tmp_path / "mine.py").write_text("\n\n".join(BLOCKS[:3]))
    (tmp_path / "methods.py").write_text(BLOCKS[3])
    values = read_yaml(ROOT / "configs" / "tiny.yaml")
    path = tmp_path / "mine.yaml"
    path.write_text(re.search(r"```yaml\n(.*?)```", PAGE, re.S)[1])
    values |= read_yaml(path) | {"data_dir": str(tmp_path / "data"), "controls": []}
    values["plugins"] = ["mine.py", "methods.py"]
    write_yaml(path, values)
    profile = load_profile(path)
    sys.modules[registry.CUTS["smooth"].function.__module__].write_toy(tmp_path / "data")
    return path, profile


# -------------------------------------------------------------------------------------- the page
def test_the_suite(page, tmp_path, capsys):
    assert len(BLOCKS) == 4
    suite = page["write_toy"](tmp_path)
    assert suite.maps.shape == (360, 32, 32)
    np.testing.assert_array_equal(parameter_ranges("Nbody_Toy"), parameter_ranges("Lite"))
    assert cli.main(["check", str(tmp_path)]) == 0  # positive, and the mass of each Omega_m
    assert "whole, nothing wrong found" in capsys.readouterr().out


def test_the_cut(page):
    maps = np.exp(2 * np.random.default_rng(0).normal(size=(3, 32, 32))).astype(np.float32)
    out = apply_cut(maps, "smooth:1.5", box_size=20.0)
    assert out.dtype == np.float32
    # A Gaussian of 1.5 Mpc/h multiplies each mode and keeps the mean.
    k = 2 * np.pi * 3 / 20.0
    ratio = np.fft.fft2(out)[:, 3, 0] / np.fft.fft2(maps)[:, 3, 0]
    np.testing.assert_allclose(ratio, np.exp(-0.5 * (1.5 * k) ** 2), rtol=1e-3)
    np.testing.assert_allclose(out.mean((1, 2)), maps.mean((1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(apply_cut(maps[1], "smooth:1.5", box_size=20.0), out[1])


def test_a_run_with_all_plugins(study, tmp_path, monkeypatch, no_plugins):
    path, profile = study
    run = Run("mine", "Toy", "smooth:1", "pixels", 1, tmp_path / "runs")
    assert train_run(run, profile)["n_maps"] == 30
    predictions = read_predictions(run.path("predictions.npz"))
    network, scaling, config = load_run(run)
    assert type(network).__name__ == "Pixels"
    assert [text.split()[0] for text in config["identity"]["sources"]] == ["mine.py"]
    made = read_json(run.path("provenance.json"))["config"]["plugins"]
    assert config["identity"]["sources"][0] in made
    assert str(tmp_path) not in str(made)
    # The predictions are for the smoothed maps.
    maps = apply_cut(read_maps(study_suite("Toy", profile), predictions["map"]), "smooth:1")
    x = torch.from_numpy(scaling.apply(maps))[:, None]
    low, high = parameter_ranges("Toy")[:2].T
    mean = low + (high - low) * run_network(network, x)[0].numpy()
    np.testing.assert_allclose(mean, predictions["mean"], rtol=1e-4)
    monkeypatch.chdir(tmp_path)
    places = {"configs/mine.yaml": str(path), "Lite": "Toy"}
    exec(re.sub("|".join(places), lambda found: places[found[0]], USE), used := {})
    assert used["values"].shape == (6, 32, 32)
    subject = load_subject(run, profile)
    assert explain(subject, "reveal", 0).completeness.max() < 1e-2
    assert [row["method"] for row in faithfulness(subject, ["reveal"], 0)] == ["reveal"]
    random = randomisation(subject, ["reveal"], 0, {})
    assert random["stages"] == ["FC2", "FC1", "layers.2", "layers.0"]
    no_plugins()  # reading a run executes no plugin
    register_cut("smooth")(lambda maps, length: maps)  # its folder is named for the cut
    with pytest.raises(ValueError, match=r"config\.yaml: architecture: found 'pixels', expected"):
        load_run(run)


def test_editing_a_plugin_invalidates_only_its_runs(study, tiny_suite_dir, tmp_path, no_plugins):
    path, _ = study
    of_lite = {"suites": ["Lite"], "tuning_suite": "Lite", "data_dir": str(tiny_suite_dir)}
    profile = load_profile(path, **of_lite)
    lite = [Run("mine", "Lite", cut, "lite", 1, tmp_path / "runs") for cut in ("smooth:1", "none")]
    for run in lite:
        train_run(run, profile)
    name = tuning_search.prepare_search(profile).name

    text = (tmp_path / "mine.py").read_text()
    (tmp_path / "mine.py").write_text(text.replace("-0.5 *", "-2.0 *"))  # of the same length
    (tmp_path / "methods.py").write_text(BLOCKS[3] + "\n# a note\n")
    with pytest.raises(ValueError, match=r"mine\.py: changed since it was executed; restart"):
        load_profile(path, **of_lite)
    no_plugins()
    profile = load_profile(path, **of_lite)
    suite = study_suite("Lite", profile)
    assert [training_run.run_changes(run, profile, suite) == [] for run in lite] == [False, True]
    assert tuning_search.prepare_search(profile).name != name  # it uses the network `pixels`


def test_a_tuning_worker_loads_them(study, tmp_path):
    """In another process, from the profile only, as in a notebook run by papermill."""
    _, profile = study
    search = tuning_search.prepare_search(profile)
    reported = []
    tuning_search.run_study(
        search, tmp_path / "study.journal", n_trials=2, workers=2, progress=reported.append
    )
    assert not reported  # no worker failed


# ------------------------------------------------------------------------------------------ names
def gradient(forward, x, target):
    x.requires_grad_()
    return torch.autograd.grad(forward(x)[:, target].sum(), x)[0]


RANGES = [(0.0, 1.0)] * 6
WAYS = {
    "suite": lambda name: register_suite(name, RANGES),
    "cut": lambda name: register_cut(name)(lambda maps, length: maps),
    "architecture": lambda name: register_network(name)(lambda *_: None),
    "method": lambda name: register_method(name)(gradient),
}
OURS = {
    "suite": ["Lite", "SIMBA"], "architecture": ["lite", "o3"],
    "cut": ["none", "kmax", "above", "mask", "shuffle", "clamp", "white", "nomean"],
    "method": ["saliency", "gradient_shap"],
}  # fmt: skip


@pytest.mark.parametrize("kind", WAYS)
def test_bad_names_are_refused(kind):
    for name in OURS[kind]:
        with pytest.raises(ValueError, match=f"{kind} '{name}' is taken by cosmolib"):
            WAYS[kind](name)
    for name in ("", "a b", "a:b", "../a", "1a", "a=1", "é", "a\n", None, "Nbody_Toy"):
        with pytest.raises(ValueError, match=f"{kind}: found the name .*, expected"):
            WAYS[kind](name)


def test_a_name_belongs_to_the_file_that_registered_it(tmp_path):
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    text = "from cosmolib.data.tables import register_suite\n"
    one.write_text(text + "register_suite('Toy', [(0, 1)] * 6)\n")
    two.write_text(text + "\nregister_suite('TOY', [(0, 1)] * 6)\n")
    registry.load_plugins([one, one])
    with pytest.raises(ValueError, match=r"two\.py, line 3: .*'TOY' is taken by .*one\.py"):
        registry.load_plugins([two])
    with pytest.raises(ValueError, match=r"'Toy' is taken by .*one\.py"):
        register_suite("Toy", RANGES)


def test_a_name_of_a_session_may_be_registered_again_but_not_trained(tiny_suite_dir, tmp_path):
    for factor in (2, 3):
        register_cut("mine")(lambda maps, factor=factor: factor * maps)
    assert apply_cut(np.ones((4, 4)), "mine:3").max() == 3
    register_cut("mine")(lambda maps: 3 * maps)
    profile = load_profile("tiny", data_dir=str(tiny_suite_dir))
    assert prepare_data(study_suite("Lite", profile), profile, "mine").cut == "mine"
    run = Run("tiny", "Lite", "mine", "lite", 1, tmp_path)
    with pytest.raises(ValueError, match="cut 'mine' is registered in this session only"):
        train_run(run, profile)
    assert not run.folder.exists()


# ----------------------------------------------------------------------------------------- plugins
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, r".*mine\.py: FileNotFoundError: \[Errno 2\] No such file or directory: .*"),
        ("import cosmolib\n", r".*mine\.py: registers no suite, cut, network or method"),
        ("import os\n1 / 0\n", r".*mine\.py, line 2: ZeroDivisionError: division by zero"),
    ],
)
def test_invalid_plugins(tmp_path, text, reason):
    if text is not None:
        (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ValueError, match=f"key 'plugins': {reason}$"):
        load_profile("tiny", plugins=[str(tmp_path / "mine.py")])


# ---------------------------------------------------------------------- functions that are refused
def test_a_registered_cut_has_the_index_of_each_map_and_may_change_its_copy():
    @register_cut("noisy")
    def noisy(maps, level, *, seed, indices):
        maps += level * (seed + indices[:, None, None])
        return maps

    maps = np.ones((5, 512, 512), np.float32)  # one block per map
    whole = apply_cut(maps, "noisy:2", seed=3)
    assert whole[:, 0, 0].tolist() == [7, 9, 11, 13, 15]
    assert (maps == 1).all()
    np.testing.assert_array_equal(apply_cut(maps[3:], "noisy:2", seed=3, indices=[3, 4]), whole[3:])


def test_cuts_that_are_refused():
    maps = np.ones((2, 8, 8), np.float32)
    register_cut("shape")(lambda maps, n, *, box_size: maps[:, 1:])
    register_cut("large")(lambda maps: maps * np.float64(1e39))
    register_cut("text")(lambda maps: "maps")
    register_cut("two")(lambda maps, a, b: maps)
    for cut, reason in (
        ("shape:3", r"returned float32 of shape \(2, 7, 8\), expected .* \(2, 8, 8\)"),
        ("large", "returned 128 pixels that are not finite"),
        ("text", "returned"),
    ):
        with pytest.raises(ValueError, match=f"cut '{cut}': its function {reason}"):
            apply_cut(maps, cut)
    for text, reason in (
        ("two:1", r"'two' takes 2 number\(s\), found 1"),
        ("two:1,2:clamp", "only a density cut has a fill"),
        ("mask:two:1,2", "another order"),
        ("three:1", r"unknown cut 'three'.*registered: shape:N, large, text, two:A,B$"),
    ):
        with pytest.raises(ValueError, match=reason):
            Cut.parse(text)
    assert str(Cut.parse("two:1.0,2e12")) == "two:1,2e12"
    with pytest.raises(ValueError, match="has no mask of pixels"):
        cut_mask(maps, "two:1,2")


def test_functions_with_other_arguments():
    for function in (lambda: 0, lambda *maps: 0, lambda maps, **others: 0, lambda maps, *, size: 0):
        with pytest.raises(ValueError, match="expected 1 or more positional arguments"):
            register_cut("mine")(function)
    for function in (lambda forward, x: 0, lambda forward, x, target, *, steps: 0):
        with pytest.raises(ValueError, match="expected 3 positional arguments .* n_steps"):
            register_method("mine")(function)


def test_networks_that_are_refused():
    class Flat(MomentNetwork):
        def __init__(self, size, hidden, dropout, n_parameters):
            super().__init__(size, n_parameters, dropout)
            self.FC1, self.FC2 = nn.Linear(size**2, 4), nn.Linear(4, 2)

        def features(self, x):
            return x.flatten(1)

        def forward(self, x):
            mean, std = super().forward(x)
            return mean, std - 1

    register_network("flat")(Flat)
    register_network("plain")(lambda *_: nn.Linear(2, 2))
    for name, n_parameters, reason in (
        ("flat", 2, r"'flat': found mean \(3, 1\) .* expected \(3, 2\) for both"),
        ("flat", 1, "'flat': .*no negative std"),
        ("plain", 6, "'plain': found a Linear, expected a MomentNetwork"),
        ("other", 6, "found 'other', expected one of: o3, .*, flat, plain"),
    ):
        with pytest.raises(ValueError, match=reason):
            build_network(name, 16, 2, n_parameters=n_parameters)


def test_methods_that_are_refused():
    with seeded(0):
        network, x = build_network("lite", 16, 2, 0.0, 2).eval(), torch.randn(3, 1, 16, 16)
    zero = torch.zeros(1, 1, 16, 16)
    register_method("gradient")(gradient)
    register_method("summed")(lambda forward, x, target: x.sum(1))
    register_method("empty")(lambda forward, x, target: x / 0)
    register_method("way")(lambda forward, x, target, *, baseline: x - baseline)
    found = [attribute(network, x, method, 1).values for method in ("gradient", "saliency")]
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-7)
    assert attribute(network, x, "gradient", 1).completeness is None
    assert attribute(network, x, "way", 1, baseline=zero).completeness.shape == (3,)
    for method, baseline, reason in (
        ("summed", None, r"'summed': found a Tensor \(3, 16, 16\) from its"),
        ("empty", None, "'empty': found values that are not finite"),
        ("way", None, "way: found no baseline, expected 1 or 3 of maps"),
        ("way", zero.expand(2, -1, -1, -1), r"way: found a baseline \(2, 1, 16, 16\), expected 1"),
        ("other", None, "found 'other', expected one of: saliency, .*, gradient"),
    ):
        with pytest.raises(ValueError, match=reason):
            attribute(network, x, method, 0, baseline=baseline)


def test_suites_that_are_refused(tmp_path):
    for ranges in ([(0, 1)] * 5, [(0, 1)] * 5 + [(1, 1)], [(0, np.inf)] * 6):
        with pytest.raises(ValueError, match="suite 'Toy': found the ranges .*, expected 6 pairs"):
            register_suite("Toy", ranges)
    with pytest.raises(ValueError, match="suite: found 'Toy', .*; see register_suite"):
        parameter_ranges("Toy")
    maps, params = np.ones((30, 8, 8)), np.full((2, 6), 0.5)
    empty = maps.copy()
    empty[17, 2, 3] = 0
    for wrong, reason in (
        ((maps[:29], params), r"found maps of shape \(29, 8, 8\) and parameters of shape \(2, 6\)"),
        ((maps, params[:, :5]), r"parameters of shape \(2, 5\), expected \(15 n, N, N\)"),
        ((maps, params * np.nan), "finite"),
        ((empty, params), r"found 0.0 in map 17 \(simulation 1\), pixel \(2, 3\)"),
    ):
        with pytest.raises(ValueError, match=reason):
            write_suite(tmp_path, "Toy", *wrong)
    with pytest.raises(ValueError, match="expected another folder, or no _ in a name"):
        write_suite(tmp_path, "My_Toy", maps, params)
    assert not list(tmp_path.iterdir())
    write_suite(tmp_path, "Toy", maps, params)  # ranges are not needed
    (tmp_path / "Toy" / "Maps_Mtot_Toy_LH_z=0.00.cut.json").write_text('{"cut": "kmax:4"}')
    with pytest.raises(ValueError, match="found maps under a cut there"):
        write_suite(tmp_path, "Toy", maps, params)


def test_targets_are_in_units_of_the_ranges():
    register_suite("Toy", [(1.0, 3.0)] * 6)
    np.testing.assert_allclose(normalise([[1.5] * 6], "Toy"), 0.25)
