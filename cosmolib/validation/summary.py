"""Tables and numbers of chapter 07: networks on mocks, injected signals, calibration."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cosmolib.training.scores import as_text
from cosmolib.validation.gaussian_fields import TARGETS
from cosmolib.validation.known_posterior import R2_MISSED

SHORT = {"om": "Omega_m", "s8": "sigma_8"}  # in the names of glued numbers


def mocks_table(rows: list[dict]) -> pd.DataFrame:
    """Return a table of text that compares networks with the analytic posterior.

    Its rows come from `cosmolib.validation.known_posterior.against_exact`.
    """
    lines = [
        {
            "cut": row["cut"],
            "parameter": name,
            "Bayes-optimal": as_text(row["ceiling"][name], 3),
            "Bayes-optimal minus network": as_text(row["missed"][name], 3),
            "sigma / exact": "{median:.2f} ({low:.2f} to {high:.2f})".format(**row["sigma"][name]),
            "within 10 %": f"{row['sigma'][name]['within']:.0%}",
            "chi2": f"{row['chi2'][name]['value']:.2f}",
            "chi2, exact": f"{row['chi2_exact'][name]['value']:.2f}",
            **_bits(row, name),
            "faults": "; ".join(x for x in row["faults"] if x.startswith(name)) or "none",
        }
        for row in rows
        for name in TARGETS
    ]
    return pd.DataFrame(lines).set_index(["cut", "parameter"])


def _bits(row, name):
    """Return the bits of one parameter; older stored tables do not contain them."""
    if not row.get("bits"):
        return {}
    return {"bits": as_text(row["bits"][name]), "bits, exact": f"{row['bits_exact'][name]:.2f}"}


def mocks_numbers(gaussian: list[dict], lognormal: list[dict], stored: dict | None) -> dict:
    """Collect the numbers of the prose about networks on mocks.

    Parameters
    ----------
    gaussian, lognormal : list of dict
        From `cosmolib.validation.known_posterior.against_exact`; rows without an analytic posterior
        are omitted.
    stored : dict or None
        Stored table of a longer training.
    """
    numbers = {
        "validation_missed_limit": R2_MISSED,
        "validation_cuts": len(gaussian),
        "validation_stored": "There is no stored table of a longer training.",
    }
    checked, worst = [], []
    for kind, rows in (("Gaussian", gaussian), ("lognormal", lognormal)):
        rows = [row for row in rows if row["ceiling"]]
        checked += rows
        missed = [(row["missed"][name], name, row["cut"]) for row in rows for name in TARGETS]
        worst.append(max(missed, key=_value))
        numbers[f"validation_missed_{kind}"] = as_text(worst[-1][0], 3)
    _, name, numbers["validation_worst_cut"] = max(worst, key=_value)
    numbers["validation_worst_parameter"] = name.replace("_", " ")
    numbers["validation_faults"] = sum(len(row["faults"]) for row in checked)
    sigma = [row["sigma"][name] for row in gaussian for name in TARGETS]
    for end, pick in (("low", min), ("high", max)):
        numbers[f"validation_sigma_{end}"] = pick(x["median"] for x in sigma)
        numbers[f"validation_within_{end}"] = 100 * pick(x["within"] for x in sigma)
    if stored:
        missed = [row["missed"][name]["value"] for row in stored["rows"] for name in TARGETS]
        numbers["validation_stored"] = (
            f"For the stored training on {stored['n_train']} maps, R2 is at most {max(missed):.3f} "
            f"below the Bayes-optimal value, with "
            f"{sum(len(row['faults']) for row in stored['rows'])} faults in "
            f"{len(stored['rows'])} cuts."
        )
    return numbers


def _value(case):
    return case[0]["value"]


def injected_numbers(found: dict) -> dict:
    """Collect the numbers of the prose about injected signals from {place: `injection_test`}."""
    cases = [case for one in found.values() for case in one["cases"]]
    hidden, visible = (
        [x["r2"]["Omega_m"]["value"] for x in cases if (x["role"] == "hidden") == wanted]
        for wanted in (True, False)
    )
    numbers = {
        "validation_hidden_high": max(hidden),
        "validation_spared_low": min(visible),
        "validation_alarm": max(abs(x["r2"]["sigma_8"]["value"]) for x in cases),
    }
    for place, one in found.items():
        numbers[f"validation_chance_{place}"] = one["chance"]
        for method, share in one["share"].items():
            numbers[f"validation_{method}_{place}"] = as_text(share)
        numbers[f"validation_ideal_{place}"] = one["ideal"]["integrated_gradients"]["value"]
    return numbers


def calibration_numbers(calibrated: dict, factors: dict, shuffled_r2: dict) -> dict:
    """Collect the numbers of the prose about error bars and about shuffled labels.

    Parameters
    ----------
    calibrated : dict
        `calibration_scores` of the predictions "as predicted" and "recalibrated".
    factors : dict
        From `recalibration`.
    shuffled_r2 : dict
        R2 with shuffled labels, estimates by parameter.
    """
    numbers = {}
    for word, name in SHORT.items():
        for label, key in (("as predicted", "raw"), ("recalibrated", "new")):
            for score in ("chi2", "coverage_68"):
                found = calibrated[label][score].get(name)
                numbers[f"validation_{score}_{key}_{word}"] = as_text(found)
        numbers[f"validation_factor_{word}"] = factors.get(name, np.nan)
        numbers[f"validation_shuffled_{word}"] = as_text(shuffled_r2.get(name))
    low = [x["low"] for x in shuffled_r2.values()]
    if None in low:
        sentence = "With a single test simulation there is no interval."
    elif max(low) <= 0:
        sentence = "Neither is significantly above zero: there is no sign of a leak."
    else:
        sentence = "At least one is significantly above zero: the labels leak."
    return numbers | {"validation_leak": sentence}


def flow_numbers(scores: dict, r2: dict, tarp, levels) -> dict:
    """Collect the numbers of the prose about the full posterior.

    Parameters
    ----------
    scores, r2 : dict
        `calibration_scores` and R2 of the full posterior; {} without one.
    tarp : (q, 3) array or None
        Coverage at the `levels` (q,); None without a full posterior.
    """
    numbers = {"validation_flow_tarp": "It was not computed here."}
    for word, name in SHORT.items():
        numbers[f"validation_flow_chi2_{word}"] = as_text(scores.get("chi2", {}).get(name))
        numbers[f"validation_flow_r2_{word}"] = as_text(r2.get(name))
    if tarp is not None:
        worst = np.abs(tarp[:, 0] - levels).argmax()
        value, low, high = tarp[worst]
        numbers["validation_flow_tarp"] = (
            f"TARP deviates most from the nominal coverage at level {levels[worst]:.2f}, where it "
            f"is {value:.2f} [{low:.2f}, {high:.2f}]."
        )
    return numbers
