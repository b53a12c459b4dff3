"""Numbers of chapters 01 and 02 for arrays with known results."""

import numpy as np
import pytest

from cosmolib.data import summary
from cosmolib.study.io import REPOSITORY, read_json
from lite import validate


def test_quantile_groups_are_ordered_and_complete():
    values = np.random.default_rng(5).normal(size=50)
    groups = summary.quantile_groups(values, 4)
    assert sorted(np.concatenate(groups)) == list(range(50))
    for low, high in zip(groups, groups[1:], strict=False):
        assert values[low].max() <= values[high].min()
    assert len(summary.quantile_groups(values[:2], 6)) == 2  # no empty group


def test_maps_are_checked_against_their_mass(suite):
    slabs, boxes, row = summary.check_maps(suite)
    assert slabs.shape == (suite.n_simulations, 15)
    np.testing.assert_allclose(boxes, 1, atol=1e-4)
    np.testing.assert_allclose(summary.per_simulation(slabs.ravel())[:, 0], boxes.mean(axis=1))
    assert row["worst deviation of a box's mean"] == np.abs(boxes - 1).max()
    assert (row["not finite"], row["zero or negative"]) == (0, 0)


def test_feedback_numbers_find_the_exponent_of_a_power_law():
    rng = np.random.default_rng(0)
    params = rng.uniform(0.3, 3, (200, 6))
    k = np.array([0.25, 0.4, 4.9, 8.0])
    suppression = 0.02 * params[:, 2] ** 0.7 * params[:, 3] ** -0.4
    ratio = np.ones((200, 4))
    ratio[:, 2] -= suppression
    found = summary.feedback_numbers(k, ratio, params)
    assert found["data-ratio-exponent"] == pytest.approx(0.7)
    assert found["data-ratio-exponent-error"] < 1e-6
    assert found["data-ratio-large"] == 1
    assert found["data-ratio-large-worst"] == 0
    assert found["data-ratio-median"] == pytest.approx(1 - np.median(suppression))
    assert (found["data-ratio-steps"], found["data-ratio-bins"]) == (5, 5)


def test_power_after_a_cut_is_relative_to_the_uncut_mean(suite):
    maps = np.array(suite.maps)
    k, power = summary.power_after_cuts(maps, [("none", maps), ("twice", 2 * maps)], 25.0)
    assert power["none"].shape == (suite.n_simulations, len(k))
    np.testing.assert_allclose(power["twice"], 4 * power["none"], rtol=1e-4)


def test_validation_numbers_are_those_stored_with_lite():
    stored = read_json(REPOSITORY / "data/lite/validation.json")
    found = validate.chapter_numbers(stored)
    assert stored["numbers"] == pytest.approx(found)
    changes = [c for entry in stored["lattice"]["difference"].values() for c in entry.values()]
    assert abs(found["data-lattice-change"]) == max(abs(change[0]) for change in changes)
    assert found["data-lattice-low"] < found["data-lattice-change"] < found["data-lattice-high"]
    assert found["data-3d-boxes"] == stored["power3d_mean"]["rows"]
    assert found["data-3d-linear"] == stored["power3d_mean"]["measured_over_linear"]["mean"][0]
