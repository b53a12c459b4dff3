"""Experiments on a subject: sanity checks of its attributions.

Every function takes a `cosmolib.interpretation.subject.Subject` and returns plain estimates,
``{"value", "low", "high"}`` with 95 % intervals over simulations.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import torch

from cosmolib.interpretation import binned, sanity_checks
from cosmolib.interpretation.attribution import BASELINES, METHODS, make_baseline
from cosmolib.interpretation.subject import USUAL_BASELINE, Subject, explain, options_of
from cosmolib.training.fit import seeded
from cosmolib.training.networks import build_network
from cosmolib.training.run import load_run
from cosmolib.training.scores import as_estimate

FRESH_SEED = 2**31 - 1  # of the random weights: no training has it


def region_shares(subject: Subject, values) -> dict:
    """Estimate the shares of an attribution in under-dense pixels, voids and halos.

    Returns
    -------
    dict
        ``ratio``: over- to under-dense, per pixel; ``under-dense``, ``void`` and ``halo``: shares.
    """
    sides = binned.over_to_under(values, subject.density - 1, *subject.resampling)
    web = binned.by_class(values, subject.classes, *subject.resampling)["share"]
    return sides | {"void": as_estimate(web[0]), "halo": as_estimate(web[2])}


def other_networks(subject: Subject) -> tuple[dict[str, torch.nn.Module], list[str]]:
    """Load the networks of shuffled labels and of other seeds, by label; list those missing."""
    run, profile = subject.run, subject.profile
    shuffled = replace(run, profile=profile.shuffled.name)
    runs = {"shuffled labels": shuffled}
    for n in sorted({*profile.attribution_seeds} - {run.seed}):
        runs[f"seed {n}"] = replace(run, seed=n)
        runs[f"shuffled labels, seed {n}"] = replace(shuffled, seed=n)
    complete = [k for k, other in runs.items() if other.complete and not subject.pretrained]
    networks = {label: load_run(runs[label])[0] for label in complete}
    return networks, [label for label in runs if label not in networks]


def untrained_network(subject: Subject, draw: int = 0) -> torch.nn.Module:
    """Build a network like the subject's with new random weights, in eval mode."""
    with seeded(FRESH_SEED - draw):
        return build_network(**subject.network_config).eval()


def randomisation(subject: Subject, methods, target: int, others: dict) -> dict:
    """Compare attributions with those of the network under cascading randomisation, and of others.

    Parameters
    ----------
    subject : Subject
    methods : sequence of str
    target : int
    others : dict of str to torch.nn.Module
        More networks to compare with, see `other_networks`.

    Returns
    -------
    dict
        ``stages``: the stage randomised last, then the names of the others; ``rank`` and
        ``signed``: {method: one estimate per stage} of `sanity_checks.rank_correlation` and
        `sanity_checks.correlation`.
    """
    cascade = sanity_checks.cascade(subject.network, untrained_network(subject))
    networks = dict(cascade) | others
    found = {"stages": list(networks), "rank": {}, "signed": {}}
    for method in methods:
        first, *values = (
            explain(replace(subject, network=network), method, target, tolerance=None).values
            for network in (subject.network, *networks.values())
        )
        rank, signed = sanity_checks.rank_correlation, sanity_checks.correlation
        found["rank"][method] = [subject.estimate(rank(first, v)) for v in values]
        found["signed"][method] = [subject.estimate(signed(first, v)) for v in values]
    return found


def baseline_shares(subject: Subject, found: dict) -> dict:
    """Estimate shares of the path methods' attributions under each baseline.

    Parameters
    ----------
    subject : Subject
    found : dict
        Attributions (n, N, N) by parameter and method, with each method's usual baseline.

    Returns
    -------
    dict
        By method, baseline and parameter: the shares of under-dense pixels and voids, and the mean
        rank correlation with the attribution of the first baseline.
    """
    rows = {}
    for target, column in subject.targets.items():
        for method in METHODS[1:]:
            tables = dict.fromkeys(BASELINES, found[target][method])
            for name in BASELINES.keys() - {USUAL_BASELINE[method]}:
                tables[name] = explain(subject, method, column, name).values
            for name, values in tables.items():
                shares = region_shares(subject, values)
                likeness = sanity_checks.rank_correlation(values, tables["mean_log"])
                rows[method, name, target] = {
                    "under-dense share": shares["under-dense"],
                    "void share": shares["void"],
                    "rank correlation with the first": subject.estimate(likeness),
                }
    return rows


