# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Check the attributions
#
# Sums of attribution over many pixels hardly change when the map is moved; the attribution of a single pixel does. The baseline
# changes even the sums, so that a share must name its baseline. The table at the end lists every check.
#
# :::{admonition} Overview
# - We repeat the {term}`attributions <Attribution>` of [chapter 05](05_interpretation.ipynb) with other
#   {term}`baselines <Baseline>`, other seeds, random weights, shuffled labels, moved maps and noise.
# - {term}`Completeness <Completeness>`, deletion and insertion, occlusion, infidelity and sensitivity test them against the
#   predictions.
# :::
#
# **What you need.** The networks of [chapter 05](05_interpretation.ipynb), with other seeds, shuffled labels and white
# noise. A check without a complete run is left out.

# %% tags=["remove-cell"]
import os

import cosmolib

places = ".", "..", os.path.dirname(cosmolib.__path__[0])  # a kernel may start in any folder
os.chdir(next((folder for folder in places if os.path.isdir(f"{folder}/data/lite")), "."))

# %% tags=["parameters", "hide-input"]
profile = "demo"  # name of a file in configs/, or a path to one
seed = 0  # which training is explained; 0: the profile's first
data_dir = ""  # folder of CMD files; "": from the profile (Lite is shipped)
suite = ""  # explain the network of this suite only; "": of all suites of the profile
weights = ""  # a published state dict to explain instead of a trained run, e.g. weights_41.pt
runs_dir = "runs"  # where the trained networks are
stored_dir = "results"  # stored studies, whose networks are explained where the profile names one

# %% tags=["hide-input"]
import time
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import display

from cosmolib.data.cmd_format import LABELS
from cosmolib.interpretation import experiments, summaries
from cosmolib.interpretation.attribution import BASELINES, METHODS
from cosmolib.interpretation.cosmic_web import WEB_CLASSES
from cosmolib.interpretation.sanity_checks import NOISE_RADIUS
from cosmolib.interpretation.subject import explain, load_subjects, spread
from cosmolib.plots import attribution as plots_attribution
from cosmolib.plots import style as plots_style
from cosmolib.plots import validation as plots_validation
from cosmolib.study import registry
from cosmolib.study.chapter import publish, shown_study
from cosmolib.study.profile import load_profile
from cosmolib.training.scores import as_text

started = time.perf_counter()
plots_style.use_style()

# %% [markdown]
# The networks, maps and methods are those of chapter 05, and SmoothGrad. All checks but completeness use part of the
# maps of the first suite, for time.

# %%
config = load_profile(profile, **({"data_dir": data_dir} if data_dir else {}))
shown, root = (config, runs_dir) if weights else shown_study(config, runs_dir, stored_dir)
subjects = load_subjects(shown, root, suite=suite, weights=weights, seed=seed)
feedback, main = next(iter(subjects.items()))  # the first suite is the one with feedback
few, targets = main.few(), main.targets

# %% tags=["hide-input"]
methods = [*METHODS, "smooth_grad", *registry.METHODS]
found = {name: summaries.explain_all(subject) for name, subject in subjects.items()}
part = spread(len(main.x), config.attribution_check_maps)  # the maps of `few`
of_few = {
    t: {m: a.values[part] for m, a in found[feedback][t].items()}
    | {m: explain(few, m, column).values for m in methods[len(METHODS) :]}
    for t, column in targets.items()
}

# %% [markdown]
# ## Does the baseline decide the result?
#
# We try six ways to represent "nothing there": the mean log-density, a uniform map at the box's own mean density, the deepest void of
# the training maps everywhere, the map blurred to an eighth of the box, white noise, and training maps. Integrated Gradients take
# one baseline map for each map, {term}`GradientSHAP` draws from all of them. A baseline gives little attribution to the
# pixels that look like it, as {numref}`fig-attribution-baselines` shows.

