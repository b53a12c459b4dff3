"""Calibration: correct error bars pass, wrong ones are detected and corrected by a factor."""

import numpy as np
import pytest

from cosmolib.validation import calibration

NAMES = np.array(["Omega_m", "sigma_8"])


def gaussian_predictions(scale, n=4000, seed=0):
    """Posteriors with `scale` times the correct width; each map is a simulation."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 1, (n, 2))
    mean, std = truth + 0.1 * rng.standard_normal((n, 2)), np.full((n, 2), 0.1 * scale)
    named = {"truth": truth, "simulation": np.arange(n), "parameters": NAMES}
    return named | {"mean": mean, "std": std}


def test_coverage_of_correct_error_bars_is_nominal():
    levels = np.array([0.1, 0.5, 0.6827, 0.95])
    found = calibration.coverage(gaussian_predictions(1.0), levels, n_bootstrap=200)
    for table in found.values():
        np.testing.assert_allclose(table[:, 0], levels, atol=0.025)
        assert (table[:, 1] <= table[:, 0]).all()
        assert (table[:, 0] <= table[:, 2]).all()
        assert (np.diff(table[:, 0]) > 0).all()


@pytest.mark.parametrize(("scale", "sign"), [(0.7, -1), (1.4, 1)])
def test_coverage_of_wrong_error_bars_is_not_nominal(scale, sign):
    found = calibration.coverage(gaussian_predictions(scale), [0.6827], n_bootstrap=200)
    for table in found.values():
        assert sign * (table[0, 0] - 0.6827) > 0.1
        assert not table[0, 1] < 0.6827 < table[0, 2]


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_recalibration_corrects_error_bars(scale):
    valid, test = (gaussian_predictions(scale, seed=s) for s in (0, 1))
    valid["std"][0] = 1e-9  # one overconfident prediction has no influence
    factors = calibration.recalibration(valid)
    assert set(factors) == set(NAMES)
    for factor in factors.values():
        assert factor == pytest.approx(1 / scale, rel=0.05)
    found = calibration.calibration_scores(calibration.recalibrated(test, factors), 200)
    before = calibration.calibration_scores(test, 200)
    for name in NAMES:
        assert found["chi2"][name]["low"] < 1 < found["chi2"][name]["high"]
        assert found["coverage_68"][name]["value"] == pytest.approx(0.6827, abs=0.03)
        assert found["sharpness"][name]["value"] == pytest.approx(0.1, rel=0.05)
        if scale != 1:
            assert found["log_score"][name]["value"] > before["log_score"][name]["high"]


def test_the_log_score_is_the_mean_log_density():
    columns = {"mean": [0.0, 0.0], "std": [1.0, 2.0], "truth": [1.0, 0.0]}
    predictions = {key: np.array(values)[:, None] for key, values in columns.items()}
    predictions |= {"simulation": np.arange(2), "parameters": NAMES[:1]}
    found = calibration.calibration_scores(predictions, 10)["log_score"]["Omega_m"]["value"]
    assert found == pytest.approx(-0.5 * np.log(2 * np.pi) - 0.25 - 0.5 * np.log(2))
