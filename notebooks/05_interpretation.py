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
# By Integrated Gradients, an over-dense pixel of *Lite* carries {glue:text}`interpretation_ratio_om:s` ($\Omega_m$) and
# {glue:text}`interpretation_ratio_s8:s` ($\sigma_8$) times the attribution of an under-dense pixel. This alone is no evidence:
# in untrained networks the ratio is {glue:text}`interpretation_untrained:s`, and in networks trained on shuffled labels
# {glue:text}`interpretation_shuffled:s`. Under-dense pixels are {glue:text}`interpretation_under_pixels:.2f` of the area, and
# {glue:text}`interpretation_share_om:s` and {glue:text}`interpretation_share_s8:s` of all attribution lies on them.
#
# :::{admonition} Overview
# - Three {term}`attribution <Attribution>` methods estimate which pixels a prediction of $\Omega_m$ or $\sigma_8$ depends on.
# - The attributions are summed by density, by class of the cosmic web, by distance to peaks and {term}`voids <Void>`, and by scale.
# - They are compared with those of networks that have learnt nothing. More tests have [their own page](05b_sanity_checks.ipynb).
# :::
#
# **What you need.** The uncut networks of [chapter 03](03_training.ipynb), or of the stored study that the {term}`profile <Profile>`
# names; or a [pretrained network](../book/your-data.md) and the maps of one {term}`suite <Suite>` at $256^2$ pixels.
#
# Attribution describes the network and not the Universe: [chapter 06](06_results.ipynb) measures how well a *retrained* network
# does without some of the pixels. The network of this page also sees the mean of each map, which belongs to no pixel.

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
from dataclasses import replace
from pathlib import Path

import numpy as np
from IPython.display import HTML, display

from book.explorer.gallery import subject_explorer
from cosmolib.data.cmd_format import LABELS
from cosmolib.interpretation import binned, cosmic_web, experiments, summaries
from cosmolib.interpretation.attribution import BASELINES, METHODS
from cosmolib.interpretation.subject import explain, load_subjects, spread
from cosmolib.plots import attribution as plots_attribution
from cosmolib.plots import style as plots_style
from cosmolib.study.chapter import publish, shown_study, stored_results
from cosmolib.study.profile import load_profile

started = time.perf_counter()
plots_style.use_style()

# %% [markdown]
# ## Maps and networks
#
# Each uncut network explains test maps of the same suite, a pretrained network those of every suite. Where the profile names a stored
# study, the networks are of that study.

# %%
config = load_profile(profile, **({"data_dir": data_dir} if data_dir else {}))
shown, root = (config, runs_dir) if weights else shown_study(config, runs_dir, stored_dir)
subjects = load_subjects(shown, root, suite=suite, weights=weights, seed=seed)
feedback, main = next(iter(subjects.items()))  # the first suite is the one with feedback
few, n = main.few(), len(np.unique(main.simulations))
networks = "\n".join(str(subject.run.folder) for subject in subjects.values())
print(f"{networks}\n{len(main.x)} test maps of {n} simulations, {len(few.x)} for the checks")

# %% [markdown]
# ## The methods
#
# Let $f$ be the predicted parameter and $x$ the scaled log-density map. The attribution of pixel $i$ is
#
# $$
# \begin{gathered}
# S_i = \frac{\partial f}{\partial x_i} , \qquad A_i = (x_i - x'_i) \int_0^1 \frac{\partial f}{\partial x_i} \big(x' + \alpha\,(x - x')\big)\, d\alpha , \\
# \sum_i A_i = f(x) - f(x') ,
# \end{gathered}
# $$ (eq-attribution)
#
# - **Saliency** {cite}`Simonyan2014` is $S_i$: the effect of a small change of a pixel, with its sign.
# - **Integrated Gradients** {cite}`Sundararajan2017` is $A_i$: the mean gradient on the straight line from a
#   {term}`baseline <Baseline>` $x'$ to the map, times the distance. Its sum is the change of the prediction
#   ({term}`completeness <Completeness>`).
# - **GradientSHAP** {cite}`Lundberg2017` is the mean of the integrand over training maps $x'$ and random $\alpha$.
#
# All three are Captum's {cite}`Kokhlikyan2020`, with the network in evaluation mode. The baseline of
# {term}`Integrated Gradients` is zero in the scaled map: the *mean log-density* of the training pixels, not a void. Pixels near
# that density get little attribution by construction {cite}`Sturmfels2020`; the [sanity checks](05b_sanity_checks.ipynb)
# vary the baseline.

