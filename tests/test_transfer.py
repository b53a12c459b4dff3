"""Test networks on other suites and simulation sets: units, scaling, test regions and curves."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import TINY_GRID, lognormal_maps, write_suite_files
from test_suites import camels_1p

from cosmolib.data.suites import open_suite, split_simulations, subset
from cosmolib.data.tables import FIDUCIAL, camels_columns, other_parameters
from cosmolib.results.generalisation import (
    cross_evaluate,
    cross_table,
    suites_to_test,
    unseen_simulations,
)
from cosmolib.results.sets import responses, sets_table
from cosmolib.results.table import results_table
from cosmolib.study.profile import load_profile
from cosmolib.study.run import Run
from cosmolib.training.dataset import study_split, study_suite
from cosmolib.training.predictions import read_predictions
from cosmolib.training.run import load_run, train_run

NAMES = ["Omega_m", "sigma_8"]
FIDUCIAL_ROW = list(FIDUCIAL.values())


def varied(column, value):
    return [*FIDUCIAL_ROW[:column], value, *FIDUCIAL_ROW[column + 1 :]]


def write_coarse(folder, name, **options):
    """Write a suite of three simulations on another grid."""
    coarse = np.full((45, 16, 16), 4e11, np.float32)
    return write_suite_files(folder, name, coarse, [FIDUCIAL_ROW] * 3, **options)


# Unordered rows of a 1P table, with the fiducial one twice.
ONE_P = [
    varied(0, 0.4), varied(1, 0.6), FIDUCIAL_ROW, varied(0, 0.2), varied(2, 4.0), varied(0, 0.1),
    FIDUCIAL_ROW, varied(1, 1.0),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_params):
    """Write suites with names of CMD, and the sets CV, 1P and EX of one of them."""
    folder = tmp_path_factory.mktemp("cmd")
    _, maps = lognormal_maps(tiny_params)
    write_suite_files(folder, "IllustrisTNG", maps, tiny_params)
    write_suite_files(folder, "Astrid", maps, tiny_params)
    write_suite_files(folder, "SIMBA", 3 * maps[:150], tiny_params[:10])
    extremes = [FIDUCIAL_ROW, varied(3, 100), varied(2, 100), [0.3, 0.8, 0, 0, 0, 0]]
    sets = {"CV": [FIDUCIAL_ROW] * 6, "1P": ONE_P, "EX": extremes}
    for sim_set, rows in sets.items():
        _, maps = lognormal_maps(np.minimum(np.array(rows, float), 4), seed=5)
        write_suite_files(folder, "IllustrisTNG", maps, rows, sim_set=sim_set)
    return folder


@pytest.fixture(scope="module")
def profile(folder):
    return load_profile(
        "tiny", name="t", data_dir=str(folder), suites=["IllustrisTNG"], cuts=["none"], epochs=2,
        targets=["Omega_m", "sigma_8", "A_AGN2"], n_simulations=None, bootstrap_samples=100,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(profile, tmp_path_factory):
    run = Run("t", "IllustrisTNG", "none", "lite", 1, tmp_path_factory.mktemp("runs"))
    train_run(run, profile, device="cpu")
    return run


@pytest.fixture(scope="module")
def predicted(run, folder):
    """Return a function that predicts a suite of the folder by its name."""

    def predicted(name, sim_set="LH", **options):
        return cross_evaluate(run, open_suite(name, folder, "Mtot", sim_set), **options)

    return predicted


# ------------------------------------------------------------------------------------------ suites
def test_predictions_are_in_the_units_of_the_training(run, predicted):
    """Predictions are the same for Astrid, in which the range of A_AGN2 differs."""
    own, other = predicted("IllustrisTNG"), predicted("Astrid")
    np.testing.assert_array_equal(own["mean"], other["mean"])
    np.testing.assert_array_equal(own["std"], other["std"])
    np.testing.assert_allclose(own["mean"], read_predictions(run.path("predictions.npz"))["mean"])


def test_the_tested_suite_can_have_its_own_scaling_and_range_of_fills(run, folder, profile):
    """A factor in density is a shift of the log, which a scaling of the tested suite removes.

    It does not change an overdensity cut.
    """
    filled = replace(run, cut="below:delta=0:random")
    train_run(filled, profile.replace(epochs=1), device="cpu")
    assert load_run(filled)[2]["value_range"] is not None
    suite = open_suite("IllustrisTNG", data_dir=folder)
    brighter = replace(suite, maps=np.float32(3) * np.array(suite.maps))
    for tested, atol in ((run, 1e-4), (filled, 1e-3)):
        same, other = (cross_evaluate(tested, one)["mean"] for one in (suite, brighter))
        same_own, own = (
            cross_evaluate(tested, one, scaling="tested")["mean"] for one in (suite, brighter)
        )
        assert np.abs(other - same).max() > 0.01
        np.testing.assert_allclose(own, same_own, atol=atol)
    with pytest.raises(ValueError, match="scaling: found 'mine', expected one of trained, tested"):
        cross_evaluate(run, suite, scaling="mine")


@pytest.mark.parametrize("name", ["IllustrisTNG", "Nbody_IllustrisTNG", "IllustrisTNG_strong"])
def test_no_training_region_is_tested(run, profile, tiny_params, tmp_path, name):
    """A suite or twin with another number of simulations is tested on the regions of the run."""
    seen = study_split(study_suite("IllustrisTNG", profile), profile).train
    own = read_predictions(run.path("predictions.npz"))["map"]
    assert len({*split_simulations(100).test} & {*seen}) > 0  # a separate split would test them
    params = np.concatenate([tiny_params, np.tile(tiny_params, (4, 1))])[:100]
    maps, _ = lognormal_maps(params)
    write_suite_files(tmp_path, name, maps, params)
    suite = open_suite(name, data_dir=tmp_path)
    for scaling in ("trained", "tested"):
        np.testing.assert_array_equal(cross_evaluate(run, suite, scaling=scaling)["map"], own)
    tested = own[::15] // 15
    found = cross_evaluate(run, subset(suite, tested.max()))["simulation"]
    np.testing.assert_array_equal(np.unique(found), tested[tested < tested.max()])
    with pytest.raises(ValueError, match=f"found {tested.min()} simulations, expected at least"):
        cross_evaluate(run, subset(suite, tested.min()))


def test_a_suite_for_testing_alone_is_tested_whole(run, profile):
    suite = open_suite("Nbody_other")
    np.testing.assert_array_equal(unseen_simulations(run, suite, profile), np.arange(50))


def test_maps_of_another_grid_or_box(run, folder, tmp_path):
    write_coarse(tmp_path, "SIMBA")
    with pytest.raises(ValueError, match=f"found grid 16, expected {TINY_GRID}"):
        cross_evaluate(run, open_suite("SIMBA", data_dir=tmp_path))
    suite = replace(open_suite("SIMBA", data_dir=folder), box_size=50.0)
    with pytest.raises(ValueError, match="found box_size 50.0, expected 25.0"):
        cross_evaluate(run, suite)


# -------------------------------------------------------------------------------------------- sets
def test_all_of_another_set_is_test_data(predicted):
    assert len(predicted("IllustrisTNG")["map"]) == 30  # of 24 simulations, two
    assert len(predicted("SIMBA")["map"]) == 15  # of 10 simulations, with a separate split
    found = predicted("IllustrisTNG", "CV")
    np.testing.assert_array_equal(found["map"], np.arange(90))
    np.testing.assert_allclose(found["truth"], [[0.3, 0.8, 1.0]] * 90)


def one_p_predictions(suite, slope=0.5):
    """Return predictions that follow the truth, with an offset for each of the 15 places."""
    rng = np.random.default_rng(0)
    truth = suite.params[:, :2].repeat(15, 0)
    places = np.tile(rng.normal(0, 0.1, (15, 2)), (suite.n_simulations, 1))
    return {"mean": slope * truth + places, "parameters": np.array(NAMES)}


def test_curves_are_derived_from_the_table(folder):
    suite = open_suite("IllustrisTNG", data_dir=folder, sim_set="1P")
    # A row in which a parameter other than the six varies is in no curve.
    others = np.tile(camels_columns()["FiducialVal"].to_numpy()[6:], (8, 1))
    others[3, 1] = 0.7
    suite = replace(suite, others=others)
    curves = {row["varied"]: row for row in responses(suite, one_p_predictions(suite))}
    expected = {"Omega_m": [0.1, 0.3, 0.4], "sigma_8": [0.6, 0.8, 1.0], "A_SN1": [1.0, 4.0]}
    assert {name: row["values"] for name, row in curves.items()} == expected
    assert np.shape(curves["Omega_m"]["mean"]) == (3, 2)
    assert (np.array(curves["Omega_m"]["error"]) > 0.01).all()
    # The offsets of the 15 places cancel in the slope and the shift.
    cases = ("Omega_m", "slope", 0.5), ("Omega_m", "shift", 0.15), ("A_SN1", "shift", 0)
    for varied, key, value in cases:
        for name, expected in zip(NAMES, (value, 0), strict=True):
            found = list(curves[varied][key][name].values())
            np.testing.assert_allclose(found, [expected] * 3, atol=1e-12)


def test_a_slope_has_an_interval_and_a_curve_has_two_points(folder):
    suite = open_suite("IllustrisTNG", data_dir=folder, sim_set="1P")
    lone = replace(suite, maps=suite.maps[:45], params=np.array([ONE_P[0], ONE_P[1], ONE_P[4]]))
    assert responses(lone, one_p_predictions(lone)) == []
    found = one_p_predictions(suite)
    found["mean"] = found["mean"] + np.random.default_rng(1).normal(0, 0.05, found["mean"].shape)
    slope = responses(suite, found)[0]["slope"]["Omega_m"]
    assert slope["low"] < 0.5 < slope["high"]
    assert 0.02 < slope["high"] - slope["low"] < 1


# ------------------------------------------------------------------------------------------- table
def test_suites_and_sets_that_cannot_be_compared_are_left_out(run, profile, folder, tmp_path):
    """An unreadable file that the study does not require is reported."""
    others = shutil.ignore_patterns("*SIMBA*", "*Astrid*")
    shutil.copytree(folder, tmp_path, ignore=others, dirs_exist_ok=True)
    write_coarse(tmp_path, "SIMBA")
    write_coarse(tmp_path, "Astrid")[1].unlink()
    write_coarse(tmp_path, "IllustrisTNG", sim_set="CV")
    here = profile.replace(data_dir=str(tmp_path))
    studied = {"IllustrisTNG": study_suite("IllustrisTNG", here)}
    suites, lines = suites_to_test(studied, here)
    assert list(suites) == ["IllustrisTNG"]
    sets, more = sets_table({"IllustrisTNG": [run]}, here)
    assert (len(sets["CV"]), len(sets["EX"])) == (0, 4)
    reasons = dict(line.split(": left out: ") for line in (*lines, *more))
    left_out = ("Astrid, set LH", "IllustrisTNG, set 1P", "IllustrisTNG, set CV", "SIMBA, set LH")
    assert (*sorted(reasons),) == left_out
    assert "found grid 16, expected 32" in reasons["SIMBA, set LH"]
    assert reasons["IllustrisTNG, set 1P"].startswith("curves of A_AGN1, A_SN2, A_AGN2: ")


def test_a_1p_set_of_camels_gives_curves_of_the_six_parameters(run, profile, folder, tmp_path):
    """Its table has 28 columns in physical units, and the other 22 parameters are left out."""
    others = shutil.ignore_patterns("*SIMBA*", "*Astrid*", "*CV*", "*1P*", "*EX*")
    shutil.copytree(folder, tmp_path, ignore=others, dirs_exist_ok=True)
    rows = camels_1p()
    six = rows[:, :6] / [1, 1, 3.6, 1, 7.4, 20]
    _, maps = lognormal_maps(six, seed=5)
    np.savetxt(write_suite_files(tmp_path, "IllustrisTNG", maps, six, sim_set="1P")[1], rows)
    here = profile.replace(data_dir=str(tmp_path))
    table, lines = sets_table({"IllustrisTNG": [run]}, here)
    curves = table["1P"]
    assert [curve["varied"] for curve in curves] == list(FIDUCIAL)
    assert curves[2]["values"] == pytest.approx([0.25, 0.625, 1, 2.5, 4])
    found = cross_evaluate(run, open_suite("IllustrisTNG", tmp_path, sim_set="1P"))
    np.testing.assert_allclose(found["truth"], six[:, [0, 1, 5]].repeat(15, 0))
    assert curves[0]["mean"][0] == pytest.approx(found["mean"][:15].mean(0).tolist())
    assert lines == [
        "IllustrisTNG, set CV: left out: its files were not found",
        "IllustrisTNG, set 1P: left out: 86 of 140 simulations, which vary parameters other than "
        f"the six: {', '.join(other_parameters())}",
        "IllustrisTNG, set EX: left out: its files were not found",
    ]


def test_the_training_set_is_left_out(run, profile):
    table, lines = sets_table({"IllustrisTNG": [run]}, profile.replace(sim_set="CV"))
    assert table["CV"] == []
    assert lines[0] == "IllustrisTNG, set CV: left out: the networks were trained on it"


def test_networks_tested_on_other_simulations_are_not_paired(run, profile, tiny_params, tmp_path):
    """Twins of different sizes have different splits."""
    maps, _ = lognormal_maps(tiny_params[:20])
    write_suite_files(tmp_path, "Nbody_IllustrisTNG", maps, tiny_params[:20])
    other = profile.replace(data_dir=str(tmp_path), epochs=1)
    twin = Run("t", "Nbody_IllustrisTNG", "none", "lite", 1, tmp_path / "runs")
    train_run(twin, other, device="cpu")
    found = {(run.suite, "none"): [run], (twin.suite, "none"): [twin]}
    both = ((run.suite, profile), (twin.suite, other))
    own = {case: [read_predictions(one.path("predictions.npz"))] for case, (one,) in found.items()}
    tested = {name: study_suite(name, one) for name, one in both}
    table = cross_table(found, own, tested, profile)
    assert len(table) == 6
    for entry in table:
        assert bool(entry["difference"]) == (entry["trained"] == entry["tested"])
        (home,) = own[entry["trained"], "none"]
        assert entry["n_test_simulations"] <= len(np.unique(home["simulation"]))


def test_the_table_contains_every_available_suite_and_set(run, profile, predicted):
    table = results_table(profile, run.root)
    assert {x["trained"] for x in table["cross"]} == {"IllustrisTNG"}
    assert sorted((x["tested"], x["scaling"]) for x in table["cross"]) == [
        ("Astrid", "tested"), ("Astrid", "trained"), ("IllustrisTNG", "trained"),
        ("SIMBA", "tested"), ("SIMBA", "trained"),
    ]  # fmt: skip
    for entry in table["cross"]:
        assert (entry["difference"] == {}) == (entry["tested"] != "IllustrisTNG")
        found = predicted(entry["tested"], scaling=entry["scaling"])
        offset = (found["mean"] - found["truth"])[:, 0]
        assert entry["bias"]["Omega_m"]["value"] == pytest.approx(offset.mean())
    (cv,) = table["sets"]["CV"]
    assert cv["n_simulations"] == len(cv["mean"]) == 6
    omega_m = predicted("IllustrisTNG", "CV")["mean"][:, 0].reshape(6, 15)
    for key, values in (("map_scatter", omega_m), ("simulation_scatter", omega_m.mean(1))):
        assert cv[key]["Omega_m"]["value"] == pytest.approx(values.std())
    assert [len(x["values"]) for x in table["sets"]["1P"]] == [4, 3, 2]
    (left_out,) = table["left_out"]
    assert left_out.startswith("IllustrisTNG, set 1P: left out: curves of A_AGN1, A_SN2, A_AGN2:")
    what = [x["what"] for x in table["sets"]["EX"]]
    assert what == ["fiducial", "A_AGN1 = 100", "A_SN1 = 100", "no feedback"]
    found = predicted("IllustrisTNG", "EX")
    pull = (found["mean"] - found["truth"])[15:30, 1].mean() / found["std"][15:30, 1].mean()
    assert table["sets"]["EX"][1]["pull"]["sigma_8"]["value"] == pytest.approx(pull)
