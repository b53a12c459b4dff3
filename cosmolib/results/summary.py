"""Summarise results for chapters 06 and 06b: tables, cards of the claims and glued numbers."""

import itertools
import math
import re
from collections import Counter
from html import escape

import pandas as pd

from cosmolib.results import claims
from cosmolib.results.controls import NOT_RUN
from cosmolib.results.measurements import hydro_suite, rows_of, visible_suite
from cosmolib.training.scores import COSMOLOGY, Z95, as_text, glued_texts

_BADGES = {"supported": "supported", "not supported": "refuted", "left open": "open"}  # in book.css
_EVIDENCE = {  # sections of the book, by key of a claim; the others are about what a cut costs
    "inference": "06_results.html#how-accurate-is-the-inference-under-each-cut",
    "pixel-and-total": "05_interpretation.html#do-networks-that-learnt-nothing-do-the-same",
    "consistency": "06b_generalisation.html#across-suites",
}


def estimates_table(rows, about: dict, quantities: dict, parameters) -> pd.DataFrame:
    """Format estimates as text, with one line per row and one column per parameter and quantity.

    Parameters
    ----------
    rows : list of dict
    about : dict
        {column: key} of plain values that identify a row; they become the index.
    quantities : dict
        {label: key} or {label: (key, digits)} of estimates by parameter; 2 digits by default.
    parameters : list of str
    """
    columns = {column: [row[key] for row in rows] for column, key in about.items()}
    for name, (label, key) in itertools.product(parameters, quantities.items()):
        key, digits = (key, 2) if isinstance(key, str) else key
        columns[f"{label}, {name}"] = [as_text(row[key].get(name), digits) for row in rows]
    return pd.DataFrame(columns).set_index(list(about))


def noise_curves(table: dict) -> tuple[list[float], dict]:
    """Return R2 by the level of white noise, for maps without their mean.

    Returns
    -------
    levels : list of float
        In units of the fiducial mean density.
    curves : dict
        {"all pixels", "only under-dense" or "only over-dense": one entry per level}; an entry is
        {parameter: estimate}, or None without a run.
    """
    labels = ("all pixels", "only under-dense", "only over-dense")
    seen = dict(zip(labels, (claims.NO_MEAN, *claims.WITHOUT_MEAN), strict=True))
    r2 = {}
    for row in table["control_rows"]:
        level = re.search("white=([^:]+):|$", row["cut"])
        r2[float(level[1] or 0), row["cut"].replace(level[0], "")] = row["best"]
    levels = sorted({level for level, cut in r2 if cut in seen.values()})
    return levels, {x: [r2.get((level, cut)) for level in levels] for x, cut in seen.items()}


def agreement(live: dict, stored: dict) -> pd.DataFrame:
    """Compare two results tables, case by case.

    A study with the recipe of the stored one must give the same R2 within the scatter between
    trainings. A smaller study has a lower R2; only the R2 lost by each cut must agree.

    Parameters
    ----------
    live, stored : dict
        Tables of `cosmolib.results.table`.

    Returns
    -------
    DataFrame
        One line per suite, cut and parameter of both tables: both values as text, and ``agrees``,
        which is whether they differ by no more than the combined half widths of their 95 %
        intervals.
    """
    same = live["profile"] == stored["profile"]
    key, scatter = ("r2", stored["seed_scatter"]) if same else ("difference", None)
    lines = []
    for row, name in itertools.product((*live["rows"], *live["control_rows"]), live["targets"]):
        other = rows_of(stored, row["suite"]).get(row["cut"])
        if other is None or (row["cut"] == "none" and not same):
            continue
        a, b = (x[key].get(name) for x in (row, other))
        if any(x is None or x["low"] is None for x in (a, b)):
            continue
        if scatter:  # the test maps are the same, and only the trainings differ
            halves = [Z95 * scatter[name] * math.sqrt(1 / len(x["seeds"])) for x in (row, other)]
        else:  # the half of each interval that faces the other value
            near, far = ("high", "low") if b["value"] > a["value"] else ("low", "high")
            halves = [abs(a[near] - a["value"]), abs(b[far] - b["value"])]
        agrees = abs(a["value"] - b["value"]) <= math.hypot(*halves)
        lines.append((row["suite"], row["cut"], name, as_text(a), as_text(b), agrees))
    columns = ["suite", "cut", "parameter", "this study", "stored study", "agrees"]
    return pd.DataFrame(lines, columns=columns)


