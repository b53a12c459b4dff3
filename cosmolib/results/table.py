"""The results table: from the run folders of a study to every number of chapter 06.

One JSON file per study, ``runs/<profile>/results/06_results.json``; the committed copies of a full
study have the same form (``results/<study>/06_results.json``)::

    schema, profile, dataset ("Lite" or "CMD"), suites, targets, grid (pixels a side),
    box_size [Mpc/h], n_simulations, n_train_simulations, n_test_simulations, n_test_maps, n_runs,
    rows      a dict per suite and cut: suite, cut, seeds, and by parameter
              r2          of the network, per map; the mean over seeds
              seed_std    scatter of r2 between seeds, None with one seed
              difference  r2 minus that of the uncut maps of the same suite, paired
              baseline    R2 of the summary statistics on the same split and the same cut
              gain        r2 minus baseline, paired
    cross     a dict per pair of suites and a scaling ("trained" or "tested"): trained, tested,
              scaling, n_test_simulations, r2, bias, bias_sigma (bias over the mean predicted
              sigma), and difference of r2 to trained = tested, paired, {} where no network was
              trained on the tested suite, or was tested on other simulations of it
    sets      {"CV": ..., "1P": ..., "EX": ...}, see `cosmolib.results.sets.sets_table`
    left_out  a sentence for each suite, set or simulation that is not in cross and sets, and why
    control_rows  a dict per control of the profile: suite, cut, seeds, r2, seed_std, difference
    controls  a dict per cut and control of it: suite, kind, cut, control, r2 and control_r2,
              difference of the two, paired; see `cosmolib.results.controls.pairs`
    claims    the verdicts of `cosmolib.results.claims.judge`
    survives  those of `cosmolib.results.controls.judge`
    provenance

Every quantity of a parameter is an *estimate* {value, low, high}: limits of 95 % by bootstrap over
simulations, those of r2 and its differences over seeds too; None where they are not defined.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cosmolib.data import lite
from cosmolib.results.baseline import stored_baseline
from cosmolib.results.controls import pairs
from cosmolib.results.generalisation import cross_table, suites_to_test
from cosmolib.results.sets import sets_table
from cosmolib.study.io import read_json
from cosmolib.study.profile import Profile
from cosmolib.study.registry import SUITES
from cosmolib.study.run import Run
from cosmolib.training.dataset import study_split, study_suite
from cosmolib.training.predictions import read_predictions
from cosmolib.training.run import run_changes
from cosmolib.training.scores import as_text, number_or_none, r2, r2_of

SCHEMA = 1  # raised when the form of the table changes
FILE_NAME = "06_results.json"


def results_table(
    profile: Profile, runs_dir: str | Path = "runs", progress: Callable[[str], None] = print
) -> dict:
    """Make the results table of a study from its complete runs, claims and provenance apart.

    Parameters
    ----------
    profile : Profile
    runs_dir : path
    progress : callable
        Called with a line of text per case.

    Raises
    ------
    ValueError
        The study has no complete run of uncut maps: names the folders that were looked for.
    """
    options = {"n_bootstrap": profile.bootstrap_samples}
    found = {}  # (suite, cut) -> complete runs, one per seed
    for case in profile.cases:
        name = profile.name, *case, profile.architecture
        runs = [Run(*name, seed, runs_dir) for seed in profile.seeds_of(*case)]
        if complete := [run for run in runs if run.complete]:
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
        parts = [f"{key} {as_text(value)}" for key, value in row["r2"].items()]
        progress(f"{name:12s} {cut:24s} R2 {', '.join(parts)}")
    tested, suites_left_out = suites_to_test({name: suites[name] for name in uncut}, profile)
    sets, sets_left_out = sets_table(uncut, profile)
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
        "cross": cross_table(uncut, tested, profile),
        "sets": sets,
        "left_out": suites_left_out + sets_left_out,
        "controls": _controls(predictions, options),
    }


def _dataset(suites):
    """Name the data of a study: ours, CMD, or the suites of a plugin."""
    own = dict.fromkeys(n for s in suites if (n := s.removeprefix("Nbody_")) in SUITES)
    if own:
        return ", ".join(own)
    return "Lite" if set(suites) <= set(lite.SUITES) else "CMD"


def _seed_scatter(predictions):
    """Standard deviation of R2 between seeds, by parameter; None with one seed."""
    names = [str(name) for name in predictions[0]["parameters"]]
    if len(predictions) < 2:
        return dict.fromkeys(names)
    scores = np.array([r2(item["mean"], None, item["truth"]) for item in predictions])
    return dict(zip(names, map(number_or_none, scores.std(axis=0, ddof=1)), strict=True))


def _controls(predictions, options):
    """Compare each cut with each control of it, paired, suite by suite."""
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
