"""What chapter 05 asks of a trained network, put together: one subject, many questions.

A `Subject` is a network with the test maps that it explains. The functions below bring attributions
(`attribution`), checks (`sanity`) and summaries (`summaries`) to it and return plain estimates,
``{"value", "low", "high"}`` with 95 % intervals over simulations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from cosmolib.cuts.apply import cut_mask
from cosmolib.cuts.grammar import Cut
from cosmolib.data.cmd_format import MAPS_PER_SIMULATION
from cosmolib.data.scaling import Scaling
from cosmolib.data.suites import map_indices
from cosmolib.interpretation import sanity_checks
from cosmolib.interpretation.attribution import (
    Attribution,
    attribute,
    make_baseline,
    occlude,
    patches,
    takes_baseline,
)
from cosmolib.interpretation.binned import mean_estimate, over_to_under, region_share, region_sums
from cosmolib.interpretation.cosmic_web import web_classes
from cosmolib.study.profile import Profile
from cosmolib.study.run import Run
from cosmolib.training.dataset import cut_maps, study_split, study_suite
from cosmolib.training.fit import seeded
from cosmolib.training.networks import build_network
from cosmolib.training.predictions import read_predictions
from cosmolib.training.run import load_run
from cosmolib.training.scores import as_estimate, r2_of

USUAL_BASELINE = {"integrated_gradients": "mean_log", "gradient_shap": "training"}
SMOOTHING = 0.3  # noise of SmoothGrad, in standard deviations of the log-density
N_TRAINING_MAPS = 64  # that baselines are taken from


@dataclass(eq=False)
class Subject:
    """A network, and the test maps that it explains."""

    name: str  # of the suite
    network: torch.nn.Module
    scaling: Scaling
    network_config: dict  # arguments of `cosmolib.training.networks.build_network`
    maps: np.ndarray  # (n, N, N) without noise [(Msun/h)/(Mpc/h)^2]
    x: torch.Tensor  # (n, 1, N, N) as the network sees them
    train_x: torch.Tensor  # (m, 1, N, N) some of the training maps
    chosen: np.ndarray  # (n,) places of the maps in the suite
    params: np.ndarray  # (n, 6) of their simulations
    box_size: float  # [Mpc/h]

    @property
    def simulations(self) -> np.ndarray:
        """Simulation of each map, (n,)."""
        return self.chosen // MAPS_PER_SIMULATION

    @cached_property
    def density(self) -> np.ndarray:
        """1 + delta of each map, of its own mean, (n, N, N)."""
        return self.maps / self.maps.mean((1, 2), keepdims=True, dtype=float)

    @cached_property
    def classes(self) -> np.ndarray:
        """Cosmic-web class of each pixel, (n, N, N)."""
        return web_classes(self.maps, self.box_size)

    def some(self, count: int) -> Subject:
        """Return the same with about `count` of the maps, spread over the simulations."""
        part = spread(len(self.maps), count)
        fields = {name: getattr(self, name)[part] for name in ("maps", "x", "chosen", "params")}
        return replace(self, **fields)


def spread(total: int, count: int) -> np.ndarray:
    """Return `count` of `total` places at equal distances, fewer where there are fewer."""
    return np.unique(np.linspace(0, total - 1, count).round().astype(int))


def load_subject(run: Run, profile: Profile) -> Subject:
    """Load a complete run's network and the test maps of its suite that a profile explains.

    The maps are the same places in every suite and for every cut; the network sees them as its cut
    leaves them.

    Raises
    ------
    ValueError
        The run is not complete.
    """
    network, scaling, config = load_run(run)
    suite = study_suite(run.suite, profile)
    split = study_split(suite, profile)
    test, train = map_indices(split.test), map_indices(split.train)
    chosen = test[spread(len(test), profile.attribution_maps)]
    some = train[spread(len(train), N_TRAINING_MAPS)]

    def scaled(maps):
        seen = cut_maps(suite, maps, run.cut, config["value_range"])
        return torch.from_numpy(scaling.apply(seen))[:, None]

    return Subject(
        name=run.suite,
        network=network,
        scaling=scaling,
        network_config=config["network"],
        maps=np.array(suite.maps[chosen]),
        x=scaled(chosen),
        train_x=scaled(some),
        chosen=chosen,
        params=suite.params[chosen // MAPS_PER_SIMULATION],
        box_size=suite.box_size,
    )


def baseline_of(subject: Subject, method: str, name: str | None = None) -> torch.Tensor | None:
    """Return a baseline as a method takes it, by default its usual one; None for gradients.

    All but GradientSHAP take one map of a distribution for each map, in turn.
    """
    if not takes_baseline(method):
        return None
    name = name or USUAL_BASELINE.get(method, "mean_log")
    baseline = make_baseline(
        name, subject.x, scaling=subject.scaling, train_x=subject.train_x, seed=1
    )
    if method != "gradient_shap" and name == "training":
        return baseline[torch.arange(len(subject.x)) % len(baseline)]
    return baseline


def options_of(method: str, profile: Profile) -> dict:
    """Settings of a method in a profile, as `attribute` takes them."""
    return {
        "saliency": {},
        "smooth_grad": {"n_samples": profile.shap_samples, "stdevs": SMOOTHING},
        "integrated_gradients": {"n_steps": profile.ig_steps},
        "gradient_shap": {"n_samples": profile.shap_samples},
    }.get(method, {"n_steps": profile.ig_steps, "n_samples": profile.shap_samples})


def explain(
    subject: Subject,
    method: str,
    target: int,
    profile: Profile,
    baseline: str | None = None,
    output: str = "mean",
) -> Attribution:
    """Attribute an output of the subject's network to its maps, with a profile's settings.

    Integrated Gradients raise their steps until a map is complete to the profile's tolerance.
    """
    options = options_of(method, profile)
    if method == "integrated_gradients":
        options["tolerance"] = profile.ig_tolerance
    return attribute(
        subject.network, subject.x, method, target,
        output=output, baseline=baseline_of(subject, method, baseline), **options,
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------
# Checks
# --------------------------------------------------------------------------------------------------
FRESH_SEED = 2**31 - 1  # of weights to compare with: no training has it


def randomisation(subject: Subject, methods, target: int, profile: Profile, others: dict) -> dict:
    """Compare attributions with those of the network randomised from the top, and of others.

    Parameters
    ----------
    subject : Subject
    methods : sequence of str
    target : int
    profile : Profile
    others : dict of str to torch.nn.Module
        More networks to compare with: of other seeds, or of shuffled labels.

    Returns
    -------
    dict
        ``stages``: what was randomised last, then the names of the others; ``rank`` and ``signed``:
        {method: one estimate each} of `sanity_checks.rank_correlation` and
        `sanity_checks.correlation`.
    """
    with seeded(FRESH_SEED):
        fresh = build_network(**subject.network_config)
    networks = [*sanity_checks.cascade(subject.network, fresh), *others.items()]
    found = {
        "stages": [name for name, _ in networks],
        "rank": {m: [] for m in methods},
        "signed": {m: [] for m in methods},
    }
    numbers = subject.simulations, profile.bootstrap_samples
    for method in methods:
        options = options_of(method, profile) | {"baseline": baseline_of(subject, method)}
        first = attribute(subject.network, subject.x, method, target, **options).values
        for _, network in networks:
            values = attribute(network, subject.x, method, target, **options).values
            for key, likeness in (
                ("rank", sanity_checks.rank_correlation),
                ("signed", sanity_checks.correlation),
            ):
                found[key][method].append(mean_estimate(likeness(first, values), *numbers))
    return found


def under_moves(subject: Subject, methods, target: int, profile: Profile) -> dict:
    """Turn, mirror and shift the maps: do attributions follow, and does the answer stay?

    Returns
    -------
    dict
        ``names`` of the transformations; ``correlation`` and ``under_share``: {method: an estimate
        each}, of the attribution with the unmoved one, and its under-dense share; ``averaged``:
        {method: the under-dense share of the mean over all transformations}; ``values``: {method:
        that mean itself (n, N, N)}.
    """
    found = {"names": [], "correlation": {}, "under_share": {}, "averaged": {}, "values": {}}
    numbers = subject.simulations, profile.bootstrap_samples
    inside = subject.density < 1
    for method in methods:
        options = options_of(method, profile) | {"baseline": baseline_of(subject, method)}
        moved = sanity_checks.moved_attributions(
            subject.network, subject.x, method, target, **options
        )
        found["names"] = list(moved)
        first = next(iter(moved.values()))
        found["correlation"][method] = [
            mean_estimate(sanity_checks.correlation(values, first), *numbers)
            for values in moved.values()
        ]
        found["under_share"][method] = [
            region_share(values, inside, *numbers) for values in moved.values()
        ]
        mean = np.mean(list(moved.values()), axis=0)
        found["averaged"][method] = region_share(mean, inside, *numbers)
        found["values"][method] = mean
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
        ``deletion`` and ``insertion``: {order: (n, F)} of `sanity_checks.replacement_curve`, from
        and to the mean log-density.
    """
    random = np.random.default_rng(0).random(subject.maps.shape)
    orders = {name: np.abs(values) for name, values in attributions.items()}
    orders |= {"densest first": subject.maps, "emptiest first": -subject.maps, "random": random}
    baseline = make_baseline("mean_log", subject.x)
    return {
        key: {
            name: sanity_checks.replacement_curve(
                subject.network, subject.x, order, target,
                baseline=baseline, fractions=fractions, insertion=insertion,
            )
            for name, order in orders.items()
        }
        for key, insertion in (("deletion", False), ("insertion", True))
    }  # fmt: skip