def claim_cards(verdicts: list[dict], survivors: list[dict] | None = None) -> str:
    """Write the verdicts on the claims as HTML, with one card per claim.

    Parameters
    ----------
    verdicts : list of dict
        From `cosmolib.results.claims.judge`.
    survivors : list of dict, optional
        From `cosmolib.results.controls.judge`. With them, each card has a folded part with the
        rule, the reason of the verdict and the controls.
    """
    cards = []
    for row in verdicts:
        badge = _BADGES.get(row["verdict"], "untestable")
        page = _EVIDENCE.get(row["key"], "06_results.html#what-does-a-cut-cost")
        lines = [
            f'<p class="statement">{row["number"]}. {escape(row["statement"])}</p>',
            f'<p><span class="verdict {badge}">{row["verdict"]}</span> ',
            f'{escape(row["measurement"])} <a href="../notebooks/{page}">Evidence</a></p>',
        ]
        if survivors is not None:
            controls = ""
            for x in (x for x in survivors if x["claim"] == row["key"]):
                measured = "" if x["verdict"] == NOT_RUN else f" ({escape(x['measured'])})"
                controls += f"<li>{escape(x['question'])} <b>{x['verdict']}</b>{measured}</li>"
            lines += [
                "<details><summary>Rule, reason and controls</summary>",
                f"<p>Rule: {escape(row['test'])}</p><p>{escape(row['reason'])}</p>",
                f"<ul>{controls}</ul></details>",
            ]
        cards.append(f'<div class="claim">{"".join(lines)}</div>')
    return f'<div class="claims">{"".join(cards)}</div>'


def against_summary(table: dict) -> str:
    """Write a sentence on whether the uncut network is better than summary statistics."""
    gain = rows_of(table)["none"]["gain"]
    known = [x for name in COSMOLOGY if (x := gain.get(name)) and x["low"] is not None]
    if len(known) < 2 or table["n_test_simulations"] < claims.MIN_TEST_SIMULATIONS:
        return "This study cannot show whether the network is better than summary statistics."
    if all(x["low"] > 0 for x in known):
        return "The network is better than summary statistics for both parameters."
    if any(x["high"] < 0 for x in known):
        return "Summary statistics are better than the network for at least one parameter."
    return "The network is not shown to be better than summary statistics for both parameters."


def results_numbers(table: dict, verdicts: list[dict]) -> dict:
    """Return the numbers in the prose of chapter 06 and of the front page, by their glued names.

    Parameters
    ----------
    table : dict
        The results table.
    verdicts : list of dict
        From `cosmolib.results.claims.judge`.
    """
    suite = hydro_suite(table)
    counts = Counter(row["verdict"].removesuffix(f" on {table['dataset']}") for row in verdicts)
    verbs = {word: ("has", "have") if word == claims.NO_POWER else ("is", "are") for word in counts}
    words = [f"{n} {verbs[word][n > 1]} {word}" for word, n in counts.items()]
    numbers = {
        "profile_name": table["profile"],
        "dataset": table["dataset"],
        "against_summary": against_summary(table),
        "verdict_counts": f"{', '.join(words[:-1])} and {words[-1]}" if words[1:] else words[0],
    }
    numbers |= {key: value for key, value in table.items() if key.startswith("n_")}
    rows = [rows_of(table).get(cut, {}) for cut in (claims.NO_MEAN, *claims.WITHOUT_MEAN)]
    for word, row in zip(("all", "under", "over"), rows, strict=True):
        numbers[f"bits_{word}"] = as_text(row.get("bits", {}).get("both"))
    uncut, gravity = (rows_of(table, x).get("none", {}) for x in (suite, f"Nbody_{suite}"))
    r2 = {"uncut": uncut.get("r2"), "baseline": uncut.get("baseline"), "gravity": gravity.get("r2")}
    r2 |= {"underdense": rows[1].get("best"), "overdense": rows[2].get("best")}
    return numbers | glued_texts("r2_", r2)