# %%
found = {name: summaries.explain_all(subject) for name, subject in subjects.items()}
ours = found[feedback]  # attributions by parameter and method
first = next(iter(ours))  # Omega_m, where it is predicted

# %% mystnb={"figure": {"name": "fig-attribution-gallery", "caption": "Density and attribution of the predicted $\\Omega_m$ on three test maps of the suite with feedback (Lite: a proxy). Red raises the prediction, blue lowers it; each attribution map is scaled by its own 99 % quantile."}, "image": {"alt": "Rows of square maps. The first column is the density, bright knots and filaments; the others show red and blue pixels of signed attribution by Saliency, Integrated Gradients and GradientSHAP, in patterns that follow structures of the density to a different degree."}} tags=["hide-input"]
rows = spread(len(main.x), 3)
fig, axes = plots_attribution.attribution_gallery(
    main.maps[rows],
    {plots_style.METHOD_NAMES[m]: ours[first][m].values[rows] for m in METHODS},
    [f"{LABELS['Omega_m']} = {value:.2f}" for value in main.params[rows, 0]],
    main.box_size,
)

# %% [markdown]
# ### Explore
#
# Choose a map, a parameter, a method and a baseline. SmoothGrad {cite}`Smilkov2017` averages the gradient over noisy copies of a map.

# %% tags=["hide-input"]
HTML(subject_explorer(main.some(6)))

# %% [markdown]
# ## By density
#
# We sum absolute attribution over pixels of similar {term}`overdensity <Overdensity>` $\delta = \Sigma / \bar\Sigma - 1$, relative to
# the mean of their own map. Per pixel, it is in units of the mean over all pixels. The total is compared with the
# share of the pixels. Intervals are 95 % and resample whole simulations. {numref}`fig-attribution-suites` includes an untrained
# network: a dependence on density that it shares with the trained networks was not learnt.

# %%
edges = experiments.DENSITIES  # of 1 + delta; 1 is an edge
by_density = summaries.summarise(
    subjects, found, lambda s, values: binned.by_value(values, s.density, edges, *s.resampling)
)

# %% mystnb={"figure": {"name": "fig-attribution-density", "caption": "Attribution against density for the suite with feedback (Lite: a proxy), three methods. Top: absolute attribution per pixel, relative to the mean pixel (dotted: spread evenly). Bottom: share of the total, with the share of the pixels in grey. Bars: 95 % over simulations."}, "image": {"alt": "Two columns for Omega_m and sigma_8. Upper panels: attribution per pixel against one plus delta on logarithmic axes, three lines with error bars around a dotted line at one. Lower panels: share of all attribution in each density bin, over a grey histogram of the pixels that peaks below mean density."}} tags=["hide-input"]
fraction = by_density[feedback][first]["saliency"]["fraction"]  # of the pixels
fig, axes = plots_attribution.by_value(edges, by_density[feedback], fraction, r"$1 + \delta$")

# %% mystnb={"figure": {"name": "fig-attribution-suites", "caption": "Integrated Gradients as above, for the network of each suite, with feedback (Lite: a proxy) and gravity only, and for a network that was not trained. Bars: 95 % over simulations."}, "image": {"alt": "Two columns for Omega_m and sigma_8, each with attribution per pixel above and share of the total below, against density; one line per suite and one for an untrained network, with error bars."}} tags=["hide-input"]
of_suites = {
    t: {plots_style.suite_label(n): by_density[n][t]["integrated_gradients"] for n in subjects}
    for t in ours
}
null = replace(few, network=experiments.untrained_network(few))
for t, column in main.targets.items():
    values = explain(null, "integrated_gradients", column).values
    of_suites[t]["untrained"] = binned.by_value(values, few.density, edges, *few.resampling)
