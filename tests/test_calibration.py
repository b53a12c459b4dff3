"""Calibration: correct posteriors pass, wrong ones are detected and corrected by a factor."""

import numpy as np
import pytest

from cosmolib.validation import calibration, flow_posterior

NAMES = np.array(["Omega_m", "sigma_8"])


LEVELS = np.array([0.1, 0.2, 0.5, 0.6827, 0.9, 0.95])


def gaussian_predictions(scale, n=4000, seed=0, shift=0.0):
    """Posteriors of `scale` times the correct width, displaced by `shift` widths.

    Each map is a simulation. The prior is normal, so that the posterior of a noisy value is exact.
    """
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((n, 2))
    width = np.full((n, 2), np.sqrt(0.2))
    mean = 0.8 * (truth + 0.5 * rng.standard_normal((n, 2))) + width * shift
    named = {"truth": truth, "simulation": np.arange(n), "parameters": NAMES}
    return named | {"mean": mean, "std": width * scale}


def covered(found, levels):
    """Return the coverage of Gaussians and of samples for both parameters, and that by TARP."""
    tables = calibration.coverage(found, levels, n_bootstrap=200)
    noise = np.random.default_rng(1).standard_normal((len(found["mean"]), 200, 2))
    samples = found["mean"][:, None] + found["std"][:, None] * noise
    ranks = flow_posterior.rank_coverage(samples, found, levels, 200)
    tarp = flow_posterior.tarp(samples, found, levels, 200)
    return [*tables.values(), *ranks.values()], tarp


def test_coverage_of_correct_posteriors_is_nominal():
    tables, tarp = covered(gaussian_predictions(1.0, 2000), LEVELS)
    for table in (*tables, tarp):
        np.testing.assert_allclose(table[:, 0], LEVELS, atol=0.04)
        assert (table[:, 1] <= table[:, 0]).all()
        assert (table[:, 0] <= table[:, 2]).all()
        assert (np.diff(table[:, 0]) > 0).all()


@pytest.mark.parametrize(("scale", "sign"), [(0.6, -1), (1.6, 1)])
def test_wrong_widths_are_detected(scale, sign):
    tables, tarp = covered(gaussian_predictions(scale, 2000), [0.1, 0.6827, 0.9])
    for table in tables:
        assert sign * (table[1, 0] - 0.6827) > 0.1
        assert not table[1, 1] < 0.6827 < table[1, 2]
    # If too narrow, the truth is too often closer or farther than nearly all samples.
    assert sign * (tarp[2, 0] - tarp[0, 0] - 0.8) > 0.05


def test_a_bias_is_detected():
    tables, tarp = covered(gaussian_predictions(1.0, 2000, shift=1.5), LEVELS)
    assert all(table[3, 0] < 0.55 for table in tables)
    assert np.abs(tarp[:, 0] - LEVELS).max() > 0.08


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_recalibration_corrects_error_bars(scale):
    valid, test = (gaussian_predictions(scale, seed=s) for s in (0, 1))
    valid["std"][0] = 1e-9  # one overconfident prediction has no influence
    factors = calibration.recalibration(valid)
    assert set(factors) == set(NAMES)
    for factor in factors.values():
        assert factor == pytest.approx(1 / scale, rel=0.05)
    corrected = test | {"std": test["std"] * [*factors.values()]}
    found = calibration.calibration_scores(corrected, 200)
    before = calibration.calibration_scores(test, 200)
    for name in NAMES:
        assert found["chi2"][name]["low"] < 1 < found["chi2"][name]["high"]
        assert found["coverage_68"][name]["value"] == pytest.approx(0.6827, abs=0.03)
        assert found["sharpness"][name]["value"] == pytest.approx(0.2**0.5, rel=0.05)
        if scale != 1:
            assert found["log_score"][name]["value"] > before["log_score"][name]["high"]


def test_the_log_score_is_the_mean_log_density():
    columns = {"mean": [0.0, 0.0], "std": [1.0, 2.0], "truth": [1.0, 0.0]}
    predictions = {key: np.array(values)[:, None] for key, values in columns.items()}
    predictions |= {"simulation": np.arange(2), "parameters": NAMES[:1]}
    found = calibration.calibration_scores(predictions, 10)["log_score"]["Omega_m"]["value"]
    assert found == pytest.approx(-0.5 * np.log(2 * np.pi) - 0.25 - 0.5 * np.log(2))
