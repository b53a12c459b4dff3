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
# - Three {term}`attribution <Attribution>` methods mark the pixels that move a prediction of $\Omega_m$ or $\sigma_8$.
# - The marks are summed by density, by class of the cosmic web, by distance to peaks and {term}`voids <Void>`, and by
#   scale.
# - Every known sanity check, as a number: other baselines, other seeds, random weights, shuffled
#   labels, moved maps, hidden pixels.
# - Beside it what [chapter 06](06_results.ipynb) loses when the same pixels are {term}`cut <Cut>` and the network is
#   trained again.
# :::
#
# **What you need.** The uncut runs of [chapter 03](03_training.ipynb) for the suites of the {term}`profile <Profile>`;
# or a state dict of the published code and the maps of one {term}`suite <Suite>` at $256^2$ pixels:
#
# ```bash
# python workflow/run_notebook.py notebooks/05_interpretation.ipynb out.ipynb \
#     -p profile camels -p suite IllustrisTNG -p weights path/to/weights_41.pt
# ```
#
# A network may be right for a reason that is not ours. Attribution asks it, map by map, which pixels
# its answer hangs on. It describes the network, not the Universe: what a *retrained* network can do
# without those pixels is the matter of [chapter 06](06_results.ipynb).

# %% tags=["remove-cell"]
import os

if os.path.isdir("../data/lite"):  # JupyterLab starts kernels next to the notebook
    os.chdir("..")

# %% tags=["parameters", "hide-input"]
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
from IPython.display import HTML, Markdown
from myst_nb import glue

from book.explorer import explorer
from cosmolib.cuts.grammar import Cut
from cosmolib.data.cmd_format import LABELS
from cosmolib.interpretation import experiments, sanity_checks
from cosmolib.interpretation.attribution import BASELINES, METHODS, takes_baseline
from cosmolib.interpretation.binned import by_band, by_class, by_value, mean_estimate, over_to_under
from cosmolib.interpretation.cosmic_web import (
    COLLAPSE,
    EMPTY,
    PEAK,
    SMOOTHING,
    WEB_CLASSES,
    density_peaks,
    distance_to,
    void_centres,
    web_classes,
)
from cosmolib.interpretation.experiments import explain, load_subject
from cosmolib.plots import attribution as plots_attribution
from cosmolib.plots import sanity_checks as plots_sanity_checks
from cosmolib.plots import style as plots_style
from cosmolib.plots import validation as plots_validation
from cosmolib.study import io, provenance, registry
from cosmolib.study import run as study_run
from cosmolib.study.profile import load_profile
from cosmolib.training.run import evaluate_pretrained, pretrained_name
from cosmolib.training.scores import as_estimate, as_text

started = time.perf_counter()
plots_style.use_style()

# %% [markdown]
# ## Maps and networks
#
# The maps are test maps, spread evenly over the test simulations, the same places in each suite. The
# networks are the uncut ones; each explains its own suite. A network that was brought along is shown
# the maps of each suite in that suite's own scaling. The checks and the other baselines are done on
# some of the maps, for time.

# %% tags=["hide-input"]
config = load_profile(profile, **({"data_dir": data_dir} if data_dir else {}))
targets = [name for name in ("Omega_m", "sigma_8") if name in config.targets]
column = {t: config.targets.index(t) for t in targets}
study = pretrained_name(config, weights) if weights else config.name
architecture = "o3" if weights else config.architecture
shown = [suite] if suite else config.suites


def run_of(name, cut="none", number=0, folder=study):
    """Run of a suite: of the training that is explained, or of another."""
    number = number or seed or config.seeds[0]
    return study_run.Run(folder, name, cut, architecture, number, runs_dir)


subjects = {}
for name in shown:
    if weights:
        evaluate_pretrained(run_of(name), config, weights)
    subjects[name] = load_subject(run_of(name), config)
feedback = next((name for name in shown if not name.startswith("Nbody_")), shown[0])
main = subjects[feedback]
few = main.some(config.attribution_check_maps)
numbers = {name: (s.simulations, config.bootstrap_samples) for name, s in subjects.items()}
few_numbers = few.simulations, config.bootstrap_samples
count = len(np.unique(main.simulations))
print(f"{len(main.x)} test maps of {count} simulations of each suite; {len(few.x)} for the checks")

# %% [markdown]
# ## The methods
#
# With $f$ the predicted parameter and $x$ the scaled log-density map:
#
# - **Saliency** {cite}`Simonyan2014`: the gradient $\partial f / \partial x_i$, here with its sign. It
#   says what a small change of a pixel would do, not what the pixel did.
# - **Integrated Gradients** {cite}`Sundararajan2017`: $(x_i - x'_i)$ times the mean gradient on the
#   straight line from a {term}`baseline <Baseline>` $x'$. Its sum over the map is $f(x) - f(x')$.
# - **GradientSHAP** {cite}`Lundberg2017`: the same with baselines drawn from training maps and random
#   points on the lines, so that it estimates the expectation over "another map".
#
# Written out, the attribution of pixel $i$ is
#
# $$
# \begin{gathered}
# S_i = \frac{\partial f}{\partial x_i} , \qquad
# A_i = (x_i - x'_i) \int_0^1 \frac{\partial f}{\partial x_i}
#   \big(x' + \alpha\,(x - x')\big)\, d\alpha , \\
# \sum_i A_i = f(x) - f(x') ,
# \end{gathered}
# $$ (eq-attribution)
#
# for Saliency and for Integrated Gradients, whose {term}`completeness <Completeness>` is the last of the
# three; GradientSHAP is the mean of $A_i$'s integrand over random $x'$ and $\alpha$.
#
# :::{margin}
# A pixel of zero in the scaled map has the mean log-density: with zero as baseline, what is near that
# density gets little attribution by construction.
# :::
#
# All are Captum's {cite}`Kokhlikyan2020`, with the network in evaluation mode. A fourth, **SmoothGrad**
# {cite}`Smilkov2017`, is the mean gradient of noisy copies of the map; it is shown where its noise
# matters. The baseline of {term}`Integrated Gradients` is zero in the scaled map. That is the *mean
# log-density* of the training pixels, not a void: pixels near it get little attribution by
# construction {cite}`Sturmfels2020`. Five other baselines follow below.

