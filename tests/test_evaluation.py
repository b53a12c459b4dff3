"""Test scores and intervals against references, run folders and the baseline."""

import json
from functools import cache

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from sklearn.metrics import r2_score

from cosmolib.data.suites import open_suite, split_simulations
from cosmolib.results.baseline import summary_baseline
from cosmolib.study.io import read_json
from cosmolib.study.profile import load_profile
from cosmolib.study.run import Run
from cosmolib.training.dataset import prepare_data
from cosmolib.training.information import information
from cosmolib.training.predictions import predict, read_predictions
from cosmolib.training.run import load_run, train_run
from cosmolib.training.scores import (
    SCORES,
    chi2,
    metrics,
    r2,
    r2_of,
    simulation_average,
)


def fake_predictions(n_simulations=40, noise=0.05, seed=0, sigma=None):
    """Return predictions whose errors share half of their variance within a simulation."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(rng.uniform(0.1, 0.5, (n_simulations, 2)), 15, axis=0)
    common = np.repeat(rng.normal(size=(n_simulations, 2)), 15, axis=0)
    own = rng.normal(size=truth.shape)
    mean = truth + noise * (common + own) / np.sqrt(2)
    return {
        "mean": mean,
        "std": np.full_like(mean, noise if sigma is None else sigma),
        "truth": truth,
        "simulation": np.repeat(np.arange(n_simulations), 15),
        "map": np.arange(15 * n_simulations),
        "parameters": np.array(["Omega_m", "sigma_8"]),
    }


# ------------------------------------------------------------------------------------------ scores
def test_scores_against_their_definitions():
    p = fake_predictions(6, noise=0.1)
    mean, std, truth = p["mean"], p["std"] * np.linspace(1, 2, 90)[:, None], p["truth"]
    value = {key: score(mean, std, truth) for key, score in SCORES.items()}
    np.testing.assert_allclose(value["r2"], r2_score(truth, mean, multioutput="raw_values"))
    np.testing.assert_allclose(value["rmse"], ((mean - truth) ** 2).mean(0) ** 0.5)
    np.testing.assert_allclose(value["chi2"], (((mean - truth) / std) ** 2).mean(0))
    np.testing.assert_allclose(value["mean_sigma"], 0.15)


def test_weights_repeat_maps():
    """Weights of 0, 1 and 2 are equivalent to omitting and repeating maps."""
    p = fake_predictions(6)
    arrays = [p[key] for key in ("mean", "std", "truth")]
    times = np.random.default_rng(0).integers(0, 3, (4, 90))
    for key, score in SCORES.items():
        weighted = score(*arrays, weights=times.astype(float))
        for row, count in zip(weighted, times, strict=True):
            repeated = [np.repeat(a, count, axis=0) for a in arrays]
            np.testing.assert_allclose(row, score(*repeated), rtol=1e-9, err_msg=key)


# --------------------------------------------------------------------------------------- intervals
def test_intervals_of_r2_have_nominal_coverage():
    """Intervals of 500 draws of 50 simulations with 15 correlated maps contain the true R2."""
    rng = np.random.default_rng(3)

    def draw(n):
        truth = rng.uniform(0.1, 0.5, (n, 1))
        shared, own = rng.standard_normal((n, 1)), rng.standard_normal((n, 15))
        error = 0.045 * (np.sqrt(0.45) * shared + np.sqrt(0.55) * own)
        truth = truth.repeat(15, 1)
        return {
            "mean": (truth + error).reshape(-1, 1),
            "truth": truth.reshape(-1, 1),
            "simulation": np.arange(n).repeat(15),
            "map": np.arange(15 * n),
            "parameters": np.array(["sigma_8"]),
        }

    many = draw(20_000)
    expected = r2(many["mean"], None, many["truth"])[0]
    found = [r2_of([draw(50)], n_bootstrap=500)["sigma_8"] for _ in range(500)]
    below = np.mean([x["low"] > expected for x in found])
    above = np.mean([x["high"] < expected for x in found])
    assert 0.935 <= 1 - below - above <= 0.965
    assert max(below, above) < 0.045  # percentiles of R2 miss 0.06 on one side


def test_one_overconfident_prediction_does_not_dominate_chi2():
    truth, std = np.zeros((1000, 1)), np.ones((1000, 1))
    mean = np.random.default_rng(0).standard_normal((1000, 1))
    before = chi2(mean, std, truth)
    std[7], mean[7] = 1e-9, 1.0
    assert chi2(mean, std, truth) == pytest.approx(before, abs=0.5)
    assert chi2(mean, 0.5 * np.ones((1000, 1)), truth) == pytest.approx(4 * before, rel=0.01)


RANGES = np.array([[0.1, 0.5], [0.6, 1.0]])


@cache
def gaussian_posterior(n=300, correlation=0.3, width=(0.05, 0.08), seed=0):
    """Return moments of exact posteriors of noisy parameters, and their mean bits.

    The posteriors are computed on a grid over the prior.
    """
    rng = np.random.default_rng(seed)
    covariance = np.outer(width, width) * [[1, correlation], [correlation, 1]]
    inverse = np.linalg.inv(covariance)
    axes = [np.linspace(*edges, 202)[:-1] + np.ptp(edges) / 402 for edges in RANGES]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1)

    def part():
        truth = rng.uniform(*RANGES.T, (n, 2))
        mean, std, bits = [], [], []
        for look, one in zip(
            truth + rng.multivariate_normal([0, 0], covariance, n), truth, strict=True
        ):
            offsets = points - look
            density = np.exp(-0.5 * np.einsum("abi,ij,abj->ab", offsets, inverse, offsets))
            density /= density.mean()
            marginals = density.mean(1), density.mean(0)
            mean.append([np.average(x, weights=m) for x, m in zip(axes, marginals, strict=True)])
            square = [np.average(x**2, weights=m) for x, m in zip(axes, marginals, strict=True)]
            std.append(np.sqrt(np.array(square) - np.square(mean[-1])))
            place = [np.argmin(np.abs(x - t)) for x, t in zip(axes, one, strict=True)]
            bits.append([marginals[0][place[0]], marginals[1][place[1]], density[tuple(place)]])
        found = {"mean": np.array(mean), "std": np.array(std), "truth": truth}
        return found | {"simulation": np.arange(n)}, np.log2(bits).mean(0)

    valid, _ = part()
    test, bits = part()
    found = test | {f"valid_{key}": value for key, value in valid.items()}
    return found | {"parameters": np.array(["Omega_m", "sigma_8"])}, bits


def test_bits_of_a_gaussian_posterior_are_exact():
    found, expected = gaussian_posterior()
    bits = information([found], RANGES, n_bootstrap=200)
    lost = expected - [bits[key]["value"] for key in ("Omega_m", "sigma_8", "both")]
    assert (lost > -0.03).all(), lost
    assert (lost < [0.08, 0.08, 0.15]).all(), lost  # 300 maps limit the fit
    assert all(x["low"] < x["value"] < x["high"] for x in bits.values())


def test_bits_remain_a_bound_with_wrong_widths_and_outliers():
    found, _ = gaussian_posterior()
    expected = information([found], RANGES, n_bootstrap=2)
    for factor in (0.6, 2.0):  # corrected on the validation maps
        wrong = found | {key: factor * found[key] for key in ("std", "valid_std")}
        bits = information([wrong], RANGES, n_bootstrap=2)
        for key, estimate in expected.items():
            assert bits[key]["value"] == pytest.approx(estimate["value"], abs=0.02)
    sure = found | {"std": np.where(np.arange(300)[:, None] == 3, 1e-9, found["std"])}
    bits = information([sure], RANGES, n_bootstrap=2)
    assert bits["both"]["value"] > expected["both"]["value"] - 0.1
    rng = np.random.default_rng(1)  # nothing learnt: mean and width of the prior
    blind = {key: np.tile([0.3, 0.8], (300, 1)) for key in ("mean", "valid_mean")}
    blind |= {key: np.full((300, 2), 0.4 / np.sqrt(12)) for key in ("std", "valid_std")}
    bits = information([found | blind], RANGES, n_bootstrap=2)
    assert all(-0.1 < x["value"] < 0.02 for x in bits.values())
    guess = blind | {key: rng.uniform(*RANGES.T, (300, 2)) for key in ("mean", "valid_mean")}
    bits = information([found | guess], RANGES, n_bootstrap=2)
    assert all(-0.2 < x["value"] < 0.02 for x in bits.values())
    alone = {key: value[:, :1] for key, value in found.items() if value.ndim == 2}
    alone = found | alone | {"parameters": np.array(["Omega_m"])}
    bits = information([alone], RANGES[:1], n_bootstrap=2)
    assert [*bits] == ["Omega_m"]
    assert bits["Omega_m"]["value"] == pytest.approx(expected["Omega_m"]["value"], abs=0.05)


def test_feedback_parameters_have_a_uniform_prior_in_their_logarithm():
    truth = 4 ** np.random.default_rng(0).uniform(-1, 1, (1200, 1))

    def bits(mean, relative_std, low=0.25):
        both = {"mean": mean, "std": relative_std * mean, "truth": truth}
        found = dict.fromkeys(("simulation", "valid_simulation"), np.arange(600))
        found |= {key: value[:600] for key, value in both.items()}
        found |= {f"valid_{key}": value[600:] for key, value in both.items()}
        found["parameters"] = np.array(["A_SN1"])
        return information([found], np.array([[low, 4.0]]), n_bootstrap=2)["A_SN1"]["value"]

    # 0.44 if the prior were uniform in A_SN1 itself
    assert -0.1 < bits(np.full_like(truth, 1.4), 0.7) < 0.02
    # Information is the entropy of the noisy logarithm minus that of the noise.
    x = np.linspace(-3, 3, 6001)
    density = (ndtr((x + np.log(4)) / 0.2) - ndtr((x - np.log(4)) / 0.2)) / np.log(16)
    exact = -(density * np.log2(density * 0.2 * np.sqrt(2 * np.pi * np.e))).sum() * 1e-3
    mean = truth * np.exp(np.random.default_rng(1).normal(0, 0.2, truth.shape))
    assert bits(mean, 0.2) == pytest.approx(exact, abs=0.1)
    assert np.isfinite(bits(mean, 0.2, low=0.0))  # a range from 0 has no logarithm


def test_one_simulation_has_no_interval():
    table = metrics(fake_predictions(1), 50)
    entry = table["parameters"]["Omega_m"]
    assert [entry[key] for key in ("r2", "rmse_low", "rmse_high")] == [None] * 3
    assert entry["rmse"] > 0
    json.dumps(table, allow_nan=False)


def test_metrics():
    p = fake_predictions(40)
    table = metrics(p, 300)
    assert (table["n_maps"], table["n_simulations"]) == (600, 40)
    entry = table["parameters"]["sigma_8"]
    assert entry["r2"] == pytest.approx(r2_score(p["truth"][:, 1], p["mean"][:, 1]))
    assert entry["r2_low"] < entry["r2"] < entry["r2_high"]
    assert entry["chi2_low"] < 1 < entry["chi2_high"]
    # The average over 15 maps keeps the shared half of the variance of the error.
    ratio = entry["rmse_simulation"] / entry["rmse"]
    assert ratio == pytest.approx(np.sqrt(0.5 + 0.5 / 15), rel=0.15)
    assert metrics(p, 300) == table
    assert metrics(p, 300, seed=1) != table


def test_simulation_average_in_any_order():
    p = fake_predictions(4)
    order = np.random.default_rng(0).permutation(60)
    shuffled = {k: v[order] if len(v) == 60 else v for k, v in p.items()}
    averaged = simulation_average(shuffled)
    assert averaged["simulation"].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(averaged["mean"], p["mean"].reshape(4, 15, 2).mean(1))
    np.testing.assert_allclose(averaged["truth"], p["truth"][::15])


# --------------------------------------------------------------------------------------------- run
@pytest.fixture(scope="module")
def profile(tiny_suite_dir):
    return load_profile("tiny", data_dir=str(tiny_suite_dir), hidden=1, epochs=2)


@pytest.fixture(scope="module")
def finished(profile, tmp_path_factory):
    run = Run("tiny", "Lite", "below:2e11:random", "lite", 1, root=tmp_path_factory.mktemp("runs"))
    return run, train_run(run, profile, device="cpu")


def test_a_run_folder_is_complete(finished, profile):
    run, result = finished
    times = {path.name: path.stat().st_mtime_ns for path in run.folder.iterdir()}
    assert set(times) == {
        "config.yaml", "weights.pt", "history.csv", "predictions.npz", "provenance.json",
        "metrics.json",
    }  # fmt: skip
    assert max(times, key=times.get) == "metrics.json"
    assert result == read_json(run.path("metrics.json"))
    history = run.path("history.csv").read_text().splitlines()
    assert history[0] == "epoch,lr,train_loss,valid_loss,seconds,engine"
    assert len(history) == 3
    p = read_predictions(run.path("predictions.npz"))
    suite = open_suite("Lite", profile.data_dir)
    test = split_simulations(24, 1).test
    np.testing.assert_array_equal(p["truth"], np.repeat(suite.params[test, :2], 15, axis=0))
    np.testing.assert_array_equal(p["simulation"], np.repeat(test, 15))
    np.testing.assert_array_equal(p["map"] // 15, p["simulation"])
    assert p["parameters"].tolist() == ["Omega_m", "sigma_8"]
    assert (p["std"] >= 0).all()
    rmse = np.sqrt(((p["mean"] - p["truth"]) ** 2).mean(0))[0]
    assert result["parameters"]["Omega_m"]["rmse"] == pytest.approx(rmse)
    made = read_json(run.path("provenance.json"))
    assert made["data_fingerprint"] == suite.fingerprint
    assert made["training_seconds"] > 0


def test_a_loaded_run_gives_the_stored_predictions(finished, profile):
    run, _ = finished
    before = torch.get_rng_state()
    network, scaling, config = load_run(run)
    assert torch.equal(torch.get_rng_state(), before)
    data = prepare_data(open_suite("Lite", profile.data_dir), profile, run.cut)
    assert scaling == data.scaling
    assert config["run"] == {"suite": "Lite", "cut": run.cut, "architecture": "lite", "seed": 1}
    stored = read_predictions(run.path("predictions.npz"))
    np.testing.assert_allclose(
        predict(network, data, symmetries=True)["mean"], stored["mean"], rtol=1e-5
    )


# ---------------------------------------------------------------------------------------- baseline
def test_the_baseline_uses_mean_and_scatter(tiny_suite_dir):
    """In the tiny suite the mean of an axis depends on Omega_m, and the contrast on sigma_8."""
    suite = open_suite("Lite", tiny_suite_dir)
    profile = load_profile("tiny", split_seed=2)
    p = summary_baseline(suite, profile)
    test = split_simulations(24, 2).test
    np.testing.assert_array_equal(p["simulation"], np.repeat(test, 15))
    np.testing.assert_array_equal(p["truth"], np.repeat(suite.params[test, :2], 15, axis=0))
    assert (metrics(p, 20)["parameters"]["Omega_m"]["r2"]) > 0.5
    assert (p["std"] > 0).all()
    hidden = summary_baseline(suite, profile, "below:1e15:clamp")  # every pixel is cut
    assert np.ptp(hidden["mean"], axis=0) == pytest.approx([0, 0], abs=1e-6)
