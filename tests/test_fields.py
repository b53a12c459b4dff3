"""Gaussian mock maps: their spectrum and their exact posterior."""

import numpy as np
import pytest

from cosmolib.cuts.apply import apply_cut
from cosmolib.cuts.grammar import Cut
from cosmolib.cuts.noise import REFERENCE_DENSITY
from cosmolib.data.tables import parameter_ranges
from cosmolib.training.information import information
from cosmolib.validation import gaussian_fields as fields


def prior(n, seed=0):
    return np.random.default_rng(seed).uniform((0.1, 0.6), (0.5, 1.0), (n, 2))


def linear_power(k, omega_m):
    """Return the 3-D power of BBKS, which gives a scatter of 1 in spheres of 8 Mpc/h."""

    def bbks(k):
        q = k / (0.6711 * omega_m)
        root = (1 + 3.89 * q + 259.21 * q**2 + 162.77 * q**3 + 2027.2 * q**4) ** 0.25
        return k**0.9624 * (np.log(1 + 2.34 * q) / (2.34 * q * root)) ** 2

    line = np.linspace(1e-4, 30, 600_001)
    x = 8 * line
    window = 3 * (np.sin(x) - x * np.cos(x)) / x**3
    return bbks(k) / np.trapezoid(line**2 / (2 * np.pi**2) * bbks(line) * window**2, line)


@pytest.fixture(scope="module")
def sample():
    params = prior(500)
    return params, fields.gaussian_maps(params, grid=32, seed=7)


@pytest.mark.parametrize("omega_m", [0.1, 0.3, 0.5])
def test_the_spectrum_of_theory_by_independent_code(omega_m):
    """Sum over the k_z of a long periodic line instead of the integral over lobes."""
    k = np.array([0.3, 1.0, 5.0])
    length = 400.0
    k_z = 2 * np.pi / length * np.arange(-6000, 6001)
    power = linear_power(np.hypot(k[:, None], k_z), omega_m)
    window = np.sinc(k_z * 5.0 / (2 * np.pi)) ** 2
    expected = 0.8**2 * (power * window).sum(axis=1) / length
    np.testing.assert_allclose(fields.theory_spectrum(k, omega_m, 0.8), expected, rtol=1e-4)


def test_maps_have_the_spectrum_of_theory():
    maps = fields.gaussian_maps(np.tile([0.3, 0.8], (400, 1)), grid=32, box_size=20.0)
    assert maps.dtype == np.float32
    assert abs(maps.mean(axis=(1, 2))).max() < 1e-5
    k, power, count = fields.shell_powers(maps, 20.0)
    assert count.sum() == 32 * 32 - 1
    ratio = power.mean(axis=0) / fields.theory_spectrum(k, 0.3, 0.8)
    chi2 = ((ratio - 1) ** 2 * count * len(maps) / 2).mean()
    assert abs(chi2 - 1) < 5 * np.sqrt(2 / len(k))


def test_maps_are_gaussian_and_have_separate_random_streams(sample):
    params, maps = sample
    unit = maps / maps.std(axis=(1, 2), keepdims=True)
    assert abs((unit**3).mean()) < 0.05
    assert abs((unit**4).mean() - 3) < 0.2
    same, other = (fields.gaussian_maps(params[:3], 32, seed=seed) for seed in (7, 8))
    np.testing.assert_allclose(same, maps[:3], rtol=1e-4, atol=1e-4)
    assert not np.allclose(other, maps[:3], atol=0.1)
    assert not np.allclose(*fields.gaussian_maps([params[0]] * 2, 32), atol=0.1)


def test_shells_on_an_odd_grid_and_parseval():
    maps = np.random.default_rng(0).normal(size=(3, 15, 15))
    k, power, count = fields.shell_powers(maps, 10.0)
    assert (np.diff(k) > 0).all()
    assert count.sum() == 15 * 15 - 1
    np.testing.assert_allclose(power @ count / 10.0**2, maps.var(axis=(1, 2)))


def test_the_grid_of_the_posterior_is_fine_enough():
    """Full maps with the size of Lite have the narrowest posteriors; they take several blocks."""
    params = prior(100)
    maps = fields.gaussian_maps(params, grid=64)
    coarse, found, fine = (fields.exact_posterior(maps, params, points=n) for n in (61, 201, 603))
    np.testing.assert_array_less(np.abs(found["mean"] - fine["mean"]), 0.02 * fine["std"])
    np.testing.assert_allclose(found["std"], fine["std"], rtol=0.03)
    assert np.abs(coarse["std"] / fine["std"] - 1).max() > 0.05  # a coarse grid fails this test


