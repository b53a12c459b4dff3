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
# # Look at the data
#
# :::{admonition} Overview
# - The maps a network is trained on: 15 projections of the total matter in each of many simulated
#   universes, once with gravity only and once with a proxy of feedback.
# - Tests of the maps: mass, positivity, power against theory, feedback, particle discreteness.
# - The split by simulation and the scaling of the pixels.
# :::
#
# **What you need.** Only the clone, which includes the Lite {term}`suite <Suite>`. Numbers and
# figures are of *Lite* at the size of the {term}`profile <Profile>`, unless CMD is named.
#
# The book asks which parts of the cosmic web tell a network the matter density $\Omega_m$ and the
# amplitude of fluctuations $\sigma_8$. The study it follows {cite}`Lahiry2025` used maps of the
# CAMELS Multifield Dataset, CMD {cite}`Villaescusa2022`. Lite has the same format, parameters and
# box, but is simulated by this repository at lower resolution, so that everything runs on a laptop.

# %% tags=["remove-cell"]
import os

if os.path.isdir("../data/lite"):  # JupyterLab starts kernels next to the notebook
    os.chdir("..")

# %% tags=["parameters", "hide-input"]
profile = "demo"  # name of a file in configs/, or a path to one
data_dir = ""  # folder of CMD files; if empty, as the profile says (Lite is shipped)
runs_dir = "runs"  # the numbers of this page go to its folder PROFILE/results

# %% tags=["hide-input"]
import time
from pathlib import Path

import numpy as np
import pandas as pd

from cosmolib import load_profile, open_suite, split_simulations
from cosmolib.data import summary
from cosmolib.data.scaling import fit_scaling
from cosmolib.data.spectra import pixel_pdf, power_spectrum
from cosmolib.data.suites import map_indices, subset
from cosmolib.plots import data as plots_data
from cosmolib.plots import style as plots_style
from cosmolib.study import io
from cosmolib.study.chapter import publish

started = time.perf_counter()
plots_style.use_style()
config = load_profile(profile)
lite = next(name for name in config.suites if not name.startswith("Nbody_"))
source = {"data_dir": data_dir or config.data_dir, "field": config.field, "sim_set": config.sim_set}

# %% [markdown]
# ## Two suites, one set of universes
#
# Each simulation is a periodic box of {glue:text}`data-box:.0f` Mpc/$h$ with its own cosmology,
# feedback and initial phases. Three axes times five slabs of {glue:text}`data-slab:.0f` Mpc/$h$ give
# 15 maps of surface density per simulation. With {glue:text}`data-n-simulations:d` simulations in the
# profile, each suite has {glue:text}`data-n-maps:d` maps of {glue:text}`data-grid:d` pixels a side.
#
# :::{margin}
# The proxy has the sign, the scale and the ordering of feedback in IllustrisTNG. It teaches nothing
# about galaxy formation.
# :::
#
# - **Nbody_Lite**: particle-mesh simulations with PySCo {cite}`Breton2025`, gravity only.
# - **Lite**: the same simulations with a *feedback proxy*, not hydrodynamics. The baryon fraction of
#   the particles is displaced along the gradient of a pressure-like field {cite}`Dai2018`; the four
#   astrophysical parameters set the amplitude and the range.
#
# Map $i$ of one suite shows the same region as map $i$ of the other. The parameters are the latin
# hypercube of CAMELS {cite}`Villaescusa2021camels`, in its order of rows.

# %%
feedback = subset(open_suite(lite, **source), config.n_simulations)  # "Lite"
gravity = subset(open_suite(f"Nbody_{lite}", **source), config.n_simulations)
params = gravity.params  # (n, 6); the same in both suites

# %% tags=["hide-input"]
summary.parameter_table(params)

# %% [markdown]
# ## The split, by simulation
#
# The 15 maps of a simulation share its parameters and its structures, so each simulation belongs to
# one part only: 90 % for training, 5 % to choose the epoch, 5 % to test. The shuffle is the published
# one, `numpy.random.seed(1)`, and both suites share it: no test region of one is a training region of
# the other. A profile may train on fewer simulations (`train_simulations`) to save time; validation
# and test parts stay whole.

