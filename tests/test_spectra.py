"""Power spectra compared with Pylians and with known fields; PDFs, summaries, chapter numbers."""

import numpy as np
import pytest
from scipy import ndimage, stats
from test_cuts import lognormal_maps

from cosmolib.cuts.apply import apply_cut
from cosmolib.data import spectra, summary
from cosmolib.data.spectra import cross_power, pixel_pdf, power_spectrum, summary_statistics
from cosmolib.study.io import REPOSITORY, read_json
from lite import validate

FUNDAMENTAL = 2 * np.pi / 25.0


# ---------------------------------------------------------------- power spectra


@pytest.mark.parametrize("grid", [15, 16, 64])
@pytest.mark.parametrize("log", [False, True])
def test_power_is_that_of_pylians(grid, log):
    Pk_library = pytest.importorskip("Pk_library")
    maps = lognormal_maps(3, grid)
    k, power = power_spectrum(maps, box_size=30.0, log=log)
    for one, found in zip(maps.astype(np.float64), power, strict=True):
        field = np.log10(one) - np.log10(one).mean() if log else one / one.mean() - 1
        expected = Pk_library.Pk_plane(field.astype(np.float32), 30.0, "None", 1, verbose=False)
        np.testing.assert_allclose(k, expected.k, rtol=1e-6)
        # single precision shows where a bin holds a millionth of the power
        np.testing.assert_allclose(found, expected.Pk, rtol=1e-4, atol=1e-7 * found.max())


@pytest.mark.parametrize("grid", [31, 32])
def test_a_wave_has_its_power_in_its_bin(grid):
    # delta = A cos(k x): A^2 / 2 over the 4 independent modes of the bin |k| = 3: 3.0 <= |k| < 4.
    x = 2 * np.pi * np.arange(grid) / grid
    maps = 1e11 * (1 + 0.2 * np.cos(3 * x)[:, None] * np.ones(grid))
    k, power = power_spectrum(maps)
    assert k[0] < 2 * FUNDAMENTAL
    assert power[2] > 0
    assert np.delete(power, 2).max() < 1e-12 * power[2]
    near = np.hypot(*np.meshgrid(np.arange(-5, 6), np.arange(-5, 6)))
    pairs = ((near >= 3) & (near < 4)).sum() / 2
    assert power[2] * pairs == pytest.approx(0.2**2 / 4 * 25.0**2)


def test_units_and_invariances():
    maps = lognormal_maps(4, 32).astype(np.float64)
    k, power = power_spectrum(maps)
    np.testing.assert_allclose(power_spectrum(7 * maps)[1], power, rtol=1e-9)  # delta: no units
    k2, power2 = power_spectrum(maps, box_size=50.0)
    np.testing.assert_allclose(k2, k / 2)
    np.testing.assert_allclose(power2, 4 * power)
    one, other = (power_spectrum(scale * maps, log=True)[1] for scale in (1, 7))
    np.testing.assert_allclose(other, one, rtol=1e-6, atol=1e-9)


def test_cross_power_depends_on_phases_and_equals_the_power_of_equal_fields():
    maps = lognormal_maps(3, 32).astype(np.float64)
    delta = maps / maps.mean(axis=(1, 2), keepdims=True) - 1
    k, power, modes = cross_power(delta, delta, box_size=25.0)
    expected_k, expected = power_spectrum(maps, 25.0)
    np.testing.assert_allclose(k, expected_k)
    np.testing.assert_allclose(power / modes * (25 / 32**2) ** 2, expected)
    # half of the modes without the mean, and three that have no partner
    assert modes.sum() == (32**2 - 4) / 2 + 3
    half = cross_power(delta, -0.5 * delta + 7)[1]  # means have no effect
    np.testing.assert_allclose(half, -0.5 * power)
    turned = cross_power(delta, np.roll(delta, 1, axis=0))[1]
    assert abs(turned[:, -3:]).max() < power[:, -3:].max()
    with pytest.raises(ValueError, match=r"fields: found shapes \(3, 32, 32\) and \(2, 32, 32\)"):
        cross_power(delta, delta[:2])


# ---------------------------------------------------------------- summaries


def test_summary_statistics_match_their_names():
    maps = lognormal_maps(6, 32)
    x, names = summary_statistics(maps, n_bands=6, n_quantiles=5)
    assert x.shape == (6, len(names))
    assert len(set(names)) == len(names)
    kinds = [name.split("(")[0].split()[0] for name in names]
    assert kinds[:25] == ["mean"] + ["P_delta"] * 6 + ["P_log"] * 6 + ["quantile"] * 12
    np.testing.assert_allclose(x[:, 0], np.log10(maps.mean(axis=(1, 2), dtype=np.float64)))
    k, power = power_spectrum(maps)
    np.testing.assert_allclose(x[:, 1], np.log10(power[:, 0]))  # the first band: k_F alone
    assert names[1] == f"P_delta(k={k[0]:.2f})"
    np.testing.assert_allclose(x[:, 7], np.log10(power_spectrum(maps, log=True)[1][:, 0]))
    ordered = np.sort(maps.reshape(6, -1), axis=1)
    places = (1024 * np.array([0.1, 0.3, 0.5, 0.7, 0.9])).astype(int)
    np.testing.assert_allclose(10 ** x[:, 13:18], ordered[:, places], rtol=1e-6)
    np.testing.assert_allclose(10 ** x[:, 24], maps.max(axis=(1, 2)), rtol=1e-6)


