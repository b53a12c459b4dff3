"""Apply sanity checks to the attributions of a subject.

Every function takes a `cosmolib.interpretation.subject.Subject`. Estimates are
``{"value", "low", "high"}`` with 95 % intervals over simulations.
"""

import itertools
from dataclasses import replace
from functools import cache

import numpy as np
import torch

from cosmolib.interpretation import binned, cosmic_web, sanity_checks
from cosmolib.interpretation.attribution import BASELINES, METHODS, make_baseline
from cosmolib.interpretation.sanity_checks import correlation, rank_correlation, replacement_curve
from cosmolib.interpretation.subject import (
    USUAL_BASELINE,
    Subject,
    explain,
    load_subject,
    options_of,
)
from cosmolib.study.profile import Profile
from cosmolib.study.run import Run
from cosmolib.training.fit import seeded
from cosmolib.training.networks import build_network
from cosmolib.training.run import load_run
from cosmolib.training.scores import as_estimate

FRESH_SEED = 2**31 - 1  # seed of random weights, which no training has
DENSITIES = 10 ** np.arange(-1, 1.76, 0.25)  # edges of 1 + delta
DISTANCES = np.array([0, 0.6, 1.2, 2, 3, 4.5, 6.5, 10])  # edges [Mpc/h] in a box of 25 Mpc/h


def region_shares(subject: Subject, values) -> dict:
    """Estimate the shares of an attribution in under-dense pixels, voids and halos.

    Returns
    -------
    dict
        ``ratio``, of over-dense to under-dense attribution per pixel, and the shares
        ``under-dense``, ``void`` and ``halo``.
    """
    sides = binned.over_to_under(values, subject.density - 1, *subject.resampling)
    web = binned.by_class(values, subject.classes, *subject.resampling)["share"]
    return sides | {"void": as_estimate(web[0]), "halo": as_estimate(web[2])}


def other_networks(subject: Subject) -> tuple[dict[str, torch.nn.Module], list[str]]:
    """Load the networks trained on shuffled labels and with other seeds, by label.

    The second value lists the labels of networks without a complete run.
    """
    run, profile = subject.run, subject.profile
    shuffled = replace(run, profile=profile.shuffled.name)
    runs = {"shuffled labels": shuffled}
    for n in sorted({*profile.attribution_seeds} - {run.seed}):
        runs[f"seed {n}"] = replace(run, seed=n)
        runs[f"shuffled labels, seed {n}"] = replace(shuffled, seed=n)
    usable = {} if subject.pretrained else runs
    networks = {label: load_run(one)[0] for label, one in usable.items() if one.complete}
    return networks, [label for label in runs if label not in networks]


def untrained_network(subject: Subject, draw: int = 0) -> torch.nn.Module:
    """Build a network like that of the subject with random weights, in eval mode."""
    with seeded(FRESH_SEED - draw):
        return build_network(**subject.network_config).eval()


def randomisation(subject: Subject, methods, target: int, others: dict) -> dict:
    """Compare attributions with those under cascading randomisation and those of other networks.

    Parameters
    ----------
    subject : Subject
    methods : sequence of str
    target : int
    others : dict of str to torch.nn.Module
        Other networks, see `other_networks`.

    Returns
    -------
    dict
        ``stages``: the last stage randomised, then the labels of the other networks; ``rank`` and
        ``signed``: {method: one estimate per stage} of `sanity_checks.rank_correlation` and
        `sanity_checks.correlation`.
    """
    networks = dict(sanity_checks.cascade(subject.network, untrained_network(subject))) | others
    subjects = [replace(subject, network=x) for x in (subject.network, *networks.values())]
    found = {"stages": list(networks), "rank": {}, "signed": {}}
    for method in methods:
        first, *values = (explain(x, method, target, tolerance=None).values for x in subjects)
        for key, likeness in (("rank", rank_correlation), ("signed", correlation)):
            found[key][method] = [subject.estimate(likeness(first, v)) for v in values]
    return found