fig, axes = plots_attribution.by_value(edges, of_suites, fraction, r"$1 + \delta$")

# %% [markdown]
# ## By class of the cosmic web
#
# Each pixel is a void, filament or halo according to the number of axes along which matter collapses: the number of eigenvalues
# above {glue:text}`interpretation_collapse:.1f` of the tidal tensor of the projected density, smoothed with
# {glue:text}`interpretation_smoothing:.1f` Mpc/$h$. These are classes of a slab seen in projection. The smoothing is a
# choice; {numref}`fig-attribution-smoothing` varies it.

# %% mystnb={"figure": {"name": "fig-attribution-class", "caption": "Share of the absolute attribution by class of the cosmic web in the suite with feedback (Lite: a proxy), and the share of the pixels (grey). Bars: 95 % over simulations."}, "image": {"alt": "Two bar charts for Omega_m and sigma_8. Grey bars give the share of pixels that are void, filament and halo; three coloured markers with error bars on each give the share of the attribution by the three methods."}} tags=["hide-input"]
by_web = summaries.summarise(
    subjects, found, lambda s, values: binned.by_class(values, s.classes, *s.resampling)
)
shares = {t: {m: x["share"] for m, x in tables.items()} for t, tables in by_web[feedback].items()}
fig, axes = plots_attribution.attribution_by_class(
    cosmic_web.WEB_CLASSES, shares, by_web[feedback][first]["saliency"]["fraction"]
)

# %% mystnb={"figure": {"name": "fig-attribution-smoothing", "caption": "Share of the absolute attribution (Integrated Gradients) of each class against the smoothing that defines the classes, in the suite with feedback (Lite: a proxy). Thin lines: share of the pixels. Bars: 95 % over simulations."}, "image": {"alt": "Two panels for Omega_m and sigma_8. Three thick lines with markers for void, filament and halo against the smoothing scale, each next to a thin line of the same colour for the share of the pixels."}} tags=["hide-input"]
scales = [0.4, 0.5, 0.75, 1.0, 1.5, 2.0]  # [Mpc/h]
smoothed = summaries.by_smoothing(main, ours, scales)
fig, axes = plots_attribution.by_smoothing(scales, *smoothed, cosmic_web.WEB_CLASSES)

# %% [markdown]
# ## By distance to peaks and voids
#
# Peaks are local maxima of the density smoothed with {glue:text}`interpretation_smoothing:.1f` Mpc/$h$ that exceed
# $\delta$ = {glue:text}`interpretation_peak:.0f`. Void centres belong to discs with a mean below
# $\delta$ = {glue:text}`interpretation_empty:.1f`; the largest are taken first, and discs do not overlap. This is the finder of
# Banerjee & Dalal {cite}`Banerjee2016`, applied to the 2-D map.


# %% mystnb={"figure": {"name": "fig-attribution-peaks", "caption": "Attribution against the distance to the nearest density peak, suite with feedback (Lite: a proxy). Top: absolute attribution per pixel, relative to the mean pixel (dotted: spread evenly). Bottom: share of the total, with that of the pixels in grey. Bars: 95 % over simulations."}, "image": {"alt": "Two columns for Omega_m and sigma_8. Upper panels: attribution per pixel against distance to the nearest peak for three methods, around a dotted line at one. Lower panels: shares of the total over a grey histogram of the pixels."}} tags=["hide-input"]
def draw_by_distance(places, edges, name):
    """Draw the attribution of the first suite against the distance to some pixels."""
    edges = np.array(edges) * main.box_size / 25  # [Mpc/h]
    distance = cosmic_web.distance_to(places, main.box_size)
    tables = summaries.summarise(
        {feedback: main}, found, lambda s, v: binned.by_value(v, distance, edges, *s.resampling)
    )[feedback]
    label, inside = f"distance to the nearest {name} [Mpc/$h$]", tables[first]["saliency"]
    return plots_attribution.by_value(edges, tables, inside["fraction"], label, log=False)


