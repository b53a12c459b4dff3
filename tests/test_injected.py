"""Injected signals: their place, the cuts that hide or spare it, and shares of attribution."""

import itertools

import numpy as np
import pytest
import torch

from cosmolib.cuts.apply import apply_cut
from cosmolib.cuts.noise import REFERENCE_DENSITY
from cosmolib.data.scaling import fit_scaling
from cosmolib.interpretation.attribution import attribute
from cosmolib.validation.injected_signals import (
    HIDING,
    PLACES,
    SPARING,
    IdealEstimator,
    injected_maps,
    injected_pixels,
    injected_share,
)

ENDS = (0.1, 0.3, 0.5)


@pytest.fixture(scope="module")
def maps():
    """Maps of each place at three values of Omega_m, with the same noise."""
    return {
        name: [injected_maps(name, np.full(6, om), grid=32, seed=4) for om in ENDS]
        for name in PLACES
    }


@pytest.mark.parametrize("name", PLACES)
def test_cuts_hide_and_spare_the_place_exactly(maps, name):
    low, middle, high = maps[name]
    assert min(low.min(), middle.min(), high.min()) > 0
    for cut, other in itertools.product(HIDING[name], (middle, high)):
        np.testing.assert_allclose(apply_cut(low, cut), apply_cut(other, cut), rtol=2e-6)
    for cut in SPARING[name]:
        kept, left = apply_cut(high, cut) - apply_cut(low, cut), high - low
        if name == "mean":  # the cut may change anything but the mean
            kept, left = kept.mean((1, 2)), left.mean((1, 2))
        # The whole difference between the two ends remains.
        np.testing.assert_allclose(kept, left, atol=5e-6 * np.abs(high).max(), rtol=1e-4)
        assert np.abs(kept).max() > 0.01 * REFERENCE_DENSITY


@pytest.mark.parametrize("name", ["above", "below"])
def test_pixels_stay_on_their_side_and_the_others_do_not_change(maps, name):
    low, middle, high = maps[name]
    inside = injected_pixels(name, middle)
    assert 0.02 < inside.mean() < 0.98
    for other in (low, high):
        np.testing.assert_array_equal(injected_pixels(name, other), inside)
        np.testing.assert_array_equal(other[~inside], middle[~inside])
        assert (other[inside] != middle[inside]).mean() > 0.99


def test_omega_m_outside_its_range_is_refused():
    with pytest.raises(ValueError, match="outside 0.1 to 0.5"):
        injected_maps("mean", [0.6])


def test_shares_of_perfect_and_random_attributions(maps):
    rng = np.random.default_rng(0)
    for name in PLACES:
        m = maps[name][1]
        share, chance = injected_share(name, rng.standard_normal(m.shape), m)
        error = 0.02 if name in ("above", "below") else 0.05
        np.testing.assert_allclose(share.mean(), chance.mean(), atol=error)
    low, _, high = maps["band"]
    for mean in (0.0, 1e11):  # the mean of an attribution map has no scale
        share, _ = injected_share("band", high - low + mean, low)
        np.testing.assert_allclose(share, 1, atol=1e-3)
    np.testing.assert_allclose(injected_share("mean", np.full((2, 32, 32), -3.0), low)[0], 1)
    dense = maps["above"][1]
    inside = injected_pixels("above", dense)
    for attributed, expected in ((-2.0 * inside, 1), (1.0 * ~inside, 0)):
        np.testing.assert_allclose(injected_share("above", attributed, dense)[0], expected)


@pytest.mark.parametrize(
    ("name", "reached"), [("above", 1.0), ("below", 0.82), ("band", 0.48), ("mean", 0.21)]
)
def test_shares_of_the_ideal_estimator(name, reached):
    """Shares of Integrated Gradients from the mean log-density, found by independent code."""
    omega_m = np.random.default_rng(1).uniform(0.1, 0.5, 48)
    maps = injected_maps(name, omega_m, seed=1)
    scaling = fit_scaling(maps, "log")
    x = torch.from_numpy(scaling.apply(maps))[:, None]
    ideal = IdealEstimator(name, scaling)
    estimate = ideal(x)[0][:, 0].detach().numpy()
    assert abs(np.corrcoef(estimate, omega_m)[0, 1]) > 0.7
    if name == "mean":
        np.testing.assert_allclose(estimate, maps.mean((1, 2)), rtol=1e-4)
    found = attribute(ideal, x, "integrated_gradients", 0, baseline=torch.zeros_like(x), n_steps=32)
    share, _ = injected_share(name, found.values, maps)
    assert share.mean() == pytest.approx(reached, abs=0.06)
