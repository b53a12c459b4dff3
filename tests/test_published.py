"""Networks of the published code: read from a state dict, stored as a run, shown by notebooks."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import nbformat
import numpy as np
import pytest
import reference
import torch
from conftest import ROOT, lognormal_maps, write_suite_files
from torch import nn

from cosmolib.data.suites import open_suite
from cosmolib.data.tables import parameter_ranges
from cosmolib.study.io import read_json, sha256
from cosmolib.study.profile import load_profile
from cosmolib.study.run import Run
from cosmolib.training import run as training_run
from cosmolib.training.dataset import prepare_data
from cosmolib.training.fit import moment_loss
from cosmolib.training.networks import build_network
from cosmolib.training.predictions import read_predictions
from cosmolib.training.run import evaluate_pretrained, load_run, pretrained_name, train_run
from cosmolib.training.weights import load_published_weights, published_network


def as_trained(network, seed=0):
    """Give a network random weights like those of a trained one: no layer is the identity."""
    random = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        noise = torch.rand(value.shape, generator=random)
        if name.endswith("running_var"):
            value.copy_(0.5 + noise)
        elif name.endswith("num_batches_tracked"):
            value.fill_(21_200)
        elif value.ndim == 1:  # biases, scales, running means
            value.add_(0.5 * noise - 0.25)
        else:  # as published; with torch's default the signal would vanish
            nn.init.kaiming_normal_(value, generator=random)
    return network.eval()


def save(network, path, prefix="", with_b01=True):
    """Write a state dict as the published code does; return its path."""
    state = {f"{prefix}{name}": value for name, value in network.state_dict().items()}
    torch.save({k: v for k, v in state.items() if with_b01 or "B01." not in k}, path)
    return path


# ----------------------------------------------------------------------------------------- network
@pytest.mark.parametrize("hidden", [1, 7])
def test_a_published_network_gives_the_published_outputs(tmp_path, hidden):
    torch.manual_seed(hidden)
    published = as_trained(reference.PlainO3(hidden))
    x = torch.randn(2, 1, 256, 256)
    with torch.no_grad():
        expected = torch.cat(published(x), 1)
    assert (expected[0] - expected[1]).abs().min() > 1e-3  # the outputs differ between the maps
    built = build_network("o3", 256, hidden).eval()
    built.B01.weight.data.fill_(3.0)  # never used
    for prefix, with_b01 in (("", True), ("module.", False)):
        path = save(published, tmp_path / "weights_41.pt", prefix, with_b01)
        network = published_network(path)
        assert (network.size, network.hidden, network.n_parameters) == (256, hidden, 6)
        assert not network.training
        for net in (network, load_published_weights(built, path)):
            with torch.no_grad():
                found = torch.cat(net(x), 1)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("size", "hidden", "parameters"), [(16, 3, 1), (64, 1, 2), (128, 2, 6)])
def test_the_shape_of_the_network_follows_from_the_file(tmp_path, size, hidden, parameters):
    own = as_trained(build_network("o3", size, hidden, 0.5, parameters))
    state = torch.get_rng_state()
    found = published_network(save(own, tmp_path / "w.pt"))
    assert torch.equal(torch.get_rng_state(), state)
    assert (found.size, found.hidden, found.n_parameters) == (size, hidden, parameters)
    x = torch.randn(2, 1, size, size)
    with torch.no_grad():
        assert torch.equal(torch.cat(found(x)), torch.cat(own(x)))


def test_a_file_of_anything_else_is_one_error(tmp_path):
    """For pickles that run code see tests/test_fuzz.py."""
    path = tmp_path / "weights.pt"
    good = build_network("o3", 32, 2, 0.0, 2).state_dict()

    def refused(state, message):
        torch.save(state, path)
        with pytest.raises(ValueError, match=f"weights.pt: {message}") as error:
            published_network(path)
        assert "\n" not in str(error.value)

    def changed(**weights):
        return {**good, **{name.replace("_", "."): value for name, value in weights.items()}}

    lite = build_network("lite", 32, 2).state_dict()
    refused(lite, "found C01.weight: no such weight")
    refused({k: v for k, v in good.items() if k != "FC2.weight"}, ".* FC2.weight: no such weight")
    refused({k: v for k, v in good.items() if not k.startswith("C03")}, ".* 0 blocks")
    refused(changed(extra=torch.ones(1)), r"extra: found float \(1,\), expected no such weight")
    refused(changed(C12_weight=torch.ones(4, 4, 5, 5)), r"C12.weight: found float \(4, 4, 5, 5\)")
    refused(changed(C12_bias=torch.ones(4, dtype=torch.complex64)), "C12.bias: found complex")
    refused(changed(FC2_weight=torch.ones(3, 16)), ".* expected .* even numbers")
    refused(changed(C01_weight=torch.ones(4)), r"found C01.weight: float \(4,\)")
    refused({"ema": good, "best": good}, "found 'ema' to be OrderedDict, expected a dict of tens")
    refused([torch.ones(1)], "found list, expected a dict of tensors")
    pickled = r"found no state dict \(it holds a pickled \S+, and pickled objects can run code\)"
    refused(nn.Linear(2, 2), pickled)
    whole = path.read_bytes()
    for data, reason in (
        (b"", "it was not written by torch.save"),
        (b"not weights", "it was not written by torch.save"),
        (whole[: len(whole) // 2], "PytorchStreamReader failed reading zip archive: [a-z ]+"),
    ):
        path.write_bytes(data)
        expected = rf"weights.pt: found no state dict \({reason}\), expected a dict of tensors$"
        with pytest.raises(ValueError, match=expected):
            published_network(path)
    with pytest.raises(FileNotFoundError, match="missing.pt: found no such file"):
        published_network(tmp_path / "missing.pt")


# --------------------------------------------------------------------------------------------- run
@pytest.fixture(scope="module")
def profile(tiny_suite_dir):
    """The published scaling on the tiny suite: log of the whole file."""
    changes = {"targets": ["Omega_m", "sigma_8"], "bootstrap_samples": 50}
    return load_profile("camels", data_dir=str(tiny_suite_dir), **changes)


@pytest.fixture
def pretrained(profile, tmp_path):
    """A file of weights, its run, and its metrics."""
    path = save(as_trained(build_network("o3", 32, 3, 0.0, 2)), tmp_path / "weights_41.pt")
    run = Run(pretrained_name(profile, path), "Lite", "none", "o3", 1, root=tmp_path / "runs")
    return path, run, evaluate_pretrained(run, profile, path, device="cpu")


def stamps(run):
    return {path.name: path.stat().st_mtime_ns for path in run.folder.iterdir()}


def test_the_run_of_a_pretrained_network_is_complete(pretrained, profile):
    path, run, result = pretrained
    assert run.profile == "camels-weights_41"
    times = stamps(run)
    assert sorted(times) == [
        "config.yaml", "metrics.json", "predictions.npz", "provenance.json", "weights.pt",
    ]  # fmt: skip
    assert result == read_json(run.path("metrics.json"))
    made = read_json(run.path("provenance.json"))
    assert made["weights"] == {"name": "weights_41.pt", "sha256": sha256(path)}
    assert str(path.parent) not in json.dumps(made)

    network, scaling, config = load_run(run)
    assert config["network"] == {
        "name": "o3", "size": 32, "hidden": 3, "dropout": 0.0, "n_parameters": 2,
    }  # fmt: skip
    suite = open_suite("Lite", profile.data_dir)
    data = prepare_data(suite, profile)
    assert scaling == data.scaling
    log = np.log10(suite.maps)  # of the whole file, as published
    assert (scaling.mean, scaling.std) == pytest.approx((log.mean(), log.std()), rel=1e-6)
    with torch.no_grad():
        original = published_network(path)
        mean, _ = original(data.test_x)
        loss = moment_loss(*original(data.valid_x), data.valid_theta)
        torch.testing.assert_close(network(data.test_x)[0], mean)
    stored = read_predictions(run.path("predictions.npz"))
    low, high = parameter_ranges("Lite")[:2].T
    np.testing.assert_allclose(stored["mean"], low + (high - low) * mean.numpy(), rtol=1e-4)
    assert result["valid_loss"] == pytest.approx(float(loss), rel=1e-4)
    assert result["best_epoch"] is None


def test_a_second_evaluation_only_reads(pretrained, profile, monkeypatch):
    """Another file is evaluated, also if it has the same name."""
    path, run, result = pretrained
    before = stamps(run)
    with monkeypatch.context() as patch:
        patch.setattr(training_run, "predict", None)
        assert evaluate_pretrained(run, profile, path) == result
    assert stamps(run) == before
    save(as_trained(build_network("o3", 32, 3, 0.0, 2), seed=1), path)  # of the same name
    other = evaluate_pretrained(run, profile, path, device="cpu")
    assert other["parameters"] != result["parameters"]
    assert read_json(run.path("provenance.json"))["weights"]["sha256"] == sha256(path)
    save(as_trained(build_network("o3", 32, 4, 0.0, 2)), path)
    evaluate_pretrained(run, profile, path, device="cpu")
    assert load_run(run)[0].hidden == 4
    wider = profile.replace(scaling_scope="train")
    assert evaluate_pretrained(run, wider, path, device="cpu") != other


def test_a_network_that_does_not_fit_is_refused(pretrained, profile, tmp_path):
    path, run, _ = pretrained
    large = save(build_network("o3", 64, 1, 0.0, 2), tmp_path / "large.pt")
    for other, settings, weights, message in (
        (replace(run, profile="camels"), profile, path, "profile: found camels, expected camels-w"),
        (replace(run, architecture="lite"), profile, path, "architecture: found lite, expected o3"),
        (run, profile.replace(targets=["Omega_m"]), path, "targets: found 2, expected 1"),
        (replace(run, profile="camels-large"), profile, large, "maps: found 64, expected 32"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate_pretrained(other, settings, weights)
    assert not (tmp_path / "runs" / "camels-large").exists()


def test_a_training_in_the_same_folder_is_another_run(pretrained, profile):
    """A pretrained network and a trained one are never confused."""
    path, run, result = pretrained
    short = profile.replace(hidden=3, dropout=0.0, epochs=1, max_lr=1e-3)
    trained = train_run(run, short, device="cpu")
    assert trained["best_epoch"] == 1
    assert run.path("history.csv").is_file()
    assert evaluate_pretrained(run, profile, path, device="cpu") == result
    assert not run.path("history.csv").exists()


# --------------------------------------------------------------------------------------- notebooks
def execute(name, target, **parameters):
    """Run a notebook as the workflow does and return the printed text."""
    command = [sys.executable, "workflow/run_notebook.py", f"notebooks/{name}.ipynb", target]
    for key, value in parameters.items():
        command += ["-p", key, value]
    one = {**os.environ, "OMP_NUM_THREADS": "1"}  # faster here than several threads
    command = list(map(str, command))
    done = subprocess.run(command, cwd=ROOT, env=one, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    notebook = nbformat.read(target, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs)


def test_notebooks_show_a_pretrained_network(tmp_path):
    """Maps of 32^2 and a narrow network; maps of 256^2 use the same code."""
    low, high = parameter_ranges("IllustrisTNG").T
    params = np.random.default_rng(1).uniform(low, high, size=(24, 6))
    _, maps = lognormal_maps(params, grid=32)
    write_suite_files(tmp_path / "cmd", "IllustrisTNG", maps, params)
    torch.manual_seed(0)
    path = save(as_trained(build_network("o3", 32, 2)), tmp_path / "weights_41.pt", "module.")
    text = (ROOT / "configs" / "camels.yaml").read_text(encoding="utf-8")
    few = {"attribution_maps": 3, "ig_steps": 3, "shap_samples": 2, "bootstrap_samples": 50}
    for key, value in few.items():
        text, count = re.subn(rf"^{key}: \d+", f"{key}: {value}", text, flags=re.MULTILINE)
        assert count == 1
    (tmp_path / "few.yaml").write_text(text, encoding="utf-8")
    parameters = {
        "profile": tmp_path / "few.yaml", "data_dir": tmp_path / "cmd", "weights": path,
        "runs_dir": tmp_path / "runs", "suite": "IllustrisTNG",
    }  # fmt: skip
    printed = execute("03_training", tmp_path / "03.ipynb", **parameters)
    assert f"Trained elsewhere: weights_41.pt, SHA-256 {sha256(path)}" in printed
    folder = tmp_path / "runs" / "camels-weights_41"
    run_folder = folder / "IllustrisTNG" / "none" / "o3-s1"
    assert (run_folder / "metrics.json").is_file()
    assert not (run_folder / "history.csv").exists()
    judged = (run_folder / "metrics.json").stat().st_mtime_ns

    printed = execute("05_interpretation", tmp_path / "05.ipynb", **parameters)
    assert "3 test maps" in printed
    execute("05b_sanity_checks", tmp_path / "05b.ipynb", **parameters)
    table = read_json(folder / "results" / "05_interpretation.json")
    assert (table["suite"], table["weights"]) == ("IllustrisTNG", "weights_41.pt")
    assert (run_folder / "metrics.json").stat().st_mtime_ns == judged  # not evaluated again
    for pages in ("03.ipynb", "05.ipynb", "05b.ipynb"):
        assert str(tmp_path / "cmd") not in "".join(
            str(cell.get("outputs", "")) for cell in nbformat.read(tmp_path / pages, 4).cells
        )