peaks = cosmic_web.density_peaks(main.maps, main.box_size)
fig, axes = draw_by_distance(peaks, experiments.DISTANCES, "peak")

# %% mystnb={"figure": {"name": "fig-attribution-voids", "caption": "As above, against the distance to the nearest void centre."}, "image": {"alt": "Two columns for Omega_m and sigma_8. Upper panels: attribution per pixel against distance to the nearest void centre for three methods, around a dotted line at one. Lower panels: shares of the total over a grey histogram of the pixels."}} tags=["hide-input"]
voids = cosmic_web.void_centres(main.maps, main.box_size) > 0
fig, axes = draw_by_distance(voids, [0, 0.6, 1.2, 1.8, 2.5, 3.3, 4.5, 8], "void centre")

# %% [markdown]
# ## By scale
#
# {numref}`fig-attribution-bands` shows the power of the signed attribution map in bands of wavenumber, compared with the share
# of the modes (which white noise would have). The coherence with the log-density is 1 where the attribution follows the structures
# and 0 where its pattern is unrelated to them.

# %% mystnb={"figure": {"name": "fig-attribution-bands", "caption": "Share of the attribution's power by Fourier band, and its coherence with the scaled log-density, suite with feedback (Lite: a proxy). Grey bars: share of the modes; grey dashes: share of the density's own power. Bars: 95 % over simulations."}, "image": {"alt": "Two columns for Omega_m and sigma_8. Upper panels: share of power in bands of wavenumber for three methods, over grey bars that grow with wavenumber and grey dashes that fall. Lower panels: coherence with the density for the three methods, falling with wavenumber."}} tags=["hide-input"]
bands = np.array([0, *2.0 ** np.arange(-1, 7)]) * 25 / main.box_size  # octaves [h/Mpc]
corner = 2 * np.pi / main.box_size * main.x.shape[-1] / 2**0.5  # the largest wavenumber
bands = np.append(bands[bands < corner], 1.01 * corner).round(2)
by_band = summaries.summarise(
    subjects,
    found,
    lambda s, v: binned.by_band(v, s.x[:, 0].numpy(), bands, *s.resampling, box_size=s.box_size),
)
one = by_band[feedback][first]["saliency"]
fig, axes = plots_attribution.by_band(bands, by_band[feedback], one["fraction"], one["field_share"])

# %% [markdown]
# ## Do networks that learnt nothing do the same?
#
# The paper finds that over-dense regions give more information per pixel and that under-dense ones contribute much in total
# {cite}`Lahiry2025`; we found no published settings of its attribution. A network that has learnt nothing does not attribute evenly
# either: its gradients follow the contrast of the map. {numref}`fig-attribution-networks` compares the ratio of over-dense to
# under-dense attribution per pixel in trained networks with that in two nulls: untrained networks, and networks trained on shuffled
# labels. They need not agree, because training moves attribution even if the labels are shuffled. The three baselines stand for
# average density, no structure and emptiness; each gives little attribution to pixels that resemble it. The table
# gives the range over networks (their number in brackets), and the ratio of the trained networks to each null, whose interval
# includes the scatter between networks. Claim 3 needs both ratios above 1 with every baseline.

# %%
stored = stored_results(config, "05_interpretation.json", stored_dir) if config.answer else None
ledger = stored["baselines"] if stored and not weights else summaries.baseline_ledger(main)
where = summaries.summarise(subjects, found, experiments.region_shares)
display(summaries.ledger_table(ledger).rename(index=BASELINES, level=0))

