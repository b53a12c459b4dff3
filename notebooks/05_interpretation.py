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
# # See where the network looks
#
# :::{admonition} Overview
# - Three attribution methods mark the pixels that move a prediction of $\Omega_m$ or $\sigma_8$.
# - The marks are summed by density and by class of the cosmic web: per pixel and in total.
# - How complete the attributions are, and how much the answer hangs on the *baseline*, the map that
#   counts as "nothing there".
# :::
#
# **What you need.** The uncut runs of [chapter 03](03_training.ipynb) for the suites of the profile;
# or a state dict of the published code and the maps of one suite at $256^2$ pixels:
#
# ```bash
# papermill notebooks/05_interpretation.ipynb out.ipynb \
#     -p profile camels -p suite IllustrisTNG -p weights path/to/weights_41.pt
# ```
#
# A network may be right for a reason that is not ours. Attribution asks it, map by map, which pixels
# its answer hangs on. It describes the network, not the Universe: what a *retrained* network can do
# without those pixels is the matter of [chapter 06](06_results.ipynb).

# %% tags=["parameters"]
profile = "demo"  # name of a file in configs/, or a path to one
seed = 0  # which training is explained; 0: the profile's first
data_dir = ""  # folder of CMD files; "": as the profile says (Lite is shipped)
suite = ""  # explain the network of this suite only; "": of all suites of the profile
weights = ""  # a published state dict to explain instead of a trained run, e.g. weights_41.pt
runs_dir = "runs"  # where the trained networks are

# %% tags=["hide-input"]
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from myst_nb import glue

from cosmolib import plots, plots_attribution, plots_validation, runs
from cosmolib.attribution import (
    METHODS,
    attribute,
    by_class,
    by_density,
    make_baseline,
    over_to_under,
)
from cosmolib.cuts import Cut, apply_cut
from cosmolib.evaluation import adopt_run, adopted_name, load_run
from cosmolib.inputs import study_split, study_suite
from cosmolib.results import as_text
from cosmolib.scores import as_estimate
from cosmolib.spectra import WEB_CLASSES, web_classes
from cosmolib.suites import LABELS, MAPS_PER_SIMULATION, map_indices

started = time.perf_counter()
plots.use_style()

# %% [markdown]
# ## Maps and networks
#
# The maps are test maps, spread evenly over the test simulations, the same places in each suite. The
# networks are the uncut ones; each explains its own suite. A network that was brought along is shown
# the maps of each suite in that suite's own scaling.

# %%
config = runs.load_profile(profile, **({"data_dir": data_dir} if data_dir else {}))
targets = [name for name in ("Omega_m", "sigma_8") if name in config.targets]
study = adopted_name(config, weights) if weights else config.name
architecture = "o3" if weights else config.architecture
shown = [suite] if suite else config.suites
suites, maps, networks, inputs, scalings = {}, {}, {}, {}, {}
for name in shown:
    run = runs.Run(study, name, "none", architecture, seed or config.seeds[0], runs_dir)
    if weights:
        adopt_run(run, config, weights)
    networks[name], scalings[name], _ = load_run(run)
    suites[name] = study_suite(name, config)
    split = study_split(suites[name], config)
    test = map_indices(split.test)
    chosen = test[
        np.unique(np.linspace(0, len(test) - 1, config.attribution_maps).round().astype(int))
    ]
    maps[name] = np.array(suites[name].maps[chosen])
    inputs[name] = torch.from_numpy(scalings[name].apply(maps[name]))[:, None]
simulations = chosen // MAPS_PER_SIMULATION
feedback = next((name for name in shown if not name.startswith("Nbody_")), shown[0])
print(f"{len(chosen)} test maps of {len(np.unique(simulations))} simulations of each suite")

# %% [markdown]
# ## Three methods
#
# With $f$ the predicted parameter and $x$ the scaled log-density map:
#
# - **Saliency** {cite}`Simonyan2014`: the gradient $\partial f / \partial x_i$, here with its sign. It
#   says what a small change of a pixel would do, not what the pixel did.
# - **Integrated Gradients** {cite}`Sundararajan2017`: $(x_i - x'_i)$ times the mean gradient on the
#   straight line from a baseline $x'$. Its sum over the map is $f(x) - f(x')$.
# - **GradientSHAP** {cite}`Lundberg2017`: the same with baselines drawn from training maps and random
#   points on the lines, so that it estimates the expectation over "another map".
#
# All are Captum's {cite}`Kokhlikyan2020`, with the network in evaluation mode. The baseline of
# Integrated Gradients is zero in the scaled map. That is the *mean log-density* of the training
# pixels, not a void: pixels near it get little attribution by construction
# {cite}`Sturmfels2020`. Two other baselines follow below.

