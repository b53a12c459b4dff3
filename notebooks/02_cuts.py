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
# A cut does more than hide a part of the map. With a threshold in surface density, the fraction of pixels that are cut follows
# $\Omega_m$ with a rank correlation of {glue:text}`cuts-spearman-absolute:.2f`; with a threshold in
# {term}`overdensity <Overdensity>` it is {glue:text}`cuts-spearman-delta:.2f`. A sharp filter in scale makes up to
# {glue:text}`cuts-negative-most:.1f` % of the pixels negative. Neither effect measures the information in the hidden part, so
# [chapter 06](06_results.ipynb) compares cuts with {term}`controls <Control>`.
#
# :::{admonition} Overview
# - One string names a {term}`cut <Cut>`: of scales, of pixels by density, or a control.
# - We compare maps, power spectra and pixel distributions before and after each cut.
# - We measure two side effects: the number of cut pixels reveals $\Omega_m$, and filters make pixels negative.
# :::
#
# **What you need.** The maps of [chapter 01](01_data.ipynb). Numbers are for *Lite*, whose feedback is a proxy, and for its first
# {glue:text}`cuts-n-simulations:d` simulations, unless CMD is named.
#
# The argument of this book is a sequence of removals: hide a part of the map, train again, and measure how much accuracy is lost. It
# holds only as far as a cut removes what its name says and adds nothing. This chapter examines the cuts alone.

# %% tags=["remove-cell"]
import os

import cosmolib

places = ".", "..", os.path.dirname(cosmolib.__path__[0])  # a kernel may start in any folder
os.chdir(next((folder for folder in places if os.path.isdir(f"{folder}/data/lite")), "."))

# %% tags=["parameters", "hide-input"]
profile = "demo"  # name of a file in configs/, or a path to one
data_dir = ""  # folder of CMD files; "": from the profile (Lite is shipped)
runs_dir = "runs"  # the numbers of this page go to its folder PROFILE/results
at_most = 200  # simulations used on this page, which suffice for its curves
example = 90  # map shown under every cut: number in the suite, in the order of CMD

# %% tags=["hide-input"]
import time

import numpy as np
from IPython.display import HTML, display
from scipy.stats import spearmanr

from book.explorer import explorer
from cosmolib import apply_cut, load_profile, open_suite
from cosmolib.cuts.apply import fraction_cut
from cosmolib.data.cmd_format import mean_surface_density
from cosmolib.data.scaling import fit_scaling
from cosmolib.data.spectra import pixel_pdf
from cosmolib.data.suites import subset
from cosmolib.data.summary import per_simulation, power_after_cuts
from cosmolib.plots import cuts as plots_cuts
from cosmolib.plots import data as plots_data
from cosmolib.plots import style as plots_style
from cosmolib.study.chapter import publish

started = time.perf_counter()
plots_style.use_style()
config = load_profile(profile)
lite = next(name for name in config.suites if not name.startswith("Nbody_"))

# %%
where = {"data_dir": data_dir or config.data_dir, "field": config.field, "sim_set": config.sim_set}
suite = open_suite(lite, **where)  # "Lite"
suite = subset(suite, min(at_most, config.n_simulations or suite.n_simulations))
maps, omega_m, box_size = np.array(suite.maps), suite.params[:, 0], suite.box_size

