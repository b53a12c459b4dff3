"""Scores of predictions, with errors: R2, RMSE, bias, calibration, and their bootstrap.

Scores are per map unless a name says ``simulation``. Maps of one simulation share their parameters
and much of their structure, so every interval resamples whole simulations. R2 is the share of the
variance of the true parameter over the test maps that is explained: 1 is perfect, 0 is as good as
their mean.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


# --------------------------------------------------------------------------------------------------
# Scores: each takes the maps' weights, so that a bootstrap is one matrix product
# --------------------------------------------------------------------------------------------------
def average(values, weights=None):
    """Average (n, P) over maps: (P,), or (S, P) with a row of weights (S, n) a resampling."""
    if weights is None:
        return values.mean(0)
    return weights @ values / weights.sum(-1, keepdims=True)


def r2(mean, std, truth, weights=None):
    """Coefficient of determination 1 - <(truth - mean)^2> / var(truth); NaN without variance."""
    centred = truth - truth.mean(0)  # keeps the difference of squares exact
    variance = average(centred**2, weights) - average(centred, weights) ** 2
    error = average((truth - mean) ** 2, weights)
    floor = 1e-12 * np.maximum((truth**2).mean(0), 1e-300)  # rounding of equal truths
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance > floor, 1 - error / variance, np.nan)


def rmse(mean, std, truth, weights=None):
    """Root mean square error, physical units."""
    return np.sqrt(average((truth - mean) ** 2, weights))


def relative_error(mean, std, truth, weights=None):
    """Mean of |mean - truth| / truth, as CMD quotes it."""
    return average(np.abs(mean - truth) / truth, weights)


def bias(mean, std, truth, weights=None):
    """Mean of mean - truth, physical units."""
    return average(mean - truth, weights)


def chi2(mean, std, truth, weights=None):
    """Mean of ((truth - mean) / std)^2: 1 where the widths are right, more where too narrow."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return average(((truth - mean) / std) ** 2, weights)


def mean_sigma(mean, std, truth, weights=None):
    """Mean predicted standard deviation, physical units."""
    return average(std, weights)


SCORES = {
    score.__name__: score for score in (r2, rmse, relative_error, bias, chi2, mean_sigma)
}  # fmt: skip