# %% mystnb={"figure": {"name": "fig-attribution-networks", "caption": "Ratio of over-dense to under-dense attribution per pixel (Integrated Gradients) with three baselines, one point per network, for the suite with feedback (Lite: a proxy). Dotted: spread evenly. Bars: 95 % over simulations."}, "image": {"alt": "Two panels for Omega_m and sigma_8 on a logarithmic axis. For each of three baselines there are three groups of points: trained networks lie close together, untrained networks below them, and networks trained on shuffled labels are spread widely."}} tags=["hide-input"]
fig, axes = plots_attribution.by_network([BASELINES[name] for name in ledger], ledger)

# %% [markdown]
# The same shares for each method, for the gravity-only twin, and for the predicted *standard deviation* in place of the mean:

# %% tags=["hide-input", "hide-output"]
for t, column in main.targets.items():
    of_std = explain(few, "integrated_gradients", column, output="std").values
    where[feedback][t]["std"] = experiments.region_shares(few, of_std)
names = plots_style.METHOD_NAMES | {n: plots_style.suite_label(n) for n in subjects}
display(summaries.region_table(where, main).rename(index=names))

# %% [markdown]
# ## What we found
#
# The network is {glue:text}`interpretation_network:s`; it explains {glue:text}`interpretation_maps:d` test maps of
# {glue:text}`interpretation_simulations:d` simulations by Integrated Gradients with the mean log-density as baseline (median
# completeness error {glue:text}`interpretation_completeness:.2f` %).
#
# 1. *By density.* {glue:text}`interpretation_share_om:s` ($\Omega_m$) and {glue:text}`interpretation_share_s8:s` ($\sigma_8$)
#    of all attribution lies on under-dense pixels, which are {glue:text}`interpretation_under_pixels:.2f` of the area. An over-dense
#    pixel has {glue:text}`interpretation_ratio_om:s` and {glue:text}`interpretation_ratio_s8:s` times as much as an under-dense one.
#    Untrained networks give {glue:text}`interpretation_untrained:s`, networks trained on shuffled labels
#    {glue:text}`interpretation_shuffled:s`, trained ones {glue:text}`interpretation_trained:s`. [Chapter 06](06_results.ipynb) judges
#    claim 3 by these networks, and [chapter 07](07_validation.ipynb) shows how well attribution finds a signal that we injected.
# 2. *By class.* Voids ({glue:text}`interpretation_void_pixels:.2f` of the area) hold {glue:text}`interpretation_void_om:s` and
#    {glue:text}`interpretation_void_s8:s`, halos ({glue:text}`interpretation_halo_pixels:.2f`)
#    {glue:text}`interpretation_halo_om:s` and {glue:text}`interpretation_halo_s8:s`.
# 3. *By scale.* The attribution follows the density at large scales (coherence {glue:text}`interpretation_coherence_low_om:s`,
#    {glue:text}`interpretation_coherence_low_s8:s`) and less at small ones ({glue:text}`interpretation_coherence_high_om:s`,
#    {glue:text}`interpretation_coherence_high_s8:s`).
#
# **Next:** the [sanity checks](05b_sanity_checks.ipynb) test these attributions; [chapter 06](06_results.ipynb) cuts regions and
# retrains.

# %% [markdown]
# ## Provenance

# %% tags=["remove-input"]
numbers = summaries.argument_numbers(subjects, found, where, by_band, ledger)
origin = f"{Path(weights).name}, trained elsewhere," if weights else "trained"
numbers["interpretation_network"] = f"{origin} on {plots_style.suite_label(feedback)}"
options = {"suite": suite, "weights": Path(weights).name}
publish(
    "05_interpretation", numbers, runs_dir=runs_dir, profile=config, started=started,
    suites={feedback: main.fingerprint}, study=main.run.profile if weights else "", options=options,
    suite=feedback, weights=Path(weights).name or None, method="integrated_gradients",
    n_maps=len(main.x), n_simulations=n, baselines=ledger, by_density=summaries.flat(by_density),
    by_class=summaries.flat(by_web), by_band=summaries.flat(by_band),
)  # fmt: skip