# %% [markdown]
# ## One string names a cut
#
# :::{table} The kinds of cut, by their strings; *published*: also used in the paper.
# :name: tab-cuts
#
# | string | what is hidden | published |
# |---|---|---|
# | `kmax:4` | waves shorter than $k_\mathrm{max}$ = 4 $h$/Mpc, by a sharp filter of the linear map | yes |
# | `kmax:4@log`, `kmax:4@delta` | the same waves of $\log_{10}\Sigma$, or of $\delta$ | |
# | `kmin:2`, `band:1,4` | all waves except those with $k \geq 2$ or $1 \leq k < 4$ $h$/Mpc; the mean stays | |
# | `above:1e12:clamp` | pixels above a surface density, which are set to the threshold | yes |
# | `above:1e12:random` | the same pixels, filled with values drawn log-uniformly over the range of the data | yes |
# | `below:2e11:mean` | pixels below a surface density, which are set to the mean of their map | |
# | `above:delta=3:clamp` | pixels above an overdensity, relative to the mean of each map | |
# | `mask:above:1e12`, `maskmean:above:1e12` | control: only which pixels were cut is visible, in the second also the map's mean | |
# | `moved:above:1e12:clamp`, `shuffle:above:1e12:clamp` | control: the mask is moved by half a box, or as many pixels are cut at random places | |
# | `nomean:kmax:4`, `nologmean:none` | control: every map is first divided by its mean, or by its geometric mean (published) | |
# | `white=0.3:none`, `shot=10:above:1e12` | control: noise is added before the cut | |
# :::
#
# Let $\Sigma_{\mathbf k}$ be the Fourier modes of a map and $\Sigma_0$ a threshold. The two kinds of published cuts are
#
# $$
# \Sigma_{\mathbf k} \to \Sigma_{\mathbf k}\,[\,|\mathbf k| < k_\mathrm{max}\,] , \qquad
# \Sigma \to \min(\Sigma, \Sigma_0) \ \text{or}\ \max(\Sigma, \Sigma_0) .
# $$ (eq-cuts)
#
# Surface densities are in $(M_\odot/h)/(\mathrm{Mpc}/h)^2$. {numref}`fig-cut-gallery` shows one map under each kind of cut. A
# sharp filter of the linear map rings around {term}`halos <Halo>` and leaves negative pixels; the same filter of the log map
# leaves none. A random fill has {glue:text}`cuts-random-mean:.0f` times the mean density of this map, so it hides the pixels under
# strong noise.

# %%
gallery = [
    "none", "kmax:4", "kmax:4@log", "kmin:2",
    "band:1,4", "above:1e12:clamp", "above:1e12:random", "below:2e11:mean",
    "above:delta=0:clamp", "below:delta=0:clamp", "mask:above:1e12", "shuffle:above:1e12:clamp",
]  # fmt: skip
options = {"box_size": box_size, "value_range": (float(maps.min()), float(maps.max()))}
shown = [apply_cut(maps[example], cut, **options) for cut in gallery]

# %% mystnb={"figure": {"name": "fig-cut-gallery", "caption": "One map of Lite (feedback proxy) under every kind of cut, on the colour scale of chapter 01. Negative pixels are turquoise; in the mask, cut pixels are black. Only filters of the linear map make pixels negative."}, "image": {"alt": "Twelve small maps. The first shows halos, filaments and voids; low-pass filtered ones are blurred with turquoise negative ripples in the voids; density cuts flatten halos or voids; random fill is noise; one panel is a black and white mask of the halos."}} tags=["hide-input"]
fig, axes = plots_cuts.cut_gallery(np.stack(shown), gallery, box_size)

# %% [markdown]
# ### Move the edges
#
# The first slider sets $k_\mathrm{max}$ of `apply_cut`, the second a density threshold.

# %% tags=["hide-input"]
edges_k = np.geomspace(2, suite.grid / np.sqrt(2), 24) * 2 * np.pi / box_size  # to the corner
stills = ["none", "kmax:1", "kmax:2", "kmax:4"]
shown = [apply_cut(maps[example], cut, box_size=box_size) for cut in stills]
still, _ = plots_cuts.cut_gallery(np.stack(shown), stills, box_size)
alt = "One map uncut and with only waves below 1, 2 and 4 h/Mpc: the lower the edge, the smoother"
display(HTML(explorer.scales_explorer(maps[example], edges_k, still, alt, box_size)))

edges = np.arange(9.54, 13.5, 0.08)  # log10 of (Msun/h)/(Mpc/h)^2, two steps of the shipped maps
low, high = np.quantile(np.log10(maps[example]), [0.001, 0.999])
edges_density = edges[(edges > low) & (edges < high)] - np.log10(maps[example].mean())
stills = ["none", "mask:above:delta=3", "mask:above:delta=0", "mask:below:delta=-0.5"]
shown = [apply_cut(maps[example], cut, box_size=box_size) for cut in stills]
still, _ = plots_cuts.cut_gallery(np.stack(shown), stills, box_size)
alt = "One map, and in black its pixels above an overdensity of 3, above 0 and below -0.5"
display(HTML(explorer.densities_explorer(maps[example], edges_density, still, alt, box_size)))