# %% tags=["hide-input"]
found = {
    (name, t, method): explain(subject, method, column[t], config)
    for name, subject in subjects.items()
    for t in targets
    for method in METHODS
}
part = experiments.spread(len(main.x), config.attribution_check_maps)  # the maps of `few`
more = {"smooth_grad": None}  # for the checks; with the methods of the profile's plugins
more |= {method: "mean_log" if takes_baseline(method) else None for method in registry.METHODS}
name_of = {
    method: plots_attribution.METHOD_NAMES.get(method, method) for method in (*METHODS, *more)
}
of_few = {
    t: {
        **{method: found[feedback, t, method].values[part] for method in METHODS},
        **{method: explain(few, method, column[t], config).values for method in more},
    }
    for t in targets
}

# %% mystnb={"figure": {"name": "fig-attribution-gallery", "caption": "Density and attribution of the predicted $\\Omega_m$ on three test maps of the suite with feedback (Lite: a proxy). Red raises the prediction, blue lowers it; each attribution map is scaled by its own 99 % quantile."}, "image": {"alt": "Rows of square maps. The first column is the density, bright knots and filaments; the others show red and blue pixels of signed attribution by Saliency, Integrated Gradients and GradientSHAP, in patterns that follow structures of the density to a different degree."}} tags=["hide-input"]
rows = experiments.spread(len(main.x), 3)
fig, axes = plots_attribution.attribution_gallery(
    main.maps[rows],
    {
        plots_attribution.METHOD_NAMES[method]: found[feedback, targets[0], method].values[rows]
        for method in METHODS
    },
    [f"{LABELS['Omega_m']} = {value:.2f}" for value in main.params[rows, 0]],
    main.box_size,
)

# %% [markdown]
# ### Explore
#
# Pick a map, a parameter, a method and a baseline. The gallery is part of the page: it needs no kernel
# and no connection. Where maps are larger than $64^2$ pixels it shows averages.

# %% tags=["hide-input"]
gallery = main.some(6)
baseline_names = {
    "mean_log": "mean log-density",
    "uniform": "uniform, own mean",
    "void": "deepest void",
    "blurred": "blurred map",
    "noise": "white noise",
    "training": "training maps",
}
choices = [("saliency", None), *more.items()]
choices += [("integrated_gradients", name) for name in BASELINES]
choices += [("gradient_shap", name) for name in ("training", "uniform", "void")]
entries = {
    (t.replace("_", " "), name_of[method], baseline_names.get(b, "none")): (
        explain(gallery, method, column[t], config, b).values
    )
    for t in targets
    for method, b in choices
}
shown_methods = [
    (plots_attribution.METHOD_NAMES[method], baseline_names.get(base, "none"))
    for method, base in (choices[0], choices[2], choices[-3])
]
titles = [
    f"{i + 1}: Omega m = {om:.2f}, sigma 8 = {s8:.2f}"
    for i, (om, s8) in enumerate(gallery.params[:, :2])
]
still, _ = plots_attribution.attribution_gallery(
    gallery.maps[:2],
    {name: entries[targets[0].replace("_", " "), name, base][:2] for name, base in shown_methods},
    [f"map {i + 1}" for i in range(2)],
    main.box_size,
)
alt = "Density of two maps and their attributions by three methods, the first choices of the menus"
HTML(
    explorer.attribution_explorer(
        gallery.maps, entries, titles, main.box_size, plots_style.DENSITY_RANGE, still, alt
    )
)

# %% [markdown]
# ## By density
#
# Absolute attribution, summed over pixels of like {term}`overdensity <Overdensity>` $\delta = \Sigma / \bar\Sigma - 1$ of
# their own map. Per pixel it is given in units of the mean over all pixels, so that 1 is what a spread
# at random would give; the total is compared with the share of the pixels. Intervals hold 95 % and
# resample whole simulations.

# %% mystnb={"figure": {"name": "fig-attribution-density", "caption": "Attribution against density for the suite with feedback (Lite: a proxy), three methods. Top: absolute attribution a pixel, relative to the mean pixel (dotted: chance). Bottom: share of the total, with the share of the pixels in grey. Bars: 95 % over simulations."}, "image": {"alt": "Two columns for Omega_m and sigma_8. Upper panels: attribution a pixel against one plus delta on logarithmic axes, three lines with error bars around a dotted line at one. Lower panels: share of all attribution in each density bin, over a grey histogram of the pixels that peaks below mean density."}} tags=["hide-input"]
edges = 10 ** np.arange(-1, 1.76, 0.25)  # of 1 + delta; 1 is an edge
binned = {
    key: by_value(a.values, subjects[key[0]].density, edges, *numbers[key[0]])
    for key, a in found.items()
}
fraction = binned[feedback, targets[0], "saliency"]["fraction"]
fig, axes = plots_attribution.by_value(
    edges,
    {t: {method: binned[feedback, t, method] for method in METHODS} for t in targets},
    fraction,
    r"$1 + \delta$",
)

# %% mystnb={"figure": {"name": "fig-attribution-suites", "caption": "Integrated Gradients as above, for the network of each suite: with feedback (Lite: a proxy) and gravity only. Bars: 95 % over simulations."}, "image": {"alt": "Two columns for Omega_m and sigma_8, each with attribution a pixel above and share of the total below, against density; one line a suite, with error bars that show how far the two agree."}} tags=["hide-input"]
fig, axes = plots_attribution.by_value(
    edges,
    {
        t: {plots_style.suite_label(n): binned[n, t, "integrated_gradients"] for n in shown}
        for t in targets
    },
    fraction,
    r"$1 + \delta$",
)

