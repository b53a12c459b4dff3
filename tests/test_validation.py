"""Networks on mocks: a sound method has no faults, and each kind of fault is detected."""

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch

from cosmolib.cuts import apply as cuts_apply
from cosmolib.study.profile import load_profile
from cosmolib.training.dataset import normalise
from cosmolib.training.scores import r2
from cosmolib.validation import known_posterior, mocks, summary

NAMES = np.array(["Omega_m", "sigma_8"])


def test_mocks_are_in_one_part_each():
    known = mocks.draw_mocks(60, n_test=30, grid=16)
    assert known.maps.shape == (60 + 20 + 30, 16, 16)
    data = known_posterior.mock_data(known, "kmax:1")
    parts = data.train_simulation, data.valid_simulation, data.test_simulation
    assert [*map(len, parts)] == [60, 20, 30]
    assert len({*np.concatenate(parts)}) == 110
    assert float(data.train_x.std()) == pytest.approx(1, abs=0.01)
    np.testing.assert_array_equal(data.test_truth, known.params[known.test])


@pytest.mark.parametrize(
    ("kind", "cut"),
    [("lognormal", "kmax:1"), ("lognormal", "above:1e11"), ("lognormal", "white=1:none"),
     ("gaussian", "kmax:1@log"), ("gaussian", "above:delta=0"), ("gaussian", "nomean:none"),
     ("above", "none"), ("mean", "kmax:1")],
)  # fmt: skip
def test_maps_without_an_analytic_posterior_are_refused(kind, cut):
    known = mocks.draw_mocks(20, n_test=5, grid=16, kind=kind)
    with pytest.raises(ValueError, match="there is no analytic posterior"):
        mocks.analytic_posterior(known, cut)
    with pytest.raises(ValueError, match="found 'cosmic', expected one of gaussian, lognormal"):
        mocks.draw_mocks(20, kind="cosmic")
    if kind == "gaussian":  # densities of overdensity maps cannot be cut
        with pytest.raises(ValueError, match="expected 'none'"):
            known_posterior.mock_data(known, cut)


@pytest.mark.parametrize("kind", ["gaussian", "lognormal"])
@pytest.mark.parametrize("cut", ["none", "kmax:1", "kmin:1", "band:0.6,1.3"])
def test_the_analytic_posterior_is_calibrated_and_the_setup_sound(kind, cut):
    cut += "@log" if kind == "lognormal" and cut != "none" else ""
    known = mocks.draw_mocks(20, n_test=400, grid=16, seed=2, kind=kind)
    posterior = mocks.analytic_posterior(known, cut)
    pull = (posterior["mean"] - known.params[known.test]) / posterior["std"]
    np.testing.assert_allclose((pull**2).mean(0), 1, atol=0.2)
    assert known_posterior.setup_faults(known, cut) == []


# ---------------------------------------------------------------- faults of the method are detected


@pytest.fixture(scope="module")
def profile():
    return load_profile("tiny", known_answer_hidden=8, known_answer_epochs=6)


@pytest.fixture(scope="module")
def sound(profile):
    """A network trained on small mocks, and the analytic posterior."""
    known = mocks.draw_mocks(16000, n_test=500, grid=16)
    learnt = known_posterior.predict_mocks(known, profile)
    return known, learnt, learnt | mocks.analytic_posterior(known)


def test_a_sound_method_reaches_the_bayes_optimal_r2(sound):
    known, learnt, exact = sound
    reached, ceiling = (r2(item["mean"], None, item["truth"]) for item in (learnt, exact))
    assert (ceiling > 0.3).all()
    np.testing.assert_allclose(reached, ceiling - 0.01, rtol=0, atol=0.03)
    assert known_posterior.faults(learnt, exact) == []
    for ratio in known_posterior.sigma_ratio(learnt, exact).values():
        assert ratio["low"] < ratio["median"] < ratio["high"]
        assert ratio["median"] == pytest.approx(1, abs=0.1)
        assert ratio["within"] > 0.5


@pytest.mark.parametrize("box_size", [20.0, 30.0])
def test_a_wrong_box_is_detected(box_size):
    # On the grid of Lite, because on few pixels another box resembles another amplitude.
    known = mocks.draw_mocks(20, n_test=400, seed=1)
    like = {"truth": known.params[known.test], "parameters": NAMES}
    sizes = (25.0, box_size)
    right, wrong = (like | mocks.analytic_posterior(known, box_size=size) for size in sizes)
    assert known_posterior.faults(right, right) == []
    found = known_posterior.faults(right, wrong)
    assert any("of the exact posterior is" in fault for fault in found)