# %%
train = map_indices(study_split(suites[feedback], config).train)
sample = np.sort(np.random.default_rng(0).choice(train, min(64, len(train)), replace=False))
train_inputs = {
    name: torch.from_numpy(scalings[name].apply(np.array(suites[name].maps[sample])))[:, None]
    for name in shown
}
baselines = {
    name: {
        "saliency": None,
        "integrated_gradients": make_baseline("mean_log", inputs[name]),
        "gradient_shap": make_baseline("training", inputs[name], train_x=train_inputs[name]),
    }
    for name in shown
}
found = {
    (name, target, method): attribute(
        networks[name],
        inputs[name],
        method,
        config.targets.index(target),
        baseline=baselines[name][method],
        n_steps=config.ig_steps,
        n_samples=config.shap_samples,
    )
    for name in shown
    for target in targets
    for method in METHODS
}

# %% mystnb={"figure": {"name": "fig-attribution-gallery", "caption": "Density and attribution of the predicted $\\Omega_m$ on three test maps of the suite with feedback (Lite: a proxy). Red raises the prediction, blue lowers it; each attribution map is scaled by its own 99 % quantile."}, "image": {"alt": "Rows of square maps. The first column is the density, bright knots and filaments; the others show red and blue pixels of signed attribution by Saliency, Integrated Gradients and GradientSHAP, in patterns that follow structures of the density to a different degree."}}
rows = np.unique(np.linspace(0, len(chosen) - 1, 3).round().astype(int))
truth = suites[feedback].params[simulations[rows], 0]
fig, axes = plots_attribution.attribution_gallery(
    maps[feedback][rows],
    {
        plots_attribution.METHOD_NAMES[method]: found[feedback, targets[0], method].values[rows]
        for method in METHODS
    },
    [f"{LABELS['Omega_m']} = {value:.2f}" for value in truth],
)

# %% [markdown]
# ## By density
#
# Absolute attribution, summed over pixels of like overdensity $\delta = \Sigma / \bar\Sigma - 1$ of
# their own map. Per pixel it is given in units of the mean over all pixels, so that 1 is what a spread
# at random would give; the total is compared with the share of the pixels. Intervals hold 95 % and
# resample whole simulations.

# %% mystnb={"figure": {"name": "fig-attribution-density", "caption": "Attribution against density for the suite with feedback (Lite: a proxy), three methods. Top: absolute attribution a pixel, relative to the mean pixel (dotted: chance). Bottom: share of the total, with the share of the pixels in grey. Bars: 95 % over simulations."}, "image": {"alt": "Two columns for Omega_m and sigma_8. Upper panels: attribution a pixel against one plus delta on logarithmic axes, three lines with error bars around a dotted line at one. Lower panels: share of all attribution in each density bin, over a grey histogram of the pixels that peaks below mean density."}}
edges = 10 ** np.arange(-1, 1.76, 0.25)  # of 1 + delta; 1 is an edge
density = {name: m / m.mean((1, 2), keepdims=True, dtype=float) for name, m in maps.items()}
options = {"simulations": simulations, "n_bootstrap": config.bootstrap_samples}
binned = {key: by_density(found[key].values, density[key[0]], edges, **options) for key in found}
fraction = binned[feedback, targets[0], "saliency"]["fraction"]
fig, axes = plots_attribution.attribution_by_density(
    edges,
    {t: {method: binned[feedback, t, method] for method in METHODS} for t in targets},
    fraction,
)

# %% mystnb={"figure": {"name": "fig-attribution-suites", "caption": "Integrated Gradients as above, for the network of each suite: with feedback (Lite: a proxy) and gravity only. Bars: 95 % over simulations."}, "image": {"alt": "Two columns for Omega_m and sigma_8, each with attribution a pixel above and share of the total below, against density; one line a suite, with error bars that show how far the two agree."}}
fig, axes = plots_attribution.attribution_by_density(
    edges,
    {
        t: {plots.suite_label(n): binned[n, t, "integrated_gradients"] for n in shown}
        for t in targets
    },
    fraction,
)

