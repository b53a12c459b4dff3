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
    cross     a dict a pair of suites and a scaling ("trained" or "tested", whose): trained, tested,
              scaling, n_test_simulations, r2, bias, bias_sigma (bias over the
              mean predicted sigma), and difference of r2 to trained = tested, paired, {} where no
              network was trained on the tested suite, or was tested on other simulations of it
    sets      {"CV": ..., "1P": ..., "EX": ...}, a list of dicts each, see `sets_table`
    left_out  a sentence for each suite, set or simulation that is not in cross and sets, and why
    control_rows  a dict a control of the profile: suite, cut, seeds, r2, seed_std, difference
    controls  a dict a cut and a control of it: suite, kind, cut, control, r2 and control_r2,
              difference of the two, paired; see `cosmolib.results.controls.pairs`
    claims    the verdicts of cosmolib.results.claims.as_table
    provenance

Every quantity of a parameter is an *estimate* {value, low, high}: limits of 95 % by bootstrap over
simulations, those of r2 and its differences over seeds too; None where they are not defined.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cosmolib.data import lite
from cosmolib.data.cmd_format import PARAMETERS
from cosmolib.data.suites import Suite, open_suite, suites_at_hand
from cosmolib.data.tables import off_fiducial, other_parameters
from cosmolib.results.baseline import stored_baseline
from cosmolib.results.controls import pairs
from cosmolib.results.generalisation import SCALINGS_FROM, cross_evaluate, describe, responses
from cosmolib.study.io import read_json
from cosmolib.study.profile import Profile
from cosmolib.study.registry import SUITES
from cosmolib.study.run import Run
from cosmolib.training.dataset import study_split, study_suite
from cosmolib.training.predictions import read_predictions
from cosmolib.training.run import run_changes
from cosmolib.training.scores import (
    as_estimate,
    as_text,
    average,
    bias_of,
    estimate,
    number_or_none,
    pull,
    r2,
    r2_of,
    simulation_average,
)

SCHEMA = 1  # raised when the form of the table changes
FILE_NAME = "06_results.json"


def _scatter(values, weights=None):
    """Standard deviation over maps, or over simulations where there is one row each."""
    centred = values - values.mean(0)
    variance = average(centred**2, weights) - average(centred, weights) ** 2
    return np.sqrt(np.maximum(variance, 0))


def _seed_scatter(predictions):
    """Standard deviation of R2 between seeds, by parameter; None with one seed."""
    names = [str(name) for name in predictions[0]["parameters"]]
    if len(predictions) < 2:
        return dict.fromkeys(names)
    scores = np.array([r2(item["mean"], None, item["truth"]) for item in predictions])
    return dict(zip(names, map(number_or_none, scores.std(axis=0, ddof=1)), strict=True))


# --------------------------------------------------------------------------------------------------
# The table
# --------------------------------------------------------------------------------------------------
def _dataset(suites):
    """Whose maps a study is of: ours, CMD's, or those of a plugin."""
    own = dict.fromkeys(n for s in suites if (n := s.removeprefix("Nbody_")) in SUITES)
    if own:
        return ", ".join(own)
    return "Lite" if set(suites) <= set(lite.SUITES) else "CMD"


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
    for case in profile.cases:
        runs = [Run(profile.name, *case, profile.architecture, s, runs_dir) for s in profile.seeds]
        complete = [run for run in runs if run.complete]
        if complete:
            found[case] = complete
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
    if progress is not None:
        for run in (run for runs in found.values() for run in runs):
            if stale := run_changes(run, profile, suites[run.suite]):
                progress(f"{run.folder}: stale: {'; '.join(stale)}")
    rows, control_rows = [], []
    for (name, cut), own in predictions.items():
        whole = predictions.get((name, "none"))
        row = {
            "suite": name,
            "cut": cut,
            "seeds": [run.seed for run in found[name, cut]],
            "r2": r2_of(own, **options),
            "seed_std": _seed_scatter(own),
            "difference": r2_of(own, whole, **options) if whole else {},
        }
        if cut in profile.cuts:
            ridge = [stored_baseline(suites[name], profile, cut, runs_dir)]
            row["baseline"] = r2_of(ridge, **options)
            row["gain"] = r2_of(own, ridge, **options)
            rows.append(row)
        else:
            control_rows.append(row)
        if progress is not None:
            parts = [f"{key} {as_text(value)}" for key, value in row["r2"].items()]
            progress(f"{name:12s} {cut:24s} R2 {', '.join(parts)}")
    left_out = []
    tested = suites_to_test({name: suites[name] for name in uncut}, profile, left_out.append)
    sets = sets_table(uncut, profile, left_out.append)
    any_suite = suites[next(iter(uncut))]
    first = predictions[next(iter(uncut)), "none"][0]
    return {
        "schema": SCHEMA,
        "profile": profile.name,
        "dataset": _dataset(profile.suites),
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
        "control_rows": control_rows,
        "cross": transfer_matrix(uncut, tested, profile),
        "sets": sets,
        "left_out": left_out,
        "controls": _controls(predictions, options),
    }