@pytest.mark.parametrize("cut", ["kmax:1", "kmin:1", "band:0.6,1.3"])
@pytest.mark.parametrize("shift", [-1, 1])
def test_a_filter_off_by_one_mode_is_detected(cut, shift, monkeypatch):
    known = mocks.draw_mocks(20, n_test=20, grid=16)
    assert known_posterior.setup_faults(known, cut) == []
    kept = cuts_apply._modes_kept

    def shifted(grid, cut, box_size):
        edges = tuple(edge + shift * 2 * np.pi / box_size for edge in cut.values)
        return kept(grid, dataclasses.replace(cut, values=edges), box_size)

    monkeypatch.setattr(cuts_apply, "_modes_kept", shifted)
    (fault,) = known_posterior.setup_faults(known, cut)
    assert fault == f"cut {cut!r} keeps other modes than its name implies"


def test_maps_in_two_parts_are_detected(sound):
    known, _, _ = sound
    maps = np.concatenate([known.maps[-1:], known.maps[1:]])
    (fault,) = known_posterior.setup_faults(dataclasses.replace(known, maps=maps))
    assert fault.startswith("1 maps are in more than one")


def test_training_on_the_test_maps_is_detected(sound, profile, monkeypatch):
    known, _, exact = sound
    honest = known_posterior.mock_data

    def leaking(known, cut="none"):
        data = honest(known, cut)
        theta = normalise(data.test_truth, "Lite", data.targets)
        x, theta = data.test_x.repeat(6, 1, 1, 1), torch.from_numpy(theta).repeat(6, 1)
        part = {"valid_x": x[:500], "valid_theta": theta[:500]}
        return dataclasses.replace(data, train_x=x, train_theta=theta, **part)

    monkeypatch.setattr(known_posterior, "mock_data", leaking)
    keys = {"known_answer_epochs": 12, "known_answer_hidden": 12}
    still = profile.replace(symmetries=False, shifts=False, **keys)
    faults = known_posterior.faults(known_posterior.predict_mocks(known, still), exact)
    assert any("above the Bayes-optimal" in fault for fault in faults)


def test_shuffled_labels_are_detected(sound, profile):
    known, _, exact = sound
    params = known.params.copy()
    np.random.default_rng(0).shuffle(params[: known.n_train])
    shuffled = dataclasses.replace(known, params=params)
    learnt = known_posterior.predict_mocks(shuffled, profile.replace(known_answer_epochs=2))
    found = known_posterior.faults(learnt, exact)
    assert sum("below the Bayes-optimal" in fault for fault in found) == 2


@pytest.mark.parametrize("scale", [0.8, 1.25])
def test_wrong_error_bars_are_detected(sound, scale):
    _, learnt, exact = sound
    found = known_posterior.faults({**learnt, "std": learnt["std"] * scale}, exact)
    assert sum("predicted over exact sigma" in fault for fault in found) == 2


def test_a_stored_training_gives_the_same_predictions(profile, tmp_path, monkeypatch):
    """For interruptions see tests/test_survival.py, for outdated results tests/test_identity.py."""
    known = mocks.draw_mocks(60, n_test=30, grid=16)
    short = profile.replace(known_answer_epochs=3)
    whole = known_posterior.predict_mocks(known, short)
    fit, epochs = known_posterior.fit, []

    def counted(*args, **options):
        return fit(*args, **options, epoch_callback=lambda row: epochs.append(row["epoch"]))

    monkeypatch.setattr(known_posterior, "fit", counted)
    for _ in range(2):  # trained, then read from the folder
        stored = known_posterior.predict_mocks(known, short, folder=tmp_path)
        network, data = known_posterior.train_on_mocks(known, short, folder=tmp_path)
        for found in (stored, known_posterior.predict(network, data, symmetries=True)):
            np.testing.assert_array_equal(found["mean"], whole["mean"])
    assert epochs == [1, 2, 3]
    known_posterior.train_on_mocks(known, short, seed=2, folder=tmp_path)
    assert epochs == [1, 2, 3] * 2  # weights of another seed are not reused