# %% tags=["hide-input", "hide-output"]
by_baseline = experiments.baseline_shares(few, of_few)
names = {m: plots_style.METHOD_NAMES.get(m, m) for m in methods}
table = pd.DataFrame(
    {
        (t, names[m], BASELINES[b]): {key: as_text(estimate) for key, estimate in row.items()}
        for (m, b, t), row in by_baseline.items()
    }
).T.rename_axis(["parameter", "method", "baseline"])
display(table)

# %% mystnb={"figure": {"name": "fig-attribution-baselines", "caption": "Under-dense share of the absolute attribution with each baseline, suite with feedback (Lite: a proxy); dotted: share of the pixels. A baseline gives little attribution to pixels that look like it. Bars: 95 % over simulations."}, "image": {"alt": "Two panels for Omega_m and sigma_8. For each of six baselines two markers with error bars, Integrated Gradients and GradientSHAP, give the share of the attribution in under-dense pixels; they are spread widely around a dotted line at the share of the pixels."}} tags=["hide-input"]
under_pixels = summaries.pixel_shares(few)["under-dense"]
under = {key: row["under-dense share"] for key, row in by_baseline.items()}
lines = {t: {m: [under[m, b, t] for b in BASELINES] for m in METHODS[1:]} for t in targets}
fig, axes = plots_attribution.by_baseline(list(BASELINES.values()), lines, under_pixels)

# %% [markdown]
# ## Do the attributions sum to the prediction?
#
# Integrated Gradients must sum to the difference between the prediction and that of the baseline. The steps of a map are tripled,
# at most three times, until the relative error is below the profile's tolerance. GradientSHAP averages a few random draws and is
# complete only in expectation; its error shows how noisy single maps are.

# %% mystnb={"figure": {"name": "fig-completeness", "caption": "Completeness error relative to f(x) - f(baseline), cumulative over the maps. Dotted: 1 %. Maps whose prediction happens to equal that of the baseline have a large relative error."}, "image": {"alt": "Cumulative step lines on a logarithmic axis of relative error; the lines of Integrated Gradients end near a dotted vertical line at one percent, those of GradientSHAP lie far to the right of it."}} tags=["hide-input"]
fig, axes = plots_attribution.completeness(
    {
        f"{names[m]}, {LABELS[t]}": found[feedback][t][m].completeness
        for m in METHODS[1:]
        for t in targets
    }
)

# %% tags=["hide-input", "hide-output"]
paths = {(n, t): found[n][t]["integrated_gradients"] for n in subjects for t in targets}
pd.DataFrame(
    {
        (plots_style.suite_label(n), t): {
            "median error [%]": f"{100 * np.median(a.completeness):.2f}",
            "maps below the tolerance": f"{(a.completeness <= config.ig_tolerance).mean():.2f}",
            "mean steps": f"{a.n_steps.mean():.0f}",
            "most steps": int(a.n_steps.max()),
        }
        for (n, t), a in paths.items()
    }
).T.rename_axis(["suite", "parameter"])

# %% [markdown]
# ## Do other networks give the same attributions?
#
# A network that has learnt nothing should give other attributions than a trained one {cite}`Adebayo2018`. We randomise the trained
# network from its output down to its input, stage by stage. Next come a network whose labels were shuffled among the
# simulations, and networks that differ from the first only in their seed: the latter *should* agree with it. The rank correlation
# compares absolute attributions, map by map; it stays above zero for a random network because Integrated Gradients multiply
# by the map itself. Absolute attributions, which most of chapter 05 sums, therefore tell a trained network from a random one less well
# than signed ones. The correlation of signed attributions must be compared with that of the shuffled labels.

# %%
others, missing = experiments.other_networks(few)
for label in missing:
    print(f"Left out: {label}, because this network has no complete run of it.")
random = {t: experiments.randomisation(few, methods, c, others) for t, c in targets.items()}

