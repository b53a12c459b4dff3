"""The page "Add your own", executed; and what a name of one's own may be, and may not."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cosmolib import cli
from cosmolib.cuts.apply import apply_cut, cut_mask, register_cut
from cosmolib.cuts.grammar import Cut
from cosmolib.data.scaling import Scaling
from cosmolib.data.suites import (
    open_suite,
    parameter_ranges,
    read_maps,
    register_suite,
    write_suite,
)
from cosmolib.interpretation.attribution import (
    attribute,
    make_baseline,
    register_method,
    takes_baseline,
)
from cosmolib.interpretation.experiments import faithfulness, randomisation
from cosmolib.interpretation.subject import explain, load_subject
from cosmolib.plots.results import cut_label
from cosmolib.results.baseline import stored_baseline
from cosmolib.study import registry
from cosmolib.study.io import parse_yaml, read_json, read_yaml, write_yaml
from cosmolib.study.profile import load_profile
from cosmolib.study.provenance import provenance
from cosmolib.study.run import Run
from cosmolib.training import run as training_run
from cosmolib.training.dataset import prepare_data, study_suite
from cosmolib.training.fit import seeded
from cosmolib.training.networks import MomentNetwork, Pooled, build_network, register_network
from cosmolib.training.run import load_run, predict, read_predictions, train_run
from cosmolib.tuning import search as tuning_search

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "book" / "extend.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)
TABLES = (registry.SUITES, registry.CUTS, registry.NETWORKS, registry.METHODS)


@pytest.fixture(autouse=True)
def apart(monkeypatch):
    """Every test begins with empty tables and leaves none of its names behind."""
    for table in TABLES:
        monkeypatch.setattr(table, "entries", {})
    monkeypatch.setattr(registry, "_loaded", {})


@pytest.fixture
def page():
    """The namespace of the page's blocks, executed in their order."""
    names = {"__name__": "page"}
    for block in BLOCKS:
        exec(block, names)
    return names


@pytest.fixture
def study(tmp_path):
    """A profile with the page's blocks as its plugins and the page's changes: (path, profile)."""
    (tmp_path / "mine.py").write_text("\n\n".join(BLOCKS[:3]))
    (tmp_path / "methods.py").write_text(BLOCKS[3])
    values = read_yaml(ROOT / "configs" / "tiny.yaml")
    values |= parse_yaml(re.search(r"```yaml\n(.*?)```", PAGE, re.S)[1], "extend.md")
    values |= {"data_dir": str(tmp_path / "data"), "controls": []}
    values["plugins"] = ["mine.py", "methods.py"]
    path = tmp_path / "mine.yaml"
    write_yaml(path, values)
    profile = load_profile(path)
    sys.modules[registry.CUTS["smooth"].function.__module__].write_toy(tmp_path / "data")
    return path, profile


# -------------------------------------------------------------------------------------- the page
def test_four_short_blocks():
    assert len(BLOCKS) == 4
    for block, word in zip(BLOCKS, ("suite", "cut", "network", "method"), strict=True):
        assert f"register_{word}(" in block
        assert len([line for line in block.splitlines() if line.strip()]) < 20


def test_the_suite(page, tmp_path, capsys):
    suite = page["write_toy"](tmp_path)
    assert suite.maps.shape == (360, 32, 32)
    assert suite.fingerprint == open_suite("Toy", data_dir=tmp_path).fingerprint
    np.testing.assert_array_equal(parameter_ranges("Nbody_Toy"), parameter_ranges("Lite"))
    assert cli.main(["check", str(tmp_path)]) == 0  # positive, and the mass of each Omega_m
    assert "whole, nothing wrong found" in capsys.readouterr().out