# %% [markdown]
# ## By class of the cosmic web
#
# Each pixel is a void, filament or halo by the number of axes along which matter collapses on it: the
# eigenvalues above {glue:text}`interpretation_collapse:.1f` of the tidal tensor of the projected density, smoothed with {glue:text}`interpretation_smoothing:.1f` Mpc/$h$. These
# are classes of a slab seen in projection. The smoothing is a choice: it is varied below.

# %% mystnb={"figure": {"name": "fig-attribution-class", "caption": "Share of the absolute attribution by class of the cosmic web in the suite with feedback (Lite: a proxy), and the share of the pixels (grey). Bars: 95 % over simulations."}, "image": {"alt": "Two bar charts for Omega_m and sigma_8. Grey bars give the share of pixels that are void, filament and halo; three coloured markers with error bars on each give the share of the attribution by the three methods."}} tags=["hide-input"]
by_web = {
    key: by_class(a.values, subjects[key[0]].classes, *numbers[key[0]]) for key, a in found.items()
}
fig, axes = plots_attribution.attribution_by_class(
    WEB_CLASSES,
    {t: {method: by_web[feedback, t, method]["share"] for method in METHODS} for t in targets},
    by_web[feedback, targets[0], "saliency"]["fraction"],
)

# %% mystnb={"figure": {"name": "fig-attribution-smoothing", "caption": "Share of the absolute attribution (Integrated Gradients) of each class against the smoothing that defines the classes, in the suite with feedback (Lite: a proxy). Thin lines: share of the pixels. Bars: 95 % over simulations."}, "image": {"alt": "Two panels for Omega_m and sigma_8. Three thick lines with markers for void, filament and halo against the smoothing scale, each beside a thin line of the same colour for the share of the pixels."}} tags=["hide-input"]
scales = [0.4, 0.5, 0.75, 1.0, 1.5, 2.0]  # [Mpc/h]
smoothed = {
    scale: {
        t: by_class(
            found[feedback, t, "integrated_gradients"].values,
            web_classes(main.maps, main.box_size, smoothing=scale),
            *numbers[feedback],
        )
        for t in targets
    }
    for scale in scales
}
fig, axes = plots_attribution.by_smoothing(
    scales,
    {t: [smoothed[scale][t]["share"] for scale in scales] for t in targets},
    np.array([smoothed[scale][targets[0]]["fraction"] for scale in scales]),
    WEB_CLASSES,
)

# %% [markdown]
# ## By distance to peaks and voids
#
# Peaks are local maxima of the density smoothed with {glue:text}`interpretation_smoothing:.1f` Mpc/$h$ that rise above $\delta$ = {glue:text}`interpretation_peak:.0f`. Void
# centres are those of discs emptier than $\delta$ = {glue:text}`interpretation_empty:.1f` on average, the largest first, which do not
# overlap: the finder of Banerjee & Dalal {cite}`Banerjee2016`, which Pylians has for 3-D fields, on
# the 2-D map.

# %% mystnb={"figure": {"name": "fig-attribution-peaks", "caption": "Attribution against the distance to the nearest density peak, suite with feedback (Lite: a proxy). Top: absolute attribution a pixel, relative to the mean pixel (dotted: chance). Bottom: share of the total, with that of the pixels in grey. Bars: 95 % over simulations."}, "image": {"alt": "Two columns for Omega_m and sigma_8. Upper panels: attribution a pixel against distance to the nearest peak for three methods, around a dotted line at one. Lower panels: shares of the total over a grey histogram of the pixels."}} tags=["hide-input"]
peak_edges = np.array([0, 0.6, 1.2, 2, 3, 4.5, 6.5, 10]) * main.box_size / 25  # [Mpc/h]
to_peak = distance_to(density_peaks(main.maps, main.box_size), main.box_size)
by_peak = {
    (t, m): by_value(found[feedback, t, m].values, to_peak, peak_edges, *numbers[feedback])
    for t in targets
    for m in METHODS
}
fig, axes = plots_attribution.by_value(
    peak_edges,
    {t: {m: by_peak[t, m] for m in METHODS} for t in targets},
    by_peak[targets[0], "saliency"]["fraction"],
    "distance to the nearest peak [Mpc/$h$]",
    log=False,
)

# %% mystnb={"figure": {"name": "fig-attribution-voids", "caption": "The same against the distance to the nearest void centre."}, "image": {"alt": "Two columns for Omega_m and sigma_8. Upper panels: attribution a pixel against distance to the nearest void centre for three methods, around a dotted line at one. Lower panels: shares of the total over a grey histogram of the pixels."}} tags=["hide-input"]
void_edges = np.array([0, 0.6, 1.2, 1.8, 2.5, 3.3, 4.5, 8]) * main.box_size / 25  # [Mpc/h]
to_void = distance_to(void_centres(main.maps, main.box_size) > 0, main.box_size)
by_void = {
    (t, m): by_value(found[feedback, t, m].values, to_void, void_edges, *numbers[feedback])
    for t in targets
    for m in METHODS
}
fig, axes = plots_attribution.by_value(
    void_edges,
    {t: {m: by_void[t, m] for m in METHODS} for t in targets},
    by_void[targets[0], "saliency"]["fraction"],
    "distance to the nearest void centre [Mpc/$h$]",
    log=False,
)

# %% [markdown]
# ## By scale
#
# The power of the signed attribution map in bands of wavenumber, against the share of the modes (what
# white noise would have), and its coherence with the log-density it explains: 1 where it follows the
# structures, 0 where it has a pattern of its own.

