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
# # Cut parts of the web away
#
# :::{admonition} Overview
# - Every kind of {term}`cut <Cut>` on one map: scales by wavenumber, regions by density, and the {term}`controls <Control>`.
# - What each cut leaves of the power spectrum and of the pixel distribution, and what it adds.
# - Two ways in which a cut by itself tells a network the answer or blinds it: the fraction of pixels
#   cut follows $\Omega_m$, and a sharp filter makes negative pixels.
# :::
#
# **What you need.** The maps of [chapter 01](01_data.ipynb). Numbers on this page are of *Lite*, whose
# feedback is a proxy, and of its first {glue:text}`cuts-n-simulations:d` simulations, unless CMD is
# named.
#
# The argument of the book is a sequence of removals: hide a part of the map, train again, see how
# much accuracy is lost. It holds only as far as a cut removes what it says and adds nothing. This
# chapter looks at the cuts alone, before any network.

# %% tags=["remove-cell"]
import os

if os.path.isdir("../data/lite"):  # JupyterLab starts kernels next to the notebook
    os.chdir("..")

# %% tags=["parameters", "hide-input"]
profile = "demo"  # name of a file in configs/, or a path to one
data_dir = ""  # folder of CMD files; if empty, as the profile says (Lite is shipped)
runs_dir = "runs"  # the numbers of this page go to its folder PROFILE/results
at_most = 200  # simulations used on this page, which suffice for its curves
example = 90  # map shown under every cut: number in the suite, in the order of CMD

# %% tags=["hide-input"]
import time
from pathlib import Path

import numpy as np
from IPython.display import HTML, Markdown
from myst_nb import glue
from scipy.stats import spearmanr

from book.explorer import explorer
from cosmolib.cuts.apply import apply_cut, fraction_cut, fraction_negative
from cosmolib.data.scaling import fit_scaling
from cosmolib.data.spectra import pixel_pdf, power_spectrum
from cosmolib.data.suites import MAPS_PER_SIMULATION, mean_surface_density, open_suite, subset
from cosmolib.plots import cuts as plots_cuts
from cosmolib.plots import style as plots_style
from cosmolib.study import io, provenance
from cosmolib.study.profile import load_profile

started = time.perf_counter()
plots_style.use_style()

# %% tags=["hide-input"]
config = load_profile(profile)
name = next(suite for suite in config.suites if not suite.startswith("Nbody_"))
suite = open_suite(name, data_dir or config.data_dir, field=config.field, sim_set=config.sim_set)
suite = subset(suite, min(at_most, config.n_simulations or suite.n_simulations))
maps, omega_m = np.array(suite.maps), suite.params[:, 0]
pixel_range = (float(maps.min()), float(maps.max()))

# %% [markdown]
# ## One string names a cut
#
# {numref}`tab-cuts` has a kind of cut a row.
#
# :::{table} Cuts by their strings; *published*: also made by the paper.
# :name: tab-cuts
#
# | string | what is hidden | published |
# |---|---|---|
# | `kmax:4` | waves shorter than $k_\mathrm{max}$ = 4 $h$/Mpc, by a sharp filter of the linear map | yes |
# | `kmax:4@log`, `kmax:4@delta` | the same waves of $\log_{10}\Sigma$, or of $\delta$ | |
# | `kmin:2`, `band:1,4` | waves longer than an edge, or outside two edges; the mean stays | |
# | `above:1e12:clamp` | pixels above a surface density; they are set to the threshold | yes |
# | `above:1e12:random` | the same pixels, drawn log-uniformly over the range of the data | yes |
# | `below:2e11:mean` | pixels below; they are set to the mean of their map | |
# | `above:delta=3:clamp` | the threshold is an overdensity of each map, not a surface density | |
# | `mask:above:1e12` | control: everything but which pixels were cut | |
# | `shuffle:above:1e12:clamp` | control: as many pixels, at random places | |
# | `nomean:kmax:4` | control: every map divided by its own mean, then the cut | |
# | `white=0.3:none`, `shot=10:above:1e12` | control: noise first, then the cut of the noisy map | |
# :::
#
# With $\Sigma_{\mathbf k}$ the Fourier modes of a map and $\Sigma_0$ a threshold, the two that the paper made are
#
# $$
# \Sigma_{\mathbf k} \to \Sigma_{\mathbf k}\,[\,|\mathbf k| < k_\mathrm{max}\,] , \qquad
# \Sigma \to \min(\Sigma, \Sigma_0) \ \text{or}\ \max(\Sigma, \Sigma_0) .
# $$ (eq-cuts)
#
# Surface densities are in $(M_\odot/h)/(\mathrm{Mpc}/h)^2$. {numref}`fig-cut-gallery` shows one map
# under each kind. Two things are seen at once. Sharp filters of the linear map ring around {term}`halos <Halo>` and
# leave negative pixels, in turquoise; the same filter of the log map leaves none. And a random fill
# is violent: log-uniform over the range of the data, from its darkest to its brightest pixel, has a
# mean of {glue:text}`cuts-random-mean:.0f` times the mean density of the map shown.