def test_the_cut(page):
    maps = np.exp(2 * np.random.default_rng(0).normal(size=(3, 32, 32))).astype(np.float32)
    kept = maps.copy()
    out = apply_cut(maps, "smooth:1.5", box_size=20.0)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(maps, kept)
    # Each mode is multiplied by what a Gaussian of 1.5 Mpc/h does to it, and the mean stays.
    k = 2 * np.pi * 3 / 20.0
    ratio = np.fft.fft2(out)[:, 3, 0] / np.fft.fft2(maps)[:, 3, 0]
    np.testing.assert_allclose(ratio, np.exp(-0.5 * (1.5 * k) ** 2), rtol=1e-3)
    np.testing.assert_allclose(out.mean((1, 2)), maps.mean((1, 2)), rtol=1e-5)
    assert (out > 0).all()
    assert (apply_cut(maps, "kmax:2", box_size=20.0) < 0).any()
    np.testing.assert_array_equal(apply_cut(maps[1], "smooth:1.5", box_size=20.0), out[1])
    alone = apply_cut(apply_cut(maps, "nomean:none"), "smooth:1.5", box_size=20.0)
    both = apply_cut(maps, "nomean:smooth:1.5", box_size=20.0)
    np.testing.assert_array_equal(both, alone)


def test_the_network(page):
    with seeded(0):
        network = build_network("pixels", size=32, hidden=2, n_parameters=2).eval()
    x = torch.randn(4, 1, 32, 32)
    mixed = x.flatten(1)[:, torch.randperm(32 * 32)].view_as(x)
    for a, b in zip(network(x), network(mixed), strict=True):
        assert a.shape == (4, 2)
        torch.testing.assert_close(a, b)  # blind to places
    assert not torch.allclose(network(x)[0], network(2 * x)[0])
    with seeded(0):
        again = build_network("pixels", size=32, hidden=2, n_parameters=2)
    torch.testing.assert_close(again.state_dict(), network.state_dict())


