"""Calibration: do predicted posteriors mean what they say, and one number that makes them.

A moment network's posterior is taken as Gaussian. The full ones are tested in
`cosmolib.validation.flow_posterior`.
"""

from __future__ import annotations

import numpy as np
from scipy.special import erf

from cosmolib.training.scores import average, bootstrap, estimate


def coverage(predictions: dict, levels, n_bootstrap: int = 1000, seed: int = 0) -> dict:
    """How often the truth lies within the central interval of each nominal level.

    The predicted posterior is taken as Gaussian: level q covers |truth - mean| < z(q) std.

    Parameters
    ----------
    predictions : dict
        As of `cosmolib.training.predictions.predict`.
    levels : (q,) floats between 0 and 1
    n_bootstrap, seed : int

    Returns
    -------
    dict
        {parameter: (q, 3) array}: measured coverage and its 95 % limits over simulations.
    """
    pull = np.abs(predictions["truth"] - predictions["mean"]) / predictions["std"]
    table = levels_covered(erf(pull / np.sqrt(2)), predictions, levels, n_bootstrap, seed)
    return {str(name): table[p] for p, name in enumerate(predictions["parameters"])}


def levels_covered(reached, predictions: dict, levels, n_bootstrap: int = 1000, seed: int = 0):
    """Share of maps whose interval of each nominal level contains the truth.

    Parameters
    ----------
    reached : (n, P)
        Level whose interval ends at the truth: uniform from 0 to 1 if calibrated.

    Returns
    -------
    (P, q, 3) array
        Shares, and their 95 % limits over simulations.
    """
    inside = (reached[:, :, None] < np.asarray(levels)).astype(float)  # (n, P, q)
    flat = inside.reshape(len(inside), -1)
    low, high = bootstrap(average, [flat], predictions["simulation"], n_bootstrap, seed)
    return np.stack([flat.mean(0), low, high], -1).reshape(*inside.shape[1:], 3)


def recalibration(valid: dict) -> dict[str, float]:
    """Factor for each parameter's predicted standard deviations that makes 1 sigma hold 68.27 %.

    One number a parameter: the quantile of |truth - mean| / std. (The root of chi2 would be the
    best rescaling of a Gaussian posterior, but a single map of which a network is far too sure
    decides it.) Fit it to the *validation* maps: training maps look better than they are, and test
    maps must judge it.

    Parameters
    ----------
    valid : dict
        Predictions of the validation maps.
    """
    pull = np.abs(valid["truth"] - valid["mean"]) / valid["std"]
    found = np.quantile(pull, erf(1 / np.sqrt(2)), axis=0)
    return {str(name): float(x) for name, x in zip(valid["parameters"], found, strict=True)}


def recalibrated(predictions: dict, factors: dict[str, float]) -> dict:
    """Return predictions with their standard deviations multiplied by `recalibration`'s factors."""
    scale = np.array([factors[str(name)] for name in predictions["parameters"]])
    return {**predictions, "std": predictions["std"] * scale}


def calibration_scores(predictions: dict, n_bootstrap: int = 1000, seed: int = 0) -> dict:
    """Return chi2, sharpness and score of predicted posteriors, as estimates by parameter.

    ``sharpness`` is the mean predicted standard deviation [physical]: of two calibrated posteriors
    the narrower tells more. ``log_score`` is the mean log density of the truth under the predicted
    Gaussian, which rewards both [log of 1 / physical].

    Returns
    -------
    dict
        {"chi2" | "sharpness" | "log_score" | "coverage_68": {parameter: {value, low, high}}}
    """
    mean, std, truth = (
        np.asarray(predictions[key], np.float64) for key in ("mean", "std", "truth")
    )
    pull = (truth - mean) / std
    columns = {
        "chi2": pull**2,
        "sharpness": std,
        "log_score": -0.5 * pull**2 - np.log(std) - 0.5 * np.log(2 * np.pi),
        "coverage_68": (np.abs(pull) < 1).astype(float),
    }
    names = predictions["parameters"]
    return {
        key: estimate(average, [values], predictions["simulation"], names, n_bootstrap, seed)
        for key, values in columns.items()
    }
