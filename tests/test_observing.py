"""Steps before a cut: level of the noise, removed means, order, one random stream per map."""

import numpy as np
import pytest
from test_cuts import lognormal_maps

from cosmolib.cuts.apply import apply_cut, cut_mask
from cosmolib.cuts.noise import REFERENCE_DENSITY
from cosmolib.data.cmd_format import mean_surface_density
from cosmolib.study.profile import load_profile
from cosmolib.training.dataset import prepare_data


@pytest.fixture(scope="module")
def maps():
    return lognormal_maps(6, 32)


def test_white_noise_has_the_stated_size_and_does_not_follow_the_map(maps):
    for factor in (1, 10):
        noise = apply_cut(maps * np.float32(factor), "white=0.5:none") - maps * np.float32(factor)
        assert noise.std() == pytest.approx(0.5 * REFERENCE_DENSITY, rel=0.02)
        assert abs(noise.mean()) < 0.02 * REFERENCE_DENSITY
    assert mean_surface_density(0.3) == REFERENCE_DENSITY


def test_white_noise_of_another_level_is_the_same_scaled(maps):
    low, high = (apply_cut(maps, f"white={x}:none") - maps for x in (0.1, 0.2))
    np.testing.assert_allclose(high, 2 * low, atol=1e-4 * REFERENCE_DENSITY)
    np.testing.assert_array_equal(apply_cut(maps, "white=0:none"), maps)


def test_shot_noise_has_the_variance_of_counts():
    flat = np.full((4, 64, 64), REFERENCE_DENSITY, np.float32)
    noisy = apply_cut(flat, "shot=10:none") / REFERENCE_DENSITY
    assert noisy.mean() == pytest.approx(1, abs=0.01)
    assert noisy.var() == pytest.approx(0.1, rel=0.05)  # 1 / n
    np.testing.assert_allclose(noisy * 10, np.rint(noisy * 10), atol=1e-4)
    # proportional to the density
    dense = apply_cut(4 * flat, "shot=10:none") / REFERENCE_DENSITY
    assert dense.mean() == pytest.approx(4, rel=0.01)
    assert dense.var() == pytest.approx(0.4, rel=0.05)


def test_nomean_hides_the_mean_and_nothing_else(maps):
    found = apply_cut(maps, "nomean:none")
    np.testing.assert_allclose(found.mean((1, 2)), REFERENCE_DENSITY, rtol=1e-6)
    np.testing.assert_array_equal(found, apply_cut(maps * np.float32(2), "nomean:none"))
    ratio = found / maps
    np.testing.assert_allclose(ratio, ratio[:, :1, :1].repeat(32, 1).repeat(32, 2), rtol=1e-6)


def test_the_cut_acts_on_the_noisy_map(maps):
    noisy = apply_cut(maps, "white=0.5:none")
    for cut in ("above:delta=0:clamp", "shuffle:below:4e11:mean", "kmax:2", "mask:above:4e11"):
        np.testing.assert_array_equal(apply_cut(maps, f"white=0.5:{cut}"), apply_cut(noisy, cut))
    mask = cut_mask(maps, "white=0.5:above:4e11")
    np.testing.assert_array_equal(mask, noisy > np.float32(4e11))
    assert (mask != (maps > 4e11)).any()


def test_maps_that_cannot_be_observed_are_refused(maps):
    with pytest.raises(ValueError, match="none below 0"):
        apply_cut(-maps, "shot=1:none")
    with pytest.raises(ValueError, match="expected above 0"):
        apply_cut(-maps, "nomean:none")


def test_noisy_maps_are_scaled_smoothly_through_zero(suite):
    profile = load_profile("tiny")
    assert prepare_data(suite, profile, "nomean:kmax:4").scaling.kind == "log"
    data = prepare_data(suite, profile, "white=1:none")
    assert data.scaling.kind == "asinh"
    assert data.train_x.abs().max() < 20  # the signed log would give -22
    assert data.train_x.std() == pytest.approx(1, abs=0.01)
