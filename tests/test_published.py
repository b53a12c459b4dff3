"""Networks of the published code: opened from a state dict, judged as a run, shown by notebooks."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from conftest import lognormal_maps, write_suite_files
from torch import nn

from cosmolib.data.suites import open_suite, parameter_ranges
from cosmolib.results.generalisation import cross_evaluate
from cosmolib.study.io import read_json, sha256
from cosmolib.study.profile import load_profile
from cosmolib.study.run import Run
from cosmolib.training import run as training_run
from cosmolib.training.dataset import prepare_data
from cosmolib.training.fit import moment_loss
from cosmolib.training.networks import build_network, load_published_weights, published_network
from cosmolib.training.run import adopt_run, adopted_name, load_run, read_predictions, train_run

ROOT = Path(__file__).resolve().parents[1]


class Published(nn.Module):
    """The published network at 256^2, layer by layer as it is described, with a forward of its own.

    Six blocks of [3x3, 3x3, 2x2 stride 2] convolutions with periodic padding; 4x4; two dense
    layers. Normalised after every convolution but the first; 12 numbers, the last six squared.
    """

    def __init__(self, hidden, dropout):
        super().__init__()
        channels = {"0": 2, "1": 4, "2": 8, "3": 16, "4": 32, "5": 64}
        before = 1
        for block, times in channels.items():
            after = times * hidden
            setattr(self, f"C{block}1", self.three(before, after))
            setattr(self, f"C{block}2", self.three(after, after))
            setattr(self, f"C{block}3", nn.Conv2d(after, after, 2, 2, 0, padding_mode="circular"))
            for layer in "123":
                setattr(self, f"B{block}{layer}", nn.BatchNorm2d(after))
            before = after
        self.C61 = nn.Conv2d(64 * hidden, 128 * hidden, 4, 1, 0, padding_mode="circular")
        self.B61 = nn.BatchNorm2d(128 * hidden)
        self.FC1 = nn.Linear(128 * hidden, 64 * hidden)
        self.FC2 = nn.Linear(64 * hidden, 12)
        self.dropout = nn.Dropout(p=dropout)
        self.LeakyReLU = nn.LeakyReLU(0.2)

    @staticmethod
    def three(before, after):
        return nn.Conv2d(before, after, 3, 1, 1, padding_mode="circular")

    def forward(self, image):
        x = self.LeakyReLU(self.C01(image))
        x = self.LeakyReLU(self.B02(self.C02(x)))
        x = self.LeakyReLU(self.B03(self.C03(x)))  # (B, 2H, 128, 128)
        x = self.LeakyReLU(self.B11(self.C11(x)))
        x = self.LeakyReLU(self.B12(self.C12(x)))
        x = self.LeakyReLU(self.B13(self.C13(x)))  # (B, 4H, 64, 64)
        x = self.LeakyReLU(self.B21(self.C21(x)))
        x = self.LeakyReLU(self.B22(self.C22(x)))
        x = self.LeakyReLU(self.B23(self.C23(x)))  # (B, 8H, 32, 32)
        x = self.LeakyReLU(self.B31(self.C31(x)))
        x = self.LeakyReLU(self.B32(self.C32(x)))
        x = self.LeakyReLU(self.B33(self.C33(x)))  # (B, 16H, 16, 16)
        x = self.LeakyReLU(self.B41(self.C41(x)))
        x = self.LeakyReLU(self.B42(self.C42(x)))
        x = self.LeakyReLU(self.B43(self.C43(x)))  # (B, 32H, 8, 8)
        x = self.LeakyReLU(self.B51(self.C51(x)))
        x = self.LeakyReLU(self.B52(self.C52(x)))
        x = self.LeakyReLU(self.B53(self.C53(x)))  # (B, 64H, 4, 4)
        x = self.LeakyReLU(self.B61(self.C61(x)))  # (B, 128H, 1, 1)
        x = self.dropout(x.view(len(image), -1))
        x = self.dropout(self.LeakyReLU(self.FC1(x)))
        x = self.FC2(x)
        return torch.cat([x[:, :6], x[:, 6:12] ** 2], dim=1)


def as_trained(network, seed=0):
    """Give a network numbers in the manner of trained ones: no layer is the identity."""
    random = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        noise = torch.rand(value.shape, generator=random)
        if name.endswith("running_var"):
            value.copy_(0.5 + noise)
        elif name.endswith("num_batches_tracked"):
            value.fill_(21_200)
        elif value.ndim == 1:  # biases, scales, running means
            value.add_(0.5 * noise - 0.25)
        else:  # as published; torch's own would let the map fade away on its way
            nn.init.kaiming_normal_(value, generator=random)
    return network.eval()


def save(network, path, prefix="", with_b01=True):
    """Write a state dict as the published code does; return its path."""
    state = {f"{prefix}{name}": value for name, value in network.state_dict().items()}
    torch.save({k: v for k, v in state.items() if with_b01 or "B01." not in k}, path)
    return path


# ----------------------------------------------------------------------------------------- network
@pytest.mark.parametrize("hidden", [6, 7, 12])
def test_a_published_network_gives_the_published_outputs(tmp_path, hidden):
    torch.manual_seed(hidden)
    published = as_trained(Published(hidden, 0.209))
    x = torch.randn(2, 1, 256, 256)
    with torch.no_grad():
        expected = published(x)
    assert (expected[0] - expected[1]).abs().min() > 1e-3  # outputs that tell the maps apart
    for prefix in ("", "module."):
        for with_b01 in (True, False):
            path = save(published, tmp_path / "weights_41.pt", prefix, with_b01)
            network = published_network(path)
            assert (network.size, network.hidden, network.n_parameters) == (256, hidden, 6)
            assert not network.training
            with torch.no_grad():
                mean, std = network(x)
            torch.testing.assert_close(torch.cat([mean, std], 1), expected, rtol=0, atol=1e-5)


def test_weights_load_into_a_network_that_is_built_already(tmp_path):
    torch.manual_seed(0)
    published = as_trained(Published(1, 0.5))
    network = build_network("o3", size=256, hidden=1)
    load_published_weights(network, save(published, tmp_path / "weights.pt", "module.")).eval()
    network.B01.weight.data.fill_(3.0)  # never used, whatever it holds
    x = torch.randn(2, 1, 256, 256)
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(network(x), 1), published(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("size", "hidden", "parameters"), [(16, 3, 1), (64, 1, 2), (128, 2, 6)])
def test_every_shape_is_found_in_the_file(tmp_path, size, hidden, parameters):
    own = as_trained(build_network("o3", size, hidden, 0.5, parameters))
    state = torch.get_rng_state()
    found = published_network(save(own, tmp_path / "w.pt"))
    assert torch.equal(torch.get_rng_state(), state)
    assert (found.size, found.hidden, found.n_parameters) == (size, hidden, parameters)
    x = torch.randn(2, 1, size, size)
    with torch.no_grad():
        assert torch.equal(torch.cat(found(x)), torch.cat(own(x)))


class Payload:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (print, ("unpickled",))


def test_a_file_that_is_no_such_network_is_one_error(tmp_path, capsys):
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
    refused(lite, "found no C01.weight among")
    refused({k: v for k, v in good.items() if k != "FC2.weight"}, "found no FC2.weight among")
    refused({k: v for k, v in good.items() if k != "C12.bias"}, "found no weight 'C12.bias'")
    refused({k: v for k, v in good.items() if not k.startswith("C03")}, "found 0 blocks")
    refused(changed(extra=torch.ones(1)), "found unknown weight 'extra'")
    refused(changed(C12_weight=torch.ones(4, 4, 5, 5)), r"C12.weight: found shape \(4, 4, 5, 5\)")
    refused(changed(C01_weight=torch.ones(4, 3, 3, 3)), "found a network of 3 fields")
    refused(changed(C01_weight=torch.ones(5, 1, 3, 3)), "C01: found 5 outputs, expected an even")
    refused(changed(FC2_weight=torch.ones(3, 16)), "FC2: found 3 outputs, expected an even")
    refused(changed(C01_weight=torch.ones(4)), r"found C01.weight of shape \(4,\)")
    refused({"ema": good, "best": good}, "found 'ema' to be OrderedDict, expected a dict of tens")
    refused([torch.ones(1)], "found list, expected a dict of tensors")
    pickled = r"found no state dict \(it holds a pickled \S+, and pickled objects can run code\)"
    refused({**good, "C01.weight": Payload()}, pickled)
    refused(nn.Linear(2, 2), pickled)
    whole = path.read_bytes()
    for data, reason in (
        (b"", "it is empty"),
        (b"not weights", "it was not written by torch.save"),
        (whole[: len(whole) // 2], "PytorchStreamReader failed reading zip archive: [a-z ]+"),
    ):
        path.write_bytes(data)
        expected = rf"weights.pt: found no state dict \({reason}\), expected a dict of tensors$"
        with pytest.raises(ValueError, match=expected):
            published_network(path)
    with pytest.raises(FileNotFoundError, match="missing.pt: found no such file"):
        published_network(tmp_path / "missing.pt")
    assert "unpickled" not in capsys.readouterr().out


# --------------------------------------------------------------------------------------------- run
@pytest.fixture(scope="module")
def profile(tiny_suite_dir):
    """The published numerics on the tiny suite: log of the whole file."""
    return load_profile(
        "camels",
        data_dir=str(tiny_suite_dir),
        targets=["Omega_m", "sigma_8"],
        bootstrap_samples=50,
    )


@pytest.fixture
def adopted(profile, tmp_path):
    """A file of weights, the run that it becomes, and its metrics."""
    path = save(as_trained(build_network("o3", 32, 3, 0.0, 2)), tmp_path / "weights_41.pt")
    run = Run(adopted_name(profile, path), "Lite", "none", "o3", 1, root=tmp_path / "runs")
    return path, run, adopt_run(run, profile, path, device="cpu")


def stamps(run):
    return {path.name: path.stat().st_mtime_ns for path in run.folder.iterdir()}


def test_an_adopted_run_is_complete(adopted, profile):
    path, run, result = adopted
    assert run.profile == "camels-weights_41"
    times = stamps(run)
    assert sorted(times) == [
        "config.yaml", "metrics.json", "predictions.npz", "provenance.json", "weights.pt",
    ]  # fmt: skip
    assert max(times, key=times.get) == "metrics.json"
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
    assert (scaling.mean, scaling.std) == (float(log.mean()), float(log.std()))
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


def test_an_adopted_run_is_tested_on_other_suites(adopted, profile):
    _, run, _ = adopted
    stored = read_predictions(run.path("predictions.npz"))
    own = cross_evaluate(run, open_suite("Lite", profile.data_dir), device="cpu")
    np.testing.assert_allclose(own["mean"], stored["mean"], rtol=1e-5)
    twin = cross_evaluate(run, open_suite("Nbody_Lite", profile.data_dir), device="cpu")
    assert not np.allclose(twin["mean"], stored["mean"], rtol=1e-4)


def test_adopting_twice_does_nothing_and_another_file_starts_anew(adopted, profile, monkeypatch):
    path, run, result = adopted
    before = stamps(run)
    with monkeypatch.context() as patch:
        patch.setattr(training_run, "predict_test", None)
        assert adopt_run(run, profile, path) == result
    assert stamps(run) == before
    save(as_trained(build_network("o3", 32, 3, 0.0, 2), seed=1), path)  # of the same name
    other = adopt_run(run, profile, path, device="cpu")
    assert other["parameters"] != result["parameters"]
    assert read_json(run.path("provenance.json"))["weights"]["sha256"] == sha256(path)
    save(as_trained(build_network("o3", 32, 4, 0.0, 2)), path)
    adopt_run(run, profile, path, device="cpu")
    assert load_run(run)[0].hidden == 4
    wider = profile.replace(scaling_scope="train")
    assert adopt_run(run, wider, path, device="cpu") != other


def test_a_network_that_does_not_fit_is_refused(adopted, profile, tmp_path):
    path, run, _ = adopted
    with pytest.raises(ValueError, match="found a run of profile camels, expected camels-weights"):
        adopt_run(replace(run, profile="camels"), profile, path)
    with pytest.raises(ValueError, match="found a run of lite, expected o3"):
        adopt_run(replace(run, architecture="lite"), profile, path)
    with pytest.raises(ValueError, match="a network of 2 parameters, expected those of the prof"):
        adopt_run(run, profile.replace(targets=["Omega_m"]), path)
    large = save(build_network("o3", 64, 1, 0.0, 2), tmp_path / "large.pt")
    with pytest.raises(ValueError, match=r"maps of 64\^2, expected 32\^2 as in .*Maps_Mtot_Lite"):
        adopt_run(replace(run, profile="camels-large"), profile, large)
    assert not (tmp_path / "runs" / "camels-large").exists()


def test_a_training_in_the_same_folder_is_another_run(adopted, profile):
    """A network that was adopted is never taken for one that was trained, nor the reverse."""
    path, run, result = adopted
    short = profile.replace(hidden=3, dropout=0.0, epochs=1, max_lr=1e-3)
    trained = train_run(run, short, device="cpu")
    assert trained["best_epoch"] == 1
    assert run.path("history.csv").is_file()
    assert adopt_run(run, profile, path, device="cpu") == result
    assert not run.path("history.csv").exists()


# --------------------------------------------------------------------------------------- notebooks
def execute(name, target, **parameters):
    """Run a notebook as the workflow does; return all that its cells printed."""
    command = [sys.executable, "workflow/run_notebook.py", f"notebooks/{name}.ipynb", target]
    for key, value in parameters.items():
        command += ["-p", key, value]
    one = {**os.environ, "OMP_NUM_THREADS": "1"}  # threads cost more than they bring here
    command = list(map(str, command))
    done = subprocess.run(command, cwd=ROOT, env=one, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    notebook = nbformat.read(target, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs)


def test_notebooks_show_a_network_that_was_trained_elsewhere(tmp_path):
    """Maps of 32^2 and a narrow network of three blocks; 256^2 takes the same path."""
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
        "profile": tmp_path / "few.yaml",
        "data_dir": tmp_path / "cmd",
        "runs_dir": tmp_path / "runs",
        "weights": path,
        "suite": "IllustrisTNG",
    }
    printed = execute("03_training", tmp_path / "03.ipynb", **parameters)
    assert f"Trained elsewhere: weights_41.pt, SHA-256 {sha256(path)}" in printed
    folder = tmp_path / "runs" / "camels-weights_41"
    run_folder = folder / "IllustrisTNG" / "none" / "o3-s1"
    assert (run_folder / "metrics.json").is_file()
    assert not (run_folder / "history.csv").exists()
    judged = (run_folder / "metrics.json").stat().st_mtime_ns

    printed = execute("05_interpretation", tmp_path / "05.ipynb", **parameters)
    assert "3 test maps" in printed
    table = read_json(folder / "results" / "05_interpretation.json")
    assert (table["suite"], table["weights"]) == ("IllustrisTNG", "weights_41.pt")
    assert (run_folder / "metrics.json").stat().st_mtime_ns == judged  # not judged again
    for pages in ("03.ipynb", "05.ipynb"):
        assert str(tmp_path / "cmd") not in "".join(
            str(cell.get("outputs", "")) for cell in nbformat.read(tmp_path / pages, 4).cells
        )
