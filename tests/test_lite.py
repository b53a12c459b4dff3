"""Physics of the shipped suites: what Lite promises, measured on every map that is shipped."""

import numpy as np
import pytest

from cosmolib import embedded, shards
from cosmolib.runs import read_json
from cosmolib.spectra import power_spectrum
from cosmolib.suites import mean_surface_density, open_suite


@pytest.fixture(scope="module")
def twins():
    return open_suite("Nbody_Lite"), open_suite("Lite")


@pytest.fixture(scope="module")
def ratio(twins):
    """P(Lite) / P(Nbody_Lite) of the maps, averaged over the 15 maps of a simulation."""
    k, gravity = power_spectrum(twins[0].maps, twins[0].box_size)
    _, feedback = power_spectrum(twins[1].maps, twins[1].box_size)
    shape = (twins[0].n_simulations, 15, -1)
    return k, feedback.reshape(shape).mean(axis=1) / gravity.reshape(shape).mean(axis=1)


def test_maps_follow_camels_table(twins):
    params, _ = shards.read_table(embedded.DATA / embedded.TABLE)
    for suite in twins:
        assert suite.n_simulations >= 400
        np.testing.assert_array_equal(suite.params, params[: suite.n_simulations])
        assert suite.maps.shape[1:] == (64, 64)
        assert suite.maps.dtype == np.float32


def test_every_pixel_is_positive_and_finite(twins):
    for suite in twins:
        assert np.isfinite(suite.maps).all()
        assert suite.maps.min() > 0


def test_slabs_hold_the_mass_of_the_box(twins):
    """Mean of the five slabs of an axis: Omega_m x 2.775e11 x 5, and the same in both twins."""
    for suite in twins:
        means = suite.maps.mean(axis=(1, 2), dtype=float).reshape(-1, 3, 5).mean(axis=2)
        expected = mean_surface_density(suite.params[:, 0])[:, None]
        np.testing.assert_allclose(means / expected, 1, atol=1e-4)


def test_the_proxy_leaves_large_scales_alone(ratio):
    k, values = ratio
    assert np.abs(values[:, k < 0.5].mean(axis=1) - 1).max() < 0.01


def test_the_proxy_suppresses_small_scales_by_a_few_to_thirty_per_cent(ratio):
    k, values = ratio
    at_5 = values[:, np.argmin(np.abs(k - 5))]
    low, high = np.quantile(at_5, [0.01, 0.99])
    assert 0.65 < low < 0.90
    assert 0.95 < high < 1.0


def test_suppression_grows_with_a_sn1(twins, ratio):
    """Monotonic: the mean ratio at 5 h/Mpc falls from each quintile of A_SN1 to the next."""
    k, values = ratio
    at_5 = values[:, np.argmin(np.abs(k - 5))]
    order = np.argsort(twins[1].params[:, 2])
    means = [at_5[part].mean() for part in np.array_split(order, 5)]
    assert np.all(np.diff(means) < 0)


def test_the_particle_lattice_carries_no_information():
    """Another tracer lattice changes R2 of a ridge by less than R2's bootstrap error."""
    with np.load(embedded.DATA / "lattice.npz", allow_pickle=False) as stored:
        spectra = {name: stored[name] for name in ("shipped", "finer", "shifted")}
        params = stored["params"]
    report = shards.lattice_check(spectra, params[:, :2])
    for parameter, (_, low, high) in report["r2"]["shipped"].items():
        for lattice, changes in report["difference"].items():
            assert abs(changes[parameter][0]) < (high - low) / 2, (parameter, lattice)
    assert read_json(embedded.DATA / "validation.json")["lattice"]["simulations"] == len(params)
