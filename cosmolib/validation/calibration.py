"""Calibration of predicted posteriors, and recalibration by one factor per parameter.

The posterior of a moment network is taken as Gaussian. Full posteriors are tested in
`cosmolib.validation.flow_posterior`.
"""

import numpy as np
from scipy.special import erf

from cosmolib.training.scores import average, bootstrap, estimate


def coverage(predictions: dict, levels, n_bootstrap: int = 1000, seed: int = 0) -> dict:
    """Measure how often the truth lies within the central interval of each nominal level.

    The predicted posterior is taken as Gaussian: level q covers ``|truth - mean| < z(q) std``.

    Parameters
    ----------
    predictions : dict
        From `cosmolib.training.predictions.predict`.
    levels : (q,) floats between 0 and 1
    n_bootstrap, seed : int

    Returns
    -------
    dict
        {parameter: (q, 3) array}: measured coverage and its 95 % limits over simulations.
    """
    pull = np.abs(predictions["truth"] - predictions["mean"]) / predictions["std"]
    return levels_covered(erf(pull / np.sqrt(2)), predictions, levels, n_bootstrap, seed)


def levels_covered(reached, predictions: dict, levels, n_bootstrap: int = 1000, seed: int = 0):
    """Compute the share of maps whose interval of each nominal level contains the truth.

    Parameters
    ----------
    reached : (n, P)
        Level of the interval that just reaches the truth: uniform from 0 to 1 if calibrated.
    predictions : dict
        Its ``simulation`` and ``parameters`` (P,) are used.
    levels : (q,)
    n_bootstrap, seed : int

    Returns
    -------
    dict
        {parameter: (q, 3) array}: shares and their 95 % limits over simulations.
    """
    inside = (reached[:, :, None] < np.asarray(levels)).astype(float)  # (n, P, q)
    flat = inside.reshape(len(inside), -1)
    low, high = bootstrap(average, [flat], predictions["simulation"], n_bootstrap, seed)
    tables = np.stack([flat.mean(0), low, high], -1).reshape(*inside.shape[1:], 3)  # (P, q, 3)
    return dict(zip(predictions["parameters"].tolist(), tables, strict=True))


def recalibration(valid: dict) -> dict[str, float]:
    """Fit the factor on each parameter's predicted std with which 1 sigma contains 68.27 %.

    It is the 68.27 % quantile of ``|truth - mean| / std``. (The square root of chi2 would be
    the best factor for a Gaussian posterior, but one overconfident prediction can dominate it.)
    It must be fitted to the *validation* maps: training maps are predicted too well, and test maps
    are needed for the final test.

    Parameters
    ----------
    valid : dict
        Predictions for the validation maps.
    """
    pull = np.abs(valid["truth"] - valid["mean"]) / valid["std"]
    found = np.quantile(pull, erf(1 / np.sqrt(2)), axis=0)
    return {str(name): float(x) for name, x in zip(valid["parameters"], found, strict=True)}


def calibration_scores(predictions: dict, n_bootstrap: int = 1000, seed: int = 0) -> dict:
    """Compute chi2, sharpness, log score and coverage of predicted posteriors.

    ``sharpness`` is the mean predicted standard deviation in physical units: of two calibrated
    posteriors, the narrower is more informative. ``log_score`` is the mean log density of the truth
    under the predicted Gaussian [log of 1 / physical unit], which measures both.

    Returns
    -------
    dict
        {"chi2" | "sharpness" | "log_score" | "coverage_68": {parameter: {value, low, high}}}
    """
    mean, std, truth = (np.asarray(predictions[k], np.float64) for k in ("mean", "std", "truth"))
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