# %% mystnb={"figure": {"name": "fig-attribution-bands", "caption": "Share of the attribution's power by Fourier band, and its coherence with the scaled log-density, suite with feedback (Lite: a proxy). Grey bars: share of the modes; grey dashes: share of the density's own power. Bars: 95 % over simulations."}, "image": {"alt": "Two columns for Omega_m and sigma_8. Upper panels: share of power in bands of wavenumber for three methods, over grey bars that grow with wavenumber and grey dashes that fall. Lower panels: coherence with the density for the three methods, falling with wavenumber."}} tags=["hide-input"]
fundamental, grid = 2 * np.pi / main.box_size, main.x.shape[-1]
band_edges = np.array([0, *2.0 ** np.arange(-1, 7)]) * 25 / main.box_size  # [h/Mpc]
corner = fundamental * grid / 2**0.5
band_edges = np.append(band_edges[band_edges < corner], 1.01 * corner).round(2)
field = {name: s.x[:, 0].numpy() for name, s in subjects.items()}
bands = {
    key: by_band(
        a.values, field[key[0]], band_edges, numbers[key[0]][0], main.box_size, numbers[key[0]][1]
    )
    for key, a in found.items()
}
first_band = bands[feedback, targets[0], "integrated_gradients"]
fig, axes = plots_attribution.by_band(
    band_edges,
    {t: {m: bands[feedback, t, m] for m in METHODS} for t in targets},
    first_band["fraction"],
    first_band["field_share"],
)

# %% [markdown]
# ## Both suites, mean and error bar
#
# The same summaries for the network of each suite, and for what moves the predicted *standard
# deviation* in place of the mean (Integrated Gradients).

# %% tags=["hide-input"]
of_std = {t: explain(few, "integrated_gradients", column[t], config, output="std") for t in targets}


def shares(subject, values):
    """Shares of an attribution where the pixels are under-dense, voids and halos."""
    use = subject.simulations, config.bootstrap_samples
    web = by_class(values, subject.classes, *use)["share"]
    side = over_to_under(values, subject.density - 1, *use)
    return {
        "over- to under-dense, a pixel": side["over_to_under_per_pixel"],
        "under-dense": side["under_share"],
        "void": as_estimate(web[0]),
        "halo": as_estimate(web[2]),
    }


where = {
    (plots_style.suite_label(n), t, plots_attribution.METHOD_NAMES[m]): shares(
        subjects[n], found[n, t, m].values
    )
    for n in shown
    for t in targets
    for m in METHODS
}
where |= {
    (
        plots_style.suite_label(feedback),
        f"standard deviation of {t}",
        "Integrated Gradients",
    ): shares(few, of_std[t].values)
    for t in targets
}
table = pd.DataFrame(
    [{key: as_text(e) for key, e in row.items()} for row in where.values()],
    index=pd.MultiIndex.from_tuples(where, names=["suite", "predicted", "method"]),
)
table.loc[("share of the pixels", "", "")] = [
    "1",
    *(f"{(x).mean():.2f}" for x in (main.density < 1, main.classes == 0, main.classes == 2)),
]
table  # noqa: B018  shown

# %% [markdown]
# ## Does the baseline decide?
#
# Six things that could count as "nothing there": the mean log-density, a uniform map at the box's own
# mean density, the deepest void of the training maps everywhere, the map blurred to an eighth of the
# box, white noise, and training maps. Integrated Gradients take one baseline map for each map,
# {term}`GradientSHAP` draws from all of them.

# %% tags=["hide-input"]
by_baseline = {
    (method, b, t): of_few[t][method]
    if b == experiments.USUAL_BASELINE[method]
    else explain(few, method, column[t], config, b).values
    for method in METHODS[1:]
    for b in BASELINES
    for t in targets
}
under = {key: experiments.under_share(few, v, config) for key, v in by_baseline.items()}
like_first = {
    key: mean_estimate(
        sanity_checks.rank_correlation(values, by_baseline[key[0], "mean_log", key[2]]),
        *few_numbers,
    )
    for key, values in by_baseline.items()
}

# %% mystnb={"figure": {"name": "fig-attribution-baselines", "caption": "Under-dense share of the absolute attribution with each baseline, suite with feedback (Lite: a proxy); dotted: share of the pixels. A baseline gives little attribution to pixels that look like it. Bars: 95 % over simulations."}, "image": {"alt": "Two panels for Omega_m and sigma_8. For each of six baselines two markers with error bars, Integrated Gradients and GradientSHAP, give the share of the attribution in under-dense pixels; they are spread widely around a dotted line at the share of the pixels."}} tags=["hide-input"]
under_pixels = float((few.density < 1).mean())
fig, axes = plots_attribution.by_baseline(
    list(baseline_names.values()),
    {t: {m: [under[m, b, t] for b in baseline_names] for m in METHODS[1:]} for t in targets},
    under_pixels,
)

# %% tags=["hide-input"]
void_share = {
    key: as_estimate(by_class(values, few.classes, *few_numbers)["share"][0])
    for key, values in by_baseline.items()
}
pd.DataFrame(
    [
        {
            "parameter": t,
            "method": plots_attribution.METHOD_NAMES[m],
            "baseline": baseline_names[b],
            "under-dense share": as_text(under[m, b, t]),
            "void share": as_text(void_share[m, b, t]),
            "rank correlation with the first": as_text(like_first[m, b, t]),
        }
        for t in targets
        for m in METHODS[1:]
        for b in baseline_names
    ]
).set_index(["parameter", "method", "baseline"])

# %% [markdown]
# ## Checks
#
# ### Is the sum complete?
#
# Integrated Gradients must sum to the difference between the prediction and that of the baseline. The
# steps of a map are tripled until the relative error is below the profile's tolerance, at most three
# times. GradientSHAP is an average over a few random draws and is complete only in expectation; its
# error shows how noisy single maps are.

# %% mystnb={"figure": {"name": "fig-completeness", "caption": "Completeness error relative to f(x) - f(baseline), cumulative over the maps. Dotted: 1 %. Maps whose prediction happens to equal that of the baseline have a large relative error."}, "image": {"alt": "Cumulative step lines on a logarithmic axis of relative error; the lines of Integrated Gradients end near a dotted vertical line at one percent, those of GradientSHAP lie far to the right of it."}} tags=["hide-input"]
fig, axes = plots_attribution.completeness(
    {
        f"{plots_attribution.METHOD_NAMES[method]}, {LABELS[t]}": found[
            feedback, t, method
        ].completeness
        for method in METHODS[1:]
        for t in targets
    }
)

