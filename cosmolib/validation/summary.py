"""Tables and numbers of chapters 07 and 07b."""

import math

import pandas as pd

from cosmolib.training.scores import as_text, r2_of, seed_scatter, widened
from cosmolib.validation.gaussian_fields import TARGETS
from cosmolib.validation.known_posterior import R2_MISSED


def mocks_table(rows: list[dict]) -> pd.DataFrame:
    """Return rows of `against_exact` as a table of text: networks and the analytic posterior."""
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
            "bits": as_text(row["bits"][name]),
            "bits, exact": f"{row['bits_exact'][name]:.2f}",
            "faults": "; ".join(x for x in row["faults"] if x.startswith(name)) or "none",
        }
        for row in rows
        for name in TARGETS
    ]
    return pd.DataFrame(lines).set_index(["cut", "parameter"])


def mocks_numbers(gaussian: list[dict], lognormal: list[dict], injected: dict) -> dict:
    """Return the numbers of chapter 07's prose, by their glued names.

    Parameters
    ----------
    gaussian, lognormal : list of dict
        Rows of `against_exact`; those without an analytic posterior are left out.
    injected : dict
        {place: result of `injection_test`}.
    """
    numbers = {"cuts": len(gaussian), "missed_limit": R2_MISSED}
    for kind, rows in (("Gaussian", gaussian), ("lognormal", lognormal)):
        cases = [(row, name) for row in rows if row["ceiling"] for name in TARGETS]
        row, name = max(cases, key=lambda case: case[0]["missed"][case[1]]["value"])
        numbers[f"missed_{kind}"] = as_text(row["missed"][name], 3)
        numbers[f"worst_{kind}"] = f"{name.replace('_', ' ')}, cut {row['cut']}"
    for key, names in (("each", TARGETS), ("both", ["both"])):
        missed = [row["bits_exact"][n] - row["bits"][n]["value"] for row in gaussian for n in names]
        numbers[f"bits_missed_{key}"] = max(missed)
    sigma = [row["sigma"][name] for row in gaussian for name in TARGETS]
    for end, pick in (("low", min), ("high", max)):
        numbers[f"sigma_{end}"] = pick(x["median"] for x in sigma)
        numbers[f"within_{end}"] = 100 * pick(x["within"] for x in sigma)
    cases = [(x["role"], x["r2"]) for one in injected.values() for x in one["cases"]]
    numbers |= {
        "faults": sum(len(row["faults"]) for row in (*gaussian, *lognormal) if row["ceiling"]),
        "hidden_high": max(r2["Omega_m"]["value"] for role, r2 in cases if role == "hidden"),
        "spared_low": min(r2["Omega_m"]["value"] for role, r2 in cases if role != "hidden"),
        "alarm": max(abs(r2["sigma_8"]["value"]) for _, r2 in cases),
    }
    for place, one in injected.items():
        numbers[f"chance_{place}"] = one["chance"]
        numbers[f"ideal_{place}"] = one["ideal"]["integrated_gradients"]["value"]
        numbers[f"share_{place}"] = as_text(one["share"]["integrated_gradients"])
    return {f"validation_{key}": value for key, value in numbers.items()}


def shuffled_r2(predictions: list[dict], n_train: int, n_bootstrap: int) -> dict:
    """Estimate R2 of networks of shuffled labels, including the chance of each permutation.

    A permutation of n labels correlates with the true ones by chance, by about 1 / sqrt(n), and a
    network that learns this reaches an R2 of about 2 / sqrt(n), of either sign.

    Parameters
    ----------
    predictions : list of dict
        The ``predictions.npz`` of each network, with a different permutation. The scatter between
        them widens the interval; a single network gets the scatter above.
    n_train : int
        Number of training simulations.
    n_bootstrap : int
    """
    scatter = seed_scatter([predictions])
    scatter = {k: 2 / math.sqrt(n_train) if x is None else x for k, x in scatter.items()}
    return widened(r2_of(predictions, n_bootstrap=n_bootstrap), scatter, len(predictions))


def leak_sentence(shuffled_r2: dict) -> str:
    """Write a sentence on whether networks of shuffled labels predict anything.

    Parameters
    ----------
    shuffled_r2 : dict
        {parameter: estimate of R2}.
    """
    low = [x["low"] for x in shuffled_r2.values()]
    if None in low:
        return "One test simulation gives no interval."
    if max(low) <= 0:
        return "Both are compatible with zero or below it: there is no sign of a leak."
    return "At least one lies above zero by more than chance: something leaks."