# %% mystnb={"figure": {"name": "fig-cut-gallery", "caption": "One map of Lite (feedback proxy) under every kind of cut, on the colour scale of chapter 01. Turquoise pixels are negative. The mask is drawn in black (cut) and white (kept)."}, "image": {"alt": "Twelve small maps. The first shows halos, filaments and voids; low-pass filtered ones are blurred with turquoise negative ripples in the voids; density cuts flatten halos or voids; random fill is noise; one panel is a black and white mask of the halos."}} tags=["hide-input"]
gallery = [
    "none",
    "kmax:4",
    "kmax:4@log",
    "kmin:2",
    "band:1,4",
    "above:1e12:clamp",
    "above:1e12:random",
    "below:2e11:mean",
    "above:delta=0:clamp",
    "below:delta=0:clamp",
    "mask:above:1e12",
    "shuffle:above:1e12:clamp",
]
shown = [
    apply_cut(maps[example], cut, box_size=suite.box_size, value_range=pixel_range)
    for cut in gallery
]
fig, axes = plots_cuts.cut_gallery(np.stack(shown), gallery, suite.box_size)

# %% [markdown]
# ### Move the edges
#
# The same map, to be cut by hand. The first slider sets $k_\mathrm{max}$: every position is what
# `apply_cut` makes of the map, with the spectrum before and after. The second sets a density threshold
# and shows the pixels that it cuts, and where they lie in the distribution of all.

# %% tags=["hide-input"]
smallest = 2 * np.pi / suite.box_size
edges_k = np.geomspace(2 * smallest, suite.grid / 2 * smallest * np.sqrt(2), 24)
stills = ["none", "kmax:1", "kmax:2", "kmax:4"]
shown = [apply_cut(maps[example], cut, box_size=suite.box_size) for cut in stills]
still, _ = plots_cuts.cut_gallery(np.stack(shown), stills, suite.box_size)
alt = "One map uncut and with only waves below 1, 2 and 4 h/Mpc: the lower the edge, the smoother"
HTML(explorer.scales_explorer(maps[example], edges_k, still, alt, suite.box_size))

# %% tags=["hide-input"]
contrast = np.log10(maps[example] / maps[example].mean())
edges_density = np.arange(9.54, 13.5, 0.08) - np.log10(maps[example].mean())  # two steps a bin
low, high = np.quantile(contrast, [0.001, 0.999])
edges_density = edges_density[(edges_density > low) & (edges_density < high)]
stills = ["none", "mask:above:delta=3", "mask:above:delta=0", "mask:below:delta=-0.5"]
shown = [apply_cut(maps[example], cut, box_size=suite.box_size) for cut in stills]
still, _ = plots_cuts.cut_gallery(np.stack(shown), stills, suite.box_size)
alt = "One map, and in black its pixels above an overdensity of 3, above 0 and below -0.5"
HTML(explorer.densities_explorer(maps[example], edges_density, still, alt, suite.box_size))

# %% [markdown]
# ## What a cut leaves of the spectrum
#
# In {numref}`fig-cut-spectra` every spectrum is divided by that of the uncut maps. A filter of the
# linear map does to the linear spectrum exactly what it says. The same filter of the log map does
# not: going back from the logarithm couples scales, so small-scale power is partly restored and
# large-scale power lowered. Density cuts have no edge in $k$ at all. Cutting the overdense pixels
# removes most of the power on all scales, because halos dominate the variance; cutting the
# underdense ones leaves nearly all of it. Low power is no statement about information: it is
# measured in the chapters that train.


