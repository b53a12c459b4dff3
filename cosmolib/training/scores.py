"""Scores of predictions with 95 % intervals: R2, RMSE, bias, chi2, and paired differences.

Scores are per map unless a name contains ``simulation``. Maps of one simulation share their
parameters and much of their structure, so every interval resamples whole simulations. R2 is the
explained share of the variance of the true parameter over the test maps: 1 is perfect, and 0 is as
good as predicting the mean of the test set. An *estimate* is {"value", "low", "high"}; entries that
are not defined are None.
"""

import warnings

import numpy as np

COSMOLOGY = ("Omega_m", "sigma_8")
SIGMA_FLOOR = 0.05  # smallest sigma in chi2, in units of the median: one map must not dominate
Z95 = 1.959964  # half width of a normal 95 % interval in standard deviations


# --------------------------------------------------------------------------------------------------
# Scores: each takes weights of the maps, so that a bootstrap is one matrix product
# --------------------------------------------------------------------------------------------------
def average(values, weights=None):
    """Average (n, P) over maps: (P,), or (S, P) for S resamplings with weights (S, n)."""
    if weights is None:
        return values.mean(0)
    return weights @ values / weights.sum(-1, keepdims=True)


def r2(mean, std, truth, weights=None):
    """Coefficient of determination 1 - <(truth - mean)^2> / var(truth); NaN without variance."""
    centred = truth - truth.mean(0)  # avoids cancellation in the difference of squares
    variance = average(centred**2, weights) - average(centred, weights) ** 2
    error = average((truth - mean) ** 2, weights)
    floor = 1e-12 * np.maximum((truth**2).mean(0), 1e-300)  # rounding error of equal truths
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance > floor, 1 - error / variance, np.nan)


def rmse(mean, std, truth, weights=None):
    """Root mean square error in physical units."""
    return np.sqrt(average((truth - mean) ** 2, weights))