def baseline_shares(subject: Subject, found: dict) -> dict:
    """Estimate the shares of attributions in under-dense pixels and voids for every baseline.

    Parameters
    ----------
    subject : Subject
    found : dict
        Attributions (n, N, N) by parameter and method, with the usual baseline of each method.

    Returns
    -------
    dict
        By method, baseline and parameter: both shares, and the mean rank correlation with the
        attribution for the first baseline.
    """
    rows = {}
    for (target, column), method in itertools.product(subject.targets.items(), METHODS[1:]):
        tables = dict.fromkeys(BASELINES, found[target][method])
        for name in BASELINES.keys() - {USUAL_BASELINE[method]}:
            tables[name] = explain(subject, method, column, name).values
        for name, values in tables.items():
            shares = region_shares(subject, values)
            likeness = subject.estimate(rank_correlation(values, tables["mean_log"]))
            row = {f"{region} share": shares[region] for region in ("under-dense", "void")}
            rows[method, name, target] = row | {"rank correlation with the first": likeness}
    return rows


def agreement(subject: Subject, attributions: dict) -> np.ndarray:
    """Compute mean rank correlations of attributions, of the density and of the absolute
    log-density.
    """
    tables = [*attributions.values(), subject.maps, subject.x[:, 0].numpy()]
    return np.array([[np.nanmean(rank_correlation(a, b)) for b in tables] for a in tables])


def under_moves(subject: Subject, methods, target: int) -> dict:
    """Rotate, mirror and shift the maps, attribute them, and move the attributions back.

    Returns
    -------
    dict
        ``names`` of the transformations; ``correlation`` and ``under_share``: {method: one estimate
        per transformation}, the correlation with the attribution of the original maps and the
        share in under-dense pixels; ``averaged``: {method: that share of the mean over all
        transformations}.
    """
    found = {"names": [], "correlation": {}, "under_share": {}, "averaged": {}}
    inside = subject.density < 1, *subject.resampling
    for method in methods:
        options = {"method": method, "target": target} | options_of(subject, method)
        moved = sanity_checks.moved_attributions(subject.network, subject.x, **options)
        found["names"], tables = list(moved), list(moved.values())
        found["correlation"][method] = [subject.estimate(correlation(v, tables[0])) for v in tables]
        found["under_share"][method] = [binned.region_share(v, *inside) for v in tables]
        found["averaged"][method] = binned.region_share(np.mean(tables, axis=0), *inside)
    return found


def replacement(subject: Subject, attributions: dict, target: int, fractions) -> dict:
    """Hide and show pixels in the order of attribution, in the order of density, and at random.

    Parameters
    ----------
    subject : Subject
    attributions : dict of str to (n, N, N)
    target : int
    fractions : (F,)

    Returns
    -------
    dict
        ``deletion`` and ``insertion``: {order: (n, F)} from `sanity_checks.replacement_curve`.
        Hidden pixels have the mean log-density.
    """
    random = np.random.default_rng(0).random(subject.maps.shape)
    orders = {name: np.abs(values) for name, values in attributions.items()}
    orders |= {"densest first": subject.maps, "emptiest first": -subject.maps, "random": random}
    network, x, zero = subject.network, subject.x, make_baseline("mean_log", subject.x)

    def curves(insertion):
        options = {"baseline": zero, "fractions": fractions, "insertion": insertion}
        return {k: replacement_curve(network, x, v, target, **options) for k, v in orders.items()}

    return {"deletion": curves(False), "insertion": curves(True)}