# %% tags=["hide-input"]
raised = {(n, t): found[n, t, "integrated_gradients"] for n in shown for t in targets}
pd.DataFrame(
    [
        {
            "suite": plots_style.suite_label(n),
            "parameter": t,
            "median error [%]": f"{100 * np.median(a.completeness):.2f}",
            "maps below the tolerance": f"{(a.completeness <= config.ig_tolerance).mean():.2f}",
            "mean steps": f"{a.n_steps.mean():.0f}",
            "most steps": int(a.n_steps.max()),
        }
        for (n, t), a in raised.items()
    ]
).set_index(["suite", "parameter"])

# %% [markdown]
# ### Random weights, shuffled labels, other seeds
#
# A network that has learnt nothing should not give the attributions of one that has
# {cite}`Adebayo2018`. The trained network is randomised from its answer down to its input, one stage
# after the other. Then a network whose labels were shuffled among the simulations, and networks that
# differ from the first in nothing but their seed: those *should* agree with it. The rank correlation
# is of absolute attributions, map by map; what keeps it above zero for a random network is the map
# itself, by which Integrated Gradients multiply. The correlation of signed attributions is harder to
# fool, but look at the shuffled labels before you trust it: the table at the end has both parameters.

# %% tags=["hide-input"]
others = {}
if not weights:
    shuffled = run_of(feedback, folder=config.shuffled.name)
    if shuffled.complete:
        others["shuffled labels"] = load_subject(shuffled, config).network
    for number in config.attribution_seeds:
        if number != (seed or config.seeds[0]) and run_of(feedback, number=number).complete:
            run = run_of(feedback, number=number)
            others[f"seed {number}"] = load_subject(run, config).network
wanted = ["shuffled labels"]
wanted += [f"seed {n}" for n in config.attribution_seeds if n != (seed or config.seeds[0])]
for label in wanted:
    if label not in others:
        reason = "the network was trained elsewhere" if weights else "it has no complete run"
        print(f"Left out: {label}, because {reason}.")
every = [*METHODS, *more]
random = {t: experiments.randomisation(few, every, column[t], config, others) for t in targets}

# %% mystnb={"figure": {"name": "fig-randomisation", "caption": "Likeness of the attribution of $\\Omega_m$ to that of the trained network, as its stages are randomised from the answer to the input, and for other networks. Left: rank correlation of absolute attributions; right: correlation with their signs. Suite with feedback (Lite: a proxy). Bars: 95 % over simulations."}, "image": {"alt": "Two panels of correlation against what was randomised last, from FC2 to the first block, then shuffled labels and other seeds. In the right panel the lines of all four methods fall to zero within three stages; in the left panel that of Integrated Gradients stays well above zero."}} tags=["hide-input"]
fig, axes = plots_sanity_checks.cascade(
    random[targets[0]]["stages"],
    [random[targets[0]][key] for key in ("rank", "signed")],
    ["rank correlation of |attribution|", "correlation of attribution"],
)

# %% [markdown]
# ### Do the methods agree?

# %% mystnb={"figure": {"name": "fig-agreement", "caption": "Mean rank correlation, map by map, of the absolute attributions of the methods, and of the density, for the suite with feedback (Lite: a proxy)."}, "image": {"alt": "Two tables of numbers on colour for Omega_m and sigma_8: rank correlation of each pair among Saliency, Integrated Gradients, GradientSHAP, SmoothGrad, the density and its distance from the mean; ones on the diagonal, much smaller numbers beside it."}} tags=["hide-input"]
compared = {
    t: {name_of[m]: values for m, values in of_few[t].items()}
    | {"density": few.maps, "|log-density|": few.x[:, 0].numpy()}
    for t in targets
}
names = list(compared[targets[0]])
matrices = {
    t: np.array(
        [
            [np.nanmean(sanity_checks.rank_correlation(tables[a], tables[b])) for b in names]
            for a in names
        ]
    )
    for t, tables in compared.items()
}
fig, axes = plots_sanity_checks.agreement(
    names, list(matrices.values()), [f"of {LABELS[t]}" for t in targets]
)

# %% [markdown]
# ### Does it move with the map?
#
# The boxes are periodic and have no orientation, and the network is trained on turned, mirrored and
# shifted maps. Its predictions hardly change; its attributions do, because strides tie them to a grid
# of the network's own. Only a shift by a multiple of all strides leaves them as they are. The share of
# under-dense pixels does not mind; but where the attributions of all moved maps are moved back and
# averaged, what is of the grid cancels, and the share of what remains is another one.

# %% tags=["hide-input"]
moved = {t: experiments.under_moves(few.some(32), METHODS[:2], column[t], config) for t in targets}

# %% mystnb={"figure": {"name": "fig-equivariance", "caption": "Attribution of $\\Omega_m$ on turned, mirrored and shifted maps, moved back. Left: its correlation with that of the maps as they are. Right: its under-dense share; dotted: share of the pixels. Suite with feedback (Lite: a proxy). Bars: 95 % over simulations."}, "image": {"alt": "Two panels with a row for each of eleven transformations. Left: correlations, one for the first row and for the shift by a quarter of the map, well below one for all others. Right: under-dense shares, nearly equal in all rows."}} tags=["hide-input"]
panel = moved[targets[0]]
fig, axes = plots_sanity_checks.transformations(
    panel["names"],
    [panel["correlation"], panel["under_share"]],
    ["correlation with the unmoved", "under-dense share"],
    [None, under_pixels],
)

# %% [markdown]
# ### Hide and show pixels in order
#
# If attribution finds the pixels that matter, hiding those of the largest attribution first should move
# the prediction faster than any other order, and showing them first should bring it back soonest
# {cite}`Petsiuk2018`. The controls are a random order and the density itself. Hidden pixels get the
# mean log-density.

