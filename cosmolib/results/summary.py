"""What chapter 06 prints: tables of estimates, and the numbers of its prose."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pandas as pd

from cosmolib.cuts.grammar import Cut
from cosmolib.results.claims import (
    MIN_TEST_SIMULATIONS,
    NO_MEAN,
    WITHOUT_MEAN,
    cuts_of,
    find_row,
    hydro_suite,
)
from cosmolib.results.controls import NOT_RUN
from cosmolib.training.scores import COSMOLOGY, as_text

MISSING = as_text(None)
SHORT = {"om": "Omega_m", "s8": "sigma_8"}  # in the names of glued numbers


def estimates_table(rows, about: dict, quantities: dict, parameters) -> pd.DataFrame:
    """Show estimates as text, one line per row, one column per parameter and quantity.

    Parameters
    ----------
    rows : list of dict
    about : dict
        {column: key} of the plain values that identify a row: the index.
    quantities : dict
        {label: key of an estimate by parameter, or (key, digits)}.
    parameters : list of str
    """
    columns = {
        f"{label}, {name}": (name, *((key, 2) if isinstance(key, str) else key))
        for name in parameters
        for label, key in quantities.items()
    }
    lines = [
        {column: row[key] for column, key in about.items()}
        | {
            column: as_text(row[key].get(name), digits)
            for column, (name, key, digits) in columns.items()
        }
        for row in rows
    ]
    return pd.DataFrame(lines, columns=[*about, *columns]).set_index(list(about))


def own_controls(table: dict) -> list[dict]:
    """Return the pairs of a cut and its control on the suite with feedback, sorted by kind."""
    found = [x for x in table["controls"] if x["suite"] == hydro_suite(table)]
    return sorted(found, key=lambda x: x["kind"])


def noise_curves(table: dict) -> tuple[list[float], dict]:
    """Return the levels of white noise and, by what is seen, the R2 without the mean at each."""
    labels = ("all pixels", "only under-dense", "only over-dense")
    seen = dict(zip(labels, (NO_MEAN, *WITHOUT_MEAN), strict=True))
    r2 = {}
    for row in table["control_rows"]:
        cut = Cut.parse(row["cut"])
        name, level = cut.noise or ("white", 0)
        if name == "white":
            without = tuple(step for step in cut.before if step != cut.noise)
            r2[level, str(replace(cut, before=without))] = row["best"]
    levels = sorted({level for level, cut in r2 if cut in seen.values()})
    return levels, {
        label: [r2.get((level, cut)) for level in levels] for label, cut in seen.items()
    }


def against_summary(table: dict) -> str:
    """Say whether the uncut network does better than summary statistics."""
    gain = find_row(table, hydro_suite(table), "none")["gain"]
    gains = [gain.get(name) for name in COSMOLOGY if name in table["targets"]]
    ends = [(x["low"], x["high"]) for x in gains if x and x["low"] is not None]
    if len(ends) < 2 or table["n_test_simulations"] < MIN_TEST_SIMULATIONS:
        return "Whether the network does better than summary statistics cannot be told here."
    if all(low > 0 for low, _ in ends):
        return "The network does better than summary statistics on both parameters."
    if any(high < 0 for _, high in ends):
        return "Summary statistics do better than the network on at least one parameter."
    return "The network is not shown to do better than summary statistics on both parameters."


def results_numbers(table: dict, verdicts: list[dict], survivors: list[dict]) -> dict:
    """Collect the numbers of the prose of chapter 06 and of the front page.

    Parameters
    ----------
    table : dict
        The results table.
    verdicts, survivors : list of dict
        Of `cosmolib.results.claims.judge` and `cosmolib.results.controls.judge`.

    Returns
    -------
    dict
        {name of the glued number: text or number}; "not in this profile" for missing cases.
    """
    feedback = hydro_suite(table)
    gravity = f"Nbody_{feedback}"
    kmax = [c for c in cuts_of(table) if c.kind == "kmax" and c.field == "linear" and c.is_plain]
    nearest = min(kmax, key=lambda cut: abs(math.log(cut.values[0] / 4)), default=None)
    numbers = {
        "profile_name": table["profile"],
        "dataset": table["dataset"],
        "n_cuts": len({row["cut"] for row in table["rows"]}),
        "kmax_shown": f"{nearest.values[0]:g} h/Mpc" if nearest else MISSING,
        "underdense_cut": WITHOUT_MEAN[0],
        "overdense_cut": WITHOUT_MEAN[1],
        "against_summary": against_summary(table),
        "verdict_counts": _counts(row["verdict"] for row in verdicts),
    }
    for key in ("simulations", "train_simulations", "test_maps", "test_simulations", "runs"):
        numbers[f"n_{key}"] = table[f"n_{key}"]
    for row in verdicts:
        own = [x["verdict"] for x in survivors if x["claim"] == row["key"]]
        own = Counter(verdict for verdict in own if verdict != NOT_RUN)
        number = row["number"]
        numbers[f"claim_{number}_verdict"] = row["verdict"]
        numbers[f"claim_{number}_measurement"] = row["measurement"]
        numbers[f"claim_{number}_controls"] = (
            ", ".join(f"{word} ({n})" for word, n in own.most_common()) or "no control was run"
        )
    cases = {
        "uncut": (feedback, "none", "r2"),
        "baseline": (feedback, "none", "baseline"),
        "gain": (feedback, "none", "gain"),
        "gravity": (gravity, "none", "r2"),
        "kmax": (feedback, nearest, "r2"),
        "underdense": (feedback, WITHOUT_MEAN[0], "best"),
        "overdense": (feedback, WITHOUT_MEAN[1], "best"),
    }
    estimates = {}  # see `_by_parameter`
    for word, (suite, cut, key) in cases.items():
        row = find_row(table, suite, cut) if cut else None
        estimates[f"r2_{{}}_{word}"] = (row or {}).get(key), 2
    return numbers | _by_parameter(estimates) | sets_numbers(table)


def sets_numbers(table: dict) -> dict:
    """Collect the numbers of the networks on other suites and sets, as `results_numbers`."""
    feedback = hydro_suite(table)
    moved = (f"Nbody_{feedback}", feedback, "trained")
    found = _first(table["cross"], lambda x: (x["trained"], x["tested"], x["scaling"]) == moved)
    estimates = {
        "r2_{}_transfer": (found.get("r2"), 2),
        "bias_{}_transfer": (found.get("bias"), 3),
    }
    found = _first(table["sets"]["CV"], lambda x: x["suite"] == feedback)
    for key in ("bias", "map_scatter", "simulation_scatter", "sigma"):
        estimates[f"cv_{key}_{{}}"] = found.get(key), 3
    curves = {x["varied"]: x for x in table["sets"]["1P"] if x["suite"] == feedback}
    for varied, word in (("A_SN1", "sn"), ("A_AGN1", "agn")):
        estimates[f"shift_{{}}_{word}"] = curves.get(varied, {}).get("shift"), 4
    numbers = _by_parameter(estimates)
    for short, name in SHORT.items():
        slope = curves.get(name, {}).get("slope", {})
        numbers[f"slope_{short}"] = as_text(slope.get(name))
    return numbers


def _by_parameter(estimates):
    """Write {pattern: (estimates by parameter, digits)} as texts, one per parameter."""
    return {
        pattern.format(short): as_text((found or {}).get(name), digits)
        for pattern, (found, digits) in estimates.items()
        for short, name in SHORT.items()
    }


def _first(rows, chosen):
    return next((row for row in rows if chosen(row)), {})


def _counts(words):
    return ", ".join(f"{n} {word}" for word, n in Counter(words).most_common())