# %% [markdown]
# ## The power spectrum after a cut
#
# In {numref}`fig-cut-spectra`, every spectrum is divided by that of the uncut maps. A filter of the linear map removes exactly the
# waves that it names. The same filter of the log map does not: the exponential couples scales, so that small-scale power is partly
# restored and large-scale power is lowered. Density cuts have no edge in $k$. Without over-dense pixels, most of the power is gone
# on all scales, because halos dominate the variance; without under-dense pixels, nearly all of it remains. Power is not
# information, which the next chapters measure.

# %%
fourier = ("kmax:2", "kmax:4", "kmax:4@log", "kmin:2")
density = ("above:delta=5:clamp", "above:delta=0:clamp", "below:delta=0:clamp",
           "below:delta=0:random")  # fmt: skip
cuts = ("none", *fourier, *density)
after = ((cut, apply_cut(maps, cut, box_size=box_size)) for cut in cuts)
k, power = power_after_cuts(maps, after, box_size)

# %% mystnb={"figure": {"name": "fig-cut-spectra", "caption": "Power spectrum of Lite maps (feedback proxy) after a cut over that before: median and central 68 % of the simulations, both relative to the mean of the uncut map. Over-dense pixels carry most of the power."}, "image": {"alt": "Two panels of ratios against wavenumber. Left, low-pass filters of the linear map are one and then drop out of the plot at their edge, while the filter of the log map falls gradually. Right, clamping overdense pixels lowers the power at every scale; clamping underdense ones leaves it near one; random fill raises it far above one."}} tags=["hide-input"]
ratios = {
    title: {cut: power[cut] / power["none"] for cut in cuts}
    for title, cuts in (("Fourier cuts", fourier), ("density cuts", density))
}
fig, axes = plots_cuts.cut_spectra(k, ratios)

# %% [markdown]
# ## The pixels after a cut
#
# A clamp at a surface density moves the cut pixels to the threshold. They form a spike in {numref}`fig-cut-pdf`, whose area is the
# fraction cut. A clamp at an overdensity moves them to a different surface density in each map. A Fourier cut changes every pixel.
# The legend gives the share of negative pixels, which have no place on a logarithmic axis. The published scaling, a signed
# logarithm, sends them to about $-11$, while the others lie around $+11$.

# %% mystnb={"figure": {"name": "fig-cut-pdf", "caption": "Distribution of the positive pixels of Lite (feedback proxy) after a cut, with the uncut pixels in grey and the share of negative pixels in per cent. Every cut leaves a trace in the distribution that a network can see."}, "image": {"alt": "Two panels of pixel distributions over a grey skewed bell, the uncut pixels. Left, low-pass filters of the linear map extend the distribution towards low densities, the filter of the log map narrows it. Right, maps clamped at a surface density end in a tall spike there, maps clamped at an overdensity in a smooth edge; random fill is nearly a flat line across the range."}} tags=["hide-input"]
few = maps[::5]  # one slab per axis is enough for pixel counts: 3 maps per simulation
pdfs = {"Fourier cuts (negative pixels)": {}, "density cuts": {}}
absolute, relative = ("above:1e12:clamp", "below:2e11:clamp"), (density[1], density[3])
for cut in (*fourier, *absolute, *relative):
    cut_maps = apply_cut(few, cut, **options)
    title = list(pdfs)[cut not in fourier]
    label = f"{cut} ({(cut_maps < 0).mean():.0%})" if cut in fourier else cut
    pdfs[title][label] = pixel_pdf(cut_maps, edges).mean(axis=0)
centres = 0.5 * (edges[1:] + edges[:-1])
fig, axes = plots_cuts.cut_pdfs(centres, pixel_pdf(few, edges).mean(axis=0), pdfs)

# %% [markdown]
# ## Count the pixels that were cut
#
# The mean surface density of a box is $\Omega_m \times ${glue:text}`cuts-mean-density:.2e` $(M_\odot/h)/(\mathrm{Mpc}/h)^2$, five
# times higher at the upper end of the range than at the lower. A published threshold, in surface density, therefore cuts a
# fraction of the pixels that follows $\Omega_m$ ({numref}`fig-fraction-cut`, left). For `above:4e11` on Lite the rank correlation
# is {glue:text}`cuts-spearman-absolute:.2f`: a network that only counts the cut pixels can infer $\Omega_m$.
#
# A threshold in overdensity is relative to the mean of each map. The remaining correlation for `above:delta=0`
# ({glue:text}`cuts-spearman-delta:.2f`, right) is due to structure: at higher $\Omega_m$, {term}`voids <Void>` fill more of the area.
# This, too, is revealed by the positions of the cut pixels and not by their contents.