# %% mystnb={"figure": {"name": "fig-replacement", "caption": "Mean distance of the predicted $\\Omega_m$ from that of the whole map, as pixels are hidden (left) or shown (right), the first in each order first. Suite with feedback (Lite: a proxy)."}, "image": {"alt": "Two panels of distance against share of pixels. Left, lines rise from zero as pixels are hidden, fastest for the densest first and for Integrated Gradients; right, lines fall to zero as pixels are shown."}} tags=["hide-input"]
steps = np.linspace(0, 1, 26)
in_order = {t: experiments.replacement(few, of_few[t], column[t], steps) for t in targets}
curves = in_order[targets[0]]
fig, axes = plots_sanity_checks.replacement(
    steps,
    {order: values.mean(0) for order, values in curves["deletion"].items()},
    {order: values.mean(0) for order, values in curves["insertion"].items()},
    "distance, in units of the prior range",
)

# %% tags=["hide-input"]
areas = {
    (t, key, order): mean_estimate(values.mean(1), *few_numbers)
    for t in targets
    for key, orders in in_order[t].items()
    for order, values in orders.items()
}
pd.DataFrame(
    {
        (t, f"{key}, mean distance"): {
            plots_attribution.METHOD_NAMES.get(order, order): as_text(areas[t, key, order], 3)
            for order in in_order[t][key]
        }
        for t in targets
        for key in ("deletion", "insertion")
    }
)

# %% [markdown]
# ### Without gradients: occlusion, infidelity, sensitivity
#
# Occlusion replaces a region by the mean log-density and reads what the prediction does. Integrated
# Gradients with the same baseline should say the same, region by region. Captum's infidelity
# {cite}`Yeh2019` asks that of random patches (0 is perfect, 1 is an attribution of zero); its
# sensitivity is the relative change of an attribution under noise of {glue:text}`interpretation_radius:.2f` standard deviations.

# %% tags=["hide-input"]
patch = grid // 8
occluded = {
    t: experiments.occlusion(few, of_few[t]["integrated_gradients"], column[t], config, patch)
    for t in targets
}
pd.DataFrame(
    [
        {
            "parameter": t,
            "patches, a map": as_text(o["patch"]),
            **{
                f"{name}, over maps": f"{value:.2f}"
                for name, value in zip(WEB_CLASSES, o["class"], strict=True)
            },
            "change by hiding all under-dense": as_text(o["density"]["under"], 3),
            "all over-dense": as_text(o["density"]["over"], 3),
        }
        for t, o in occluded.items()
    ]
).set_index("parameter").rename_axis("correlation of occlusion with Integrated Gradients")

# %% tags=["hide-input"]
faithful = {t: experiments.faithfulness(few, every, column[t], config) for t in targets}
pd.DataFrame(
    {
        (t, key): {name_of[row["method"]]: row[key] for row in rows}
        for t, rows in faithful.items()
        for key in ("infidelity", "sensitivity")
    }
).round(2)

# %% [markdown]
# ## With noise
#
# Integrated Gradients of the networks that were trained with white noise (chapter 06 has their $R^2$),
# on noisy maps of the same places. A pixel is counted as under-dense, or as a void, by what is there
# without the noise. In weak-lensing maps noise moved the attribution from voids to peaks
# {cite}`Matilla2020`.

# %% tags=["hide-input"]
noise_runs = {}
for cut in config.controls if not weights else []:
    noise, base = Cut.parse(cut).noise, Cut.parse(cut).kind
    if noise and noise[0] == "white" and base == "none" and run_of(feedback, cut).complete:
        noise_runs[noise[1]] = run_of(feedback, cut)
noise_levels = sorted(noise_runs)
noise_shares = {"under-dense": [], "void": []}
for level in noise_levels:
    noisy = load_subject(noise_runs[level], config).some(config.attribution_check_maps)
    values = {t: explain(noisy, "integrated_gradients", column[t], config).values for t in targets}
    for label, key in (("under-dense", "under-dense"), ("void", "void")):
        noise_shares[label].append({t: shares(noisy, values[t])[key] for t in targets})

# %% mystnb={"figure": {"name": "fig-attribution-noise", "caption": "Share of the absolute attribution (Integrated Gradients) that lies on under-dense pixels and on voids of the cosmic web, against the white noise in the maps, with the share of the pixels in grey, for the suite with feedback (Lite: a proxy). Bars: 95 % over simulations."}, "image": {"alt": "Two panels for Omega_m and sigma_8 of the share of attribution against the level of noise; one line for under-dense pixels and one for voids."}} tags=["hide-input"]
if len(noise_levels) < 2:
    reason = "this network was trained elsewhere" if weights else "two levels of noise are needed"
    print(f"Left out: {len(noise_levels)} complete runs with white noise; {reason}.")
else:
    fig, axes = plots_validation.by_noise(
        noise_levels,
        noise_shares,
        targets,
        "share of attribution",
        chance={
            "under-dense": float((main.density < 1).mean()),
            "void": float((main.classes == 0).mean()),
        },
    )

# %% [markdown]
# ## Beside retraining
#
# Attribution says how much of an *answer* comes from some pixels; cutting them and training again says
# how much cannot be had without them. One point for each density cut: the share of the absolute
# attribution (Integrated Gradients) that lies on the pixels which the cut hides, and the $R^2$ that is
# lost. If both meant information, the points would rise together.

# %% mystnb={"figure": {"name": "fig-attribution-retraining", "caption": "Attribution share of the pixels that a density cut hides, against the $R^2$ lost when the network is trained without them. Filled: first suite (Lite: with a feedback proxy); hollow: gravity only. Grey ticks: share of the pixels. Bars: 95 % over simulations."}, "image": {"alt": "Two scatter plots for Omega_m and sigma_8 of R2 lost against attribution share, a marker for each density cut and suite with error bars both ways, and a grey tick at the share of the pixels."}} tags=["hide-input"]
retrained = []
if not weights:
    retrained = experiments.against_retraining(
        subjects,
        {(n, t): found[n, t, "integrated_gradients"].values for n in shown for t in targets},
        config,
        runs_dir,
    )
agreement = {t: experiments.rank_agreement(retrained, t) for t in targets}
if retrained:
    fig, axes = plots_sanity_checks.attribution_against_retraining(retrained, targets)