# %% [markdown]
# ## By class of the cosmic web
#
# Each pixel is a void, filament or halo by the number of axes along which matter collapses on it: the
# eigenvalues above 0.4 of the tidal tensor of the projected density, smoothed with 0.5 Mpc/$h$. These
# are classes of a slab seen in projection.

# %% mystnb={"figure": {"name": "fig-attribution-class", "caption": "Share of the absolute attribution by class of the cosmic web in the suite with feedback (Lite: a proxy), and the share of the pixels (grey). Bars: 95 % over simulations."}, "image": {"alt": "Two bar charts for Omega_m and sigma_8. Grey bars give the share of pixels that are void, filament and halo; three coloured markers with error bars on each give the share of the attribution by the three methods."}}
classes = {name: web_classes(m, suites[name].box_size) for name, m in maps.items()}
by_web = {key: by_class(found[key].values, classes[key[0]], **options) for key in found}
fig, axes = plots_attribution.attribution_by_class(
    WEB_CLASSES,
    {t: {method: by_web[feedback, t, method]["share"] for method in METHODS} for t in targets},
    by_web[feedback, targets[0], "saliency"]["fraction"],
)

# %% [markdown]
# ## Is the sum complete?
#
# Integrated Gradients must sum to the difference between the prediction and that of the baseline. The
# relative error says whether the steps suffice. GradientSHAP is an average over random draws and is
# complete only in expectation; its error shows how noisy single maps are.

# %% mystnb={"figure": {"name": "fig-completeness", "caption": "Completeness error relative to f(x) - f(baseline), cumulative over the maps. Dotted: 1 %. Maps whose prediction happens to equal that of the baseline have a large relative error."}, "image": {"alt": "Cumulative step lines on a logarithmic axis of relative error; the lines of Integrated Gradients lie at smaller errors than those of GradientSHAP, a dotted vertical line marks one percent."}}
fig, axes = plots_attribution.completeness(
    {
        f"{plots_attribution.METHOD_NAMES[method]}, {LABELS[target]}": found[
            feedback, target, method
        ].completeness
        for method in METHODS[1:]
        for target in targets
    }
)

# %% [markdown]
# ## Does the baseline decide?
#
# The same network, maps and steps with three baselines: the mean log-density, a uniform map at the
# box's own mean density, and the deepest void of the training maps everywhere.

# %% mystnb={"figure": {"name": "fig-attribution-baselines", "caption": "Integrated Gradients with three baselines on the suite with feedback (Lite: a proxy). A baseline gives little attribution to pixels that look like it."}, "image": {"alt": "Attribution a pixel and share of the total against density for Omega_m and sigma_8; three lines, one a baseline, each dips near the density of its own baseline."}}
names = {"mean_log": "mean log-density", "uniform": "uniform, own mean", "void": "deepest void"}
moved = {
    (baseline, target): found[feedback, target, "integrated_gradients"]
    if baseline == "mean_log"
    else attribute(
        networks[feedback],
        inputs[feedback],
        "integrated_gradients",
        config.targets.index(target),
        baseline=make_baseline(
            baseline, inputs[feedback], scaling=scalings[feedback], train_x=train_inputs[feedback]
        ),
        n_steps=config.ig_steps,
    )
    for baseline in names
    for target in targets
}
fig, axes = plots_attribution.attribution_by_density(
    edges,
    {
        t: {
            label: by_density(moved[key, t].values, density[feedback], edges, **options)
            for key, label in names.items()
        }
        for t in targets
    },
    fraction,
)

# %% [markdown]
# ## With noise
#
# Integrated Gradients of the networks that were trained with white noise (chapter 06 has their $R^2$),
# on noisy maps of the same places. A pixel is counted as under-dense, or as a void, by what is there
# without the noise. In weak-lensing maps noise moved the attribution from voids to peaks
# {cite}`Matilla2020`.