def test_the_method(page):
    with seeded(0):
        network = build_network("lite", 32, 2, 0.1, 2).eval()
        x = torch.randn(5, 1, 32, 32)
    for baseline in (torch.zeros(1, 1, 32, 32), make_baseline("blurred", x)):
        found = attribute(network, x, method="reveal", target=1, baseline=baseline, n_steps=7)
        way = (predict(network, x)[0] - predict(network, baseline)[0])[:, 1]
        np.testing.assert_allclose(found.values.sum((1, 2)), way, atol=1e-4)
        assert (found.completeness < 1e-3).all()
    one = attribute(network, x, "reveal", 1, baseline=baseline, n_steps=7, internal_batch_size=2)
    np.testing.assert_allclose(one.values, found.values, atol=1e-6)
    densest = np.sort(x[0].flatten())[-32 * 32 // 7 :]
    first = np.unique(found.values[0][x[0, 0].numpy() > densest[1]])
    assert len(first) == 1  # one step's pixels share its change


def test_a_run_of_them_all(study, tmp_path):
    path, profile = study
    run = Run("mine", "Toy", "smooth:1", "pixels", 1, tmp_path / "runs")
    metrics = train_run(run, profile)
    predictions = read_predictions(run.path("predictions.npz"))
    assert predictions["mean"].shape == predictions["std"].shape == (30, 2)
    assert metrics["n_maps"] == 30
    network, scaling, config = load_run(run)
    assert type(network).__name__ == "Pixels"
    assert [text.split()[0] for text in config["identity"]["sources"]] == ["mine.py"]
    made = read_json(run.path("provenance.json"))["config"]["plugins"]
    assert config["identity"]["sources"][0] in made
    assert str(tmp_path) not in str(made)
    # What was predicted is of the smoothed maps.
    suite = study_suite("Toy", profile)
    maps = apply_cut(read_maps(suite, predictions["map"]), "smooth:1")
    x = torch.from_numpy(scaling.apply(maps))[:, None]
    low, high = parameter_ranges("Toy")[:2].T
    np.testing.assert_allclose(
        low + (high - low) * predict(network, x)[0], predictions["mean"], rtol=1e-4
    )
    subject = load_subject(run, profile)
    assert explain(subject, "reveal", 0).completeness.max() < 1e-2
    assert [row["method"] for row in faithfulness(subject, ["reveal"], 0)] == ["reveal"]
    random = randomisation(subject, ["reveal"], 0, {})
    assert random["stages"] == ["FC2", "FC1", "layers.2", "layers.0"]
    assert cut_label("smooth:1") == "smooth:1"


def test_an_edited_file_makes_its_own_runs_anew(study, tiny_suite_dir, tmp_path):
    path, _ = study
    of_lite = {"suites": ["Lite"], "tuning_suite": "Lite", "data_dir": str(tiny_suite_dir)}
    profile = load_profile(path, **of_lite)
    lite = [Run("mine", "Lite", cut, "lite", 1, tmp_path / "runs") for cut in ("smooth:1", "none")]
    for run in lite:
        train_run(run, profile)
    stored_baseline(study_suite("Lite", profile), profile, "smooth:1", tmp_path / "runs")
    ridge = tmp_path / "runs" / "mine" / "Lite" / "smooth_1" / "summary" / "predictions.npz"
    before = [run.path("metrics.json").stat().st_mtime_ns for run in lite]
    first, name = read_predictions(ridge)["mean"], tuning_search.prepare_search(profile).name

    text = (tmp_path / "mine.py").read_text()
    (tmp_path / "mine.py").write_text(text.replace("-0.5 *", "-2.0 *"))  # of the same length
    (tmp_path / "methods.py").write_text(BLOCKS[3] + "\n# a note\n")
    profile = load_profile(path, **of_lite)
    suite = study_suite("Lite", profile)
    assert [training_run.run_changes(run, profile, suite) == [] for run in lite] == [False, True]
    for run in lite:
        train_run(run, profile)
    after = [run.path("metrics.json").stat().st_mtime_ns for run in lite]
    assert [a == b for a, b in zip(after, before, strict=True)] == [False, True]
    stored_baseline(suite, profile, "smooth:1", tmp_path / "runs")
    assert not np.array_equal(read_predictions(ridge)["mean"], first)
    assert tuning_search.prepare_search(profile).name != name  # of the network `pixels`


def test_another_process_knows_them_by_the_profile(study):
    """As a notebook that papermill runs; without the profile it knows nothing."""
    code = "import sys; from cosmolib.cuts.grammar import Cut\n"
    code += "from cosmolib.study.profile import load_profile\n"
    code += "if len(sys.argv) > 1: load_profile(sys.argv[1])\nprint(Cut.parse('smooth:1.0'))"
    options = {"capture_output": True, "text": True, "cwd": ROOT}
    told = subprocess.run([sys.executable, "-c", code, str(study[0])], **options, check=True)
    assert told.stdout == "smooth:1\n"
    untold = subprocess.run([sys.executable, "-c", code], **options, check=False)
    assert "unknown cut 'smooth'" in untold.stderr


def test_a_tuning_worker_knows_them(study, tmp_path):
    _, profile = study
    search = tuning_search.prepare_search(profile)
    said = []
    tuning_search.run_study(
        search.data, search.profile, storage=tmp_path / "study.journal", n_trials=2, workers=2,
        progress=said.append,
    )  # fmt: skip
    assert not said  # neither that a worker died, nor of a trial that was left for this process


# ------------------------------------------------------------------------------------------ names
def smoother(maps, length):
    return maps


def narrow(size, hidden, dropout, n_parameters):
    return Pooled([nn.Conv2d(1, 2, 1)], size, 2, 4, dropout, n_parameters)


def gradient(forward, x, target):
    x.requires_grad_()
    return torch.autograd.grad(forward(x)[:, target].sum(), x)[0]


RANGES = [(0.0, 1.0)] * 6
WAYS = {
    "suite": lambda name: register_suite(name, RANGES),
    "cut": lambda name: register_cut(name)(smoother),
    "architecture": lambda name: register_network(name)(narrow),
    "method": lambda name: register_method(name)(gradient),
}
OURS = {
    "suite": ["Lite", "SIMBA"],
    "cut": ["none", "kmax", "above", "mask", "shuffle", "clamp", "white", "nomean"],
    "architecture": ["lite", "o3", "k4s2"],
    "method": ["saliency", "smooth_grad", "integrated_gradients", "gradient_shap"],
}


@pytest.mark.parametrize("kind", WAYS)
def test_names_of_ours_are_taken_and_others_refused(kind):
    for name in OURS[kind]:
        with pytest.raises(ValueError, match=f"{kind} '{name}': found it taken by cosmolib"):
            WAYS[kind](name)
    for name in ("", "a b", "a:b", "../a", "a/b", "1a", "a=1", "a,b", "é", "a\n", 3, None):
        with pytest.raises(ValueError, match=f"{kind}: found the name .*, expected"):
            WAYS[kind](name)
    with pytest.raises(ValueError, match="expected"):
        WAYS[kind]("Nbody_Toy")
    assert not any(table.entries for table in TABLES)


def test_a_name_belongs_to_the_file_that_gave_it(tmp_path):
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    text = "from cosmolib.cuts.apply import register_cut\n"
    text += "@register_cut('mine')\ndef mine(maps):\n    return 2 * maps\n"
    one.write_text(text)
    two.write_text(text)
    registry.load_plugins([one, one])
    maps = np.ones((1, 4, 4), np.float32)
    assert apply_cut(maps, "mine").max() == 2
    with pytest.raises(ValueError, match=r"two\.py: .*line 2.*'mine': found it taken by .*one\.py"):
        registry.load_plugins([two])
    with pytest.raises(ValueError, match=r"taken by .*one\.py"):
        register_cut("mine")(lambda maps: maps)
    one.write_text(text.replace("2 * maps", "3 * maps"))
    registry.load_plugins([one])  # changed: executed again
    assert apply_cut(maps, "mine").max() == 3
    one.write_text(text + text.split("\n", 1)[1])
    with pytest.raises(ValueError, match=r"one\.py: .*line 5.*taken by .*one\.py"):
        registry.load_plugins([one])  # twice in one file
    assert apply_cut(maps, "mine").max() == 3  # what stood before still stands


def test_a_session_may_run_a_cell_again_but_makes_no_run(tiny_suite_dir, tmp_path):
    for factor in (2, 3):
        exec(
            f"@register_cut('mine')\ndef mine(maps):\n    return {factor} * maps",
            {"register_cut": register_cut},
        )
    assert apply_cut(np.ones((4, 4)), "mine").max() == 3
    profile = load_profile("tiny", data_dir=str(tiny_suite_dir))
    assert prepare_data(study_suite("Lite", profile), profile, "mine").cut == "mine"
    run = Run("tiny", "Lite", "mine", "lite", 1, tmp_path)
    with pytest.raises(ValueError, match="cut 'mine': found it in this session only"):
        train_run(run, profile)
    assert not run.folder.exists()


# ----------------------------------------------------------------------------------------- plugins
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "found no such file, expected a Python file"),
        ("import cosmolib\n", r"found ValueError \(nothing registered\)"),
        ("import os\n1 / 0\n", r"found ZeroDivisionError in line 2 \(division by zero\)"),
        ("def f(:\n", "found SyntaxError"),
        ("import no_such_module\n", "found ModuleNotFoundError in line 1"),
        ("\0", "found "),
    ],
)
def test_a_file_that_is_no_plugin(tmp_path, text, reason):
    if text is not None:
        (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ValueError, match=rf"(?s)key 'plugins': .*mine\.py: {reason}"):
        load_profile("tiny", plugins=[str(tmp_path / "mine.py")])
    assert not any(table.entries for table in TABLES)