def bootstrap(
    statistic: Callable, arrays, simulations, n: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % interval of a statistic, by resampling whole simulations.

    Parameters
    ----------
    statistic : callable
        ``statistic(*arrays, weights=w)`` with w (S, n) -> (S, ...): how often each of S resamplings
        holds each map.
    arrays : sequence of (n, ...) arrays
    simulations : (n,) int
        Simulation of each map.
    n : int
        Number of resamplings.
    seed : int

    Returns
    -------
    low, high : arrays
        2.5 and 97.5 % of the resamplings in which the statistic is defined; NaN with fewer than two
        simulations, where nothing is known of the scatter between them.
    """
    numbers, place = np.unique(simulations, return_inverse=True)
    if len(numbers) < 2:
        once = statistic(*arrays, weights=np.ones((1, len(place))))
        nothing = np.full(np.shape(once)[1:], np.nan)
        return nothing, nothing
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), size=n)
    values = np.asarray(statistic(*arrays, weights=counts[:, place].astype(float)))
    flat = values.reshape(n, -1)
    bounds = np.full((2, flat.shape[1]), np.nan)
    for column in range(flat.shape[1]):
        defined = flat[~np.isnan(flat[:, column]), column]
        if len(defined):
            bounds[:, column] = np.percentile(defined, (2.5, 97.5))
    return tuple(bounds.reshape(2, *values.shape[1:]))


def estimate(statistic: Callable, arrays, simulations, names, n: int, seed: int = 0) -> dict:
    """Value and interval of a statistic with one column a name.

    Parameters
    ----------
    statistic : callable
        As `bootstrap` wants it; ``weights=None`` gives the value itself.
    arrays : sequence of arrays (m, ...)
    simulations : (m,) int
    names : sequence of str
    n, seed : int
        Resamplings and their seed.

    Returns
    -------
    dict
        {name: {"value", "low", "high"}}
    """
    value = statistic(*arrays, weights=None)
    low, high = bootstrap(statistic, arrays, simulations, n, seed)
    return {
        str(name): {
            "value": number_or_none(v),
            "low": number_or_none(lo),
            "high": number_or_none(hi),
        }
        for name, v, lo, hi in zip(names, value, low, high, strict=True)
    }


def as_estimate(row) -> dict:
    """Return (value, low, high) as an estimate."""
    return dict(zip(("value", "low", "high"), map(number_or_none, row), strict=True))


def simulation_average(predictions: dict) -> dict:
    """Average predictions over the maps of each simulation, in ascending order of simulations.

    The std is the maps' mean one: maps of a simulation are not independent, so that it does not
    fall with their number.
    """
    numbers, place, count = np.unique(
        predictions["simulation"], return_inverse=True, return_counts=True
    )
    averaged = {"simulation": numbers, "parameters": predictions["parameters"]}
    for key in ("mean", "std", "truth"):
        total = np.zeros((len(numbers), predictions[key].shape[1]))
        np.add.at(total, place, predictions[key])
        averaged[key] = total / count[:, None]
    return averaged


def metrics(predictions: dict, n_bootstrap: int = 1000, seed: int = 0) -> dict:
    """Return every score of some predictions, with its 95 % interval.

    Parameters
    ----------
    predictions : dict
        Of `predict_test` or ``predictions.npz``.
    n_bootstrap, seed : int

    Returns
    -------
    dict
        ``n_maps``, ``n_simulations`` and ``parameters``: {name: {score, score_low, score_high, and
        the same as score_simulation for predictions averaged over a simulation's maps}}. A score
        that is not defined, such as R2 or an interval with one simulation, is None.
    """
    averaged = simulation_average(predictions)
    scores = {str(name): {} for name in predictions["parameters"]}
    for suffix, table in (("", predictions), ("_simulation", averaged)):
        arrays = [np.asarray(table[key], np.float64) for key in ("mean", "std", "truth")]
        for key, score in SCORES.items():
            value = score(*arrays)
            low, high = bootstrap(score, arrays, table["simulation"], n_bootstrap, seed)
            for p, entry in enumerate(scores.values()):
                for end, found in (("", value), ("_low", low), ("_high", high)):
                    entry[f"{key}{suffix}{end}"] = number_or_none(found[p])
    return {
        "n_maps": len(predictions["simulation"]),
        "n_simulations": len(averaged["simulation"]),
        "parameters": scores,
    }


def number_or_none(value):
    """Return a float, or None where JSON would have none."""
    return float(value) if np.isfinite(value) else None


def paired_difference(a: dict, b: dict, n_bootstrap: int = 1000, seed: int = 0) -> dict:
    """Return R2(a) - R2(b) of each parameter, on the same test maps, with its 95 % interval.

    Both are resampled together, so that what they share (easy and hard simulations) cancels.

    Returns
    -------
    dict
        {parameter: {"value", "low", "high"}}

    Raises
    ------
    ValueError
        The predictions are not of the same maps, parameters and true values.
    """
    for key in ("parameters", "simulation", "map", "truth"):
        if not np.array_equal(a[key], b[key]):
            raise ValueError(f"paired difference: {key} differs, expected the same test maps twice")

    def difference(mean_a, mean_b, truth, weights=None):
        return r2(mean_a, None, truth, weights) - r2(mean_b, None, truth, weights)

    arrays = [np.asarray(x, np.float64) for x in (a["mean"], b["mean"], a["truth"])]
    return estimate(difference, arrays, a["simulation"], a["parameters"], n_bootstrap, seed)


# --------------------------------------------------------------------------------------------------
# Estimates
# --------------------------------------------------------------------------------------------------
def as_text(estimate: dict | None, digits: int = 2) -> str:
    """Write an estimate as the book prints it.

    Examples
    --------
    >>> as_text({"value": 0.871, "low": 0.85, "high": 0.8912})
    '0.87 [0.85, 0.89]'
    >>> as_text({"value": 0.5, "low": None, "high": None}), as_text(None)
    ('0.50', 'not in this profile')
    """
    if estimate is None:
        return "not in this profile"
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    if value is None:
        return "not defined"
    if low is None or high is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def from_metrics(scores: dict, key: str) -> dict:
    """Return one score of ``metrics.json``, ``key``, ``key_low``, ``key_high``, as an estimate."""
    ends = ("", "_low", "_high")
    return dict(zip(("value", "low", "high"), (scores[key + end] for end in ends), strict=True))


def r2_of(
    predictions: list[dict], minus: list[dict] = (), *, n_bootstrap: int, seed: int = 0
) -> dict:
    """Estimate R2 of each parameter, the mean over seeds, or its paired difference to another's.

    The interval resamples whole simulations, the same for both cases, and where there are several
    seeds, these as well, for each case its own: the scatter between trainings is a second source of
    error.

    Parameters
    ----------
    predictions : list of dict
        Of the seeds of one case, as ``predictions.npz``.
    minus : list of dict
        Of the case to subtract, on the same test maps; empty for none.

    Raises
    ------
    ValueError
        The predictions are not of the same test maps.
    """
    if minus is predictions:  # a case against itself: nothing is drawn twice
        minus, itself = (), True
    else:
        itself = False
    first = predictions[0]
    for other in (*predictions, *minus):
        for key in ("parameters", "map", "simulation"):
            if not np.array_equal(first[key], other[key]):
                raise ValueError(f"predictions: {key} differs, expected the same test maps")
        if not np.allclose(first["truth"], other["truth"], rtol=1e-5):
            raise ValueError("predictions: truth differs, expected the same test maps")

    rng = np.random.default_rng([seed, 1])

    def over_seeds(scores, weights):  # (m, P) or (m, S, P)
        count = len(scores)
        if weights is None or count < 2:
            return np.mean(scores, axis=0)
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=len(weights)) / count
        return np.einsum("sm,msp->sp", drawn, scores)

    def statistic(truth, *means, weights=None):
        scores = [r2(mean, None, truth, weights) for mean in means]
        own, others = scores[: len(predictions)], scores[len(predictions) :]
        score = over_seeds(own, weights)
        if itself:
            return score - score
        return score - (over_seeds(others, weights) if others else 0)

    arrays = [np.asarray(first["truth"], np.float64)]
    arrays += [np.asarray(item["mean"], np.float64) for item in (*predictions, *minus)]
    names = first["parameters"]
    return estimate(statistic, arrays, first["simulation"], names, n_bootstrap, seed)


def bias_of(predictions: list[dict], *, in_sigma: bool, n_bootstrap: int, seed: int = 0) -> dict:
    """Estimate the mean of prediction minus truth, the mean over seeds.

    In physical units, or over the mean predicted sigma: a mean of ratios would hang on the few maps
    of which a network is most sure.
    """
    first = predictions[0]
    offset = np.mean([item["mean"] - item["truth"] for item in predictions], axis=0)
    arrays, statistic = [offset], average
    if in_sigma:
        arrays, statistic = [offset, np.mean([x["std"] for x in predictions], axis=0)], pull
    names = first["parameters"]
    return estimate(statistic, arrays, first["simulation"], names, n_bootstrap, seed)


def pull(offset, std, weights=None):
    with np.errstate(divide="ignore", invalid="ignore"):
        return average(offset, weights) / average(std, weights)
