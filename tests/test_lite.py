"""Physics of the embedded suites, measured with all of their maps."""

import numpy as np
import pytest

from cosmolib.data import lite
from cosmolib.data.cmd_format import mean_surface_density
from cosmolib.data.spectra import power_spectrum
from cosmolib.data.suites import map_indices, open_suite, split_simulations
from cosmolib.study.io import read_json
from lite import generate, validate


@pytest.fixture(scope="module")
def sets():
    """Return the twins of each set, and k and their power ratio averaged over 15 maps."""
    found = {}
    for name in lite.SETS:
        twins = [open_suite(suite, sim_set=name) for suite in ("Nbody_Lite", "Lite")]
        (k, gravity), (_, feedback) = (power_spectrum(s.maps, s.box_size) for s in twins)
        gravity, feedback = (p.reshape(-1, 15, len(k)).mean(axis=1) for p in (gravity, feedback))
        found[name] = (*twins, k, feedback / gravity)
    return found


def at_5(k, ratio):
    """Return the power ratio of each simulation at 5 h/Mpc."""
    return ratio[:, np.argmin(np.abs(k - 5))]


@pytest.mark.parametrize("name", lite.SETS)
def test_maps_follow_the_table_of_their_set_and_keep_mass(sets, name):
    """Pixels are positive, and the five slabs of an axis have the mass of the box."""
    params, _ = generate.read_table(lite.DATA / lite.table_name(name))
    for suite in sets[name][:2]:
        np.testing.assert_array_equal(suite.params, params)
        assert (suite.maps.shape[1:], suite.maps.dtype) == ((64, 64), np.float32)
        assert np.isfinite(suite.maps).all()
        assert suite.maps.min() > 0
        means = suite.maps.mean(axis=(1, 2), dtype=float).reshape(-1, 3, 5).mean(axis=2)
        expected = mean_surface_density(suite.params[:, 0])[:, None]
        np.testing.assert_allclose(means, expected.repeat(3, 1), rtol=1e-4)


def test_feedback_suppresses_small_scales_only(sets):
    """The mean ratio at 5 h/Mpc falls from each quintile of A_SN1 to the next."""
    _, feedback, k, ratio = sets["LH"]
    assert np.abs(ratio[:, k < 0.5].mean(axis=1) - 1).max() < 0.01
    small = at_5(k, ratio)
    low, high = np.quantile(small, [0.01, 0.99])
    assert 0.65 < low < 0.90
    assert 0.95 < high < 1.0
    order = np.argsort(feedback.params[:, 2])
    means = [small[part].mean() for part in np.array_split(order, 5)]
    assert np.all(np.diff(means) < 0)


def test_strong_feedback_is_local_and_increases_with_supernovae():
    strong = open_suite("Lite_strong")
    assert (n := strong.n_simulations) == 1000
    gravity, weak = (open_suite(name).maps[: 15 * n] for name in ("Nbody_Lite", "Lite"))
    means = [
        x.mean(axis=(1, 2), dtype=float).reshape(-1, 5).mean(1) for x in (strong.maps, gravity)
    ]
    np.testing.assert_allclose(*means, rtol=1e-4)
    k, of_gravity = power_spectrum(gravity, 25.0)
    spectra = [power_spectrum(maps, 25.0)[1] for maps in (strong.maps, weak)]
    ratio, weak_ratio = (
        (x.reshape(n, 15, -1).mean(1) / of_gravity.reshape(n, 15, -1).mean(1)) for x in spectra
    )
    assert np.abs(ratio[:, k < 0.5] - 1).max() < 0.02
    assert np.median(at_5(k, ratio)) < np.median(at_5(k, weak_ratio)) - 0.05
    logs = np.log(strong.params[:, 2])
    assert np.corrcoef(logs, at_5(k, ratio))[0, 1] < -0.3
    ends = [
        np.quantile(np.log10(maps / maps.mean((1, 2), keepdims=True)), (0.001, 0.5, 0.999))
        for maps in (strong.maps[::15], gravity[::15])
    ]
    change = ends[0] - ends[1]  # voids fill, peaks lose mass, and neither by much
    assert 0 < change[0] < 0.02
    assert abs(change[1]) < 0.01
    assert -0.05 < change[2] < -0.005


def test_the_other_recipe_gives_the_same_physics_with_less_small_scale_power():
    other, usual = open_suite("Nbody_other"), open_suite("Nbody_Lite")
    rows = np.sort(split_simulations(1000).test)
    maps = usual.maps[map_indices(rows)]
    np.testing.assert_array_equal(other.params, usual.params[rows])
    means = other.maps.mean(axis=(1, 2), dtype=float).reshape(-1, 3, 5).mean(axis=2)
    expected = mean_surface_density(other.params[:, 0])[:, None]
    np.testing.assert_allclose(means, expected.repeat(3, 1), rtol=1e-4)
    (k, found), (_, known) = (power_spectrum(x, 25.0) for x in (other.maps, maps))
    ratio = found.mean(0) / known.mean(0)
    large = ratio[k < 1].mean()
    assert abs(large - 1) < 0.2  # other phases
    assert 0.4 * large < ratio[k > 4].min() < ratio[k > 4].max() < 0.85 * large
    assert np.corrcoef(np.log(other.maps[0]).ravel(), np.log(maps[0]).ravel())[0, 1] < 0.5


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


def test_cv_simulations_differ_by_their_phases_only(sets):
    gravity, feedback, *power = sets["CV"]
    for suite in (gravity, feedback):
        first = suite.maps[::15].reshape(27, -1)
        correlation = np.corrcoef(np.log10(first))
        assert np.abs(correlation[np.triu_indices(27, 1)]).max() < 0.5
    assert np.all((0.85 < at_5(*power)) & (at_5(*power) < 1))  # the fiducial proxy


def test_1p_varies_one_parameter_per_row(sets):
    gravity, feedback, *power = sets["1P"]
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
        assert np.all(sign * np.diff(at_5(*power)[order]) > 0), first
    # With one seed, other cosmologies show the same region, unlike CV.
    assert np.corrcoef(np.log10(maps[[0, 8], 0]).reshape(2, -1))[0, 1] > 0.7


def test_ex_contains_no_feedback_and_extreme_feedback(sets):
    gravity, feedback, *power = sets["EX"]
    maps = [suite.maps.reshape(4, 15, 64, 64) for suite in (gravity, feedback)]
    assert all(np.array_equal(maps[0][row], maps[0][0]) for row in (1, 2, 3))
    np.testing.assert_allclose(maps[1][3], maps[0][3], rtol=1e-6)  # all A = 0
    fiducial, agn, supernovae, none = at_5(*power)
    assert none == pytest.approx(1, abs=1e-6)
    assert 0.7 < supernovae < agn < fiducial < none
