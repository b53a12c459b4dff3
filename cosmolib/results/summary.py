"""What chapters 06 and 06b show: tables of estimates, the claims as cards, and numbers in prose."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from html import escape

import pandas as pd

from cosmolib.cuts.grammar import Cut
from cosmolib.results.claims import MIN_TEST_SIMULATIONS, NO_MEAN, WITHOUT_MEAN
from cosmolib.results.measurements import find_row, hydro_suite
from cosmolib.training.scores import COSMOLOGY, Z95, as_text, glued_texts

_BADGES = {"supported": "supported", "not supported": "refuted"}  # classes of book.css


def estimates_table(rows, about: dict, quantities: dict, parameters) -> pd.DataFrame:
    """Format estimates as text, with one line per row and one column per parameter and quantity.

    Parameters
    ----------
    rows : list of dict
    about : dict
        {column: key} of the plain values that identify a row; they form the index.
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


def noise_curves(table: dict) -> tuple[list[float], dict]:
    """Return R2 against the level of white noise, for maps without their mean.

    Returns
    -------
    levels : list of float
        In units of the fiducial mean density.
    curves : dict
        {"all pixels", "only under-dense" or "only over-dense": one estimate per level}.
    """
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


def agreement(live: dict, stored: dict) -> pd.DataFrame:
    """Compare two results tables, case by case.

    A study with the recipe of the stored one must give the same R2, to the scatter between
    trainings. A smaller study has a lower R2; what must agree is the R2 lost by each cut.

    Parameters
    ----------
    live, stored : dict
        Tables of `cosmolib.results.table`.

    Returns
    -------
    DataFrame
        One line per suite, cut and parameter of both tables: the values (texts) and ``agrees``,
        whether their difference is below its 95 % interval, that of independent studies.
    """
    same = live["profile"] == stored["profile"]
    key, scatter = ("r2", stored["seed_scatter"]) if same else ("difference", None)
    lines = []
    for row in (*live["rows"], *live["control_rows"]):
        other = find_row(stored, row["suite"], row["cut"])
        if other is None or (row["cut"] == "none" and not same):
            continue
        for name in live["targets"]:
            pair = [x[key].get(name) for x in (row, other)]
            if any(x is None or x["low"] is None for x in pair):
                continue
            sides = [_error(x, pair[1 - i]["value"]) for i, x in enumerate(pair)]
            if scatter:  # the test maps are the same: only the trainings differ
                seeds = [1 / len(x["seeds"]) for x in (row, other)]
                sides = [Z95 * scatter[name] * math.sqrt(n) for n in seeds]
            apart = abs(pair[0]["value"] - pair[1]["value"])
            texts = dict(zip(("this study", "stored study"), map(as_text, pair), strict=True))
            about = {"suite": row["suite"], "cut": row["cut"], "parameter": name}
            lines.append(about | texts | {"agrees": apart <= math.hypot(*sides)})
    columns = ["suite", "cut", "parameter", "this study", "stored study", "agrees"]
    return pd.DataFrame(lines, columns=columns)


def _error(estimate, towards):
    """Half of a 95 % interval, on the side of another value."""
    end = "high" if towards > estimate["value"] else "low"
    return abs(estimate[end] - estimate["value"])


def claim_cards(verdicts: list[dict], survivors: list[dict] | None = None) -> str:
    """Write the verdicts on the claims as HTML: one card per claim.

    Parameters
    ----------
    verdicts : list of dict
        Of `cosmolib.results.claims.judge`.
    survivors : list of dict, optional
        Of `cosmolib.results.controls.judge`: with them, a card has the rule, the reason of the
        verdict and the controls, folded.
    """
    cards = []
    for row in verdicts:
        word = next((word for word in _BADGES if row["verdict"].startswith(word)), "")
        lines = [
            f'<p class="statement">{row["number"]}. {escape(row["statement"])}</p>',
            f'<p><span class="verdict {_BADGES.get(word, "untestable")}">{row["verdict"]}</span> '
            f"{escape(row['measurement'])}</p>",
        ]
        if survivors is not None:
            controls = [
                f"<li>{escape(x['question'])} <b>{x['verdict']}</b> ({escape(x['measured'])})</li>"
                for x in survivors
                if x["claim"] == row["key"]
            ]
            lines += [
                f"<details><summary>Rule, reason and {len(controls)} controls</summary>",
                f"<p>Rule: {escape(row['test'])}</p><p>{escape(row['reason'])}</p>",
                f"<ul>{''.join(controls)}</ul></details>",
            ]
        cards.append(f'<div class="claim">{"".join(lines)}</div>')
    return f'<div class="claims">{"".join(cards)}</div>'