# %%
noise_runs = {}
for cut in config.controls if not weights else []:
    noise, base = Cut.parse(cut).noise, Cut.parse(cut).kind
    noisy_run = runs.Run(study, feedback, cut, architecture, seed or config.seeds[0], runs_dir)
    if noise and noise[0] == "white" and base == "none" and noisy_run.complete:
        noise_runs[noise[1]] = noisy_run
noise_levels = sorted(noise_runs)
noise_shares = {"under-dense": [], "void": []}
for level in noise_levels:
    noisy_network, noisy_scaling, _ = load_run(noise_runs[level])
    seen = apply_cut(maps[feedback], noise_runs[level].cut, indices=chosen)
    x = torch.from_numpy(noisy_scaling.apply(seen))[:, None]
    values = {
        t: attribute(
            noisy_network, x, "integrated_gradients", config.targets.index(t),
            baseline=make_baseline("mean_log", x), n_steps=config.ig_steps,
        ).values
        for t in targets
    }  # fmt: skip
    noise_shares["under-dense"].append(
        {
            t: over_to_under(values[t], density[feedback] - 1, **options)["under_share"]
            for t in targets
        }
    )
    noise_shares["void"].append(
        {
            t: as_estimate(by_class(values[t], classes[feedback], **options)["share"][0])
            for t in targets
        }
    )

# %% mystnb={"figure": {"name": "fig-attribution-noise", "caption": "Share of the absolute attribution (Integrated Gradients) that lies on under-dense pixels and on voids of the cosmic web, against the white noise in the maps, with the share of the pixels in grey, for the suite with feedback (Lite: a proxy). Bars: 95 % over simulations."}, "image": {"alt": "Two panels for Omega_m and sigma_8 of the share of attribution against the level of noise; one line for under-dense pixels and one for voids."}} tags=["hide-input"]
if len(noise_levels) > 1:
    fig, axes = plots_validation.by_noise(
        noise_levels,
        noise_shares,
        targets,
        "share of attribution",
        chance={
            "under-dense": float((density[feedback] < 1).mean()),
            "void": float((classes[feedback] == 0).mean()),
        },
    )

# %% tags=["remove-input"]
sides = {
    (baseline, t): over_to_under(moved[baseline, t].values, density[feedback] - 1, **options)
    for baseline in names
    for t in targets
}
ledger = {  # what claim 3 is judged by
    baseline: {
        key: {t: sides[baseline, t][key] for t in targets}
        for key in ("over_to_under_per_pixel", "under_share")
    }
    for baseline in names
}
for short, t in (("om", "Omega_m"), ("s8", "sigma_8")):
    known = t in targets
    first = sides["mean_log", t] if known else {}
    ratio, share = (first.get(key) for key in ("over_to_under_per_pixel", "under_share"))
    glue(f"interpretation_ratio_{short}", as_text(ratio), display=False)
    glue(f"interpretation_share_{short}", as_text(share), display=False)
    shares = [sides[baseline, t]["under_share"]["value"] for baseline in names] if known else [0.0]
    glue(f"interpretation_share_low_{short}", float(min(shares)), display=False)
    glue(f"interpretation_share_high_{short}", float(max(shares)), display=False)
    web = by_web[feedback, t, "integrated_gradients"]["share"] if known else np.zeros((3, 3))
    glue(f"interpretation_void_{short}", float(web[0, 0]), display=False)
    glue(f"interpretation_halo_{short}", float(web[2, 0]), display=False)
errors = [found[feedback, t, "integrated_gradients"].completeness for t in targets]
pixels = by_web[feedback, targets[0], "saliency"]["fraction"]
for short, t in (("om", "Omega_m"), ("s8", "sigma_8")):
    for word, at in (("none", 0), ("most", -1)):
        share = noise_shares["under-dense"][at].get(t) if noise_levels else None
        glue(f"interpretation_noise_{word}_{short}", as_text(share), display=False)
most = f"{noise_levels[-1]:g}" if noise_levels else "not in this profile"
glue("interpretation_noise_level", most, display=False)
glue("interpretation_suite", plots.suite_label(feedback), display=False)
origin = f"{Path(weights).name} (trained elsewhere), on maps of" if weights else "trained on"
glue("interpretation_network", f"{origin} {plots.suite_label(feedback)}", display=False)
glue("interpretation_maps", int(len(chosen)), display=False)
glue("interpretation_simulations", int(len(np.unique(simulations))), display=False)
glue("interpretation_steps", int(config.ig_steps), display=False)
glue("interpretation_completeness", float(100 * np.median(errors)), display=False)
glue("interpretation_under_pixels", float((density[feedback] < 1).mean()), display=False)
glue("interpretation_void_pixels", float(pixels[0]), display=False)
glue("interpretation_halo_pixels", float(pixels[2]), display=False)

