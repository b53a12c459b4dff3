"""The published recipe: entries of configs/camels.yaml and the inputs that they give."""

import numpy as np
import pytest
import reference
import torch
from conftest import lognormal_maps, write_suite_files
from optuna.distributions import FloatDistribution, IntDistribution

from cosmolib.cuts.apply import apply_cut
from cosmolib.data.suites import open_suite, split_simulations
from cosmolib.data.tables import parameter_ranges
from cosmolib.study.profile import load_profile
from cosmolib.training.dataset import prepare_data
from cosmolib.training.networks import build_network
from cosmolib.tuning.search import SEARCH_SPACE, _own_settings

SUITE = "IllustrisTNG"
SIMULATIONS, GRID = 40, 64


# ---------------------------------------------------------------------------------------- settings
def test_every_entry_of_the_profile_is_the_published_one():
    profile = load_profile("camels")
    published = {
        "suites": ["IllustrisTNG", "Nbody_IllustrisTNG"], "field": "Mtot", "sim_set": "LH",
        "n_simulations": None, "train_simulations": None, "split_seed": 1, "scaling": "log",
        "scaling_scope": "file", "architecture": "o3",
        "targets": ["Omega_m", "sigma_8", "A_SN1", "A_AGN1", "A_SN2", "A_AGN2"],
        "hidden": 7, "dropout": 0.209, "epochs": 200, "batch_size": 128, "max_lr": 4.88e-3,
        "weight_decay": 2.44e-4, "betas": [0.5, 0.999], "schedule": "cyclic", "symmetries": True,
        "shifts": False, "tuning_trials": 50, "tuning_epochs": 200, "tuning_simulations": None,
    }  # fmt: skip
    assert {key: getattr(profile, key) for key in published} == published
    network = build_network("o3", 256, profile.hidden, profile.dropout, len(profile.targets))
    assert sum(weight.numel() for weight in network.parameters()) == 11_521_592
    assert SEARCH_SPACE == {
        "max_lr": FloatDistribution(1e-5, 5e-3, log=True),
        "weight_decay": FloatDistribution(1e-8, 1e-1, log=True),
        "dropout": FloatDistribution(0.0, 0.9),
        "hidden": IntDistribution(6, 12),
    }
    assert _own_settings(profile)  # within the ranges, so that they are the first trial


def test_every_published_cut_is_in_the_profile():
    below = ("1e11", "2e11", "4e11", "6e11", "8e11", "1e12", "2e12")
    expected = ["none"]
    expected += [f"kmax:{k}" for k in (1, 5, 10, 20, 30, 40, 50)]
    expected += [f"above:{t}:clamp" for t in ("5e10", "1e11", "2e11", "5e11", "1e12")]
    expected += [f"below:{t}:{fill}" for fill in ("clamp", "random") for t in below]
    assert load_profile("camels").cuts == expected


# ------------------------------------------------------------------------- inputs as published
@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A small file under CMD's name and its parameters: 40 simulations of 64^2."""
    folder = tmp_path_factory.mktemp("cmd")
    low, high = parameter_ranges(SUITE).T
    params = np.random.default_rng(3).uniform(low, high, size=(SIMULATIONS, 6))
    _, maps = lognormal_maps(params, grid=GRID)
    tested = 15 * split_simulations(SIMULATIONS).test[0]  # the extremes are in a test map
    maps[tested, 0, :2] = maps.min() / 2, maps.max() * 2
    return write_suite_files(folder, SUITE, maps, params)


def assert_as_published(data, *files):
    """Compare inputs (to 1e-5 standard deviations) and labels (bit by bit) with the reference."""
    parts = reference.load_and_split(*files)
    low, high = parameter_ranges(SUITE).T
    tested = ((data.test_truth - low) / (high - low)).astype(np.float32)
    theta = (data.train_theta, data.valid_theta, torch.from_numpy(tested))
    for x, own, (maps, labels) in zip(
        (data.train_x, data.valid_x, data.test_x), theta, parts, strict=True
    ):
        torch.testing.assert_close(x[:], maps, rtol=1e-6, atol=1e-5)  # float32 as well
        assert torch.equal(own, labels)


@pytest.fixture(scope="module", params=["float32", "disk"])
def camels(files, request):
    """The published profile and the suite of the files."""
    profile = load_profile("camels", data_dir=str(files[0].parent), storage=request.param)
    return profile, open_suite(SUITE, profile.data_dir)


def test_inputs_and_labels_as_published(files, camels):
    profile, suite = camels
    assert_as_published(prepare_data(suite, profile), *files)


def test_negative_pixels_of_a_fourier_cut_as_published(files, tmp_path, camels):
    """The published code writes the cut maps to a file and scales this file."""
    profile, suite = camels
    cut_file = tmp_path / "cut.npy"
    np.save(cut_file, apply_cut(np.load(files[0]), "kmax:5", box_size=25.0))
    assert (np.load(cut_file) < 0).sum() > 10_000
    assert_as_published(prepare_data(suite, profile, "kmax:5"), cut_file, files[1])


@pytest.mark.parametrize("side", ["above", "below"])
def test_clamped_pixels_as_published(files, tmp_path, camels, side):
    profile, suite = camels
    maps = np.load(files[0])
    chosen = maps > 2e11 if side == "above" else maps < 2e11
    assert 0.1 < chosen.mean() < 0.9
    maps[chosen] = 2e11
    np.save(tmp_path / "cut.npy", maps)
    data = prepare_data(suite, profile, f"{side}:2e11:clamp")
    assert_as_published(data, tmp_path / "cut.npy", files[1])


def test_random_fills_are_log_uniform_over_the_range_of_the_file(camels):
    """The published draws have no seed, so that only their distribution can be compared."""
    profile, suite = camels
    raw = np.array(suite.maps)
    low, high = raw.min(), raw.max()
    data = prepare_data(suite, profile, "below:4e11:random")
    assert data.value_range == (low, high)
    cut = data.scaling.invert(data.test_x[:][:, 0].numpy())
    filled = raw[data.test_map] < np.float32(4e11)
    np.testing.assert_allclose(cut[~filled], raw[data.test_map][~filled], rtol=1e-4)
    place = np.log10(cut[filled] / low) / np.log10(high / low)  # uniform from 0 to 1
    assert filled.sum() > 30_000
    found, _ = np.histogram(place, bins=10, range=(-1e-6, 1 + 1e-6))
    assert found.sum() == filled.sum()
    np.testing.assert_allclose(found / found.sum(), 0.1, atol=0.01)