# %%
split = split_simulations(gravity.n_simulations, config.split_seed)
train = split.train[: config.train_simulations]

# %% mystnb={"figure": {"name": "fig-parameter-space", "caption": "The parameters of the simulations and the part of the split that each belongs to. A latin hypercube fills every plane evenly, and no parameter predicts another."}, "image": {"alt": "Three scatter plots, Omega_m against sigma_8 and two planes of feedback parameters. Grey training points fill each plane evenly; orange validation and red test points are scattered among them."}} tags=["hide-input"]
parts = {"train": train, "valid": split.valid, "test": split.test}
fig, axes = plots_data.parameter_space(params, parts)

# %% [markdown]
# ## Look at maps
#
# Every map in {numref}`fig-twins` shows halos, {term}`filaments <Filament>` and {term}`voids <Void>`.
# A higher $\Omega_m$ makes the whole map brighter, a higher $\sigma_8$ sharpens the contrast. The
# {term}`feedback proxy <Feedback>` moves matter from the centres of {term}`halos <Halo>` to their
# outskirts, by a fraction of a Mpc/$h$.

# %% mystnb={"figure": {"name": "fig-twins", "caption": "The same slabs in Nbody_Lite (top) and Lite, whose feedback is a proxy (middle), and the logarithm of their ratio (bottom; red where the proxy adds matter). One colour scale for all maps."}, "image": {"alt": "Four columns of square maps of the cosmic web. Top and middle rows look alike, bright knots joined by filaments around dark voids, brighter overall where Omega_m is high. The bottom row shows blue centres of halos ringed by red."}} tags=["hide-input"]
corners = ((0.15, 0.7), (0.15, 0.9), (0.4, 0.7), (0.4, 0.9))  # (Omega_m, sigma_8) wanted
nearest = [int(np.argmin(((params[:, :2] - corner) ** 2).sum(axis=1))) for corner in corners]
twins = [suite.maps[15 * np.array(nearest)] for suite in (gravity, feedback)]
names = (gravity.name, feedback.name)
fig, axes = plots_data.twin_gallery(*twins, params[nearest], names, gravity.box_size)

# %% [markdown]
# ## Check the mass and the pixels
#
# The five slabs of an axis contain the whole box, so their mean must be
#
# $$
# \bar\Sigma = \Omega_m\,\rho_\mathrm{crit}\,L_\mathrm{slab}
# $$ (eq-mass)
#
# with $\rho_\mathrm{crit}$ = {glue:text}`data-rho-crit:.3e` $(M_\odot/h)/(\mathrm{Mpc}/h)^3$ and
# slabs of $L_\mathrm{slab}$ = {glue:text}`data-slab:.0f` Mpc/$h$. Feedback moves matter and creates
# none. Since the network sees a logarithm, no pixel may be zero, negative or not finite.
#
# The mean of a single slab scatters by {glue:text}`data-slab-scatter:.0%` about this value
# (Nbody_Lite, standard deviation; {numref}`fig-mass`), because structures of 25 Mpc/$h$ do not
# average out in 5 Mpc/$h$. So the mean of a map, its {term}`monopole <Monopole>`, gives only a rough
# $\Omega_m$, and this is the bar that shapes have to pass.

# %%
slabs, boxes, of_gravity = summary.check_maps(gravity)
_, _, of_feedback = summary.check_maps(feedback)

# %% mystnb={"figure": {"name": "fig-mass", "caption": "Mean surface density of each slab of Nbody_Lite (blue) and of the five slabs of an axis together (red) over the value that Omega_m demands. The box has its exact mass; a single slab, all that a network sees at once, does not."}, "image": {"alt": "Ratio of mean to expected mean against Omega_m. Blue points of single slabs scatter widely around one at every Omega_m; red points of five slabs together lie on one without visible scatter."}} tags=["hide-input"]
fig, axes = plots_data.mean_density(params[:, 0], slabs, boxes, gravity.name)

# %% tags=["hide-input"]
checks = pd.DataFrame([of_gravity, of_feedback], index=[plots_style.suite_label(n) for n in names])
checks.rename_axis("suite").T.map("{:.4g}".format)

