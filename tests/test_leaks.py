"""No leak from test to training part by scaling, fills and labels; the split: test_suites.py."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import lognormal_maps, write_suite_files

from cosmolib.data.suites import map_indices, open_suite, split_simulations
from cosmolib.data.tables import parameter_ranges
from cosmolib.results.baseline import summary_baseline
from cosmolib.study.profile import load_profile
from cosmolib.training.dataset import prepare_data
from cosmolib.training.fit import fit, seeded
from cosmolib.training.networks import build_network
from cosmolib.training.predictions import predict
from cosmolib.training.scores import r2


def with_other_maps(suite, profile, part="test"):
    """Return the suite with the maps of one part multiplied by 100."""
    maps = np.array(suite.maps)
    split = split_simulations(suite.n_simulations, profile.split_seed)
    maps[map_indices(getattr(split, part))] *= 100
    return replace(suite, maps=maps)


@pytest.mark.parametrize("cut", ["none", "kmax:4", "below:2e11:random", "above:delta=1:clamp"])
def test_training_does_not_see_other_maps(suite, profile, cut):
    """Test and validation maps change neither the scaling nor the inputs of other parts."""
    data = prepare_data(suite, profile, cut)
    for part in ("test", "valid"):
        other = prepare_data(with_other_maps(suite, profile, part), profile, cut)
        assert other.scaling == data.scaling
        assert torch.equal(other.train_x, data.train_x)
        assert torch.equal(other.valid_x, data.valid_x) == (part == "test")
        assert torch.equal(other.test_x, data.test_x) == (part == "valid")


def test_the_baseline_does_not_depend_on_the_test_parameters(suite, profile):
    test = split_simulations(suite.n_simulations, profile.split_seed).test
    params = suite.params.copy()
    params[test] = params[test][:, ::-1]
    other = replace(suite, params=params)
    before, after = (summary_baseline(s, profile) for s in (suite, other))
    np.testing.assert_array_equal(after["mean"], before["mean"])
    assert not np.array_equal(after["truth"], before["truth"])


@pytest.fixture(scope="module")
def larger_suite(tmp_path_factory):
    """Return 160 simulations with 16 x 16 pixels: eight test simulations limit chance."""
    low, high = parameter_ranges("Lite").T
    params = np.random.default_rng(3).uniform(low, high, size=(160, 6))
    folder = tmp_path_factory.mktemp("larger")
    write_suite_files(folder, "Lite", lognormal_maps(params, grid=16)[1], params)
    return open_suite("Lite", folder)


def test_shuffled_labels_are_not_learnt(larger_suite):
    """A small network predicts both parameters, and neither if the labels are shuffled."""
    profile = load_profile("tiny", epochs=10)
    scores = {}
    for shuffled in (False, True):
        data = prepare_data(larger_suite, profile.replace(shuffle_labels=shuffled))
        with seeded(1):
            network = build_network("lite", larger_suite.grid, 2, 0.0, 2)
        fit(network, data, profile, seed=1)
        p = predict(network, data)
        scores[shuffled] = r2(p["mean"], p["std"], p["truth"])
    assert (scores[False] > 0.5).all(), scores
    assert (scores[True] < 0.2).all(), scores  # chance, with eight simulations


def test_shuffling_moves_labels_between_simulations_of_one_part(suite, profile):
    data, shuffled = (prepare_data(suite, profile.replace(shuffle_labels=s)) for s in (False, True))
    assert torch.equal(shuffled.train_x, data.train_x)
    assert not torch.equal(shuffled.train_theta, data.train_theta)
    other = prepare_data(suite, profile.replace(shuffle_labels=True), seed=2)
    assert not torch.equal(shuffled.train_theta, other.train_theta)  # chance is not shared
    np.testing.assert_array_equal(shuffled.test_truth, data.test_truth)
    for part in ("train_theta", "valid_theta"):
        before, after = getattr(data, part), getattr(shuffled, part)
        rows = [sorted(map(tuple, theta[::15].tolist())) for theta in (before, after)]
        assert rows[0] == rows[1]  # the same parameters ...
        blocks = after.view(-1, 15, 2)
        assert (blocks == blocks[:, :1]).all()  # ... shared by all maps of a simulation


def test_fewer_training_simulations_do_not_change_the_other_parts(suite, profile):
    whole = prepare_data(suite, profile)
    short = prepare_data(suite, profile.replace(train_simulations=5))
    assert len(np.unique(short.train_simulation)) == 5
    assert set(short.train_simulation) < set(whole.train_simulation)
    np.testing.assert_array_equal(short.valid_simulation, whole.valid_simulation)
    np.testing.assert_array_equal(short.test_map, whole.test_map)
    assert short.scaling != whole.scaling  # fitted to the training maps