def test_an_injected_signal_is_found_in_its_place(profile, monkeypatch):
    """Only a cut of its place removes the signal; sigma_8, which has no effect, is not found."""
    short = profile.replace(planted_maps=1500, known_answer_hidden=4)
    small = partial(known_posterior.draw_mocks, grid=32)  # a quarter of the pixels for speed
    monkeypatch.setattr(known_posterior, "draw_mocks", small)
    found = known_posterior.injection_test("below", short, n_test=200, n_explained=8)
    r2_of = {case["role"]: case["r2"] for case in found["cases"]}
    assert r2_of["whole"]["Omega_m"]["low"] > 0.7
    assert r2_of["spared"]["Omega_m"]["low"] > 0.7
    assert r2_of["hidden"]["Omega_m"]["value"] < 0.1
    assert all(abs(r2["sigma_8"]["value"]) < 0.15 for r2 in r2_of.values())
    assert set(found["share"]) == {"saliency", "integrated_gradients", "gradient_shap"}
    assert 0.5 < found["chance"] < 1


def test_the_numbers_of_the_prose():
    def row(cut, missed, median):
        estimate = {"value": missed, "low": missed - 0.01, "high": missed + 0.01}
        sigma = {"median": median, "low": 0.9, "high": 1.1, "within": 0.8}
        return {
            "cut": cut, "ceiling": True, "faults": ["sigma_8: x"] if missed > 0.1 else [],
            "missed": {"Omega_m": estimate, "sigma_8": {**estimate, "value": missed / 2}},
            "sigma": dict.fromkeys(NAMES, sigma),
            "bits": dict.fromkeys(NAMES, {"value": -missed}) | {"both": {"value": -5 * missed}},
            "bits_exact": dict.fromkeys([*NAMES, "both"], 0.0),
        }  # fmt: skip

    def case(role, omega_m, sigma_8):
        return {"role": role, "r2": {"Omega_m": {"value": omega_m}, "sigma_8": {"value": sigma_8}}}

    gaussian = [row("none", 0.02, 1.1), row("kmax:2", 0.2, 0.95)]
    injected = {
        "below": {
            "cases": [case("whole", 0.9, 0.0), case("hidden", 0.1, -0.2), case("spared", 0.8, 0.1)],
            "chance": 0.6, "ideal": {"integrated_gradients": {"value": 0.7}},
            "share": {"integrated_gradients": {"value": 0.4, "low": 0.3, "high": 0.5}},
        }
    }  # fmt: skip
    lognormal = [row("none", 0.01, 1.0), {"cut": "kmax:4", "ceiling": None}]
    numbers = summary.mocks_numbers(gaussian, lognormal, injected)
    wanted = {
        "missed_Gaussian": "0.200 [0.190, 0.210]", "worst_Gaussian": "Omega m, cut kmax:2",
        "missed_lognormal": "0.010 [0.000, 0.020]", "sigma_low": 0.95, "sigma_high": 1.1,
        "faults": 1, "hidden_high": 0.1, "spared_low": 0.8, "alarm": 0.2, "chance_below": 0.6,
        "ideal_below": 0.7, "share_below": "0.40 [0.30, 0.50]",
        "bits_missed_each": 0.2, "bits_missed_both": 1.0,
    }  # fmt: skip
    assert {key: numbers[f"validation_{key}"] for key in wanted} == wanted


@pytest.mark.parametrize(
    ("low", "word"), [(-0.1, "no sign of a leak"), (0.1, "something leaks"), (None, "no interval")]
)
def test_leaks_are_told_from_the_interval(low, word):
    assert word in summary.leak_sentence({"Omega_m": {"value": 0.0, "low": low, "high": 0.2}})


def test_the_chance_of_a_permutation_is_no_leak():
    """900 shuffled labels correlate with the true ones by about 1/30, and networks learn this."""
    truth = np.random.default_rng(0).normal(size=(1000, 1))

    def network(correlation):
        found = {"truth": truth, "mean": correlation * truth, "parameters": np.array(["Omega_m"])}
        return found | {"simulation": np.arange(1000), "map": np.arange(1000)}

    def sentence(*correlations):
        r2 = summary.shuffled_r2([network(x) for x in correlations], 900, n_bootstrap=200)
        return summary.leak_sentence(r2)

    assert "no sign" in sentence(0.04)
    assert "no sign" in sentence(0.04, -0.03, 0.01)
    assert "something leaks" in sentence(0.4)
    assert "something leaks" in sentence(0.12, 0.1, 0.13)