# %% [markdown]
# ## Pixels and spectra by cosmology
#
# {numref}`fig-by-cosmology` shows what a network can use without looking at any shape. $\Omega_m$
# shifts the whole distribution of pixels, because it sets the mean of the map; $\sigma_8$ widens it.
# In the spectrum of the {term}`overdensity <Overdensity>`,
#
# $$
# \delta = \frac{\Sigma}{\bar\Sigma} - 1 , \qquad
# P(k) = \frac{L^2}{N^4} \left\langle |\delta_{\mathbf k}|^2 \right\rangle_{|\mathbf k| \approx k} ,
# $$ (eq-overdensity)
#
# of a map with $N^2$ pixels and side $L$, the mean is divided out, and the two parameters act on
# amplitude and shape.

# %%
k, of_maps = power_spectrum(gravity.maps, gravity.box_size)
power = summary.per_simulation(of_maps)
ratio = summary.per_simulation(power_spectrum(feedback.maps, gravity.box_size)[1]) / power

# %% mystnb={"figure": {"name": "fig-by-cosmology", "caption": "Pixel distribution (top) and power spectrum of the overdensity (bottom) of Nbody_Lite, by thirds in Omega_m (left) and in sigma_8 (right): median over simulations and central 68 %. The bands contain the spread in the other parameters and from one box to the next."}, "image": {"alt": "Four panels. Top left, the pixel distribution moves to higher surface density as Omega_m grows. Top right, it broadens slightly with sigma_8. Bottom, power spectra fall from small to large k; the bands of the three groups overlap, more so for Omega_m than for sigma_8."}} tags=["hide-input"]
edges = np.arange(10.02, 13.5, 0.08)  # log10 of (Msun/h)/(Mpc/h)^2, two steps of the shipped maps
centres = 0.5 * (edges[1:] + edges[:-1])
pdf = summary.per_simulation(pixel_pdf(gravity.maps, edges))
fig, axes = plots_data.by_cosmology(centres, pdf, k, power, params)

# %% [markdown]
# ## Power against theory
#
# {numref}`fig-power-3d` compares the power of the three-dimensional density of Nbody_Lite with linear
# theory from CAMB {cite}`Lewis2000` and with HMcode2020 {cite}`Mead2021`, a model of the non-linear
# power of gravity alone in an infinite universe. In the longest waves, $k$ =
# {glue:text}`data-3d-k:.2f` $h$/Mpc, {glue:text}`data-3d-boxes:d` boxes have on average
# {glue:text}`data-3d-linear:.2f` ± {glue:text}`data-3d-linear-error:.2f` times the linear power. At 3
# to 5 $h$/Mpc the median box has {glue:text}`data-3d-hmcode:.2f` times the power of HMcode, and the
# mean of boxes {glue:text}`data-3d-hmcode-mean:.2f` times.
#
# Two limits of a small box explain the deficit, and CMD shares them. A box of 25 Mpc/$h$ contains few
# waves near its own size, so single boxes scatter by tens of per cent; and it contains no longer wave,
# so it lacks the massive halos that carry the non-linear power. A third limit is specific to Lite:
# $64^3$ particles on a $128^3$ mesh resolve nothing below about {glue:text}`data-mesh:.1f` Mpc/$h$,
# and their {term}`Nyquist frequency <Nyquist frequency>` is {glue:text}`data-nyquist:.2f` $h$/Mpc,
# which is why the maps have 64 pixels a side. All simulations share these limits, so a network can
# apply to one what it learnt from another; absolute spectra of Lite are not predictions.

# %% mystnb={"figure": {"name": "fig-power-3d", "caption": "Three-dimensional power spectrum of single Nbody_Lite boxes at redshift 0 (points) against linear theory (dotted) and HMcode2020 (dashed), and their ratio; the grey band is the central 68 % of boxes of all cosmologies. A box of 25 Mpc/h has few long waves, hence the scatter, and none longer than itself, hence the lack of non-linear power against an infinite universe."}, "image": {"alt": "Three columns, one per cosmology. Points of the measured power start near the dotted linear curve at small k, leave it upwards and run below the dashed HMcode curve, closest to it at large k. The ratios to HMcode below lie within a factor of a few of one, most of them below it."}} tags=["hide-input"]
validation = io.read_json(Path("data/lite/validation.json"))
fig, axes = plots_data.power_3d(validation["power3d"], validation["power3d_mean"])