# Claim 3 is judged by all suites of the profile: a part of them is kept apart.
choice = f"-{suite}" if suite and not weights else ""
now = runs.provenance(config, suites[feedback].fingerprint, time.perf_counter() - started)
runs.write_json(
    Path(runs_dir) / study / "results" / f"05_interpretation{choice}.json",
    {
        "suite": feedback,
        "weights": Path(weights).name or None,
        "method": "integrated_gradients",
        "n_maps": len(chosen),
        "n_simulations": len(np.unique(simulations)),
        "baselines": ledger,
        "by_density": {", ".join(key): value for key, value in binned.items()},
        "by_class": {", ".join(key): value for key, value in by_web.items()},
        "provenance": now,
    },
)

# %% tags=["hide-input"]
pd.DataFrame(
    [
        {
            "parameter": t,
            "baseline": label,
            "over- to under-dense, a pixel": as_text(sides[b, t]["over_to_under_per_pixel"]),
            "under-dense share of all": as_text(sides[b, t]["under_share"]),
        }
        for t in targets
        for b, label in names.items()
    ]
).set_index(["parameter", "baseline"])

# %% [markdown]
# ## What we found
#
# For the network {glue:text}`interpretation_network:s`, on
# {glue:text}`interpretation_maps:d` test maps of {glue:text}`interpretation_simulations:d`
# simulations, with Integrated Gradients and the mean log-density as baseline:
#
# | | $\Omega_m$ | $\sigma_8$ |
# |---|---|---|
# | attribution a pixel, over-dense to under-dense | {glue:text}`interpretation_ratio_om:s` | {glue:text}`interpretation_ratio_s8:s` |
# | share of all attribution in under-dense pixels | {glue:text}`interpretation_share_om:s` | {glue:text}`interpretation_share_s8:s` |
# | the same, range over three baselines | {glue:text}`interpretation_share_low_om:.2f` to {glue:text}`interpretation_share_high_om:.2f` | {glue:text}`interpretation_share_low_s8:.2f` to {glue:text}`interpretation_share_high_s8:.2f` |
# | share in voids | {glue:text}`interpretation_void_om:.2f` | {glue:text}`interpretation_void_s8:.2f` |
# | share in halos | {glue:text}`interpretation_halo_om:.2f` | {glue:text}`interpretation_halo_s8:.2f` |
#
# Under-dense pixels are {glue:text}`interpretation_under_pixels:.2f` of the area, voids
# {glue:text}`interpretation_void_pixels:.2f` and halos {glue:text}`interpretation_halo_pixels:.2f`.
# With {glue:text}`interpretation_steps:d` steps the median completeness error of Integrated Gradients
# is {glue:text}`interpretation_completeness:.2f` %.
#
# With noise the under-dense share goes from {glue:text}`interpretation_noise_none_om:s` ($\Omega_m$)
# and {glue:text}`interpretation_noise_none_s8:s` ($\sigma_8$) without any to
# {glue:text}`interpretation_noise_most_om:s` and {glue:text}`interpretation_noise_most_s8:s` at a
# white noise of {glue:text}`interpretation_noise_level:s` mean densities a pixel.
#
# What would make this wrong: another baseline (the range in the table), a network that has learnt
# little (then the attributions are those of its noise), or a method that does not point to the signal:
# [chapter 07](07_validation.ipynb) measures that on planted ones.
#
# **Next:** [chapter 06](06_results.ipynb) cuts regions away and trains again.

# %% tags=["remove-input"]
commit = (now["git"] or {}).get("commit", "not under git")
asked = f" -p suite {suite}" * bool(suite) + f" -p weights {Path(weights).name}" * bool(weights)
print(
    f"Made by notebooks/05_interpretation.ipynb -p profile {config.name}{asked}, "
    f"commit {commit[:12]}"
)
print(f"{now['utc']}, {now['seconds']:.0f} s, {now['platform']}")