def occlusion(subject: Subject, values, target: int, profile: Profile, patch: int) -> dict:
    """Compare attributions with what hiding regions does, region by region.

    Parameters
    ----------
    subject : Subject
    values : (n, N, N)
        Attributions with the mean log-density as baseline, which hides the regions as well.
    target : int
    profile : Profile
    patch : int
        Side of the patches [pixels].

    Returns
    -------
    dict
        ``patch``: mean correlation over patches, map by map; ``class``: {web class: correlation
        over maps} of summed attribution and of the change by hiding; ``share``: (3,) the classes'
        share of the mean absolute change, ``density``: {"over", "under"} the mean absolute change
        by hiding all over- or under-dense pixels. Estimates, but for ``class`` and ``share``.
    """
    numbers = subject.simulations, profile.bootstrap_samples
    baseline = make_baseline("mean_log", subject.x)
    squares = patches(subject.x.shape[-1], patch)
    hidden = occlude(subject.network, subject.x, squares, target, baseline=baseline)
    summed = region_sums(values, squares)
    likeness = sanity_checks.correlation(hidden[:, None], summed[:, None])
    by_class = occlude(subject.network, subject.x, subject.classes, target, baseline=baseline)
    sums = region_sums(values, subject.classes)
    sides = (subject.density >= 1).astype(int)
    by_side = np.abs(occlude(subject.network, subject.x, sides, target, baseline=baseline))
    change = np.abs(by_class).mean(0)
    return {
        "patch": mean_estimate(likeness, *numbers),
        "class": [float(np.corrcoef(a, b)[0, 1]) for a, b in zip(by_class.T, sums.T, strict=True)],
        "share": (change / change.sum()).tolist(),
        "density": {
            name: mean_estimate(by_side[:, side], *numbers)
            for side, name in enumerate(("under", "over"))
        },
    }


