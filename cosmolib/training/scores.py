"""Scores of predictions, with errors: R2, RMSE, bias, calibration, and their bootstrap.

Scores are per map unless a name contains ``simulation``. Maps of one simulation share their
parameters and much of their structure, so every interval resamples whole simulations. R2 is the
explained share of the variance of the true parameter over the test maps: 1 is perfect, 0 is as good
as the mean of the test set. An *estimate* is {"value", "low", "high"}, with None for what is not
defined.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

COSMOLOGY = ("Omega_m", "sigma_8")
SIGMA_FLOOR = 0.05  # of the median predicted sigma, in chi2: no single map decides it
Z95 = 1.959964  # standard deviations on either side of a normal 95 % interval


# --------------------------------------------------------------------------------------------------
# Scores: each takes the maps' weights, so that a bootstrap is one matrix product
# --------------------------------------------------------------------------------------------------
def average(values, weights=None):
    """Average (n, P) over maps: (P,), or (S, P) with weights (S, n), one row per resampling."""
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
    """Mean of ((truth - mean) / std)^2: 1 for correct widths, more for too narrow ones.

    A std below `SIGMA_FLOOR` of their median counts as that.
    """
    std = np.maximum(std, SIGMA_FLOOR * np.median(std, axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return average(((truth - mean) / std) ** 2, weights)


def mean_sigma(mean, std, truth, weights=None):
    """Mean predicted standard deviation, physical units."""
    return average(std, weights)


SCORES = {score.__name__: score for score in (r2, rmse, relative_error, bias, chi2, mean_sigma)}


def bootstrap(
    statistic: Callable, arrays, simulations, n: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % interval of a statistic, by resampling whole simulations.

    Parameters
    ----------
    statistic : callable
        ``statistic(*arrays, weights=w)`` with w (S, n) -> (S, ...): how often each of S resamplings
        contains each map.
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
        simulations, which have no scatter.
    """
    numbers, place = np.unique(simulations, return_inverse=True)
    if len(numbers) < 2:
        once = statistic(*arrays, weights=np.ones((1, len(place))))
        return (np.full(np.shape(once)[1:], np.nan),) * 2
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


