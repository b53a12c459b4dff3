"""Compute the results table of a study, which contains every number of chapter 06.

Each study has one JSON file, ``runs/<profile>/results/06_results.json``; the stored studies have
the same form (``results/<study>/06_results.json``)::

    schema, profile, dataset ("Lite" or "CMD"), suites, targets, grid (pixels per side),
    box_size [Mpc/h], n_simulations, n_train_simulations, n_test_simulations, n_test_maps, n_runs,
    rows      one dict per suite and cut: suite, cut, seeds, and by parameter
              r2          of the network, per map, as the mean over seeds
              difference  r2 minus that of uncut maps of the same suite, paired
              baseline    R2 of summary statistics for the same split and cut
              gain        r2 minus baseline, paired
              better      "network" or "summary": which one predicts the validation maps better
              best        R2 of the better one
              best_difference  best minus that of uncut maps of the same suite, paired
              bits        lower bound on the bits per map, by the better one; also for "both", see
                          `cosmolib.training.information`
    seed_scatter  standard deviation of r2 between trainings, by parameter; None without repeats
    feedback  {suite with a gravity-only twin: `cosmolib.results.baseline.feedback_trace`}
    cross     one dict per pair of suites, scaling ("trained" or "tested") and cut (the networks of
              gravity-only maps are tested under all cuts, if their weights are kept): trained,
              tested, cut, scaling, n_test_simulations, r2, bias, bias_sigma (bias in units of the
              mean predicted sigma), and difference, of r2 to that of networks trained on the tested
              suite, paired; {} if there is no such network, or none that was tested on the same
              simulations
    sets      {"CV": ..., "1P": ..., "EX": ...}, see `cosmolib.results.sets.sets_table`
    left_out  one sentence, with the reason, per suite, set or simulation missing in cross and sets
    control_rows  the same as rows, for the controls of the profile
    controls  one dict per pair of a cut and its control: suite, kind, cut, control, r2 and
              control_r2 of the better of network and summary statistics, and their difference,
              paired; see `cosmolib.results.controls.pairs`
    claims    the verdicts from `cosmolib.results.claims.judge`
    survives  the verdicts from `cosmolib.results.controls.judge`
    provenance

Quantities by parameter are *estimates* {value, low, high}. The limits are 95 %, by bootstrap over
simulations and widened by the scatter between trainings; they are None if they are not defined.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cosmolib.data import lite
from cosmolib.data.arrays import bad_input
from cosmolib.data.cmd_format import PARAMETERS, regions_of
from cosmolib.data.tables import parameter_ranges
from cosmolib.results.baseline import feedback_trace, stored_baseline
from cosmolib.results.controls import pairs
from cosmolib.results.generalisation import cross_table, suites_to_test
from cosmolib.results.sets import sets_table
from cosmolib.study.io import read_json
from cosmolib.study.profile import Profile
from cosmolib.study.registry import SUITES
from cosmolib.study.run import Run
from cosmolib.training.dataset import study_split, study_suite
from cosmolib.training.information import information
from cosmolib.training.predictions import read_predictions
from cosmolib.training.run import run_changes
from cosmolib.training.scores import as_text, r2, r2_of, seed_scatter, widened

SCHEMA = 3  # increases when the form of the table changes
FILE_NAME = "06_results.json"


def results_table(
    profile: Profile, runs_dir: str | Path = "runs", progress: Callable[[str], None] = print
) -> dict:
    """Compute the results table of a study, without claims and provenance, from its complete runs.

    Parameters
    ----------
    profile : Profile
    runs_dir : path
    progress : callable
        Called with one line of text per case.

    Raises
    ------
    ValueError
        The study has no complete run of uncut maps.
    """
    options = {"n_bootstrap": profile.bootstrap_samples}
    found, predictions = {}, {}  # (suite, cut) -> complete runs, their predictions; one per seed
    for case in profile.cases:
        about = profile.name, *case, profile.architecture
        runs = [Run(*about, seed, runs_dir) for seed in profile.seeds_of(*case)]
        if complete := [run for run in runs if run.complete]:
            found[case] = complete
            predictions[case] = [read_predictions(run.path("predictions.npz")) for run in complete]
    names = *profile.suites, *profile.uncut_suites
    uncut = {name: found[name, "none"] for name in names if (name, "none") in found}
    if not uncut:
        expected = f"<suite>/none/{profile.architecture}-s<seed>/metrics.json"
        folder, what = Path(runs_dir) / profile.name, "no complete run of uncut maps"
        raise bad_input(folder, what, f"{expected}; run 03_training first")
    suites = {name: study_suite(name, profile) for name in {case[0] for case in found}}
    for run in (run for runs in found.values() for run in runs):
        if stale := run_changes(run, profile, suites[run.suite]):
            progress(f"{run.folder}: stale: {'; '.join(stale)}")
    rows, control_rows, best = [], [], {}
    scatter = seed_scatter(list(predictions.values()))
    ranges = parameter_ranges(profile.suites[0])[[PARAMETERS.index(x) for x in profile.targets]]

    def compared(own, other=()):
        """Estimate R2 or its difference to that of other trainings, with the seed scatter."""
        trainings = [len(one) for one in (own, other) if one and own is not other]
        return widened(r2_of(own, other, **options), scatter, *trainings)

    # Uncut maps first, because the other cases are compared with them.
    for (name, cut), own in sorted(predictions.items(), key=lambda item: item[0][1] != "none"):
        ridge = stored_baseline(suites[name], profile, cut, runs_dir)
        better, best[name, cut] = better_of(own, ridge)
        row = {
            "suite": name,
            "cut": cut,
            "seeds": [run.seed for run in found[name, cut]],
            "r2": compared(own),
            "baseline": r2_of([ridge], **options),
            "gain": widened(r2_of(own, [ridge], **options), scatter, len(own)),
            "better": better,
            "best": compared(best[name, cut]),
            "bits": information(best[name, cut], ranges, **options),
        }
        for key, tables in (("difference", predictions), ("best_difference", best)):
            whole = tables.get((name, "none"))
            row[key] = compared(tables[name, cut], whole) if whole else {}
        (rows if cut in profile.cuts else control_rows).append(row)
        texts = ", ".join(f"{key} {as_text(value)}" for key, value in row["r2"].items())
        progress(f"{name:12s} {cut:24s} R2 {texts}")
    tested, suites_left_out = suites_to_test({name: suites[name] for name in uncut}, profile)
    sets, sets_left_out = sets_table({x: uncut[x] for x in profile.suites if x in uncut}, profile)
    kept = {  # cases whose networks are tested on other suites
        (name, cut): runs
        for (name, cut), runs in found.items()
        if cut == "none" or (name.startswith("Nbody_") and runs[0].path("weights.pt").is_file())
    }
    twins = {name: f"Nbody_{regions_of(name)}" for name in uncut if not name.startswith("Nbody_")}
    first = next(iter(uncut))
    suite, tests = suites[first], predictions[first, "none"][0]
    return {
        "schema": SCHEMA,
        "profile": profile.name,
        "dataset": _dataset(profile.suites),
        "suites": list(profile.suites),
        "targets": list(profile.targets),
        **{key: getattr(suite, key) for key in ("grid", "box_size", "n_simulations")},
        "n_train_simulations": len(study_split(suite, profile).train),
        "n_test_simulations": len(np.unique(tests["simulation"])),
        "n_test_maps": len(tests["simulation"]),
        "n_runs": sum(map(len, found.values())),
        "rows": rows,
        "control_rows": control_rows,
        "seed_scatter": scatter,
        "feedback": {
            name: feedback_trace(suites[name], suites[twin], profile, runs_dir)
            for name, twin in twins.items()
            if twin in suites
        },
        "cross": cross_table(kept, predictions, tested, profile),
        "sets": sets,
        "left_out": suites_left_out + sets_left_out,
        "controls": _controls(rows + control_rows, best, compared),
    }


def _dataset(suites):
    """Return the name of the data of a study: Lite, CMD, or the suites of a plugin."""
    if own := dict.fromkeys(n for s in suites if (n := s.removeprefix("Nbody_")) in SUITES):
        return ", ".join(own)
    return "Lite" if set(suites) <= set(lite.SUITES) else "CMD"


def better_of(networks: list[dict], summary: dict) -> tuple[dict, list[dict]]:
    """Choose between networks and summary statistics for each parameter, by the validation maps.

    Parameters
    ----------
    networks : list of dict
        Predictions of each seed of one case.
    summary : dict
        Predictions from `cosmolib.results.baseline.summary_baseline`.

    Returns
    -------
    better : dict
        {parameter: "network" or "summary"}
    predictions : list of dict
        As `networks`, but from the summary for the parameters that it predicts better.
    """
    score, *scores = (r2(x["valid_mean"], None, x["valid_truth"]) for x in (summary, *networks))
    taken = score > np.mean(scores, axis=0)  # (P,)
    columns = ("mean", "std", "valid_mean", "valid_std")
    mixed = [x | {key: np.where(taken, summary[key], x[key]) for key in columns} for x in networks]
    better = np.where(taken, "summary", "network").tolist()
    return dict(zip(map(str, summary["parameters"]), better, strict=True)), mixed


def _controls(rows, predictions, compared):
    """Compare each cut with each of its controls, paired, for each suite."""
    best = {(row["suite"], row["cut"]): row["best"] for row in rows}
    found = []
    for name in dict.fromkeys(suite for suite, _ in predictions):
        for kind, cut, control in pairs(cut for suite, cut in predictions if suite == name):
            pair = {"suite": name, "kind": kind, "cut": cut, "control": control}
            pair |= {"r2": best[name, cut], "control_r2": best[name, control]}
            pair["difference"] = compared(predictions[name, cut], predictions[name, control])
            found.append(pair)
    return found


def read_table(path: str | Path) -> dict:
    """Read a results table.

    Raises
    ------
    ValueError
        The file is not a results table, or its schema differs.
    """
    table = read_json(path)
    schema = table.get("schema") if isinstance(table, dict) else None
    if schema != SCHEMA:
        raise bad_input(path, f"schema {schema!r}", f"a results table of schema {SCHEMA}")
    return table