# %% mystnb={"figure": {"name": "fig-cut-spectra", "caption": "Power spectrum after a cut over that before, maps of Lite (feedback proxy): median over simulations and central 68 %. Both are relative to the mean of the uncut map, so that a cut which moves the mean does not rescale the power."}, "image": {"alt": "Two panels of ratios against wavenumber. Left, low-pass filters of the linear map are one and then drop out of the plot at their edge, while the filter of the log map falls gradually. Right, clamping overdense pixels lowers the power at every scale; clamping underdense ones leaves it near one; random fill raises it far above one."}} tags=["hide-input"]
def per_simulation(values):
    """Mean over the 15 maps of each simulation, (15 n, ...) -> (n, ...)."""
    return values.reshape(suite.n_simulations, MAPS_PER_SIMULATION, -1).mean(axis=1)


def spectrum(cut_maps):
    """Power of the cut maps (n, nk), relative to the mean of the uncut ones."""
    shift = maps.mean(axis=(1, 2), keepdims=True) - cut_maps.mean(axis=(1, 2), keepdims=True)
    return per_simulation(power_spectrum(cut_maps + shift, suite.box_size)[1])


k, _ = power_spectrum(maps[:1], suite.box_size)
uncut_power = spectrum(maps)
panels = {
    "Fourier cuts": ("kmax:2", "kmax:4", "kmax:4@log", "kmin:2"),
    "density cuts": (
        "above:delta=5:clamp",
        "above:delta=0:clamp",
        "below:delta=0:clamp",
        "below:delta=0:random",
    ),
}
ratios = {
    title: {
        cut: spectrum(apply_cut(maps, cut, box_size=suite.box_size)) / uncut_power for cut in cuts
    }
    for title, cuts in panels.items()
}
fig, axes = plots_cuts.cut_spectra(k, ratios)

# %% [markdown]
# ## What a cut leaves of the pixels
#
# A clamp at a surface density piles the pixels it cuts up at the threshold: a spike in
# {numref}`fig-cut-pdf` whose area is the fraction cut. A clamp at an {term}`overdensity <Overdensity>` piles them up at
# another surface density in each map. A Fourier cut changes every pixel. What the logarithmic axis
# hides is given in the legend: the share of pixels that are negative, which the published scaling, a
# signed logarithm, sends to about $-11$ where the rest lies around $+11$.

# %% mystnb={"figure": {"name": "fig-cut-pdf", "caption": "Distribution of positive pixels after a cut, one map an axis of every simulation of Lite (feedback proxy). The grey area is the uncut distribution; the percentage is the share of negative pixels."}, "image": {"alt": "Two panels of pixel distributions over a grey skewed bell, the uncut pixels. Left, low-pass filters of the linear map extend the distribution towards low densities, the filter of the log map narrows it. Right, maps clamped at a surface density end in a tall spike there, maps clamped at an overdensity in a smooth edge; random fill is nearly a flat line across the range."}} tags=["hide-input"]
edges = np.arange(9.54, 13.5, 0.08)  # log10 of (Msun/h)/(Mpc/h)^2, two steps of the shipped maps
centres = 0.5 * (edges[1:] + edges[:-1])
pdf_cuts = {
    "Fourier cuts (negative pixels)": panels["Fourier cuts"],
    "density cuts": (
        "above:1e12:clamp",
        "below:2e11:clamp",
        "above:delta=0:clamp",
        "below:delta=0:random",
    ),
}
few = maps[::5]  # one slab an axis is enough for pixel counts: 3 maps a simulation
pdfs = {title: {} for title in pdf_cuts}
for title, cuts in pdf_cuts.items():
    for cut in cuts:
        after = apply_cut(few, cut, box_size=suite.box_size, value_range=pixel_range)
        note = f" ({fraction_negative(after).mean():.0%})" if title.startswith("Fourier") else ""
        pdfs[title][cut + note] = pixel_pdf(after, edges).mean(axis=0)
fig, axes = plots_cuts.cut_pdfs(centres, pixel_pdf(few, edges).mean(axis=0), pdfs)

# %% [markdown]
# ## Counting the pixels that were cut
#
# The mean surface density of a box is $\Omega_m \times ${glue:text}`cuts-mean-density:.2e`
# $(M_\odot/h)/(\mathrm{Mpc}/h)^2$, five times higher at the upper end of the range than at the lower. So a
# threshold in surface density, the published kind, cuts a share of pixels that follows $\Omega_m$
# ({numref}`fig-fraction-cut`, left). For `above:4e11` on Lite the rank correlation between the share
# and $\Omega_m$ is {glue:text}`cuts-spearman-absolute:.2f`: who counts the cut pixels knows
# $\Omega_m$, whatever they contained. A threshold in overdensity is relative to each map's own mean and
# does away with this. What is left, {glue:text}`cuts-spearman-delta:.2f` for `above:delta=0` (right),
# is structure: at higher $\Omega_m$ more of the area has been emptied into {term}`voids <Void>`. It is cosmology, yet
# again told by which pixels were cut and not by what they held.

