"""The results table: from the run folders of a study to every number of chapter 06.

One JSON file a study, ``runs/<profile>/results/06_results.json``; the committed copies of a full
study have the same form (``results/<study>/06_results.json``)::

    schema, profile, dataset ("Lite" or "CMD"), suites, targets, grid, box_size [Mpc/h],
    n_simulations, n_train_simulations, n_test_simulations, n_test_maps, n_runs,
    rows      a dict a suite and cut: suite, cut, seeds, and by parameter
              r2          of the network, a map; the mean over seeds
              seed_std    scatter of r2 between seeds, None with one seed
              difference  r2 minus that of the uncut maps of the same suite, paired
              baseline    R2 of the summary statistics on the same split and the same cut
              gain        r2 minus baseline, paired
    cross     a dict a pair of suites: trained, tested, r2, difference to trained = tested, paired
    controls  a dict a density cut whose mask was a case too: cut, control, difference
    claims    the verdicts of cosmolib.claims.as_table
    provenance

Every quantity of a parameter is an *estimate* {value, low, high}: limits of 95 % by bootstrap over
simulations, None where they are not defined.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cosmolib.baseline import stored_baseline
from cosmolib.cuts import Cut
from cosmolib.embedded import embedded_suites
from cosmolib.evaluation import (
    bootstrap,
    r2,
    read_predictions,
)
from cosmolib.inputs import study_split, study_suite
from cosmolib.runs import Profile, Run, read_json
from cosmolib.transfer import cross_evaluate

SCHEMA = 1  # raised when the form of the table changes
FILE_NAME = "06_results.json"


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


def estimate(statistic: Callable, arrays, simulations, names, n: int, seed: int = 0) -> dict:
    """Value and interval of a statistic with one column a name.

    Parameters
    ----------
    statistic : callable
        As `cosmolib.evaluation.bootstrap` wants it; ``weights=None`` gives the value itself.
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
        str(name): {"value": _number(v), "low": _number(lo), "high": _number(hi)}
        for name, v, lo, hi in zip(names, value, low, high, strict=True)
    }


def r2_of(
    predictions: list[dict], minus: list[dict] = (), *, n_bootstrap: int, seed: int = 0
) -> dict:
    """Estimate R2 of each parameter, the mean over seeds, or its paired difference to another's.

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
    return estimate(statistic, arrays, first["simulation"], names, n_bootstrap, seed)


def _seed_scatter(predictions):
    """Standard deviation of R2 between seeds, by parameter; None with one seed."""
    names = [str(name) for name in predictions[0]["parameters"]]
    if len(predictions) < 2:
        return dict.fromkeys(names)
    scores = np.array([r2(item["mean"], None, item["truth"]) for item in predictions])
    return dict(zip(names, map(_number, scores.std(axis=0, ddof=1)), strict=True))


def _number(value):
    return float(value) if np.isfinite(value) else None


# --------------------------------------------------------------------------------------------------
# The table
# --------------------------------------------------------------------------------------------------
def results_table(
    profile: Profile, runs_dir: str | Path = "runs", progress: Callable[[str], None] | None = None
) -> dict:
    """Make the results table of a study from its complete runs, claims and provenance apart.

    Parameters
    ----------
    profile : Profile
    runs_dir : path
    progress : callable, optional
        Called with a line of text a case.

    Raises
    ------
    ValueError
        The study has no complete run of uncut maps: names the folders that were looked for.
    """
    options = {"n_bootstrap": profile.bootstrap_samples, "seed": 0}
    found = {}  # (suite, cut) -> complete runs, one a seed
    for name in profile.suites:
        for cut in profile.cuts:
            runs = [
                Run(profile.name, name, str(Cut.parse(cut)), profile.architecture, seed, runs_dir)
                for seed in profile.seeds
            ]
            complete = [run for run in runs if run.complete]
            if complete:
                found[name, complete[0].cut] = complete
    uncut = {name: found[name, "none"] for name in profile.suites if (name, "none") in found}
    if not uncut:
        raise ValueError(
            f"{Path(runs_dir) / profile.name}: found no complete run of uncut maps, expected "
            f"<suite>/none/{profile.architecture}-s<seed>/metrics.json: run 03_training first"
        )
    predictions = {
        case: [read_predictions(run.path("predictions.npz")) for run in runs]
        for case, runs in found.items()
    }
    suites = {name: study_suite(name, profile) for name in {case[0] for case in found}}
    rows = []
    for (name, cut), own in predictions.items():
        whole = predictions.get((name, "none"))
        ridge = [stored_baseline(suites[name], profile, cut, runs_dir)]
        row = {
            "suite": name,
            "cut": cut,
            "seeds": [run.seed for run in found[name, cut]],
            "r2": r2_of(own, **options),
            "seed_std": _seed_scatter(own),
            "difference": r2_of(own, whole, **options) if whole else {},
            "baseline": r2_of(ridge, **options),
            "gain": r2_of(own, ridge, **options),
        }
        rows.append(row)
        if progress is not None:
            parts = [f"{key} {as_text(value)}" for key, value in row["r2"].items()]
            progress(f"{name:12s} {cut:24s} R2 {', '.join(parts)}")
    any_suite = suites[next(iter(uncut))]
    first = predictions[next(iter(uncut)), "none"][0]
    return {
        "schema": SCHEMA,
        "profile": profile.name,
        "dataset": "Lite" if set(profile.suites) <= set(embedded_suites()) else "CMD",
        "suites": list(profile.suites),
        "targets": list(profile.targets),
        "grid": any_suite.grid,
        "box_size": any_suite.box_size,
        "n_simulations": any_suite.n_simulations,
        "n_train_simulations": len(study_split(any_suite, profile).train),
        "n_test_simulations": len(np.unique(first["simulation"])),
        "n_test_maps": len(first["simulation"]),
        "n_runs": sum(map(len, found.values())),
        "rows": rows,
        "cross": _cross(uncut, predictions, suites, options),
        "controls": _controls(predictions, options),
    }


def _cross(uncut, predictions, suites, options):
    """Networks trained on uncut maps of one suite, tested on each."""
    table = []
    for tested in uncut:
        own = predictions[tested, "none"]
        for trained, runs in uncut.items():
            moved = own
            if trained != tested:
                moved = [cross_evaluate(run, suites[tested]) for run in runs]
            table.append(
                {
                    "trained": trained,
                    "tested": tested,
                    "r2": r2_of(moved, **options),
                    "difference": r2_of(moved, own, **options),
                }
            )
    return table


def _controls(predictions, options):
    """Density cuts against the mask that they leave, or its negative, which tells the same."""
    table = []
    for (name, text), own in predictions.items():
        cut = Cut.parse(text)
        if not cut.is_density or cut.control:
            continue
        threshold = text.split(":")[1]
        for kind in ("above", "below"):
            control = f"mask:{kind}:{threshold}"
            if (name, control) in predictions:
                gain = r2_of(own, predictions[name, control], **options)
                table.append({"suite": name, "cut": text, "control": control, "difference": gain})
                break
    return table


def read_table(path: str | Path) -> dict:
    """Read a results table.

    Raises
    ------
    ValueError
        The file is no table of this form.
    """
    table = read_json(path)
    schema = table.get("schema") if isinstance(table, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"{path}: found schema {schema!r}, expected a results table of {SCHEMA}")
    return table
