"""Scalings: agreement with the published one, independence of blocks, inversion."""

from dataclasses import asdict

import numpy as np
import pytest
from test_cuts import lognormal_maps

from cosmolib.cuts.apply import apply_cut
from cosmolib.data import scaling as scaling_module
from cosmolib.data.scaling import Scaling, fit_scaling, mean_and_std


@pytest.fixture
def maps():
    return lognormal_maps(7, 16)


def published(maps):
    """Scale a whole file with NumPy as in the published code."""
    maps = maps.copy()
    maps[np.where(maps == 0)] = 1
    signed = np.where(maps < 0, -np.log10(np.abs(maps)), np.log10(np.abs(maps)))
    return (signed - np.mean(signed)) / np.std(signed)


@pytest.mark.parametrize("shape", [(300, 64, 64), (77, 100, 100), (40, 256, 256), (1, 8, 8)])
@pytest.mark.parametrize("pixels", [2**20, 10_000])
def test_scaling_of_a_file_is_the_published_one(shape, pixels, monkeypatch):
    """Up to the rounding of its float32 sums, and independent of the size of the parts."""
    monkeypatch.setattr(scaling_module, "_PART_PIXELS", pixels)
    maps = np.random.default_rng(0).lognormal(25.5, 1.1, shape).astype(np.float32)
    maps[0, 0, :3] = [0, -1e11, 3e15]
    np.testing.assert_allclose(fit_scaling(maps).apply(maps), published(maps), rtol=1e-6, atol=1e-5)


def test_mean_and_std_are_exact_where_float32_sums_are_not():
    x = (1e4 + np.random.default_rng(3).normal(size=(9, 512, 512))).astype(np.float32)
    exact = x.astype(np.float64)
    found = mean_and_std(lambda a, b: x[a:b], x.shape)
    assert found == pytest.approx((exact.mean(), exact.std()), rel=1e-12)


@pytest.mark.parametrize("kind", ["log", "asinh", "linear"])
def test_scaling_in_place_and_to_half_precision(maps, kind):
    order = np.array([4, 1, 6])
    expected = fit_scaling(maps[order], kind)
    scaled, half = expected.apply(maps), np.empty(maps.shape, np.float16)
    expected.apply(maps, out=half)
    np.testing.assert_array_equal(half, scaled.astype(np.float16))
    assert fit_scaling(maps, kind, order) == expected
    assert expected.apply(maps, out=maps).tobytes() == maps.tobytes() == scaled.tobytes()


@pytest.mark.parametrize("kind", ["log", "asinh", "linear"])
def test_constant_maps_scale_to_zero(kind):
    maps = np.full((5, 8, 8), 1e12 / 3, np.float32)
    scaling = fit_scaling(maps, kind)
    assert scaling.std == 1
    np.testing.assert_allclose(scaling.apply(maps), 0, atol=1e-6 * abs(scaling.mean))


def test_bad_scaling(maps):
    with pytest.raises(ValueError, match="unknown scaling 'sqrt', expected one of"):
        fit_scaling(maps, "sqrt")
    for numbers in ((0.0, 0.0), (np.nan, 1.0), (0.0, 1.0, 0.0)):
        with pytest.raises(ValueError, match="finite mean, std > 0 and a positive unit, found"):
            Scaling("log", *numbers)


# Smallest and largest positive pixel in the units of CMD's documentation, and whether maps may have
# zeros: matter is everywhere, but stars, metals and neutral hydrogen are not.
FIELDS = {
    "Mgas": (1e8, 1e15, True), "Vgas": (1e-1, 1e3, False), "T": (1e2, 1e8, False),
    "P": (1e-4, 1e9, True), "Z": (1e-9, 0.1, True), "HI": (1e-3, 1e13, True),
    "ne": (1e-9, 1e-1, True), "B": (1e-15, 1e-5, True), "MgFe": (1e-3, 5, True),
    "Mcdm": (1e9, 1e15, False), "Vcdm": (1.0, 1e3, False), "Mstar": (1e4, 1e14, True),
    "Mtot": (1e9, 1e15, False),
}  # fmt: skip


@pytest.mark.parametrize(
    "cut", ["none", "kmax:1.5", "kmax:1.5@log", "white=0.3:none", "nomean:none"]
)
@pytest.mark.parametrize("kind", ["log", "asinh", "linear"])
@pytest.mark.parametrize("field", FIELDS)
def test_every_field_can_be_undone(field, kind, cut):
    """To float32 relative to each pixel for the log, otherwise relative to the largest pixel.

    The scaled maps that were fitted have zero mean and unit variance.
    """
    low, high, zeros = FIELDS[field]
    rng = np.random.default_rng(0)
    maps = (10 ** rng.uniform(np.log10(low), np.log10(high), (6, 16, 16))).astype(np.float32)
    maps[:, 0, 0] = low
    if zeros and not cut.endswith("@log"):
        maps[:, 1:3] = 0
    maps = apply_cut(maps, cut)
    scaling = fit_scaling(maps[:4], kind)
    x = scaling.apply(maps)
    assert x.dtype == np.float32
    assert x.std() > 0.1  # nothing underflows
    fitted = x[:4].astype(np.float64)
    np.testing.assert_allclose([fitted.mean(), fitted.std()], [0, 1], atol=1e-4)
    back = scaling.invert(x)
    exact = kind == "log" and (maps >= 0).all()
    atol = 0 if exact else 3e-7 * abs(maps).max()
    np.testing.assert_allclose(back, maps, rtol=2e-4, atol=atol)
    assert exact == (kind == "log" and cut in ("none", "kmax:1.5@log", "nomean:none"))
    assert Scaling(**asdict(scaling)) == scaling  # as a run's config stores it
    half = scaling.invert(scaling.apply(maps).astype(np.float16))
    if exact:
        assert ((half == 0) == (maps == 0)).all()


@pytest.mark.parametrize("field", ["Z", "Mtot"])
def test_pixels_between_zero_and_the_unit_count_as_zero(field):
    low, high, _ = FIELDS[field]
    maps = np.random.default_rng(0).uniform(low, high, (2, 8, 8)).astype(np.float32)
    scaling = fit_scaling(maps)
    maps[0, 0, :2] = np.array([0.3, -0.3]) * scaling.unit
    np.testing.assert_array_equal(scaling.invert(scaling.apply(maps))[0, 0, :2], 0)