# %% mystnb={"figure": {"name": "fig-randomisation", "caption": "Similarity of the attribution of $\\Omega_m$ to that of the trained network, as its stages are randomised from the output to the input, and for other networks. Left: rank correlation of absolute attributions; right: correlation with their signs. Suite with feedback (Lite: a proxy). Bars: 95 % over simulations."}, "image": {"alt": "Two panels of correlation against what was randomised last, from FC2 to the first block, then shuffled labels and other seeds. In the right panel the lines of all four methods approach zero towards the right-most stages; in the left panel that of Integrated Gradients stays well above zero."}} tags=["hide-input"]
first = next(iter(targets))  # Omega_m, where it is predicted
fig, axes = plots_attribution.cascade(
    random[first]["stages"],
    [random[first][key] for key in ("rank", "signed")],
    ["rank correlation of |attribution|", "correlation of attribution"],
)

# %% [markdown]
# ## Do the methods agree?

# %% mystnb={"figure": {"name": "fig-agreement", "caption": "Mean rank correlation, map by map, of the absolute attributions of the methods, and of the density, for the suite with feedback (Lite: a proxy)."}, "image": {"alt": "Two tables of numbers on colour for Omega_m and sigma_8: rank correlation of each pair among Saliency, Integrated Gradients, GradientSHAP, SmoothGrad, the density and its distance from the mean; ones on the diagonal, much smaller numbers next to it."}} tags=["hide-input"]
matrices = {t: experiments.agreement(few, tables) for t, tables in of_few.items()}
labels = [*names.values(), "density", "|log-density|"]
titles = [f"of {LABELS[t]}" for t in targets]
fig, axes = plots_attribution.agreement(labels, list(matrices.values()), titles)

# %% [markdown]
# ## Do the attributions move with the map?
#
# The boxes are periodic and have no orientation, and the network is trained on turned, mirrored and shifted maps. Its predictions
# hardly change when the map is moved. Its attributions do change, because the strides of the network define a grid; only a shift by
# a multiple of all strides leaves them unchanged. The under-dense share is stable. Averaging the attributions of all moved
# maps, moved back, cancels the grid and changes the share.

# %%
moved = {t: experiments.under_moves(few.some(32), METHODS[:2], c) for t, c in targets.items()}

# %% mystnb={"figure": {"name": "fig-equivariance", "caption": "Attribution of $\\Omega_m$ on turned, mirrored and shifted maps, moved back. Left: its correlation with that of the maps as they are. Right: its under-dense share; dotted: share of the pixels. Suite with feedback (Lite: a proxy). Bars: 95 % over simulations."}, "image": {"alt": "Two panels with a row for each of eleven transformations. Left: correlations, one for the first row and for the shift by a quarter of the map, well below one for all others. Right: under-dense shares, nearly equal in all rows."}} tags=["hide-input"]
fig, axes = plots_attribution.transformations(
    moved[first]["names"],
    [moved[first]["correlation"], moved[first]["under_share"]],
    ["correlation with the unmoved", "under-dense share"],
    [None, under_pixels],
)

# %% [markdown]
# ## Do the pixels with the largest attribution matter most?
#
# If so, hiding them first should change the prediction faster than any other order (deletion: a larger mean distance is better), and
# showing them first should restore it soonest (insertion: smaller is better) {cite}`Petsiuk2018`. The controls are a random order and
# the density itself. Hidden pixels get the mean log-density.

# %% mystnb={"figure": {"name": "fig-replacement", "caption": "Mean distance of the predicted $\\Omega_m$ from that of the whole map, as pixels are hidden (left) or shown (right), the first in each order first. Suite with feedback (Lite: a proxy)."}, "image": {"alt": "Two panels of distance against share of pixels. Left, lines rise from zero as pixels are hidden, fastest for the densest first and for Integrated Gradients; right, lines fall to zero as pixels are shown."}} tags=["hide-input"]
steps = np.linspace(0, 1, 26)
orders = {t: experiments.replacement(few, of_few[t], c, steps) for t, c in targets.items()}
fig, axes = plots_attribution.replacement(
    steps,
    *({k: v.mean(0) for k, v in orders[first][key].items()} for key in ("deletion", "insertion")),
    "distance, in units of the prior range",
)