else:
    reason = "the network was trained elsewhere" if weights else "no density cut has a complete run"
    print(f"Left out: {reason}.")

# %% tags=["remove-input"]
ig = {t: found[feedback, t, "integrated_gradients"].values for t in targets}
moved_names = {
    "mean_log": "mean log-density",
    "uniform": "uniform, own mean",
    "void": "deepest void",
}
sides = {
    (b, t): over_to_under(by_baseline["integrated_gradients", b, t], few.density - 1, *few_numbers)
    for b in moved_names
    for t in targets
}
sides |= {
    ("mean_log", t): over_to_under(ig[t], main.density - 1, *numbers[feedback]) for t in targets
}
ledger = {  # what claim 3 is judged by
    b: {
        key: {t: sides[b, t][key] for t in targets}
        for key in ("over_to_under_per_pixel", "under_share")
    }
    for b in moved_names
}
void_pixels, halo_pixels = (float((main.classes == code).mean()) for code in (0, 2))
for short, t in (("om", "Omega_m"), ("s8", "sigma_8")):
    known = t in targets
    summary = {}
    if known:
        spread_of = {m: [under[m, b, t]["value"] for b in BASELINES] for m in METHODS[1:]}
        every_share = [value for values in spread_of.values() for value in values]
        label = plots_style.suite_label(feedback)
        web = where[label, t, "Integrated Gradients"]
        twin = next((n for n in shown if n != feedback), None)
        signed = random[t]["signed"]["integrated_gradients"]
        by_stage = dict(zip(random[t]["stages"], signed, strict=True))
        first_block = [e for stage, e in by_stage.items() if not stage.startswith(("seed", "shuf"))]
        seeds_like = [e["value"] for stage, e in by_stage.items() if stage.startswith("seed")]
        coherent = bands[feedback, t, "integrated_gradients"]
        deletion = {order: areas[t, "deletion", order] for order in in_order[t]["deletion"]}
        followed = moved[t]["correlation"]["integrated_gradients"][1:-1]
        summary = {
            "ratio": web["over- to under-dense, a pixel"],
            "share": web["under-dense"],
            "twin_share": where[plots_style.suite_label(twin), t, "Integrated Gradients"][
                "under-dense"
            ]
            if twin
            else None,
            "saliency_share": where[label, t, "Saliency"]["under-dense"],
            "void": web["void"],
            "halo": web["halo"],
            "std_share": where[label, f"standard deviation of {t}", "Integrated Gradients"][
                "under-dense"
            ],
            "averaged": moved[t]["averaged"]["integrated_gradients"],
            "patches": occluded[t]["patch"],
            "random": first_block[-1],
            "shuffled": by_stage.get("shuffled labels"),
            "retraining": agreement[t],
            "coherence_low": as_estimate(coherent["coherence"][1]),
            "coherence_high": as_estimate(coherent["coherence"][-2]),
            "deletion": deletion["integrated_gradients"],
            "deletion_dense": deletion["densest first"],
            "deletion_random": deletion["random"],
        }
        glue(f"interpretation_share_low_{short}", float(min(every_share)), display=False)
        glue(f"interpretation_share_high_{short}", float(max(every_share)), display=False)
        glue(
            f"interpretation_seeds_{short}",
            f"{np.mean(seeds_like):.2f}" if seeds_like else "not run",
            display=False,
        )
        glue(
            f"interpretation_moved_{short}",
            float(np.mean([e["value"] for e in followed])),
            display=False,
        )
    else:
        for key in ("share_low", "share_high", "seeds", "moved"):
            glue(f"interpretation_{key}_{short}", 0.0, display=False)
    for key in (
        "ratio", "share", "twin_share", "saliency_share", "void", "halo", "std_share", "averaged",
        "patches", "random", "shuffled", "retraining", "coherence_low", "coherence_high",
        "deletion", "deletion_dense", "deletion_random",
    ):  # fmt: skip
        glue(f"interpretation_{key}_{short}", as_text(summary.get(key)), display=False)
for short, t in (("om", "Omega_m"), ("s8", "sigma_8")):
    for word, at in (("none", 0), ("most", -1)):
        share = noise_shares["under-dense"][at].get(t) if noise_levels else None
        glue(f"interpretation_noise_{word}_{short}", as_text(share), display=False)
most = f"{noise_levels[-1]:g}" if noise_levels else "not in this profile"
glue("interpretation_noise_level", most, display=False)
origin = f"{Path(weights).name} (trained elsewhere), on maps of" if weights else "trained on"
glue("interpretation_network", f"{origin} {plots_style.suite_label(feedback)}", display=False)
glue("interpretation_maps", int(len(main.x)), display=False)
glue("interpretation_simulations", int(count), display=False)
errors = np.concatenate([a.completeness for a in raised.values()])
glue("interpretation_completeness", float(100 * np.median(errors)), display=False)
glue("interpretation_tolerance", float(100 * config.ig_tolerance), display=False)
glue("interpretation_under_pixels", float((main.density < 1).mean()), display=False)
glue("interpretation_void_pixels", void_pixels, display=False)
glue("interpretation_halo_pixels", halo_pixels, display=False)
glue("interpretation_points", int(len(retrained)), display=False)

# Claim 3 is judged by all suites of the profile: a part of them is kept apart.
choice = f"-{suite}" if suite and not weights else ""
fingerprint = io.read_json(run_of(feedback).path("provenance.json"))["data_fingerprint"]
now = provenance.provenance(config, fingerprint, time.perf_counter() - started)
io.write_json(
    Path(runs_dir) / study / "results" / f"05_interpretation{choice}.json",
    {
        "suite": feedback,
        "weights": Path(weights).name or None,
        "method": "integrated_gradients",
        "n_maps": len(main.x),
        "n_simulations": count,
        "baselines": ledger,
        "by_density": {", ".join(key): value for key, value in binned.items()},
        "by_class": {", ".join(key): value for key, value in by_web.items()},
        "by_band": {", ".join(key): value for key, value in bands.items()},
        "under_share": {", ".join(key): value for key, value in under.items()},
        "randomisation": random,
        "faithfulness": faithful,
        "retraining": retrained,
        "provenance": now,
    },
)
for key, setting in {
    "smoothing": SMOOTHING,
    "collapse": COLLAPSE,
    "peak": PEAK,
    "empty": EMPTY,
    "radius": sanity_checks.NOISE_RADIUS,
}.items():
    glue(f"interpretation_{key}", setting, display=False)