def _basic(r2, low, high):
    """Turn percentiles of R2 into the basic bootstrap interval of log(1 - R2).

    Percentiles of R2 itself cover 93 %, and miss six times as often above as below.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = [np.where(end < 1, 1 - (1 - r2) ** 2 / (1 - end), 1.0) for end in (high, low)]
    return [np.where(np.isnan(low), np.nan, end) for end in ends]


def estimate(
    statistic: Callable, arrays, simulations, names, n: int, seed: int = 0, skewed: bool = False
) -> dict:
    """Estimate a statistic with one column per name.

    Parameters
    ----------
    statistic, arrays, simulations
        As of `bootstrap`; the statistic with ``weights=None`` is the value itself.
    names : sequence of str
    n, seed : int
        Resamplings and their seed.
    skewed : bool
        The statistic is an R2: its interval is the basic one of log(1 - R2), not of percentiles.

    Returns
    -------
    dict
        {name: {"value", "low", "high"}}
    """
    value = statistic(*arrays, weights=None)
    low, high = bootstrap(statistic, arrays, simulations, n, seed)
    if skewed:
        low, high = _basic(value, low, high)
    rows = zip(value, low, high, strict=True)
    return {str(name): as_estimate(row) for name, row in zip(names, rows, strict=True)}


def as_estimate(row) -> dict:
    """Return (value, low, high) as an estimate."""
    return dict(zip(("value", "low", "high"), map(number_or_none, row), strict=True))


def simulation_average(predictions: dict) -> dict:
    """Average predictions over the maps of each simulation, in ascending order of simulations.

    The std is averaged too and does not fall with the number of maps: maps of a simulation are not
    independent.
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
        As of `cosmolib.training.predictions.predict`.
    n_bootstrap, seed : int

    Returns
    -------
    dict
        ``n_maps``, ``n_simulations`` and ``parameters``: {name: {score, score_low, score_high, and
        the same as score_simulation for predictions averaged over a simulation's maps}}. Scores
        that are not defined, such as R2 or an interval with one simulation, are None.
    """
    averaged = simulation_average(predictions)
    scores = {str(name): {} for name in predictions["parameters"]}
    for suffix, table in (("", predictions), ("_simulation", averaged)):
        arrays = [np.asarray(table[key], np.float64) for key in ("mean", "std", "truth")]
        for key, score in SCORES.items():
            value = score(*arrays)
            low, high = bootstrap(score, arrays, table["simulation"], n_bootstrap, seed)
            if score is r2:
                low, high = _basic(value, low, high)
            for p, entry in enumerate(scores.values()):
                for end, found in (("", value), ("_low", low), ("_high", high)):
                    entry[f"{key}{suffix}{end}"] = number_or_none(found[p])
    return {
        "n_maps": len(predictions["simulation"]),
        "n_simulations": len(averaged["simulation"]),
        "parameters": scores,
    }


def number_or_none(value):
    """Return a float, or None for NaN and infinities, which JSON does not have."""
    return float(value) if np.isfinite(value) else None


# --------------------------------------------------------------------------------------------------
# Estimates
# --------------------------------------------------------------------------------------------------
def as_text(estimate: dict | None, digits: int = 2) -> str:
    """Format an estimate as the book prints it.

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


def glued_texts(prefix: str, estimates: dict, digits: int = 2) -> dict[str, str]:
    """Format estimates by parameter under the names by which the book's prose glues them.

    Parameters
    ----------
    prefix : str
    estimates : dict
        {key: {parameter: estimate}, or None}.

    Returns
    -------
    dict
        ``<prefix><key>_om`` for Omega_m and ``<prefix><key>_s8`` for sigma_8.
    """
    return {
        f"{prefix}{key}_{short}": as_text((found or {}).get(name), digits)
        for key, found in estimates.items()
        for short, name in zip(("om", "s8"), COSMOLOGY, strict=True)
    }


def from_metrics(scores: dict, key: str) -> dict:
    """Return one score of ``metrics.json`` as an estimate."""
    return {"value": scores[key], "low": scores[f"{key}_low"], "high": scores[f"{key}_high"]}


def r2_of(
    predictions: list[dict], minus: list[dict] = (), *, n_bootstrap: int, seed: int = 0
) -> dict:
    """Estimate R2 of each parameter, averaged over seeds, or its paired difference to another case.

    The interval resamples whole simulations, the same ones for both cases, so that what the cases
    share (easy and hard simulations) cancels. The scatter between trainings is a second source of
    error, see `widened`.

    Parameters
    ----------
    predictions : list of dict
        The ``predictions.npz`` of each seed of one case.
    minus : list of dict
        Those of the case to subtract, on the same test maps; empty for none.

    Raises
    ------
    ValueError
        The predictions are not of the same test maps.
    """
    first = predictions[0]
    for other in (*predictions, *minus):
        for key in ("parameters", "map", "simulation"):
            if not np.array_equal(first[key], other[key]):
                raise ValueError(f"predictions: {key} differs, expected the same test maps")
        if not np.allclose(first["truth"], other["truth"], rtol=1e-5):
            raise ValueError("predictions: truth differs, expected the same test maps")

    def statistic(truth, *means, weights=None):
        scores = [r2(mean, None, truth, weights) for mean in means]
        own, others = scores[: len(predictions)], scores[len(predictions) :]
        return np.mean(own, axis=0) - (np.mean(others, axis=0) if others else 0)

    arrays = [np.asarray(first["truth"], np.float64)]
    arrays += [np.asarray(item["mean"], np.float64) for item in (*predictions, *minus)]
    names = first["parameters"]
    skewed = not minus
    return estimate(statistic, arrays, first["simulation"], names, n_bootstrap, seed, skewed)


def seed_scatter(groups: list[list[dict]]) -> dict:
    """Return the standard deviation of R2 between trainings that differ in the seed alone.

    Parameters
    ----------
    groups : list of list of dict
        Predictions of each seed of each case; the variances of cases with several are averaged.

    Returns
    -------
    dict
        {parameter: float}, or None where no case has several seeds.
    """
    names = [str(name) for name in groups[0][0]["parameters"]]
    scores = [[r2(x["mean"], None, x["truth"]) for x in group] for group in groups]
    several = [np.array(group) for group in scores if len(group) > 1]
    if not several:
        return dict.fromkeys(names)
    deviations = np.concatenate([group - group.mean(0) for group in several])
    variance = (deviations**2).sum(0) / sum(len(group) - 1 for group in several)
    return dict(zip(names, map(number_or_none, np.sqrt(variance)), strict=True))


def widened(estimates: dict, scatter: dict, *trainings: int) -> dict:
    """Add the scatter between trainings to intervals, in quadrature.

    Parameters
    ----------
    estimates : dict
        {parameter: estimate}
    scatter : dict
        Of R2 between single trainings, see `seed_scatter`; None adds nothing.
    *trainings : int
        How many trainings each of the compared cases is the mean of.
    """
    spread = Z95 * np.sqrt(sum(1 / count for count in trainings))

    def wider(name, x):
        if scatter.get(name) is None or x["low"] is None:
            return x
        value = x["value"]
        low, high = (np.hypot(x[end] - value, spread * scatter[name]) for end in ("low", "high"))
        return as_estimate((value, value - low, value + high))

    return {name: wider(name, x) for name, x in estimates.items()}


def bias_of(predictions: list[dict], *, in_sigma: bool, n_bootstrap: int, seed: int = 0) -> dict:
    """Estimate the mean of prediction minus truth, averaged over seeds.

    In physical units, or in units of the mean predicted sigma: a mean of ratios would depend on the
    few maps with the smallest sigma.
    """
    first = predictions[0]
    offset = np.mean([item["mean"] - item["truth"] for item in predictions], axis=0)
    arrays, statistic = [offset], average
    if in_sigma:
        arrays, statistic = [offset, np.mean([x["std"] for x in predictions], axis=0)], pull
    names = first["parameters"]
    return estimate(statistic, arrays, first["simulation"], names, n_bootstrap, seed)


def pull(offset, std, weights=None):
    """Mean offset in units of the mean predicted sigma."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return average(offset, weights) / average(std, weights)