# %%
thresholds = {
    "surface density": ("above:4e11", "above:1e12", "below:1e11", "below:2e11"),
    "overdensity": ("above:delta=0", "above:delta=3", "below:delta=-0.7", "below:delta=-0.5"),
}
fractions = {
    title: {cut: per_simulation(fraction_cut(maps, cut))[:, 0] for cut in cuts}
    for title, cuts in thresholds.items()
}

# %% mystnb={"figure": {"name": "fig-fraction-cut", "caption": "Fraction of pixels cut in each simulation of Lite (feedback proxy) against Omega_m, for thresholds in surface density (left, published) and in overdensity (right). Large points: mean and standard deviation of a bin. The number of pixels that a published threshold cuts reveals Omega_m."}, "image": {"alt": "Left panel, the fraction of pixels above each absolute threshold rises steeply with Omega_m and the fraction below falls, with little scatter. Right panel, fractions for overdensity thresholds change less: those above are nearly flat and those below rise by a fifth to a half."}} tags=["hide-input"]
fig, axes = plots_cuts.fraction_against_omega_m(omega_m, fractions)

# %% [markdown]
# The controls of chapter 06 follow from this. They use overdensity thresholds; `mask:`, which shows a network only *which* pixels
# were cut; `maskmean:`, which adds the mean of the map; `moved:`, which shifts the mask by half a box; `shuffle:`, which cuts as many
# pixels at random places; and `nomean:`, which first divides every map by its mean. A Fourier cut keeps the mean, which reveals much
# of $\Omega_m$ in a slab this thin.
#
# ## Negative pixels
#
# A surface density is positive, but a sum of some of its waves need not be. On Lite, the share of negative pixels
# ({numref}`fig-negative`) is largest for $k_\mathrm{max}$ = {glue:text}`cuts-negative-k:.1f` $h$/Mpc, with
# {glue:text}`cuts-negative-most:.1f` % in the median simulation, and falls to zero where the filter keeps every wave of the grid. For
# CMD's IllustrisTNG maps, whose pixels are four times smaller, it falls at larger $k$. A negative pixel no longer shows how deep a
# void is. Filtering $\delta$ instead of $\Sigma$ changes nothing, because the filter is linear; filtering the log map keeps every
# pixel positive.

# %% mystnb={"figure": {"name": "fig-negative", "caption": "Share of negative pixels after a sharp low-pass filter at k_max. Lines: Lite (feedback proxy), median and central 68 % of the simulations; squares: CMD, IllustrisTNG at 256 x 256 pixels, from the published maps; dashed: the largest wavenumber of a Lite map. Only a filter of the logarithm keeps all pixels positive."}, "image": {"alt": "Percentage of negative pixels against k_max on a logarithmic axis. The line of Lite for the linear filter rises to a maximum at a few h/Mpc and drops to zero at the corner of its Fourier plane; the line of the log filter is zero throughout. Open squares of CMD peak near 5 to 10 h/Mpc."}} tags=["hide-input"]
corner = np.sqrt(2) * np.pi * suite.grid / box_size  # the largest wavenumber of a square grid
k_max = np.geomspace(0.6, corner * 1.001, 10)
negative = {}
for label, field in (("filter of the map", ""), ("filter of its logarithm", "@log")):
    filtered = (apply_cut(few, f"kmax:{edge:.4f}{field}", box_size=box_size) for edge in k_max)
    shares = [(after < 0).mean((1, 2)).reshape(-1, 3).mean(axis=1) for after in filtered]
    negative[f"{suite.name}, {label}"] = np.stack(shares, axis=1)
cmd = [1, 5, 10, 20, 30, 40], [0.14, 0.25, 0.24, 0.17, 0.10, 0.01]
published = ("CMD IllustrisTNG, filter of the map", *cmd)
fig, axes = plots_cuts.negative_fraction(k_max, negative, corner, published)