# %% tags=["hide-input", "hide-output"]
areas = summaries.mean_distances(few, orders)
distances = pd.Series({key: as_text(estimate, 3) for key, estimate in areas.items()})
distances = distances.unstack([0, 1], sort=False).rename(index=names)
display(distances.rename(columns="{}, mean distance".format, level=1))

# %% [markdown]
# ## Occlusion, infidelity, sensitivity
#
# Occlusion replaces a region by the mean log-density and measures the change of the prediction. Integrated Gradients with the same
# baseline should agree, region by region. Captum's infidelity {cite}`Yeh2019` tests this on random patches (0 is perfect, 1 is an
# attribution of zero). Its sensitivity is the relative change of an attribution under noise of
# {glue:text}`interpretation_radius:.2f` standard deviations. The first table also gives the change of the prediction, in units of the
# prior range, when all over-dense or all under-dense pixels are hidden: the effect of a region without any attribution method.

# %%
faithful = {t: experiments.faithfulness(few, methods, c) for t, c in targets.items()}

# %% tags=["hide-input", "hide-output"]
occluded = {
    t: experiments.occlusion(few, of_few[t]["integrated_gradients"], c) for t, c in targets.items()
}
table = pd.DataFrame(
    {
        t: {"correlation with Integrated Gradients: by patch": as_text(o["patch"])}
        | {f"over maps, {c}": f"{v:.2f}" for c, v in zip(WEB_CLASSES, o["class"], strict=True)}
        | {f"change by hiding all {k}-dense": as_text(v, 3) for k, v in o["density"].items()}
        for t, o in occluded.items()
    }
).rename_axis("occlusion")
display(table)
scores = {t: pd.DataFrame(rows).set_index("method") for t, rows in faithful.items()}
display(pd.concat(scores, axis=1).rename(index=names).round(2))

# %% [markdown]
# ## Does noise move the attribution?
#
# In weak-lensing maps noise moved the attribution from voids to peaks {cite}`Matilla2020`. The next figure shows
# Integrated Gradients of networks trained with white noise, on noisy maps of the same places. A pixel counts as under-dense, or
# as a void, by the density without noise. Chapter 06 has the $R^2$ of these networks.

# %% mystnb={"figure": {"name": "fig-attribution-noise", "caption": "Share of the absolute attribution (Integrated Gradients) that lies on under-dense pixels and on voids of the cosmic web, against the white noise in the maps, with the share of the pixels in grey, for the suite with feedback (Lite: a proxy). Bars: 95 % over simulations."}, "image": {"alt": "Two panels for Omega_m and sigma_8 of the share of attribution against the level of noise; one line for under-dense pixels and one for voids."}} tags=["hide-input"]
levels, noise = summaries.noise_shares(main)
if len(levels) < 2:
    print(f"Left out: two levels of noise are needed, there are {len(levels)} complete runs.")
else:
    chance = {key: summaries.pixel_shares(main)[key] for key in noise}
    fig, axes = plots_validation.by_noise(levels, noise, targets, "share of attribution", chance)

# %% [markdown]
# ## What we found

# %% tags=["hide-input"]
saliency = {t: found[feedback][t]["saliency"].values for t in targets}
display(summaries.check_table(main, saliency, under, random, moved, occluded, areas))

# %% [markdown]
# The correlation with another seed should exceed that with shuffled labels; otherwise single maps reveal little of what the network
# has learnt. Single pixels are unreliable where the attribution does not move with the map, while sums over many
# pixels hardly change. Nor need a method point to the signal: [chapter 07](07_validation.ipynb) measures that on injected signals.
#
# **Next:** [chapter 06](06_results.ipynb) cuts regions and retrains.

# %% [markdown]
# ## Provenance

# %% tags=["remove-input"]
publish(
    "05b_sanity_checks", {"interpretation_radius": NOISE_RADIUS},
    runs_dir=runs_dir, profile=config, started=started,
    suites={feedback: main.fingerprint}, study=main.run.profile if weights else "",
    options={"suite": suite, "weights": Path(weights).name},
    under_share={", ".join(key): value for key, value in under.items()},
    randomisation=random, faithfulness=faithful,
)  # fmt: skip