def faithfulness(subject: Subject, methods, target: int, profile: Profile) -> list[dict]:
    """Infidelity and sensitivity of each method, as medians over maps.

    Returns
    -------
    list of dict
        ``method``, ``infidelity`` (of hidden patches, relative to an attribution of zero) and
        ``sensitivity`` (relative change under noise of 0.02).
    """
    rows, few = [], subject.some(16)
    hiding = make_baseline("mean_log", subject.x)
    for method in methods:
        options = options_of(method, profile)
        values = attribute(
            subject.network, subject.x, method, target,
            baseline=baseline_of(subject, method), **options,
        ).values  # fmt: skip
        infidelity = sanity_checks.infidelity(
            subject.network, subject.x, values, method, target,
            baseline=hiding, patch=max(2, subject.x.shape[-1] // 8),
        )  # fmt: skip
        sensitivity = sanity_checks.sensitivity(
            few.network, few.x, method, target, baseline=baseline_of(few, method), **options
        )
        rows.append(
            {
                "method": method,
                "infidelity": float(np.nanmedian(infidelity)),
                "sensitivity": float(np.nanmedian(sensitivity)),
            }
        )
    return rows


def under_share(subject: Subject, values, profile: Profile) -> dict:
    """Share of the absolute attribution in under-dense pixels, as an estimate."""
    numbers = subject.simulations, profile.bootstrap_samples
    return over_to_under(values, subject.density - 1, *numbers)["under_share"]


# --------------------------------------------------------------------------------------------------
# The link to retraining
# --------------------------------------------------------------------------------------------------
def against_retraining(
    subjects: dict, values: dict, profile: Profile, runs_dir: str | Path
) -> list[dict]:
    """Attribution share of the pixels that a cut hides, beside the R2 that retraining loses.

    Parameters
    ----------
    subjects : dict of str to Subject
        By suite.
    values : dict of (str, str) to (n, N, N)
        Attributions by suite and parameter.
    profile : Profile
    runs_dir : path

    Returns
    -------
    list of dict
        A row a suite and density cut whose runs are complete: ``suite``, ``cut``, ``chance`` (the
        share of the pixels), ``share`` and ``lost`` (estimates by parameter).
    """
    rows = []
    for name, subject in subjects.items():
        numbers = subject.simulations, profile.bootstrap_samples
        for text in profile.cuts:
            cut = Cut.parse(text)
            pair = [_predictions(profile, name, c, runs_dir) for c in ("none", text)]
            if cut.kind not in ("above", "below") or cut.control or not all(pair):
                continue
            hidden = cut_mask(subject.maps, cut)
            shares = {
                target: region_share(table, hidden, *numbers)
                for (suite, target), table in values.items()
                if suite == name
            }
            lost = r2_of(*pair, n_bootstrap=profile.bootstrap_samples)
            rows.append(
                {
                    "suite": name,
                    "cut": text,
                    "chance": float(hidden.mean()),
                    "share": shares,
                    "lost": {target: lost[target] for target in shares},
                }
            )
    return rows


def rank_agreement(rows: list[dict], parameter: str) -> dict:
    """Rank correlation, over cuts and suites, of attribution share and R2 lost.

    Returns
    -------
    dict
        An estimate; its interval redraws both numbers of every point within their own errors.
    """
    pairs = [(row["share"][parameter], row["lost"][parameter]) for row in rows]
    pairs = [pair for pair in pairs if all(e["low"] is not None for e in pair)]
    if len(pairs) < 3:
        return as_estimate([np.nan] * 3)
    value, low, high = (
        np.array([[e[key] for e in pair] for pair in pairs]) for key in ("value", "low", "high")
    )
    rng = np.random.default_rng(0)
    drawn = value + (high - low) / 3.92 * rng.standard_normal((1000, *value.shape))
    spread_ = [spearmanr(*points.T).statistic for points in drawn]
    return as_estimate([spearmanr(*value.T).statistic, *np.nanpercentile(spread_, (2.5, 97.5))])


def _predictions(profile, suite, cut, runs_dir):
    """Test predictions of the complete runs of a case, one a seed."""
    runs = [Run(profile.name, suite, cut, profile.architecture, s, runs_dir) for s in profile.seeds]
    return [read_predictions(run.path("predictions.npz")) for run in runs if run.complete]
