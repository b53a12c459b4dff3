"""Summarise attributions for chapters 05 and 05b: shares by region, tables and glued numbers."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from cosmolib.interpretation import cosmic_web
from cosmolib.interpretation.attribution import METHODS, Attribution
from cosmolib.interpretation.binned import by_class, over_to_under, ratio_to_null
from cosmolib.interpretation.experiments import other_networks, region_shares, untrained_network
from cosmolib.interpretation.subject import Subject, explain, load_subject
from cosmolib.training.scores import as_estimate, as_text, glued_texts

LEDGER_BASELINES = ("mean_log", "uniform", "void")  # used to judge claim 3
NULLS = ("shuffled labels", "untrained")  # networks that learnt nothing
UNTRAINED = 5  # number of untrained networks
PATH = "integrated_gradients"  # the method of the prose and of claim 3


def explain_all(subject: Subject) -> dict[str, dict[str, Attribution]]:
    """Attribute the maps of a subject by all `METHODS`: {parameter: {method: Attribution}}."""
    return {
        target: {method: explain(subject, method, column) for method in METHODS}
        for target, column in subject.targets.items()
    }


def summarise(subjects: dict[str, Subject], found: dict, summary: Callable) -> dict:
    """Apply ``summary(subject, values)`` to attributions by suite, parameter and method."""
    return {
        name: {
            target: {method: summary(subject, a.values) for method, a in methods.items()}
            for target, methods in found[name].items()
        }
        for name, subject in subjects.items()
    }


def region_table(where: dict, subject: Subject) -> pd.DataFrame:
    """Write `region_shares` by suite, parameter and method as text.

    The method "std" stands for Integrated Gradients of the predicted standard deviation.
    """
    rows = {}
    for (suite, t, method), shares in _flat(where).items():
        if method == "std":
            t, method = f"standard deviation of {t}", PATH
        rows[suite, t, method] = {name: as_text(estimate) for name, estimate in shares.items()}
    pixels = {key: f"{share:.2f}" for key, share in pixel_shares(subject).items()}
    rows["share of the pixels", "", ""] = {"ratio": "1"} | pixels
    table = pd.DataFrame(rows).T.rename_axis(["suite", "predicted", "method"])
    return table.rename(columns={"ratio": "over- to under-dense, per pixel"})


def by_smoothing(subject: Subject, found: dict, scales) -> tuple[dict, np.ndarray]:
    """Estimate the share of each web class for several smoothing scales.

    Parameters
    ----------
    subject : Subject
    found : dict
        From `explain_all`; only Integrated Gradients are used.
    scales : sequence of float
        [Mpc/h]

    Returns
    -------
    shares : dict of str to list of (c, 3)
        Value, low and high per class, by parameter and scale.
    fractions : (s, c)
        Shares of the pixels.
    """
    shares, fractions = {target: [] for target in found}, []
    for scale in scales:
        classes = cosmic_web.web_classes(subject.maps, subject.box_size, smoothing=scale)
        for target, methods in found.items():
            table = by_class(methods[PATH].values, classes, *subject.resampling)
            shares[target].append(table["share"])
        fractions.append(table["fraction"])
    return shares, np.array(fractions)


def pixel_shares(subject: Subject) -> dict:
    """Return the shares of the pixels in the regions of `region_shares`."""
    density, classes = subject.density, subject.classes
    regions = {"under-dense": density < 1, "void": classes == 0, "halo": classes == 2}
    return {name: float(inside.mean()) for name, inside in regions.items()}


def baseline_ledger(subject: Subject) -> dict:
    """Compare over-dense with under-dense pixels for several baselines; this decides claim 3.

    The attribution of a network that learnt nothing is not uniform either. Therefore the ratio of
    trained networks is compared with that of untrained networks and of networks trained on shuffled
    labels.

    Parameters
    ----------
    subject : Subject
        All complete trainings with the ``attribution_seeds`` of its profile explain its maps for
        the sanity checks.

    Returns
    -------
    dict
        By baseline: ``per_pixel``, {parameter: {"trained", "shuffled labels" or "untrained": one
        estimate per network of over- to under-dense attribution per pixel}}; and ``ratio_to_null``,
        {parameter: estimate} from `binned.ratio_to_null`, for the null with the lower interval.
    """
    others, _ = other_networks(subject)
    kinds = {"trained": [subject.network], "shuffled labels": []}
    for label, network in others.items():
        kinds["trained" if label.startswith("seed") else "shuffled labels"].append(network)
    kinds["untrained"] = [untrained_network(subject, draw) for draw in range(UNTRAINED)]
    few, ledger = subject.few(), {}

    def per_pixel(networks, column, baseline):
        ones = [replace(few, network=network) for network in networks]
        found = [explain(one, PATH, column, baseline, tolerance=None).values for one in ones]
        return [over_to_under(x, few.density - 1, *few.resampling)["ratio"] for x in found]

    for baseline in LEDGER_BASELINES:
        ledger[baseline] = entry = {"per_pixel": {}, "ratio_to_null": {}}
        for target, column in subject.targets.items():
            rows = {kind: per_pixel(networks, column, baseline) for kind, networks in kinds.items()}
            entry["per_pixel"][target] = rows
            ratios = (ratio_to_null(rows["trained"], rows[null]) for null in NULLS)
            lowest = min(ratios, key=lambda x: -1 if x["low"] is None else x["low"])
            entry["ratio_to_null"][target] = lowest
    return ledger


def ledger_table(ledger: dict) -> pd.DataFrame:
    """Write `baseline_ledger` as text: the range over networks, and the ratio to each null."""
    rows = {}
    for baseline, entry in ledger.items():
        for target, kinds in entry["per_pixel"].items():
            row = {f"{kind} ({len(found)})": _span(found) for kind, found in kinds.items()}
            for null in NULLS:
                row[f"over {null}"] = as_text(ratio_to_null(kinds["trained"], kinds[null]))
            rows[baseline, target] = row
    return pd.DataFrame(rows).T.rename_axis(["baseline", "predicted"])


def _span(estimates):
    values = [x["value"] for x in estimates]
    return f"{min(values):.1f} to {max(values):.1f}" if values else "not run"


def noise_shares(subject: Subject) -> tuple[list[float], dict]:
    """Estimate shares of Integrated Gradients for networks of noisy maps without their mean.

    Each network explains maps with the same white noise as in its training. The density without
    noise determines the under-dense pixels and the voids.

    Returns
    -------
    levels : list of float
        Levels with a complete run.
    shares : dict
        ``under-dense`` and ``void``: one {parameter: estimate} per level.
    """
    runs, shares = {}, {"under-dense": [], "void": []}
    for cut in subject.profile.controls:
        white = re.fullmatch(r"nomean:(?:white=(.+):)?none", cut)
        if white and (run := replace(subject.run, cut=cut)).complete:
            runs[float(white[1] or 0)] = run
    for level in sorted(runs):
        noisy = load_subject(runs[level], subject.profile).few()
        values = {t: explain(noisy, PATH, column).values for t, column in noisy.targets.items()}
        found = {t: region_shares(noisy, v) for t, v in values.items()}
        for key, rows in shares.items():
            rows.append({target: row[key] for target, row in found.items()})
    return sorted(runs), shares


def mean_distances(subject: Subject, orders: dict) -> dict:
    """Average the curves of `experiments.replacement`; one estimate per tuple of their keys."""
    return {key: subject.estimate(values.mean(1)) for key, values in _flat(orders).items()}


def flat(tables: dict) -> dict:
    """Join the keys of nested tables (suite, parameter, method), for the JSON of the chapter."""
    return {", ".join(key): table for key, table in _flat(tables).items()}


def _flat(tables):
    """Return nested tables by the tuple (suite, parameter, method)."""
    return {
        (suite, parameter, method): table
        for suite, parameters in tables.items()
        for parameter, methods in parameters.items()
        for method, table in methods.items()
    }


def argument_numbers(subjects, found, where, bands, ledger) -> dict:
    """Return the numbers in the prose of chapter 05, by their glued names.

    Parameters
    ----------
    subjects : dict of str to Subject
        By suite. The first one, with feedback, is summarised, by Integrated Gradients.
    found, where, bands : dict
        Results of `explain_all`, `experiments.region_shares` and `binned.by_band`, by suite,
        parameter and method.
    ledger : dict
        Result of `baseline_ledger`.
    """
    feedback, main = next(iter(subjects.items()))
    shares = {t: methods[PATH] for t, methods in where[feedback].items()}
    waves = {t: methods[PATH]["coherence"] for t, methods in bands[feedback].items()}
    regions = {"ratio": "ratio", "share": "under-dense", "void": "void", "halo": "halo"}
    tables = {key: {t: x[name] for t, x in shares.items()} for key, name in regions.items()}
    for end, band in (("low", 1), ("high", -2)):
        tables[f"coherence_{end}"] = {t: as_estimate(table[band]) for t, table in waves.items()}
    errors = [a.completeness for (*_, method), a in _flat(found).items() if method == PATH]
    numbers = {
        "maps": len(main.x),
        "simulations": len(np.unique(main.simulations)),
        "completeness": 100 * np.median(np.concatenate(errors)),
    }
    first = next(iter(ledger.values()))["per_pixel"].values()  # the tables of the first baseline
    for kind in ("trained", *NULLS):
        numbers[kind.split()[0]] = _span([x for table in first for x in table[kind]])
    numbers |= {f"{key.removesuffix('-dense')}_pixels": x for key, x in pixel_shares(main).items()}
    for name in ("SMOOTHING", "COLLAPSE", "PEAK", "EMPTY"):
        numbers[name.lower()] = getattr(cosmic_web, name)
    numbers = {f"interpretation_{key}": value for key, value in numbers.items()}
    return numbers | glued_texts("interpretation_", tables)


def check_table(subject, saliency, under, random, moved, occluded, areas) -> pd.DataFrame:
    """Summarise the sanity checks of chapter 05b as text, with one column per parameter.

    Parameters
    ----------
    subject : Subject
    saliency : dict of str to (n, N, N)
        Saliency of its maps, by parameter.
    under : dict
        Estimates of the under-dense share by (method, baseline, parameter).
    random, moved, occluded : dict
        Results of `experiments.randomisation`, `under_moves` and `occlusion`, by parameter.
    areas : dict
        Estimates of the mean distance by (parameter, "deletion" or "insertion", order).
    """
    columns = {}
    for t in random:
        shares = [e["value"] for key, e in under.items() if key[2] == t]
        stages = dict(zip(random[t]["stages"], random[t]["signed"][PATH], strict=True))
        seeds = [e["value"] for stage, e in stages.items() if stage.startswith("seed")]
        blocks = [e for stage, e in stages.items() if not stage.startswith(("seed", "shuffled"))]
        followed = [e["value"] for e in moved[t]["correlation"][PATH][1:-1]]
        span = f"{min(shares):.2f} to {max(shares):.2f}"
        columns[t] = {
            "under-dense share: range over baselines and methods": span,
            "by Saliency": region_shares(subject, saliency[t])["under-dense"],
            "averaged over moved maps": moved[t]["averaged"][PATH],
            "signed correlation: with other seeds": f"{np.mean(seeds):.2f}" if seeds else None,
            "with random weights": blocks[-1],
            "with shuffled labels": stages.get("shuffled labels"),
            "with the moved map, moved back": f"{np.mean(followed):.2f}",
            "with occlusion, by patch": occluded[t]["patch"],
            "change by deletion: in order of attribution": areas[t, "deletion", PATH],
            "densest first": areas[t, "deletion", "densest first"],
            "at random": areas[t, "deletion", "random"],
        }
    return pd.DataFrame(columns).map(lambda x: x if isinstance(x, str) else as_text(x))