def agreement(subject: Subject, attributions: dict) -> np.ndarray:
    """Mean rank correlation of all pairs of attributions, density and absolute log-density."""
    tables = [*attributions.values(), subject.maps, subject.x[:, 0].numpy()]
    return np.array(
        [[np.nanmean(sanity_checks.rank_correlation(a, b)) for b in tables] for a in tables]
    )


def under_moves(subject: Subject, methods, target: int) -> dict:
    """Turn, mirror and shift the maps, attribute, and move the attributions back.

    Returns
    -------
    dict
        ``names`` of the transformations; ``correlation`` and ``under_share``: {method: one estimate
        per transformation}, of the attribution with the unmoved one, and its under-dense share;
        ``averaged``: {method: the under-dense share of the mean over all transformations}.
    """
    found = {"names": [], "correlation": {}, "under_share": {}, "averaged": {}}
    inside = subject.density < 1
    for method in methods:
        moved = sanity_checks.moved_attributions(
            subject.network, subject.x, method, target, **options_of(subject, method)
        )
        found["names"], tables = list(moved), list(moved.values())
        found["correlation"][method] = [
            subject.estimate(sanity_checks.correlation(values, tables[0])) for values in tables
        ]
        found["under_share"][method] = [subject.share(values, inside) for values in tables]
        found["averaged"][method] = subject.share(np.mean(tables, axis=0), inside)
    return found


def replacement(subject: Subject, attributions: dict, target: int, fractions) -> dict:
    """Hide and show pixels in the order of attributions, of density, and at random.

    Parameters
    ----------
    subject : Subject
    attributions : dict of str to (n, N, N)
    target : int
    fractions : (F,)

    Returns
    -------
    dict
        ``deletion`` and ``insertion``: {order: (n, F)} of `sanity_checks.replacement_curve`, to and
        from the mean log-density.
    """
    random = np.random.default_rng(0).random(subject.maps.shape)
    orders = {name: np.abs(values) for name, values in attributions.items()}
    orders |= {"densest first": subject.maps, "emptiest first": -subject.maps, "random": random}
    options = {"baseline": make_baseline("mean_log", subject.x), "fractions": fractions}
    curve = partial(sanity_checks.replacement_curve, subject.network, subject.x, **options)
    return {
        key: {name: curve(order, target, insertion=insertion) for name, order in orders.items()}
        for key, insertion in (("deletion", False), ("insertion", True))
    }


def occlusion(subject: Subject, values, target: int) -> dict:
    """Compare attributions with the effect of hiding regions, region by region.

    Parameters
    ----------
    subject : Subject
    values : (n, N, N)
        Attributions with the mean log-density as baseline, which hides the regions as well.
    target : int

    Returns
    -------
    dict
        ``patch``: mean correlation over 8 x 8 patches of a map, an estimate; ``class``: per web
        class the correlation over maps of its summed attribution and the change by hiding it;
        ``density``: {"under", "over"}: mean absolute change by hiding all such pixels, estimates.
    """
    options = {"target": target, "baseline": make_baseline("mean_log", subject.x)}
    hide = partial(sanity_checks.occlude, subject.network, subject.x, **options)
    grid = subject.x.shape[-1]
    squares, sides = sanity_checks.patches(grid, grid // 8), subject.density >= 1
    likeness = sanity_checks.correlation(hide(squares), binned.region_sums(values, squares))
    by_class = hide(subject.classes).T, binned.region_sums(values, subject.classes).T
    under, over = np.abs(hide(sides.astype(int))).T
    return {
        "patch": subject.estimate(likeness),
        "class": [float(np.corrcoef(a, b)[0, 1]) for a, b in zip(*by_class, strict=True)],
        "density": {"under": subject.estimate(under), "over": subject.estimate(over)},
    }


def faithfulness(subject: Subject, methods, target: int) -> list[dict]:
    """Measure infidelity and sensitivity of each method, as medians over maps.

    Returns
    -------
    list of dict
        ``method``, ``infidelity`` (of hidden patches, relative to an attribution of zero) and
        ``sensitivity`` (relative change under noise of `sanity_checks.NOISE_RADIUS`).
    """
    rows, few = [], subject.some(16)
    options = {"patch": max(2, subject.x.shape[-1] // 8)}
    options["baseline"] = make_baseline("mean_log", subject.x)
    for method in methods:
        values = explain(subject, method, target, tolerance=None).values
        found = {
            "infidelity": sanity_checks.infidelity(
                subject.network, subject.x, values, method, target, **options
            ),
            "sensitivity": sanity_checks.sensitivity(
                few.network, few.x, method, target, **options_of(few, method)
            ),
        }
        rows.append({"method": method} | {key: float(np.nanmedian(v)) for key, v in found.items()})
    return rows