def test_a_wrong_profile_runs_no_code(study):
    path, _ = study
    (path.parent / "mine.py").write_text("raise SystemExit")
    for wrong in ({"epochs": 0}, {"epoch": 1}, {"plugins": "mine.py"}, {"plugins": [1]}):
        with pytest.raises(ValueError, match="epoch|'plugins'.*expected"):
            load_profile(path, **wrong)


def test_a_run_folder_runs_no_code(study, tmp_path):
    """Its network is found by name, and only where a profile has brought it."""
    _, profile = study
    run = Run("mine", "Toy", "none", "pixels", 1, tmp_path / "runs")
    train_run(run, profile)
    for table in TABLES:
        table.entries = {}
    registry._loaded.clear()
    with pytest.raises(ValueError, match=r"config\.yaml: architecture: found 'pixels', expected"):
        load_run(run)
    assert not registry._loaded


def test_provenance_of_a_profile_without_plugins():
    assert provenance(load_profile("tiny"))["config"]["plugins"] == []


# -------------------------------------------------------------------------------- what is refused
def test_cuts_that_are_refused():
    maps = np.ones((2, 8, 8), np.float32)
    register_cut("shape")(lambda maps, n, *, box_size: maps[:, 1:])
    register_cut("nan")(lambda maps: np.where(maps > 0, np.nan, maps))
    register_cut("large")(lambda maps: maps * np.float64(1e39))
    register_cut("text")(lambda maps: "maps")
    register_cut("two")(lambda maps, a, b: maps)
    found = r"cut 'shape:3': found float32 of shape \(2, 7, 8\) from its function, expected .*8, 8"
    with pytest.raises(ValueError, match=found):
        apply_cut(maps, "shape:3")
    for cut in ("nan", "large"):
        with pytest.raises(ValueError, match=f"cut '{cut}': found 128 pixels .* not finite"):
            apply_cut(maps.astype(np.float32), cut)
    with pytest.raises(ValueError, match="cut 'text': found"):
        apply_cut(maps, "text")
    for text, reason in (
        ("two:1", r"'two' takes 2 number\(s\), found 1"),
        ("two", r"'two' takes 2 number\(s\), found 0"),
        ("nan:1", r"'nan' takes 0 number\(s\), found 1"),
        ("two:1,x", "'x' is not a number"),
        ("two:1,2:clamp", "at most one part"),
        ("mask:two:1,2", "must be followed by"),
        ("three:1", r"unknown cut 'three'.*registered: shape:N, nan, large, text, two:A,B$"),
    ):
        with pytest.raises(ValueError, match=reason):
            Cut.parse(text)
    assert str(Cut.parse("two:1.0,2e12")) == "two:1,2e12"
    with pytest.raises(ValueError, match="has no mask of pixels"):
        cut_mask(maps, "two:1,2")


