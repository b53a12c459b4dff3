"""Test the networks of uncut maps on other simulation sets of their suite.

The set CV has many boxes of one cosmology. In 1P one parameter varies at a time, with the same
initial phases. EX has feedback far outside the training range. All maps of these sets are test
data.
"""

import numpy as np

from cosmolib.data.cmd_format import MAPS_PER_SIMULATION, PARAMETERS
from cosmolib.data.suites import Suite, available_suites
from cosmolib.data.tables import off_fiducial, other_parameters
from cosmolib.results.generalisation import cross_evaluate, other_suite
from cosmolib.study.profile import Profile
from cosmolib.training import scores
from cosmolib.training.dataset import study_suite


def sets_table(uncut: dict, profile: Profile) -> tuple[dict, list[str]]:
    """Predict the other simulation sets of each suite with its network of uncut maps.

    Parameters
    ----------
    uncut : dict
        {suite: complete runs, one per seed}; the first one is used.
    profile : Profile

    Returns
    -------
    table : dict
        One list per set, with one dict per suite (CV), parameter (1P) or simulation (EX)::

            CV   suite, n_simulations, targets, truth (P,), mean (n, P) per simulation, and by
                 parameter bias, map_scatter, simulation_scatter, sigma (mean predicted sigma)
            1P   see `responses`
            EX   suite, simulation, what (the parameters that are not fiducial), and by parameter
                 pull: mean of prediction - truth, in units of the mean predicted sigma
    left_out : list of str
        One sentence for each set, or part of a set, that is left out.
    """
    rows_of = {"CV": _cosmic_variance, "1P": responses, "EX": _extremes}
    table, left_out = {sim_set: [] for sim_set in rows_of}, []
    for name, runs in uncut.items():
        like = study_suite(name, profile)
        for sim_set, make_rows in rows_of.items():
            try:
                if sim_set == profile.sim_set:
                    raise ValueError("the networks were trained on it")
                if name not in available_suites(profile.data_dir, profile.field, sim_set):
                    raise ValueError("its files were not found")
                suite = other_suite(name, sim_set, like, profile)
            except (OSError, ValueError) as error:
                left_out.append(f"{name}, set {sim_set}: left out: {error}")
                continue
            rows = make_rows(suite, cross_evaluate(runs[0], suite), profile.bootstrap_samples)
            table[sim_set] += rows
            missing = _not_shown(suite, rows) if sim_set == "1P" else ()
            left_out += [f"{name}, set 1P: left out: {reason}" for reason in missing]
    return table, left_out


# --------------------------------------------------------------------------------------------------
# CV: cosmic variance
# --------------------------------------------------------------------------------------------------
def _cosmic_variance(suite, found, n_bootstrap):
    names, boxes = found["parameters"], scores.simulation_average(found)

    def scored(statistic, table, key):
        return scores.estimate(statistic, [table[key]], table["simulation"], names, n_bootstrap)

    row = {
        "suite": suite.name,
        "n_simulations": suite.n_simulations,
        "targets": names.tolist(),
        "truth": found["truth"][0].tolist(),
        "mean": boxes["mean"].tolist(),
        "bias": scores.bias_of([found], in_sigma=False, n_bootstrap=n_bootstrap),
        "map_scatter": scored(_scatter, found, "mean"),
        "simulation_scatter": scored(_scatter, boxes, "mean"),
        "sigma": scored(scores.average, found, "std"),
    }
    return [row]


def _scatter(values, weights=None):
    """Compute the standard deviation over the rows."""
    centred = values - values.mean(0)
    variance = scores.average(centred**2, weights) - scores.average(centred, weights) ** 2
    return np.sqrt(np.maximum(variance, 0))


