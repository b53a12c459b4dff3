"""Test the summaries of attributions with known sums."""

import numpy as np
import pytest

from cosmolib.interpretation import binned


def blocks():
    """Return values, density and simulations of 4 maps; a quarter of the pixels is dense."""
    density = np.full((4, 8, 8), 0.5)
    density[:, :4, :4] = 5.0
    return np.where(density > 1, -3.0, 1.0), density, np.array([0, 0, 1, 1])


def test_by_value():
    values, density, simulations = blocks()
    found = binned.by_value(values, density, [0, 1, 4, 10], simulations, 100)
    np.testing.assert_allclose(found["fraction"], [0.75, 0, 0.25])
    mean = 0.75 * 1 + 0.25 * 3  # 1.5
    np.testing.assert_allclose(found["per_pixel"][:, 0], [1 / mean, np.nan, 3 / mean])
    np.testing.assert_allclose(found["signed_per_pixel"][:, 0], [1 / mean, np.nan, -3 / mean])
    np.testing.assert_allclose(found["share"][:, 0], [0.5, 0, 0.5])
    np.testing.assert_allclose(found["share"][:, 1], found["share"][:, 2])  # all maps are equal
    assert found["edges"].tolist() == [0, 1, 4, 10]
    part = binned.by_value(values, density, [1, 10], simulations, 10)  # totals count all pixels
    np.testing.assert_allclose(part["share"][:, 0], [0.5])


def test_intervals_come_from_the_scatter_between_simulations():
    rng = np.random.default_rng(0)
    simulations = np.repeat(np.arange(40), 5)
    density = rng.uniform(0, 2, (200, 8, 8))
    strength = rng.uniform(1, 3, 40)[simulations][:, None, None]  # of the dense pixels
    values = np.where(density >= 1, strength, 1.0)
    found = binned.by_value(values, density, [0, 1, 2], simulations, 1000)["share"][1]
    assert found[1] < found[0] < found[2]
    # The share is s / (1 + s) for strength s; its error follows from that of the mean of s.
    mean = (values * (density >= 1)).reshape(40, -1).sum(1) / (5 * 32)
    error = mean.std() / np.sqrt(40) / (1 + mean.mean()) ** 2
    assert (found[2] - found[1]) / (2 * 1.96) == pytest.approx(error, rel=0.25)
    one = binned.by_value(values[:5], density[:5], [0, 1, 2], simulations[:5], 10)
    np.testing.assert_array_equal(np.isnan(one["share"]), [[False, True, True]] * 2)


def test_by_class():
    values, density, simulations = blocks()
    classes = np.where(density > 1, 2, 0).astype(np.uint8)
    classes[:, 6:, 6:] = 1
    found = binned.by_class(values, classes, simulations, 50)
    assert found["names"] == ("void", "filament", "halo")
    np.testing.assert_allclose(found["fraction"], [44 / 64, 4 / 64, 16 / 64])
    np.testing.assert_allclose(found["share"][:, 0], np.array([44, 4, 48]) / 96)


def test_over_to_under():
    values, density, simulations = blocks()
    values = values * np.where(density > 1, 2, 1)  # the sums of the two sides differ
    found = binned.over_to_under(values, density - 1, simulations, 50)
    assert found["ratio"]["value"] == pytest.approx(6)
    assert found["under-dense"]["value"] == pytest.approx(1 / 3)
    assert found["under-dense"]["low"] == pytest.approx(found["under-dense"]["high"])
    one = binned.over_to_under(values[:2], density[:2] - 1, simulations[:2], 50)["under-dense"]
    assert one == {"value": pytest.approx(1 / 3), "low": None, "high": None}


def test_bad_summaries():
    values, density, simulations = blocks()
    for edges in ([0, 2, 1], [2, 1, 0], [0, 1, 1], [0, np.nan, 2]):
        for function in (binned.by_value, binned.by_band):
            with pytest.raises(ValueError, match="edges: found .* expected ascending numbers"):
                function(values, density, edges, simulations)
    with pytest.raises(ValueError, match=r"found shapes \(4, 8, 8\) and \(3, 8, 8\)"):
        binned.by_value(values, density[:3], [0, 1], simulations)


def test_regions():
    values, density, simulations = blocks()
    found = binned.region_share(values, density > 1, simulations, 50)
    assert found["value"] == pytest.approx(0.5)
    assert found["chance"] == pytest.approx(0.25)
    regions = np.where(density[:1] > 1, 1, 0)
    regions[0, 7] = -1  # in no region
    np.testing.assert_allclose(binned.region_sums(values, regions), [[40, -48]] * 4)


def test_bands_of_a_wave_and_of_noise():
    rng = np.random.default_rng(0)
    simulations = np.repeat(np.arange(6), 5)
    wave = np.cos(2 * np.pi * 4 * np.arange(32) / 32) * np.ones((30, 32, 32))  # mode 4 alone
    noise = rng.standard_normal((30, 32, 32))
    edges = np.array([0, 3, 6, 16, 30]) * 2 * np.pi / 25
    found = binned.by_band(wave, 0.5 * wave + 0.5 * noise, edges, simulations, 100)
    np.testing.assert_allclose(found["share"][:, 0], [0, 1, 0, 0], atol=1e-9)
    assert found["coherence"][1, 0] > 0.8
    assert found["fraction"].sum() == pytest.approx(1)
    strength = rng.uniform(1, 100, 30)[:, None, None]  # maps have equal weights
    found = binned.by_band(strength * noise, noise, edges, simulations, 100)
    for share in (found["share"][:, 0], found["field_share"]):
        np.testing.assert_allclose(share, found["fraction"], atol=0.03)
    np.testing.assert_allclose(found["coherence"][:, 0], 1, atol=0.05)
    other = binned.by_band(-noise, np.roll(noise, 1, 0), edges, simulations, 100)["coherence"]
    assert (np.abs(other[:, 0]) < 0.2).all()
    opposite = binned.by_band(-noise, noise, edges, simulations)["coherence"]
    np.testing.assert_allclose(opposite[:, 0], -1, atol=1e-3)
    assert (other[:, 1] < other[:, 2]).all()


def test_mean_of_one_number_per_map():
    numbers = np.array([1.0, 3.0, np.nan, 5.0])
    found = binned.mean_estimate(numbers, np.array([0, 0, 1, 2]), 200)
    assert found["value"] == pytest.approx(3)
    assert found["low"] < 3 < found["high"]
    assert binned.mean_estimate([np.nan], [0])["value"] is None
