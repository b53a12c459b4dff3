"""Physics of the embedded suites, measured with all of their maps."""

import numpy as np
import pytest

from cosmolib.data import lite
from cosmolib.data.cmd_format import mean_surface_density
from cosmolib.data.spectra import power_spectrum
from cosmolib.data.suites import open_suite
from cosmolib.study.io import read_json
from lite import generate, validate


@pytest.fixture(scope="module")
def twins():
    return open_suite("Nbody_Lite"), open_suite("Lite")


@pytest.fixture(scope="module")
def ratio(twins):
    """Return P(Lite) / P(Nbody_Lite), averaged over the 15 maps of a simulation."""
    k, gravity = power_spectrum(twins[0].maps, twins[0].box_size)
    _, feedback = power_spectrum(twins[1].maps, twins[1].box_size)
    shape = (twins[0].n_simulations, 15, -1)
    return k, feedback.reshape(shape).mean(axis=1) / gravity.reshape(shape).mean(axis=1)


def _check_pixels(suite):
    """Pixels are positive, and the five slabs of an axis have the mass of the box."""
    assert np.isfinite(suite.maps).all()
    assert suite.maps.min() > 0
    means = suite.maps.mean(axis=(1, 2), dtype=float).reshape(-1, 3, 5).mean(axis=2)
    expected = mean_surface_density(suite.params[:, 0])[:, None]
    np.testing.assert_allclose(means, expected.repeat(3, 1), rtol=1e-4)


def test_maps_follow_camels_table(twins):
    params, _ = generate.read_table(lite.DATA / lite.TABLE)
    for suite in twins:
        assert suite.n_simulations >= 400
        np.testing.assert_array_equal(suite.params, params[: suite.n_simulations])
        assert suite.maps.shape[1:] == (64, 64)
        assert suite.maps.dtype == np.float32
        _check_pixels(suite)


def test_feedback_suppresses_small_scales_only(twins, ratio):
    """The mean ratio at 5 h/Mpc falls from each quintile of A_SN1 to the next."""
    k, values = ratio
    assert np.abs(values[:, k < 0.5].mean(axis=1) - 1).max() < 0.01
    at_5 = values[:, np.argmin(np.abs(k - 5))]
    low, high = np.quantile(at_5, [0.01, 0.99])
    assert 0.65 < low < 0.90
    assert 0.95 < high < 1.0
    order = np.argsort(twins[1].params[:, 2])
    means = [at_5[part].mean() for part in np.array_split(order, 5)]
    assert np.all(np.diff(means) < 0)


def test_the_particle_lattice_contains_no_information():
    """Another tracer lattice changes R2 of a ridge by less than the bootstrap error of R2."""
    with np.load(lite.DATA / "lattice.npz", allow_pickle=False) as stored:
        spectra = {name: stored[name] for name in ("shipped", "finer", "shifted")}
        params = stored["params"]
    report = validate.lattice_check(spectra, params[:, :2])
    for parameter, (_, low, high) in report["r2"]["shipped"].items():
        for name, changes in report["difference"].items():
            assert abs(changes[parameter][0]) < (high - low) / 2, (parameter, name)
    assert read_json(lite.DATA / "validation.json")["lattice"]["simulations"] == len(params)


SMALL_SETS = [name for name in lite.SETS if name != "LH"]


@pytest.fixture(scope="module")
def small():
    """Return the twins of the small sets and their power ratio at 5 h/Mpc."""
    found = {}
    for name in SMALL_SETS:
        twins = [open_suite(suite, sim_set=name) for suite in ("Nbody_Lite", "Lite")]
        (k, gravity), (_, feedback) = (power_spectrum(s.maps, s.box_size) for s in twins)
        gravity, feedback = (p.reshape(-1, 15, len(k)).mean(axis=1) for p in (gravity, feedback))
        found[name] = (*twins, (feedback / gravity)[:, np.argmin(np.abs(k - 5))])
    return found


@pytest.mark.parametrize("name", SMALL_SETS)
def test_small_sets_follow_their_tables_and_keep_mass(small, name):
    params, _ = generate.read_table(lite.DATA / lite.table_name(name))
    for suite in small[name][:2]:
        np.testing.assert_array_equal(suite.params, params)
        assert suite.maps.shape[1:] == (64, 64)
        _check_pixels(suite)


def test_cv_simulations_differ_by_their_phases_only(small):
    gravity, feedback, ratio = small["CV"]
    for suite in (gravity, feedback):
        first = suite.maps[::15].reshape(27, -1)
        correlation = np.corrcoef(np.log10(first))
        assert np.abs(correlation[np.triu_indices(27, 1)]).max() < 0.5
    assert np.all((0.85 < ratio) & (ratio < 1))  # the fiducial proxy


def test_1p_varies_one_parameter_per_row(small):
    gravity, feedback, ratio = small["1P"]
    maps = gravity.maps.reshape(25, 15, 64, 64)
    for row in (5, 6, 7, 8):  # sigma_8: same mass, more clustered
        assert not np.array_equal(maps[row], maps[0])
    spread = np.log10(maps[[5, 6, 0, 7, 8]]).std(axis=(1, 2, 3))
    assert np.all(np.diff(spread) > 0)
    # one N-body run for all rows of the fiducial cosmology
    assert all(np.array_equal(maps[row], maps[0]) for row in range(9, 25))
    means = feedback.maps.reshape(25, -1)[[1, 2, 0, 3, 4]].mean(axis=1, dtype=float)
    np.testing.assert_allclose(means / means[2], [1 / 3, 2 / 3, 1, 4 / 3, 5 / 3], rtol=1e-5)
    for first, sign in ((9, -1), (13, -1), (17, 1), (21, 1)):  # A_SN1, A_AGN1, A_SN2, A_AGN2
        order = [first, first + 1, 0, first + 2, first + 3]
        assert np.all(sign * np.diff(ratio[order]) > 0), first
    # With one seed, other cosmologies show the same region, unlike CV.
    assert np.corrcoef(np.log10(maps[[0, 8], 0]).reshape(2, -1))[0, 1] > 0.7


def test_ex_contains_no_feedback_and_extreme_feedback(small):
    gravity, feedback, ratio = small["EX"]
    maps = [suite.maps.reshape(4, 15, 64, 64) for suite in (gravity, feedback)]
    assert all(np.array_equal(maps[0][row], maps[0][0]) for row in (1, 2, 3))
    np.testing.assert_allclose(maps[1][3], maps[0][3], rtol=1e-6)  # all A = 0
    fiducial, agn, supernovae, none = ratio
    assert none == pytest.approx(1, abs=1e-6)
    assert 0.7 < supernovae < agn < fiducial < none