# %% [markdown]
# {numref}`fig-negative-scaled` shows what the network receives after `kmax:4`. Under the published signed logarithm, the negative
# pixels form a second island, so far from the first that all structure is squeezed into a narrow range. Asinh joins the two, and a
# filter of the log map never separates them.

# %% mystnb={"figure": {"name": "fig-negative-scaled", "caption": "Scaled pixels of Lite (feedback proxy) after a low-pass filter at 4 h/Mpc: the published signed logarithm, asinh, and the logarithm of a map that was filtered in the logarithm. The published scaling separates negative from positive pixels."}, "image": {"alt": "Three histograms on logarithmic axes. The first has two narrow separate islands, negative pixels on the left and positive ones on the right. The second is one broad continuous distribution, and the third one smooth bell."}} tags=["hide-input"]
seen = {}
for cut, kind, note in (("kmax:4", "log", "signed log (published)"), ("kmax:4", "asinh", "asinh"),
                        ("kmax:4@log", "log", "log")):  # fmt: skip
    sample = apply_cut(few[::3], cut, box_size=box_size)
    seen[f"{cut}, {note}"] = fit_scaling(sample, kind).apply(sample)
fig, axes = plots_data.scaled_pixels(seen)

# %% [markdown]
# ## What we found
#
# - On Lite, `above:4e11` cuts {glue:text}`cuts-fraction-low:.1%` of the pixels at the smallest $\Omega_m$ and
#   {glue:text}`cuts-fraction-high:.1%` at the largest. The rank correlation of this fraction with $\Omega_m$ is
#   {glue:text}`cuts-spearman-absolute:.2f`. For the overdensity threshold `above:delta=0`, which cuts
#   {glue:text}`cuts-fraction-delta:.1%` on average, it is {glue:text}`cuts-spearman-delta:.2f`.
# - A sharp filter makes up to {glue:text}`cuts-negative-most:.1f` % of Lite's pixels negative, at
#   $k_\mathrm{max}$ = {glue:text}`cuts-negative-k:.1f` $h$/Mpc; a filter of the log map makes
#   {glue:text}`cuts-negative-log:.0f` % negative. CMD's IllustrisTNG maps have up to 25 %.
# - Clamping the pixels above $\delta$ = 5 leaves {glue:text}`cuts-power-halos:.2f` of Lite's power at 1 $h$/Mpc, and clamping all
#   under-dense pixels leaves {glue:text}`cuts-power-voids:.2f`. Whether halos also carry the information is the question of the
#   next chapters.
#
# **Next:** [chapter 03](03_training.ipynb) trains a network on a {term}`suite <Suite>` and a cut.

# %% [markdown]
# ## Provenance

# %% tags=["remove-input"]
low, high = np.log(options["value_range"])
random_mean = (np.exp(high) - np.exp(low)) / (high - low)  # mean of a log-uniform variable
share = fractions["surface density"] | fractions["overdensity"]
of_maps, of_log = negative.values()
most = np.median(of_maps, axis=0)
at_1 = int(np.argmin(np.abs(k - 1.0)))
numbers = {
    "cuts-n-simulations": suite.n_simulations,
    "cuts-mean-density": mean_surface_density(1.0, box_size),
    "cuts-random-mean": random_mean / maps[example].mean(dtype=np.float64),
    "cuts-spearman-absolute": spearmanr(omega_m, share["above:4e11"]).statistic,
    "cuts-spearman-delta": spearmanr(omega_m, share["above:delta=0"]).statistic,
    "cuts-fraction-delta": share["above:delta=0"].mean(),
    "cuts-fraction-low": share["above:4e11"][np.argmin(omega_m)],
    "cuts-fraction-high": share["above:4e11"][np.argmax(omega_m)],
    "cuts-negative-most": 100 * most.max(),
    "cuts-negative-k": k_max[np.argmax(most)],
    "cuts-negative-log": 100 * of_log.max(),
    "cuts-power-halos": np.median(ratios["density cuts"]["above:delta=5:clamp"][:, at_1]),
    "cuts-power-voids": np.median(ratios["density cuts"]["below:delta=0:clamp"][:, at_1]),
}
about = {"runs_dir": runs_dir, "profile": config, "started": started}
publish("02_cuts", numbers, suites={suite.name: suite.fingerprint}, **about, **numbers)