def test_posterior_against_a_brute_force_one(sample):
    # A few modes, with a likelihood of independent normal numbers.
    params, maps = sample
    one = maps[:1]
    posterior = fields.exact_posterior(one, params[:1], kmax=0.6, points=25)
    modes = np.fft.fft2(one[0].astype(np.float64)) * 25.0 / 32**2
    i = np.fft.fftfreq(32, 1 / 32)
    k = 2 * np.pi / 25.0 * np.hypot(i[:, None], i)
    omega, sigma = (low + 0.4 * (np.arange(25) + 0.5) / 25 for low in (0.1, 0.6))
    like = np.zeros((25, 25))
    for row, column in np.argwhere((k > 0) & (k < 0.6)):
        if (row if row <= 16 else row - 32, column if column <= 16 else column - 32) < (0, 0):
            continue  # the second of a pair
        power = fields.theory_spectrum([k[row, column]], omega, 1.0) * sigma**2  # (25, 25)
        for part in (modes[row, column].real, modes[row, column].imag):
            like += -0.5 * np.log(np.pi * power) - part**2 / power
    weight = np.exp(like - like.max())
    weight /= weight.sum()
    mean = (weight.sum(axis=1) @ omega, weight.sum(axis=0) @ sigma)
    np.testing.assert_allclose(posterior["mean"][0], mean, rtol=1e-4)
    spread = np.sqrt(weight.sum(axis=1) @ (omega - mean[0]) ** 2)
    assert posterior["std"][0, 0] == pytest.approx(spread, rel=1e-3)


@pytest.mark.parametrize("cut", ["kmin:2", "band:1,2", "kmax:2", f"kmax:{2 * np.pi / 25 * 5}",
                                 f"kmin:{2 * np.pi / 25 * 5}"])  # fmt: skip
def test_known_modes_are_those_of_the_cut(sample, cut):
    """The posterior of cut maps equals that of whole maps with the same known modes."""
    params, maps = (array[:20] for array in sample)

    def means(*k_range):
        both = maps, apply_cut(maps, cut)
        return [fields.exact_posterior(one, params, *k_range)["mean"] for one in both]

    np.testing.assert_allclose(*means(*Cut.parse(cut).k_range), rtol=2e-4)
    assert not np.allclose(*means(), 0.05)  # wrong if removed modes are treated as known


def test_lognormal_maps_contain_the_same_field():
    params = prior(40)
    draw = fields.gaussian_maps, fields.lognormal_maps
    gauss, maps = (function(params, 32, seed=3) for function in draw)
    assert (maps > 0).all()
    np.testing.assert_allclose(maps.mean((1, 2)), REFERENCE_DENSITY, rtol=1e-5)
    np.testing.assert_allclose(fields.underlying_gaussian(maps), gauss, atol=2e-5)
    delta = maps / REFERENCE_DENSITY - 1
    assert (delta**3).mean() > 1  # skewed
    # Filtering the log of the map filters the field.
    cut = fields.underlying_gaussian(apply_cut(maps, "kmax:2@log"))
    np.testing.assert_allclose(cut, apply_cut(gauss, "kmax:2"), atol=1e-4)


def test_bad_input(sample):
    params, maps = sample
    with pytest.raises(ValueError, match="no mode from kmin=0 to below kmax=0.1"):
        fields.exact_posterior(maps[:2], params[:2], kmax=0.1)
    with pytest.raises(ValueError, match="found a pixel of .*, expected positive pixels"):
        fields.underlying_gaussian(maps)
    for bad in ([0.3, 0.8, 1.0], [[0.3, np.nan]], [[0.3, 0.0]]):
        with pytest.raises(ValueError, match=r"(?s)params: found .*positive Omega_m"):
            fields.gaussian_maps(bad)


@pytest.mark.parametrize("cut", [{}, {"kmax": 4.0}, {"kmin": 1.0, "kmax": 2.0}])
def test_bits_bound_the_exact_information_of_gaussian_maps(cut):
    """Exact moments, as of a perfect network, give the exact information to within 0.05 bits."""
    truth = prior(12000, 5)
    exact = fields.exact_posterior(fields.gaussian_maps(truth, 64, seed=5), truth, **cut)
    bits = exact.pop("bits")
    part = exact | {"truth": truth, "simulation": np.arange(len(truth))}
    test = {key: value[:2000] for key, value in part.items()}
    valid = {f"valid_{key}": value[2000:] for key, value in part.items()}
    names = {"parameters": np.array(["Omega_m", "sigma_8"])}
    found = information([test | valid | names], parameter_ranges("Lite")[:2], n_bootstrap=2)
    lost = bits[:2000].mean(0) - [found[k]["value"] for k in ("Omega_m", "sigma_8", "both")]
    assert (lost > -0.02).all(), lost
    assert (lost < 0.05).all(), lost