# --------------------------------------------------------------------------------------------------
# 1P: one parameter at a time
# --------------------------------------------------------------------------------------------------
def responses(suite: Suite, found: dict, n_bootstrap: int = 1000) -> list[dict]:
    """Return the predictions for a 1P set as one curve per varied parameter.

    The rows of the set can be in any order. Rows in which a parameter other than the six varies are
    not used, and a curve needs two different values. The simulations share their initial phases.
    The bootstrap therefore resamples the places of the 15 maps, the same ones in all simulations,
    so that the effect of the phases on all points cancels.

    Parameters
    ----------
    suite : Suite
    found : dict
        Predictions for all maps of the set.
    n_bootstrap : int

    Returns
    -------
    list of dict
        For each varied parameter: suite, varied, targets (names), values (m,) ascending, mean and
        error (m, P), which is the standard error, over the 15 maps; by parameter slope (least
        squares) and shift (prediction at the highest value minus that at the lowest).
    """
    off = off_fiducial(suite.params, suite.others)  # (n, 6 or 28)
    fiducial = np.flatnonzero(~off.any(1))[:1]
    targets = found["parameters"].tolist()
    by_simulation = found["mean"].reshape(-1, MAPS_PER_SIMULATION, len(targets))

    def estimates(values):  # (15, P)
        drawn = np.random.default_rng(0).integers(len(values), size=(n_bootstrap, len(values)))
        limits = np.percentile(values[drawn].mean(1), (2.5, 97.5), axis=0)
        table = np.stack([values.mean(0), *limits], axis=-1)
        return dict(zip(targets, map(scores.as_estimate, table), strict=True))

    curves = []
    for column, name in enumerate(PARAMETERS):
        rows = np.append(np.flatnonzero((off.sum(1) == 1) & off[:, column]), fiducial)
        rows = rows[np.argsort(suite.params[rows, column], kind="stable")]
        values, maps = suite.params[rows, column], by_simulation[rows]  # (m,), (m, 15, P)
        if len(np.unique(values)) < 2:
            continue
        offset = values - values.mean()
        curve = {
            "suite": suite.name,
            "varied": name,
            "targets": targets,
            "values": values.tolist(),
            "mean": maps.mean(1).tolist(),
            "error": (maps.std(1, ddof=1) / np.sqrt(maps.shape[1])).tolist(),
            "slope": estimates(np.einsum("m,mip->ip", offset / np.sum(offset**2), maps)),
            "shift": estimates(maps[-1] - maps[0]),
        }
        curves.append(curve)
    return curves


def _not_shown(suite, curves):
    """Yield the reasons why simulations or parameters of a 1P set are not part of any curve."""
    beyond = off_fiducial(suite.params, suite.others)[:, len(PARAMETERS) :]  # (n, 0 or 22)
    if beyond.any():
        names = [n for n, any_ in zip(other_parameters(), beyond.any(0), strict=True) if any_]
        vary = f"{beyond.any(1).sum()} of {suite.n_simulations} simulations, which vary parameters"
        yield f"{vary} other than the six: {', '.join(names)}"
    if missing := [x for x in PARAMETERS if x not in {row["varied"] for row in curves}]:
        yield f"curves of {', '.join(missing)}: the set has fewer than two values of each"


# --------------------------------------------------------------------------------------------------
# EX: extreme feedback
# --------------------------------------------------------------------------------------------------
def _extremes(suite, found, n_bootstrap):
    rows = []
    for i, params in enumerate(suite.params):
        own = found["simulation"] == i
        part = found | {key: found[key][own] for key in ("mean", "std", "truth")}
        part["simulation"] = np.arange(own.sum())  # of one simulation, the maps are resampled
        pull = scores.bias_of([part], in_sigma=True, n_bootstrap=n_bootstrap)
        rows.append({"suite": suite.name, "simulation": i, "what": describe(params), "pull": pull})
    return rows


def describe(params) -> str:
    """Describe a simulation by its parameters that are not fiducial.

    Examples
    --------
    >>> describe([0.3, 0.8, 100, 1, 1, 1]), describe([0.3, 0.8, 1, 1, 1, 1])
    ('A_SN1 = 100', 'fiducial')
    >>> describe([0.3, 0.8, 0, 0, 0, 0])
    'no feedback'
    """
    params = np.asarray(params, float)
    away = np.flatnonzero(off_fiducial(params))
    if len(away) == 4 and not params[2:].any():
        return "no feedback"
    return ", ".join(f"{PARAMETERS[i]} = {params[i]:g}" for i in away) or "fiducial"