# %% mystnb={"figure": {"name": "fig-fraction-cut", "caption": "Share of pixels cut in each simulation of Lite (feedback proxy) against Omega_m, for thresholds in surface density (left, published kind) and in overdensity (right): small points are simulations, large ones the mean and standard deviation of a bin."}, "image": {"alt": "Left panel, the fraction of pixels above each absolute threshold rises steeply with Omega_m and the fraction below falls, with little scatter. Right panel, fractions for overdensity thresholds change less: those above are nearly flat and those below rise by a fifth to a half."}} tags=["hide-input"]
thresholds = {
    "surface density": ("above:4e11", "above:1e12", "below:1e11", "below:2e11"),
    "overdensity": ("above:delta=0", "above:delta=3", "below:delta=-0.7", "below:delta=-0.5"),
}
fractions = {
    title: {cut: per_simulation(fraction_cut(maps, cut))[:, 0] for cut in cuts}
    for title, cuts in thresholds.items()
}
fig, axes = plots_cuts.fraction_against_omega_m(omega_m, fractions)

# %% [markdown]
# Controls follow from this, and the results of chapter 06 are read against them: overdensity
# thresholds; `mask:`, which shows a network only *which* pixels were cut; `shuffle:`, which cuts as
# many pixels at random places; and `nomean:`, which divides every map by its mean first. A Fourier cut
# keeps the mean, and in a slab this thin the mean alone tells much of $\Omega_m$.
#
# ## Negative pixels
#
# A surface density is positive; a sum of its long waves is not. {numref}`fig-negative` gives the share
# of negative pixels against $k_\mathrm{max}$. On Lite it is largest at $k_\mathrm{max}$ =
# {glue:text}`cuts-negative-k:.1f` $h$/Mpc, with {glue:text}`cuts-negative-most:.1f` % of pixels in the
# median simulation, and falls to zero where the filter keeps every wave of the grid. CMD's
# IllustrisTNG maps, four times finer a side, show the same rise and fall further out. A network can
# learn where the sign flips and lose the depth of every void to it. Filtering $\delta$ instead changes
# nothing, for the filter is linear; filtering the log map keeps every pixel positive.

# %% mystnb={"figure": {"name": "fig-negative", "caption": "Share of negative pixels after a sharp low-pass filter against its edge. Lines: Lite (feedback proxy), one map an axis, median and central 68 % of simulations. Squares: CMD, IllustrisTNG at 256 x 256 pixels, derived from the published maps. The dashed line is the largest wavenumber of a Lite map; beyond it nothing is cut."}, "image": {"alt": "Percentage of negative pixels against k_max on a logarithmic axis. The line of Lite for the linear filter rises to a maximum at a few h/Mpc and drops to zero at the corner of its Fourier plane; the line of the log filter is zero throughout. Open squares of CMD peak near 5 to 10 h/Mpc."}} tags=["hide-input"]
nyquist = np.pi * suite.grid / suite.box_size
corner = np.sqrt(2) * nyquist  # the largest wavenumber of a square grid
k_max = np.geomspace(0.6, corner * 1.001, 10)
negative = {
    f"{name}, {label}": np.stack(
        [
            fraction_negative(apply_cut(few, f"kmax:{edge:.4f}{field}", box_size=suite.box_size))
            .reshape(-1, 3)
            .mean(axis=1)
            for edge in k_max
        ],
        axis=1,
    )
    for label, field in (("filter of the map", ""), ("filter of its logarithm", "@log"))
}
published = (
    "CMD IllustrisTNG, filter of the map",
    np.array([1, 5, 10, 20, 30, 40]),
    np.array([0.14, 0.25, 0.24, 0.17, 0.10, 0.01]),
)
fig, axes = plots_cuts.negative_fraction(k_max, negative, corner, published)

# %% [markdown]
# What the network sees of this is set by the scaling. {numref}`fig-negative-scaled` shows the input
# after `kmax:4`: under the signed logarithm of the published recipe the negative pixels form a
# second island far from the first, and their distance squeezes all structure into a narrow range.
# Asinh joins the two, and the log filter never parts them.