def against_summary(table: dict) -> str:
    """Write a sentence on whether the uncut network does better than summary statistics."""
    gain = find_row(table, hydro_suite(table), "none")["gain"]
    gains = [gain.get(name) for name in COSMOLOGY if name in table["targets"]]
    ends = [(x["low"], x["high"]) for x in gains if x and x["low"] is not None]
    if len(ends) < 2 or table["n_test_simulations"] < MIN_TEST_SIMULATIONS:
        return "This study cannot tell whether the network does better than summary statistics."
    if all(low > 0 for low, _ in ends):
        return "The network does better than summary statistics on both parameters."
    if any(high < 0 for _, high in ends):
        return "Summary statistics do better than the network on at least one parameter."
    return "The network is not shown to do better than summary statistics on both parameters."


def results_numbers(table: dict, verdicts: list[dict]) -> dict:
    """Return the numbers of the prose of chapter 06 and of the front page, by their glued names.

    Parameters
    ----------
    table : dict
        The results table.
    verdicts : list of dict
        Of `cosmolib.results.claims.judge`.
    """
    suite = hydro_suite(table)
    counts = Counter(row["verdict"] for row in verdicts)
    numbers = {
        "profile_name": table["profile"],
        "dataset": table["dataset"],
        "against_summary": against_summary(table),
        "verdict_counts": ", ".join(f"{n} {word}" for word, n in counts.items()),
    }
    for key in ("simulations", "train_simulations", "test_maps", "test_simulations", "runs"):
        numbers[f"n_{key}"] = table[f"n_{key}"]
    cases = {
        "uncut": (suite, "none", "r2"),
        "baseline": (suite, "none", "baseline"),
        "gravity": (f"Nbody_{suite}", "none", "r2"),
        "underdense": (suite, WITHOUT_MEAN[0], "best"),
        "overdense": (suite, WITHOUT_MEAN[1], "best"),
    }
    rows = {w: (find_row(table, name, cut) or {}, key) for w, (name, cut, key) in cases.items()}
    numbers |= glued_texts("r2_", {word: row.get(key) for word, (row, key) in rows.items()})
    for word, cut in (("all", NO_MEAN), ("under", WITHOUT_MEAN[0]), ("over", WITHOUT_MEAN[1])):
        row = find_row(table, suite, cut)
        numbers[f"bits_{word}"] = as_text(row["bits"].get("both") if row else None)
    return numbers


def sets_summary(table: dict) -> pd.DataFrame:
    """Summarise how the uncut network of the first suite does on other suites and sets.

    Returns
    -------
    DataFrame
        One line per quantity, one column per cosmological parameter, as text.
    """
    suite = hydro_suite(table)
    twin = (f"Nbody_{suite}", suite, "trained")

    def first(rows, **wanted):
        return next((x for x in rows if all(x[k] == v for k, v in wanted.items())), {})

    cross = next(
        (x for x in table["cross"] if (x["trained"], x["tested"], x["scaling"]) == twin), {}
    )
    boxes = first(table["sets"]["CV"], suite=suite)
    curves = {
        name: first(table["sets"]["1P"], suite=suite, varied=name) for name in (*COSMOLOGY, "A_SN1")
    }
    slopes = {name: curves[name].get("slope", {}).get(name) for name in COSMOLOGY}
    lines = {
        "trained on gravity only, tested with feedback: R2 per map": (cross.get("r2"), 2),
        "the same: bias": (cross.get("bias"), 3),
        "CV: mean prediction minus truth": (boxes.get("bias"), 3),
        "CV: scatter of the predictions between maps": (boxes.get("map_scatter"), 3),
        "CV: scatter between boxes, mean of 15 maps": (boxes.get("simulation_scatter"), 3),
        "CV: predicted standard deviation per map": (boxes.get("sigma"), 3),
        "1P: slope of the prediction with its own parameter (ideal: 1)": (slopes, 2),
        "1P: shift over the range of A_SN1 (ideal: 0)": (curves["A_SN1"].get("shift"), 4),
    }
    return pd.DataFrame(
        {
            name: {line: as_text((x or {}).get(name), n) for line, (x, n) in lines.items()}
            for name in COSMOLOGY
        }
    )