# %% [markdown]
# ## The effect of the feedback proxy
#
# The ratio of the two suites' spectra, {numref}`fig-feedback`, is free of the scatter between boxes,
# because both have the same phases. Over the hypercube the power of Lite is
# {glue:text}`data-ratio-large:.3f` of Nbody_Lite's below {glue:text}`data-k-large:.1f` $h$/Mpc (mean;
# largest deviation {glue:text}`data-ratio-large-worst:.1f` %), and between
# {glue:text}`data-ratio-low:.2f` and {glue:text}`data-ratio-high:.2f` at 5 $h$/Mpc (central 95 % of
# simulations). Before projection the mean ratio is {glue:text}`data-ratio-3d-large:.3f` at
# {glue:text}`data-3d-k:.2f` $h$/Mpc and {glue:text}`data-ratio-3d-small:.2f` at 5 $h$/Mpc.
#
# The ratio falls with the amplitude of supernovae, $A_\mathrm{SN1}$, in
# {glue:text}`data-ratio-steps:d` of the {glue:text}`data-ratio-bins:d` steps from one bin to the
# next; the scatter in a bin comes mostly from the range $A_\mathrm{SN2}$. At fixed other parameters
# the suppression at 5 $h$/Mpc, one minus the ratio, grows as $A_\mathrm{SN1}$ to the power
# {glue:text}`data-ratio-exponent:.2f` ± {glue:text}`data-ratio-exponent-error:.2f` (Lite; log-linear
# fit in all six parameters).

# %% mystnb={"figure": {"name": "fig-feedback", "caption": "Power of Lite (feedback proxy) over that of Nbody_Lite (gravity only). Left: against scale, by thirds in the supernova amplitude, median and central 68 % of simulations. Right: at 5 h/Mpc against the supernova amplitude, each simulation, coloured by the range of the proxy A_SN2, and means of bins with their standard errors."}, "image": {"alt": "Left, the ratio is one at small k and falls with k, further for larger supernova amplitude. Right, the ratio at 5 h/Mpc falls with the supernova amplitude; at a given amplitude, simulations with a smaller A_SN2 lie lower."}} tags=["hide-input"]
fig, axes = plots_data.feedback_ratio(k, ratio, params, 5.0, names[::-1])

# %% [markdown]
# ## Particle discreteness
#
# Simulated maps can contain information that the universe would not. In voids the particles still lie
# on their initial lattice, stretched; in maps finer than the particle spacing the stretch reveals
# $\Omega_m$. Lite therefore stops at 64 pixels a side, the Nyquist frequency of its particles, and
# interpolates the displacement field smoothly between them. As a test, the same simulations are
# projected with a finer tracer lattice and with one shifted by half a cell, and the same ridge
# regression is fitted to the power spectrum of the log map ({numref}`fig-lattice`). The largest change
# of $R^2$ is {glue:text}`data-lattice-change:+.3f` (95 %, paired:
# {glue:text}`data-lattice-low:+.3f` to {glue:text}`data-lattice-high:+.3f`), against a half-width of
# {glue:text}`data-lattice-error:.3f` of the 95 % interval of $R^2$ itself
# ({glue:text}`data-lattice-simulations:d` simulations of Nbody_Lite; bootstrap over simulations, the
# smaller of the two parameters' errors). Smaller differences between networks are not significant.

# %% mystnb={"figure": {"name": "fig-lattice", "caption": "Coefficient of determination per map of a ridge regression on the power spectrum of the log map, for maps made with other tracer lattices from the same simulations (Nbody_Lite); 95 % intervals from a bootstrap over simulations. The shaded interval is that of the shipped maps."}, "image": {"alt": "Two panels, Omega_m and sigma_8, each with a few horizontal error bars, one per tracer lattice. The shaded interval belongs to the first, the lattice that is shipped; the other points lie close to its centre."}} tags=["hide-input"]
fig, axes = plots_data.lattice_check(validation["lattice"]["r2"])