# %% mystnb={"figure": {"name": "fig-negative-scaled", "caption": "Pixels of Lite (feedback proxy) after a low-pass filter at 4 h/Mpc as the network sees them: the published signed logarithm, asinh, and the logarithm of a map that was filtered in the logarithm."}, "image": {"alt": "Three histograms on logarithmic axes. The first has two narrow separate islands, negative pixels on the left and positive ones on the right. The second is one broad continuous distribution, and the third one smooth bell."}} tags=["hide-input"]
seen = {}
for label, cut, kind in (
    ("kmax:4, signed log (published)", "kmax:4", "log"),
    ("kmax:4, asinh", "kmax:4", "asinh"),
    ("kmax:4@log, log", "kmax:4@log", "log"),
):
    sample = apply_cut(few[::3], cut, box_size=suite.box_size)
    seen[label] = fit_scaling(sample, kind).apply(sample)
fig, axes = plots_style.scaled_pixels(seen)

# %% tags=["hide-input"]
low, high = np.log(pixel_range)
random_mean = (np.exp(high) - np.exp(low)) / (high - low)  # mean of a log-uniform variable
most = np.median(next(iter(negative.values())), axis=0)
kept_power = ratios["density cuts"]
first = int(np.argmin(np.abs(k - 1.0)))
numbers = {
    "cuts-n-simulations": suite.n_simulations,
    "cuts-mean-density": float(mean_surface_density(1.0, suite.box_size)),
    "cuts-random-mean": float(random_mean / maps[example].mean(dtype=np.float64)),
    "cuts-spearman-absolute": float(
        spearmanr(omega_m, fractions["surface density"]["above:4e11"]).statistic
    ),
    "cuts-spearman-delta": float(
        spearmanr(omega_m, fractions["overdensity"]["above:delta=0"]).statistic
    ),
    "cuts-fraction-delta": float(fractions["overdensity"]["above:delta=0"].mean()),
    "cuts-fraction-low": float(fractions["surface density"]["above:4e11"][np.argmin(omega_m)]),
    "cuts-fraction-high": float(fractions["surface density"]["above:4e11"][np.argmax(omega_m)]),
    "cuts-negative-most": float(100 * most.max()),
    "cuts-negative-k": float(k_max[np.argmax(most)]),
    "cuts-negative-log": float(100 * list(negative.values())[1].max()),
    "cuts-power-halos": float(np.median(kept_power["above:delta=5:clamp"][:, first])),
    "cuts-power-voids": float(np.median(kept_power["below:delta=0:clamp"][:, first])),
}
for key, value in numbers.items():
    glue(key, value, display=False)
made = provenance.provenance(config, suite.fingerprint, time.perf_counter() - started)
io.write_json(
    Path(runs_dir) / config.name / "results" / "02_cuts.json", {**numbers, "provenance": made}
)

# %% [markdown]
# ## What we found
#
# - `above:4e11`, a threshold in surface density, cuts {glue:text}`cuts-fraction-low:.1%` of the pixels
#   of the Lite simulation of smallest $\Omega_m$ and {glue:text}`cuts-fraction-high:.1%` at the
#   largest. The share alone orders the simulations by $\Omega_m$ with a rank correlation of
#   {glue:text}`cuts-spearman-absolute:.2f`; for the overdensity threshold `above:delta=0`, which cuts
#   {glue:text}`cuts-fraction-delta:.1%` on average, it is {glue:text}`cuts-spearman-delta:.2f`.
# - A sharp filter makes up to {glue:text}`cuts-negative-most:.1f` % of Lite's pixels negative, at
#   $k_\mathrm{max}$ = {glue:text}`cuts-negative-k:.1f` $h$/Mpc; in the log map
#   {glue:text}`cuts-negative-log:.0f` %. CMD's IllustrisTNG maps have up to 25 %.
# - Clamping all pixels above $\delta$ = 5 leaves {glue:text}`cuts-power-halos:.2f` of Lite's power at 1
#   $h$/Mpc, clamping all underdense ones {glue:text}`cuts-power-voids:.2f`. Halos hold the power;
#   whether they hold the information is the question of the next chapters.
# - A random fill has {glue:text}`cuts-random-mean:.0f` times the mean density of the map shown (Lite).
#   It hides by noise, not by removal.
#
# **Next:** [chapter 03](03_training.ipynb) trains a network on a {term}`suite <Suite>` and a cut.

# %% [markdown]
# ## What made this page

# %% tags=["remove-input"]
command = f"papermill notebooks/02_cuts.ipynb 02.ipynb -p profile {config.name}"
Markdown(provenance.what_made([("Made", command, made)], {suite.name: suite.fingerprint}))