def test_morphology_by_independent_code():
    """Filter with scipy.ndimage, moments from scipy.stats, extrema by comparing neighbours."""
    maps, box = lognormal_maps(4, 32), 12.5  # pixels as large as those of Lite
    x, names = summary_statistics(maps, box)
    found = dict(zip(names, x.T, strict=True))
    logs = np.log10(maps.astype(np.float64))
    logs -= logs.mean((1, 2), keepdims=True)

    def smooth(field, scale):
        sigma = scale / box * 32
        modes = [ndimage.fourier_gaussian(np.fft.fft2(one), sigma) for one in field]
        return np.fft.ifft2(modes).real

    levels = [logs, *(smooth(logs, scale) for scale in spectra.SMOOTHING)]
    for scale, field in zip(spectra.SMOOTHING, levels[1:], strict=True):
        flat, std = field.reshape(4, -1), field.std((1, 2))
        np.testing.assert_allclose(found[f"std R={scale:g}"], np.log10(std))
        np.testing.assert_allclose(found[f"skewness R={scale:g}"], stats.skew(flat, axis=1))
        kurtosis = stats.kurtosis(flat, axis=1, fisher=False)
        np.testing.assert_allclose(found[f"kurtosis R={scale:g}"], kurtosis)
        for name, side in (("peaks", field), ("minima", -field)):
            extreme = np.ones(field.shape, bool)
            for step in [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]:
                extreme &= side > np.roll(side, step, (1, 2))
            high = extreme & (side > 1 * std[:, None, None])
            for level, kept in (("-inf", extreme), ("1", high)):
                share = found[f"{name} above {level} R={scale:g}"]
                np.testing.assert_allclose(share, kept.mean((1, 2)))
    modulus = np.abs(levels[0] - levels[1])
    band = smooth(modulus, spectra.SMOOTHING[1]) - smooth(modulus, spectra.SMOOTHING[2])
    np.testing.assert_allclose(found["modulus 0"], np.log10(modulus.mean((1, 2))))
    np.testing.assert_allclose(found["modulus 0 at 1"], np.log10(band.std((1, 2))))
    own = smooth(np.abs(levels[2] - levels[3]), spectra.SMOOTHING[2])
    np.testing.assert_allclose(found["modulus 2 at 2"], np.log10(own.std((1, 2))))


@pytest.mark.parametrize(
    "cut", ["none", "kmax:2", "kmin:3", "above:1e11:random", "mask:above:1e3", "kmin:3@log"]
)
def test_summary_of_any_cut_map_is_finite_and_without_rounding_errors(cut):
    x, names = summary_statistics(apply_cut(lognormal_maps(3, 64), cut))
    assert np.isfinite(x).all()
    if cut == "kmax:2":  # beyond k_max there is only noise of single precision, below the floor
        beyond = [n.startswith("P_delta") and float(n[:-1].split("=")[1]) > 3 for n in names]
        assert (x[:, beyond] == -8).all()
        assert sum(beyond) > 2


@pytest.mark.parametrize("seed", [0, 1])
def test_flat_parts_of_a_map_have_no_extrema(seed):
    """Rounding errors of the smoothing must not count as peaks and minima."""
    maps = np.full((1, 64, 64), 1e11, np.float32)
    place = np.random.default_rng(seed).integers(64, size=2)
    maps[0, *place] = 1e13
    x, names = summary_statistics(maps)
    found = dict(zip(names, x[0] * 64**2, strict=True))
    # Only at the largest scale: at the others, the pixel grid truncates the Gaussian.
    assert found["peaks above -inf R=1.2"] == 1
    assert found["minima above -inf R=1.2"] == 0


@pytest.mark.parametrize("value", [0.0, -1e11, 5e11])
def test_summary_of_constant_maps(value):
    x, names = summary_statistics(np.full((2, 16, 16), value, np.float32))
    extrema = [name.startswith(("peaks", "minima")) for name in names]
    assert (x[:, extrema] == 0).all()
    assert np.isfinite(x).all()
    power = x[:, [name.startswith("P_") for name in names]]
    assert (power == np.log10(spectra.POWER_FLOOR)).all()


def test_pdf_is_a_density_in_the_log_of_the_pixels():
    maps = lognormal_maps(3, 16)
    edges = np.array([10.0, 10.7, 11.0, 11.4, 12.5])
    pdf = pixel_pdf(maps, edges)
    count, _ = np.histogram(np.log10(maps[1].astype(np.float64)), edges)
    np.testing.assert_allclose(pdf[1], count / 256 / np.diff(edges))
    np.testing.assert_array_equal(pixel_pdf(maps[1], edges), pdf[1])


# ---------------------------------------------------------------- numbers of chapters 01 and 02


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