def test_functions_that_ask_for_what_there_is_not():
    for function in (lambda: 0, lambda *maps: 0, lambda maps, **others: 0, lambda maps, *, size: 0):
        with pytest.raises(ValueError, match="expected one argument or more by place"):
            register_cut("mine")(function)
    for function in (lambda forward, x: 0, lambda forward, x, target, *, steps: 0):
        with pytest.raises(ValueError, match="expected 3 arguments by place, .* n_steps"):
            register_method("mine")(function)


def test_a_cut_that_draws_is_the_same_in_every_block():
    @register_cut("noisy")
    def noisy(maps, level, *, seed, indices):
        draws = [np.random.default_rng([seed, i]).normal(size=maps.shape[1:]) for i in indices]
        maps += level * np.array(draws)  # its own to change
        return maps

    maps = np.ones((5, 512, 512), np.float32)  # a block each
    whole = apply_cut(maps, "noisy:0.1", seed=3)
    assert (maps == 1).all()
    np.testing.assert_array_equal(
        apply_cut(maps[3:], "noisy:0.1", seed=3, indices=[3, 4]), whole[3:]
    )
    assert not np.array_equal(whole[0], whole[1])


def test_networks_that_are_refused():
    class Flat(MomentNetwork):
        def __init__(self, size, hidden, dropout, n_parameters):
            super().__init__(size, n_parameters, dropout)
            self.FC1, self.FC2 = nn.Linear(size**2, 4), nn.Linear(4, 2)

        def features(self, x):
            return x.flatten(1)

    class Negative(Flat):
        def forward(self, x):
            mean, std = super().forward(x)
            return mean, std - 1

    register_network("flat")(Flat)
    register_network("negative")(Negative)
    register_network("plain")(lambda *_: nn.Linear(2, 2))
    assert build_network("flat", 16, 2, n_parameters=1).training
    with pytest.raises(ValueError, match=r"'flat': found mean \(3, 1\) .* expected \(3, 2\) both"):
        build_network("flat", 16, 2, n_parameters=2)
    with pytest.raises(ValueError, match="'negative': .*no std below 0"):
        build_network("negative", 16, 2, n_parameters=1)
    with pytest.raises(ValueError, match="'plain': found a Linear, expected a MomentNetwork"):
        build_network("plain", 16, 2)
    with pytest.raises(ValueError, match="found 'other', expected one of: o3, .*, flat, negative"):
        build_network("other", 16, 2)