def occlusion(subject: Subject, values, target: int) -> dict:
    """Compare attributions with the effect of hiding regions of the maps.

    Parameters
    ----------
    subject : Subject
    values : (n, N, N)
        Attributions for the mean log-density as baseline; hidden pixels have the same value.
    target : int

    Returns
    -------
    dict
        ``patch``: estimate of the mean correlation over 8 x 8 patches per map; ``class``: for each
        web class, the correlation over maps of its summed attribution and the effect of hiding it;
        ``density``: {"under", "over"}, estimates of the mean absolute effect of hiding all these
        pixels.
    """

    def hide(regions):
        return sanity_checks.occlude(subject.network, subject.x, regions, target, baseline=zero)

    zero, grid = make_baseline("mean_log", subject.x), subject.x.shape[-1]
    squares, sides = sanity_checks.patches(grid, grid // 8), subject.density >= 1
    by_class = hide(subject.classes).T, binned.region_sums(values, subject.classes).T
    under, over = np.abs(hide(sides.astype(int))).T
    return {
        "patch": subject.estimate(correlation(hide(squares), binned.region_sums(values, squares))),
        "class": [float(np.corrcoef(a, b)[0, 1]) for a, b in zip(*by_class, strict=True)],
        "density": {"under": subject.estimate(under), "over": subject.estimate(over)},
    }


def faithfulness(subject: Subject, methods, target: int) -> list[dict]:
    """Measure infidelity and sensitivity of each method, as medians over maps.

    Returns
    -------
    list of dict
        ``method``, ``infidelity`` (for hidden patches, relative to an attribution of zero) and
        ``sensitivity`` (relative change under noise of `sanity_checks.NOISE_RADIUS`).
    """
    network, x, few, rows = subject.network, subject.x, subject.some(16), []
    hidden = {"patch": max(2, x.shape[-1] // 8), "baseline": make_baseline("mean_log", x)}
    for method in methods:
        values = explain(subject, method, target, tolerance=None).values
        error = sanity_checks.infidelity(network, x, values, method, target, **hidden)
        options = options_of(few, method)
        change = sanity_checks.sensitivity(network, few.x, method, target, **options)
        infidelity, sensitivity = (float(np.nanmedian(found)) for found in (error, change))
        rows.append({"method": method, "infidelity": infidelity, "sensitivity": sensitivity})
    return rows


def feedback_shift(profile: Profile, runs_dir="runs") -> dict:
    """Compare where networks look that were trained with feedback and on their gravity-only twin.

    Parameters
    ----------
    profile : Profile
        Its uncut networks with every seed are compared, on the maps for the sanity checks.
    runs_dir : path

    Returns
    -------
    dict
        {suite with feedback: {comparison: {parameter: {quantity: one estimate per bin}}}}: ratio of
        the absolute attribution per pixel (Integrated Gradients, in units of the mean pixel), see
        `binned.ratio_to_null`. Quantities are ``density`` (bins of `DENSITIES`), ``distance`` to
        the nearest peak (`DISTANCES`) and ``class``. Comparisons are ``same maps``, all networks
        on the maps with feedback; ``own maps``, each network on maps like those of its training;
        and ``untrained``, the same untrained networks on the maps with and without feedback. Suites
        without a complete run are left out.
    """
    names = dict.fromkeys((*profile.suites, *profile.uncut_suites))
    twin = next((name for name in names if name.startswith("Nbody_")), None)

    @cache
    def profiles(trained, tested, untrained=False):
        run = Run(profile.name, trained, "none", profile.architecture, 0, runs_dir)
        runs = [replace(run, seed=seed) for seed in profile.seeds]
        found = [load_subject(one, profile, tested).few() for one in runs if one.complete]
        if untrained:
            found = [replace(x, network=untrained_network(x, n)) for n, x in enumerate(found)]
        return [_profiles(subject) for subject in found]

    shifts = {}
    for name in [name for name in names if twin and name != twin]:
        pairs = {
            "same maps": (profiles(name, name), profiles(twin, name)),
            "own maps": (profiles(name, name), profiles(twin, twin)),
            "untrained": (profiles(name, name, True), profiles(twin, twin, True)),
        }
        if all(first and second for first, second in pairs.values()):
            shifts[name] = {key: _ratios(*pair) for key, pair in pairs.items()}
    return shifts


def _ratios(first, second):
    """Compare two lists of `_profiles`, by parameter, quantity and bin."""

    def ratio(target, quantity, b):
        kinds = ([as_estimate(x[target][quantity][b]) for x in kind] for kind in (first, second))
        return binned.ratio_to_null(*kinds)

    return {
        target: {q: [ratio(target, q, b) for b in range(len(rows))] for q, rows in tables.items()}
        for target, tables in first[0].items()
    }


def _profiles(subject):
    """Return the absolute attribution per pixel (nb, 3) by parameter and quantity."""
    peaks = cosmic_web.density_peaks(subject.maps, subject.box_size)
    distance, edges = cosmic_web.distance_to(peaks, subject.box_size), DISTANCES * subject.box_size
    found = {}
    for target, column in subject.targets.items():
        values = explain(subject, "integrated_gradients", column, tolerance=None).values
        tables = {
            "density": binned.by_value(values, subject.density, DENSITIES, *subject.resampling),
            "distance": binned.by_value(values, distance, edges / 25, *subject.resampling),
            "class": binned.by_class(values, subject.classes, *subject.resampling),
        }
        found[target] = {name: table["per_pixel"] for name, table in tables.items()}
    return found