def chi2(mean, std, truth, weights=None):
    """Mean of ((truth - mean) / std)^2: 1 for correct widths, larger for widths that are too small.

    Standard deviations below `SIGMA_FLOOR` times their median are raised to this value.
    """
    std = np.maximum(std, SIGMA_FLOOR * np.median(std, axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return average(((truth - mean) / std) ** 2, weights)


def mean_sigma(mean, std, truth, weights=None):
    """Mean predicted standard deviation in physical units."""
    return average(std, weights)


SCORES = {score.__name__: score for score in (r2, rmse, chi2, mean_sigma)}


def bootstrap(statistic, arrays, simulations, n: int, seed: int = 0) -> tuple:
    """Compute the 95 % interval of a statistic by resampling whole simulations.

    Parameters
    ----------
    statistic : callable
        ``statistic(*arrays, weights=w)`` returns (S, ...) for weights w (S, n), which count how
        often each of S resamplings contains each map.
    arrays : sequence of (n, ...) arrays
    simulations : (n,) int
        Simulation of each map.
    n : int
        Number of resamplings.
    seed : int

    Returns
    -------
    low, high : arrays
        2.5 and 97.5 % quantiles of the resamplings in which the statistic is defined; NaN with
        fewer than two simulations.
    """
    numbers, place = np.unique(simulations, return_inverse=True)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), size=n)
    values = np.asarray(statistic(*arrays, weights=counts[:, place].astype(float)))
    if len(numbers) < 2:
        values = np.full_like(values, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the statistic is nowhere defined
        return tuple(np.nanpercentile(values, (2.5, 97.5), axis=0))


def estimate(statistic, arrays, simulations, names, n: int, seed: int = 0, skewed=False) -> dict:
    """Estimate a statistic that has one column per name.

    Parameters
    ----------
    statistic, arrays, simulations
        As for `bootstrap`; the value itself is the statistic with ``weights=None``.
    names : sequence of str
    n, seed : int
        Number of resamplings and their seed.
    skewed : bool
        Whether the statistic is an R2. Its interval is then the basic bootstrap interval of
        log(1 - R2): percentiles of R2 cover only 93 % and miss six times as often above as below.

    Returns
    -------
    dict
        {name: {"value", "low", "high"}}
    """
    value = statistic(*arrays, weights=None)
    ends = bootstrap(statistic, arrays, simulations, n, seed)
    if skewed:
        with np.errstate(divide="ignore", invalid="ignore"):
            turned = [np.where(x < 1, 1 - (1 - value) ** 2 / (1 - x), 1.0) for x in ends[::-1]]
        ends = np.where(np.isnan(ends[0]), np.nan, turned)
    rows = zip(value, *ends, strict=True)
    return {str(name): as_estimate(row) for name, row in zip(names, rows, strict=True)}


def as_estimate(row) -> dict:
    """Return (value, low, high) as an estimate."""
    return dict(zip(("value", "low", "high"), map(number_or_none, row), strict=True))


def simulation_average(predictions: dict) -> dict:
    """Average predictions over the maps of each simulation, in ascending order of simulations.

    The std is averaged as well: it does not decrease with the number of maps, because maps of one
    simulation are not independent.
    """
    numbers, place = np.unique(predictions["simulation"], return_inverse=True)
    averaged = {"simulation": numbers, "parameters": predictions["parameters"]}
    for key in ("mean", "std", "truth"):
        means = [np.bincount(place, x) / np.bincount(place) for x in predictions[key].T]
        averaged[key] = np.stack(means, axis=1)
    return averaged


def metrics(predictions: dict, n_bootstrap: int = 1000, seed: int = 0) -> dict:
    """Compute every score of a set of predictions, with 95 % intervals.

    Parameters
    ----------
    predictions : dict
        From `cosmolib.training.predictions.predict`.
    n_bootstrap, seed : int

    Returns
    -------
    dict
        ``n_maps``, ``n_simulations`` and ``parameters``: {name: {score, score_low, score_high, and
        the same as score_simulation for predictions averaged over the maps of a simulation}}.
        Scores that are not defined, such as the R2 of one simulation, are None.
    """
    averaged = simulation_average(predictions)
    scores = {str(name): {} for name in predictions["parameters"]}
    for suffix, table in (("", predictions), ("_simulation", averaged)):
        arrays = [np.asarray(table[key], np.float64) for key in ("mean", "std", "truth")]
        common = table["simulation"], scores, n_bootstrap, seed
        for key, score in SCORES.items():
            for name, found in estimate(score, arrays, *common, skewed=score is r2).items():
                ends = (f"{key}{suffix}{end}" for end in ("", "_low", "_high"))
                scores[name] |= zip(ends, found.values(), strict=True)
    n_maps, n_simulations = (len(table["simulation"]) for table in (predictions, averaged))
    return {"n_maps": n_maps, "n_simulations": n_simulations, "parameters": scores}


def number_or_none(value):
    """Return a float, or None for NaN and infinities, which JSON cannot represent."""
    return float(value) if np.isfinite(value) else None


# --------------------------------------------------------------------------------------------------
# Estimates
# --------------------------------------------------------------------------------------------------
def as_text(estimate: dict | None, digits: int = 2) -> str:
    """Format an estimate for the book.

    Examples
    --------
    >>> as_text({"value": 0.871, "low": 0.85, "high": 0.8912})
    '0.87 [0.85, 0.89]'
    >>> as_text({"value": 0.5, "low": None, "high": None}), as_text(None)
    ('0.50', 'not in this profile')
    >>> as_text({"value": -0.001, "low": -0.1, "high": 0.1})
    '0.00 [-0.10, 0.10]'
    """
    if estimate is None:
        return "not in this profile"
    numbers = (estimate[key] for key in ("value", "low", "high"))
    value, *limits = (x if x is None else f"{x:z.{digits}f}" for x in numbers)  # z: no "-0.00"
    if value is None:
        return "not defined"
    return value if None in limits else f"{value} [{', '.join(limits)}]"


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
    """Estimate R2 of each parameter averaged over seeds, or its paired difference to another case.

    The interval resamples whole simulations, the same ones for both cases, so that scatter which
    the cases share (easy and hard simulations) cancels. It does not include the scatter between
    trainings, see `widened`.

    Parameters
    ----------
    predictions : list of dict
        The ``predictions.npz`` of each seed of one case.
    minus : list of dict
        Those of the case to subtract, for the same test maps; empty for none.

    Raises
    ------
    ValueError
        The predictions are not for the same test maps.
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

    arrays = [first["truth"], *(item["mean"] for item in (*predictions, *minus))]
    arrays = [np.asarray(array, np.float64) for array in arrays]
    names, simulations = first["parameters"], first["simulation"]
    return estimate(statistic, arrays, simulations, names, n_bootstrap, seed, skewed=not minus)


def seed_scatter(groups: list[list[dict]]) -> dict:
    """Compute the standard deviation of R2 between trainings that differ only in the seed.

    Parameters
    ----------
    groups : list of list of dict
        Predictions of each seed of each case; variances are pooled over cases with several seeds.

    Returns
    -------
    dict
        {parameter: float}, or None if no case has several seeds.
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
    """Add the scatter between trainings to intervals in quadrature.

    Parameters
    ----------
    estimates : dict
        {parameter: estimate}
    scatter : dict
        Standard deviation of R2 between single trainings, see `seed_scatter`; None adds nothing.
    *trainings : int
        Number of trainings over which each of the compared cases is averaged.
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

    The unit is physical, or with ``in_sigma`` the mean predicted sigma: a mean of ratios would be
    dominated by the few maps with the smallest sigma.
    """
    offset = np.mean([item["mean"] - item["truth"] for item in predictions], axis=0)
    sigma = np.mean([item["std"] for item in predictions], axis=0)
    statistic, arrays = (pull, [offset, sigma]) if in_sigma else (average, [offset])
    simulations, names = (predictions[0][key] for key in ("simulation", "parameters"))
    return estimate(statistic, arrays, simulations, names, n_bootstrap, seed)


def pull(offset, std, weights=None):
    """Mean offset in units of the mean predicted sigma."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return average(offset, weights) / average(std, weights)