def transfer_matrix(uncut: dict, tested: dict, profile: Profile) -> list[dict]:
    """Test the networks of uncut maps of each suite on each suite, in both scalings.

    Parameters
    ----------
    uncut : dict
        {suite: complete runs, one a seed}.
    tested : dict
        {name: Suite}, see `suites_to_test`.
    profile : Profile

    Returns
    -------
    list of dict
        ``cross`` of the results table.
    """
    options = {"n_bootstrap": profile.bootstrap_samples, "seed": 0}
    own = {
        name: [read_predictions(run.path("predictions.npz")) for run in runs]
        for name, runs in uncut.items()
    }
    table = []
    for name, suite in tested.items():
        for trained, runs in uncut.items():
            for scaling in SCALINGS_FROM[: 1 if trained == name else 2]:
                moved = own[trained]
                if trained != name:
                    moved = [cross_evaluate(run, suite, scaling=scaling) for run in runs]
                # Twins of different size may have been tested on different simulations.
                paired = name in own and np.array_equal(own[name][0]["map"], moved[0]["map"])
                table.append(
                    {
                        "trained": trained,
                        "tested": name,
                        "scaling": scaling,
                        "n_test_simulations": len(np.unique(moved[0]["simulation"])),
                        "r2": r2_of(moved, **options),
                        "bias": bias_of(moved, in_sigma=False, **options),
                        "bias_sigma": bias_of(moved, in_sigma=True, **options),
                        "difference": r2_of(moved, own[name], **options) if paired else {},
                    }
                )
    return table


def suites_to_test(
    studied: dict, profile: Profile, progress: Callable[[str], None] | None = None
) -> dict:
    """Return the suites of a study, {name: Suite}, and all others like them that lie beside.

    What cannot be compared or read is left out, and said so: it must not stop a study that does
    not need it.
    """
    suites = dict(studied)
    for name in suites_at_hand(profile.data_dir, profile.field, profile.sim_set):
        if name not in suites:
            other = _beside(name, profile.sim_set, next(iter(studied.values())), profile, progress)
            if other is not None:
                suites[name] = other
    return suites


def _beside(name, sim_set, like: Suite, profile, progress) -> Suite | None:
    """Open a suite that a study can do without; None where it does not compare to one of it."""
    try:
        suite = open_suite(name, profile.data_dir, field=profile.field, sim_set=sim_set)
        if sim_set == profile.sim_set:
            study_split(suite, profile)  # has every part
        for what in ("grid", "cut", "box_size"):
            found, expected = getattr(suite, what), getattr(like, what)
            if found != expected:
                raise ValueError(f"{suite.maps_path}: found {what} {found}, expected {expected}")
    except (OSError, ValueError) as error:
        if progress is not None:
            progress(f"{name}, set {sim_set}: left out: {error}")
        return None
    return suite