def test_methods_that_are_refused():
    with seeded(0):
        network, x = build_network("lite", 16, 2, 0.0, 2).eval(), torch.randn(3, 1, 16, 16)
    zero = torch.zeros(1, 1, 16, 16)
    register_method("gradient")(gradient)
    register_method("summed")(lambda forward, x, target: x.sum(1))
    register_method("array")(lambda forward, x, target: x.numpy())
    register_method("empty")(lambda forward, x, target: x / 0)
    register_method("way")(lambda forward, x, target, *, baseline: x - baseline)
    np.testing.assert_allclose(
        attribute(network, x, "gradient", 1).values,
        attribute(network, x, "saliency", 1).values,
        rtol=1e-5, atol=1e-7,
    )  # fmt: skip
    assert not x.requires_grad
    assert not takes_baseline("gradient")
    assert attribute(network, x, "gradient", 1).completeness is None
    assert attribute(network, x, "way", 1, baseline=zero).completeness.shape == (3,)
    with pytest.raises(ValueError, match=r"'summed': found a Tensor \(3, 16, 16\) from its"):
        attribute(network, x, "summed", 0)
    with pytest.raises(ValueError, match=r"'array': found a ndarray \(3, 1, 16, 16\) from its"):
        attribute(network, x, "array", 0)
    with pytest.raises(ValueError, match="'empty': found values that are not finite"):
        attribute(network, x, "empty", 0)
    with pytest.raises(ValueError, match="way: found no baseline, expected 1 or 3 of maps"):
        attribute(network, x, "way", 0)
    with pytest.raises(ValueError, match=r"way: found a baseline \(2, 1, 16, 16\), expected 1 or"):
        attribute(network, x, "way", 0, baseline=zero.expand(2, -1, -1, -1))
    with pytest.raises(ValueError, match="found 'other', expected one of: saliency, .*, gradient"):
        attribute(network, x, "other", 0)


@pytest.mark.parametrize(
    "ranges", [[(0, 1)] * 5, [(0, 1)] * 5 + [(1, 1)], [(0, np.inf)] * 6, [0.0] * 6]
)
def test_ranges_that_are_refused(ranges):
    with pytest.raises(ValueError, match="suite 'Toy': found the ranges .*, expected 6 pairs"):
        register_suite("Toy", ranges)
    with pytest.raises(ValueError, match="suite: found 'Toy', .*; register_suite gives"):
        parameter_ranges("Toy")


def test_suites_that_are_refused(tmp_path):
    maps, params = np.ones((30, 8, 8)), np.full((2, 6), 0.5)
    empty = maps.copy()
    empty[17, 2, 3] = 0
    for wrong, reason in (
        ((maps[:29], params), r"maps of shape \(29, 8, 8\) for 2 rows"),
        ((maps[:, :7], params), "maps: found shape"),
        ((maps[0], params), "maps of shape"),
        ((maps[:0], params[:0]), "maps: found shape"),
        ((maps, params[:, :5]), r"parameters of shape \(2, 5\), expected \(2, 6\)"),
        ((maps, params * np.nan), "finite"),
        ((empty, params), r"found 0.0 in map 17 \(simulation 1\), pixel \(2, 3\)"),
        ((maps * np.inf, params), "found inf in map 0"),
    ):
        with pytest.raises(ValueError, match=reason):
            write_suite(tmp_path, "Toy", *wrong)
    for name in ("My_Toy", "", "a/b"):
        with pytest.raises(ValueError, match="expected another folder, or no _ in a name"):
            write_suite(tmp_path, name, maps, params)
    assert not list(tmp_path.iterdir())
    suite = write_suite(tmp_path, "Toy", maps, params)  # no ranges needed to look at it
    assert suite.maps.shape == (30, 8, 8)
    (tmp_path / "Toy" / "Maps_Mtot_Toy_LH_z=0.00.cut.json").write_text('{"cut": "kmax:4"}')
    with pytest.raises(ValueError, match="found maps under a cut there"):
        write_suite(tmp_path, "Toy", maps, params)


def test_ranges_are_the_units_of_the_targets(tmp_path):
    register_suite("Toy", [(0.0, 2.0)] * 6)
    params = np.linspace(0.2, 1.8, 24)[:, None].repeat(6, 1)
    suite = write_suite(tmp_path, "Toy", np.ones((360, 16, 16)) + params.repeat(15, 0)[:, :1, None],
                        params)  # fmt: skip
    data = prepare_data(suite, load_profile("tiny"))
    truth = params[data.train_simulation][:, :2]
    np.testing.assert_allclose(data.train_theta, truth / 2, atol=1e-5)
    assert isinstance(data.scaling, Scaling)