# %% [markdown]
# ## Scale the pixels
#
# A network needs inputs of order one. The published recipe takes $\log_{10}\Sigma$, subtracts the
# mean and divides by the standard deviation *of the whole file, test maps included*. Here both come
# from the training maps. On Lite, uncut, the difference is {glue:text}`data-scaling-mean-shift:.4f` in
# the mean and {glue:text}`data-scaling-std-shift:.4f` in the width, both in units of the width: the
# leak is small, and avoiding it costs nothing. {numref}`fig-scaling` shows why scaling matters: a few
# halos dominate linear pixels, while the logarithm gives voids and halos similar ranges. Asinh is
# linear through zero and so accepts the negative pixels of some cuts ([chapter 02](02_cuts.ipynb)).

# %%
train_maps = feedback.maps[map_indices(train)]
scalings = {kind: fit_scaling(train_maps, kind) for kind in ("log", "asinh", "linear")}

# %% mystnb={"figure": {"name": "fig-scaling", "caption": "Training pixels of Lite (feedback proxy) as the network sees them, after each scaling; mean 0 and standard deviation 1 in each panel."}, "image": {"alt": "Three histograms with logarithmic counts. The log scaling gives a skewed bell from minus three to plus five; asinh looks similar with a longer left side cut short; linear piles up near zero with a tail to over one hundred."}} tags=["hide-input"]
sample = train_maps[:: max(1, len(train_maps) // 500)]  # 500 maps give a smooth histogram
fig, axes = plots_data.scaled_pixels({kind: s.apply(sample) for kind, s in scalings.items()})

# %% [markdown]
# ## What we found
#
# - Lite and Nbody_Lite have {glue:text}`data-n-simulations:d` simulations in this profile:
#   {glue:text}`data-n-train:d` for training, {glue:text}`data-n-valid:d` for validation and
#   {glue:text}`data-n-test:d` for the test, none in two parts.
# - The mean of a box agrees with $\Omega_m$ to {glue:text}`data-mass-worst:.0e` (relative, the worst
#   of both suites); {glue:text}`data-bad-pixels:d` pixels are zero, negative or not finite.
# - The log10 of Lite's training maps has mean {glue:text}`data-log-mean:.3f` and standard deviation
#   {glue:text}`data-log-std:.3f`; the published code {cite}`Lahiry2025` finds “11.104 and 0.492” on
#   CMD's IllustrisTNG maps of $256^2$ pixels.
# - The feedback proxy leaves the power of Lite below {glue:text}`data-k-large:.1f` $h$/Mpc at
#   {glue:text}`data-ratio-large:.3f` and lowers it at 5 $h$/Mpc to {glue:text}`data-ratio-median:.2f`
#   in the median simulation.
# - Another particle lattice changes $R^2$ from the power spectrum of Nbody_Lite by at most
#   {glue:text}`data-lattice-change:+.3f` (statistical error {glue:text}`data-lattice-error:.3f`).
#
# **Next:** [chapter 02](02_cuts.ipynb) removes parts of these maps.

# %% [markdown]
# ## Provenance

# %% tags=["remove-input"]
numbers = {
    **summary.suite_numbers(gravity),
    **{f"data-n-{part}": len(rows) for part, rows in parts.items()},
    "data-mass-worst": checks["worst deviation of a box's mean"].max(),
    "data-slab-scatter": np.std(slabs - 1),
    "data-bad-pixels": checks[["not finite", "zero or negative"]].to_numpy().sum(),
    **summary.feedback_numbers(k, ratio, params),
    **summary.validation_numbers(validation),
    **summary.scaling_numbers(scalings["log"], fit_scaling(feedback.maps, "log")),
}
suites = {suite.name: suite.fingerprint for suite in (feedback, gravity)}
publish(
    "01_data", numbers, runs_dir=runs_dir, profile=config, suites=suites, started=started, **numbers
)