def sets_table(
    uncut: dict, profile: Profile, progress: Callable[[str], None] | None = None
) -> dict:
    """What the networks of uncut maps say of the other sets of their own suite that are at hand.

    Parameters
    ----------
    uncut : dict
        {suite: complete runs, one a seed}; the first seed is shown.
    profile : Profile
    progress : callable, optional
        Called with a sentence for each set, or part of one, that is left out.

    Returns
    -------
    dict
        A list a set, a dict a suite (CV), a varied parameter (1P) or a simulation (EX) in it::

            CV   suite, n_simulations, targets, truth (P,), mean (n, P) of each simulation, and by
                 parameter bias, map_scatter, simulation_scatter, sigma (mean predicted one)
            1P   suite, varied, values (m,), mean (m, P), error (m, P), and by parameter slope
                 and shift (prediction at the highest minus at the lowest value)
            EX   suite, simulation, what (the parameters that are not fiducial), and by parameter
                 pull: mean of prediction - truth over mean predicted sigma of its maps
    """
    options = {"n_bootstrap": profile.bootstrap_samples, "seed": 0}
    table = {"CV": [], "1P": [], "EX": []}
    for name, runs in uncut.items():
        like = study_suite(name, profile)
        for sim_set, rows in table.items():
            reason = None
            if sim_set == profile.sim_set:
                reason = "the networks were trained on it"
            elif name not in suites_at_hand(profile.data_dir, profile.field, sim_set):
                reason = "its files were not found"
            if reason and progress is not None:
                progress(f"{name}, set {sim_set}: left out: {reason}")
            suite = None if reason else _beside(name, sim_set, like, profile, progress)
            if suite is None:
                continue
            found = cross_evaluate(runs[0], suite)
            own = {"CV": _cosmic_variance, "1P": _one_parameter, "EX": _extremes}[sim_set](
                suite, found, options
            )
            rows += own
            if sim_set == "1P" and progress is not None:
                for reason in _not_drawn(suite, [row["varied"] for row in own]):
                    progress(f"{name}, set 1P: left out: {reason}")
    return table


def _cosmic_variance(suite, found, options):
    names, boxes = found["parameters"], simulation_average(found)

    def scored(statistic, values, simulations):
        return estimate(
            statistic, [values], simulations, names, options["n_bootstrap"], options["seed"]
        )

    return [
        {
            "suite": suite.name,
            "n_simulations": suite.n_simulations,
            "targets": [str(name) for name in names],
            "truth": found["truth"][0].tolist(),
            "mean": boxes["mean"].tolist(),
            "bias": bias_of([found], in_sigma=False, **options),
            "map_scatter": scored(_scatter, found["mean"], found["simulation"]),
            "simulation_scatter": scored(_scatter, boxes["mean"], boxes["simulation"]),
            "sigma": scored(average, found["std"], found["simulation"]),
        }
    ]


def _one_parameter(suite, found, options):
    rows = []
    for curve in responses(suite, found):
        rows.append(
            {
                "suite": suite.name,
                "varied": curve.varied,
                "targets": list(curve.targets),
                "values": curve.values.tolist(),
                "mean": curve.mean.tolist(),
                "error": curve.error.tolist(),
                "slope": _named(curve.targets, curve.slope(**options)),
                "shift": _named(curve.targets, curve.shift(**options)),
            }
        )
    return rows


def _not_drawn(suite, varied):
    """What a 1P set holds, or lacks, that no curve of the six parameters shows."""
    beyond = off_fiducial(suite.params, suite.others)[:, len(PARAMETERS) :]  # (n, 0 or 22)
    if beyond.any():
        names = [n for n, any_ in zip(other_parameters(), beyond.any(0), strict=True) if any_]
        yield (
            f"{beyond.any(1).sum()} of {suite.n_simulations} simulations, which vary parameters "
            f"other than the six: {', '.join(names)}"
        )
    missing = [name for name in PARAMETERS if name not in varied]
    if missing:
        yield f"curves of {', '.join(missing)}: the set holds fewer than two values of each"


def _named(names, table):
    """Estimates (P, 3) by name."""
    return dict(zip(names, map(as_estimate, table), strict=True))


def _extremes(suite, found, options):
    rows = []
    for simulation in range(suite.n_simulations):
        own = found["simulation"] == simulation
        offset, std = found["mean"][own] - found["truth"][own], found["std"][own]
        # Its maps are all that there is of this simulation: the limits are those of their mean.
        places = np.arange(own.sum())
        rows.append(
            {
                "suite": suite.name,
                "simulation": simulation,
                "what": describe(suite.params[simulation]),
                "pull": estimate(
                    pull, [offset, std], places, found["parameters"],
                    options["n_bootstrap"], options["seed"],
                ),
            }
        )  # fmt: skip
    return rows


def _controls(predictions, options):
    """Each control of each cut against it, paired, suite by suite."""
    table = []
    for name in dict.fromkeys(suite for suite, _ in predictions):
        for kind, cut, control in pairs(cut for suite, cut in predictions if suite == name):
            own, other = predictions[name, cut], predictions[name, control]
            table.append(
                {
                    "suite": name,
                    "kind": kind,
                    "cut": cut,
                    "control": control,
                    "r2": r2_of(own, **options),
                    "control_r2": r2_of(other, **options),
                    "difference": r2_of(own, other, **options),
                }
            )
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