def generalisation_numbers(table: dict, shifts: dict) -> dict:
    """Return the numbers in the prose of chapter 06b, by their glued names.

    Parameters
    ----------
    table : dict
        The results table.
    shifts : dict
        From `cosmolib.interpretation.experiments.feedback_shift`.
    """
    suite, visible = hydro_suite(table), visible_suite(table)
    gravity, numbers = f"Nbody_{suite}", {}
    for key, name in {"lite": suite, "strong": visible}.items():
        trace = table["feedback"].get(name, {"rms_dex": math.nan, "r2": {}})
        numbers[f"visible_{key}_rms"] = trace["rms_dex"]
        numbers[f"visible_{key}_sn1"] = as_text(trace["r2"].get("A_SN1"))
    tests = {
        (x["trained"], x["tested"], x["cut"]): x
        for x in table["cross"]
        if x["scaling"] == "trained" and x["n_test_simulations"] >= claims.MIN_TEST_SIMULATIONS
    }
    cases = {"fails": (gravity, visible, "none"), "learns": (visible, visible, "none")}
    for key, cut in {
        "uncut": "none",
        "over": claims.OVER,
        "under": claims.UNDER,
        "large": "kmax:2",
    }.items():
        cases[f"other_{key}"] = gravity, "Nbody_other", cut
    found = {key: tests.get(case, {}) for key, case in cases.items()}
    for quantity in ("r2", "bias_sigma"):
        numbers |= glued_texts(f"{quantity}_", {k: x.get(quantity) for k, x in found.items()})
    halo = {}
    for key, of_suite in zip(("halo_null", "halo"), (*shifts.values(), {}, {}), strict=False):
        halo[key] = {t: x["class"][-1] for t, x in of_suite.get("same maps", {}).items()}
    return numbers | glued_texts("shift_", halo)


def sets_summary(table: dict) -> pd.DataFrame:
    """Summarise the tests of the uncut network on other suites and simulation sets.

    Returns
    -------
    DataFrame
        One line per quantity, one column per cosmological parameter, as text.
    """
    suite = hydro_suite(table)

    def first(rows, **wanted):
        return next((x for x in rows if all(x[k] == v for k, v in wanted.items())), {})

    def curve(name, key):
        return first(table["sets"]["1P"], suite=suite, varied=name).get(key, {})

    pair = {"trained": f"Nbody_{suite}", "tested": suite}
    cross = first(table["cross"], **pair, cut="none", scaling="trained")
    boxes = first(table["sets"]["CV"], suite=suite)
    slopes = {name: curve(name, "slope").get(name) for name in COSMOLOGY}
    lines = {
        "trained on gravity only, tested with feedback: R2 per map": (cross.get("r2"), 2),
        "the same: bias": (cross.get("bias"), 3),
        "CV: mean of prediction minus truth": (boxes.get("bias"), 3),
        "CV: scatter of the predictions between maps": (boxes.get("map_scatter"), 3),
        "CV: scatter between boxes, mean of 15 maps": (boxes.get("simulation_scatter"), 3),
        "CV: predicted standard deviation per map": (boxes.get("sigma"), 3),
        "1P: slope of the prediction with its own parameter (ideal: 1)": (slopes, 2),
        "1P: shift over the range of A_SN1 (ideal: 0)": (curve("A_SN1", "shift"), 4),
    }
    texts = [[as_text((x or {}).get(name), n) for name in COSMOLOGY] for x, n in lines.values()]
    return pd.DataFrame(texts, index=[*lines], columns=[*COSMOLOGY])