# %% [markdown]
# ## What we found
#
# For the network {glue:text}`interpretation_network:s`, on
# {glue:text}`interpretation_maps:d` test maps of {glue:text}`interpretation_simulations:d`
# simulations, with Integrated Gradients and the mean log-density as baseline; median completeness error
# {glue:text}`interpretation_completeness:.2f` %.
#
# **Where is the information?**
#
# 1. *Where the network looks:* {glue:text}`interpretation_share_om:s` ($\Omega_m$) and
#    {glue:text}`interpretation_share_s8:s` ($\sigma_8$) of all attribution lies on under-dense pixels,
#    which are {glue:text}`interpretation_under_pixels:.2f` of the area; an over-dense pixel has
#    {glue:text}`interpretation_ratio_om:s` and {glue:text}`interpretation_ratio_s8:s` times as much as
#    an under-dense one.
# 2. *In the cosmic web:* voids ({glue:text}`interpretation_void_pixels:.2f` of the area) hold
#    {glue:text}`interpretation_void_om:s` and {glue:text}`interpretation_void_s8:s` of it, halos
#    ({glue:text}`interpretation_halo_pixels:.2f`) {glue:text}`interpretation_halo_om:s` and
#    {glue:text}`interpretation_halo_s8:s`.
# 3. *With and without feedback:* the gravity-only twin has
#    {glue:text}`interpretation_twin_share_om:s` and {glue:text}`interpretation_twin_share_s8:s` on
#    under-dense pixels, and the predicted standard deviations
#    {glue:text}`interpretation_std_share_om:s` and {glue:text}`interpretation_std_share_s8:s`.
# 4. *By scale:* the attribution follows the density at large scales (coherence
#    {glue:text}`interpretation_coherence_low_om:s`, {glue:text}`interpretation_coherence_low_s8:s`) and
#    has a pattern of its own at small ones ({glue:text}`interpretation_coherence_high_om:s`,
#    {glue:text}`interpretation_coherence_high_s8:s`).
# 5. *Is that what retraining loses?* Over {glue:text}`interpretation_points:d` density cuts the rank
#    correlation of attribution share and lost $R^2$ is {glue:text}`interpretation_retraining_om:s` for
#    $\Omega_m$ and {glue:text}`interpretation_retraining_s8:s` for $\sigma_8$: near 1 the two notions
#    of information agree, near 0 they do not.
#
# {numref}`tab-checks` has what would make it wrong, measured.
#
# :::{table} What would make the picture above wrong, measured.
# :name: tab-checks
#
# | | density $\Omega_m$ | clustering $\sigma_8$ |
# |---|---|---|
# | under-dense share, range over six baselines and two methods | {glue:text}`interpretation_share_low_om:.2f` to {glue:text}`interpretation_share_high_om:.2f` | {glue:text}`interpretation_share_low_s8:.2f` to {glue:text}`interpretation_share_high_s8:.2f` |
# | the same by Saliency | {glue:text}`interpretation_saliency_share_om:s` | {glue:text}`interpretation_saliency_share_s8:s` |
# | the same, attributions averaged over moved maps | {glue:text}`interpretation_averaged_om:s` | {glue:text}`interpretation_averaged_s8:s` |
# | signed correlation with another seed | {glue:text}`interpretation_seeds_om:s` | {glue:text}`interpretation_seeds_s8:s` |
# | with random weights | {glue:text}`interpretation_random_om:s` | {glue:text}`interpretation_random_s8:s` |
# | with shuffled labels | {glue:text}`interpretation_shuffled_om:s` | {glue:text}`interpretation_shuffled_s8:s` |
# | with the moved map, moved back | {glue:text}`interpretation_moved_om:.2f` | {glue:text}`interpretation_moved_s8:.2f` |
# | correlation with occlusion, by patch | {glue:text}`interpretation_patches_om:s` | {glue:text}`interpretation_patches_s8:s` |
# | change by deletion: in order of attribution | {glue:text}`interpretation_deletion_om:s` | {glue:text}`interpretation_deletion_s8:s` |
# | densest first | {glue:text}`interpretation_deletion_dense_om:s` | {glue:text}`interpretation_deletion_dense_s8:s` |
# | at random | {glue:text}`interpretation_deletion_random_om:s` | {glue:text}`interpretation_deletion_random_s8:s` |
# :::
#
# Where the correlation with shuffled labels is as high as that with another seed, single maps of that
# parameter tell little of what was learnt. The baseline decides more than anything else: no share
# without it. Single pixels are not to be
# trusted where the attribution does not move with the map; sums over many of them are. And a method
# need not point to the signal: [chapter 07](07_validation.ipynb) measures that on planted ones.
#
# With noise the under-dense share goes from {glue:text}`interpretation_noise_none_om:s` ($\Omega_m$)
# and {glue:text}`interpretation_noise_none_s8:s` ($\sigma_8$) without any to
# {glue:text}`interpretation_noise_most_om:s` and {glue:text}`interpretation_noise_most_s8:s` at a
# white noise of {glue:text}`interpretation_noise_level:s` mean densities a pixel.
#
# **Next:** [chapter 06](06_results.ipynb) cuts regions away and trains again.

# %% [markdown]
# ## What made this page

# %% tags=["remove-input"]
asked = f" -p suite {suite}" * bool(suite) + f" -p weights {Path(weights).name}" * bool(weights)
command = f"papermill notebooks/05_interpretation.ipynb 05.ipynb -p profile {config.name}{asked}"
Markdown(provenance.what_made([("Made", command, now)], {feedback: fingerprint}))
