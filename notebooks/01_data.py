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
# We checked the maps of *Lite* before training on them. The mass of every box agrees with its $\Omega_m$ to
# {glue:text}`data-mass-worst:.0e`, and {glue:text}`data-bad-pixels:d` pixels are zero, negative or not finite. The feedback proxy
# lowers the power at 5 $h$/Mpc to {glue:text}`data-ratio-median:.2f` of that under gravity alone and leaves the largest scales
# as they are. Maps made with other particle lattices change $R^2$ by {glue:text}`data-lattice-change:+.3f` at most.
#
# :::{admonition} Overview
# - A map is the surface density of all matter in a thin slab. Each simulation gives 15 maps, once under gravity alone and once
#   with a proxy of {term}`feedback <Feedback>`.
# - The checks concern the mass, the pixels, the power spectrum, the feedback and the particles.
# - Simulations are split into training, validation and test parts, and pixels are scaled for the networks.
# :::
#
# **What you need.** Only the clone, which contains the Lite {term}`suite <Suite>`. Numbers and figures are for *Lite*, with the
# simulations of the {term}`profile <Profile>`, unless CMD is named.
#
# This book asks which parts of the cosmic web tell a network the matter density $\Omega_m$ and the amplitude of fluctuations
# $\sigma_8$. The original study {cite}`Lahiry2025` used maps of the CAMELS Multifield Dataset, CMD {cite}`Villaescusa2022`. Lite
# has the same format, parameters and box size. It was simulated for this repository at a lower resolution, so that everything
# runs on a laptop.

# %% tags=["remove-cell"]
import os

import cosmolib

places = ".", "..", os.path.dirname(cosmolib.__path__[0])  # a kernel may start in any folder
os.chdir(next((folder for folder in places if os.path.isdir(f"{folder}/data/lite")), "."))

# %% tags=["parameters", "hide-input"]
profile = "demo"  # name of a file in configs/, or a path to one
data_dir = ""  # folder of CMD files; "": from the profile (Lite is shipped)
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
# ## Two suites of the same universes
#
# Each simulation is a periodic box of {glue:text}`data-box:.0f` Mpc/$h$ with its own cosmology, feedback and initial phases. Five
# slabs of {glue:text}`data-slab:.0f` Mpc/$h$ along each of the three axes give 15 maps per simulation. This profile uses
# {glue:text}`data-n-simulations:d` simulations, that is {glue:text}`data-n-maps:d` maps per suite, each with
# {glue:text}`data-grid:d` pixels on a side.
#
# - **Nbody_Lite** contains particle-mesh simulations with gravity only, made with PySCo {cite}`Breton2025`.
# - **Lite** contains the same simulations with a *feedback proxy*: a fraction of the matter, the baryons, is displaced along the
#   gradient of a pressure-like field {cite}`Dai2018`. The four astrophysical parameters set amplitude and range. The proxy has the
#   sign, the scale and the ordering of the feedback in IllustrisTNG, but it contains no gas and no galaxies.
#
# Map $i$ of both suites shows the same region. The parameters are CAMELS' latin hypercube {cite}`Villaescusa2021camels`, row by row.

# %%
feedback = subset(open_suite(lite, **source), config.n_simulations)  # "Lite"
gravity = subset(open_suite(f"Nbody_{lite}", **source), config.n_simulations)
params = gravity.params  # (n, 6); the same in both suites

# %% tags=["hide-input"]
summary.parameter_table(params)

# %% [markdown]
# ## Split the data by simulation
#
# The 15 maps of a simulation share its parameters and its structures. Each simulation therefore belongs to one part only: 90 % are
# for training, 5 % for choosing the best epoch and 5 % for the test. Both suites use the published shuffle,
# `numpy.random.seed(1)`, so that no test region of one suite is a training region of the other. A profile can train
# on fewer simulations, this one on {glue:text}`data-n-train:d` of {glue:text}`data-n-train-part:d`; the other parts stay complete.

# %%
split = split_simulations(gravity.n_simulations, config.split_seed)
train = split.train[: config.train_simulations]

# %% mystnb={"figure": {"name": "fig-parameter-space", "caption": "Parameters of the simulations, by part of the split. The latin hypercube fills every plane evenly, so that no parameter predicts another."}, "image": {"alt": "Three scatter plots, Omega_m against sigma_8 and two planes of feedback parameters. Grey training points fill each plane evenly; orange validation and red test points are scattered among them."}} tags=["hide-input"]
parts = {"train": train, "valid": split.valid, "test": split.test}
fig, axes = plots_data.parameter_space(params, parts)

# %% [markdown]
# ## Look at maps
#
# The maps in {numref}`fig-twins` show {term}`halos <Halo>`, {term}`filaments <Filament>` and {term}`voids <Void>`. A higher
# $\Omega_m$ makes the whole map brighter, and a higher $\sigma_8$ increases the contrast. The feedback proxy moves matter from the
# centres of halos to their outskirts, by a fraction of a Mpc/$h$.

# %% mystnb={"figure": {"name": "fig-twins", "caption": "The same slabs in Nbody_Lite (gravity only, top) and Lite (feedback proxy, middle), and the logarithm of their ratio (bottom). The proxy changes the halos and their surroundings; it adds matter to red pixels."}, "image": {"alt": "Four columns of square maps of the cosmic web. Top and middle rows look alike, bright knots joined by filaments around dark voids, brighter overall where Omega_m is high. The bottom row shows blue centres of halos ringed by red."}} tags=["hide-input"]
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
# with $\rho_\mathrm{crit}$ = {glue:text}`data-rho-crit:.3e` $(M_\odot/h)/(\mathrm{Mpc}/h)^3$ and slabs of
# $L_\mathrm{slab}$ = {glue:text}`data-slab:.0f` Mpc/$h$. Feedback moves matter but creates none, so this holds for both suites.
# No pixel may be zero, negative or not finite, because the networks see the logarithm.

# %%
slabs, boxes, of_gravity = summary.check_maps(gravity)
_, _, of_feedback = summary.check_maps(feedback)

# %% tags=["hide-input"]
checks = pd.DataFrame([of_gravity, of_feedback], index=[plots_style.suite_label(n) for n in names])
checks.rename_axis("suite").T.map("{:.4g}".format)

# %% [markdown]
# The mean of a single slab scatters by {glue:text}`data-slab-scatter:.0%` around this value (Nbody_Lite, standard deviation;
# {numref}`fig-mass`), because structures of 25 Mpc/$h$ do not average out within 5 Mpc/$h$. The mean of a map, its
# {term}`monopole <Monopole>`, therefore gives only a rough estimate of $\Omega_m$. Shapes and scales must do better than that.

# %% mystnb={"figure": {"name": "fig-mass", "caption": "Mean surface density of single slabs of Nbody_Lite (blue) and of the five slabs of an axis (red), over the value expected from Omega_m. A box has exactly the expected mass; a single slab, which is what a network sees, does not."}, "image": {"alt": "Ratio of mean to expected mean against Omega_m. Blue points of single slabs scatter widely around one at every Omega_m; red points of five slabs together lie on one without visible scatter."}} tags=["hide-input"]
fig, axes = plots_data.mean_density(params[:, 0], slabs, boxes, gravity.name)

# %% [markdown]
# ## Compare cosmologies
#
# {numref}`fig-by-cosmology` shows what a network can use without looking at any shape. $\Omega_m$ shifts the whole distribution of
# pixels, because it sets the mean of the map; $\sigma_8$ widens the distribution. The power spectrum is that of the
# {term}`overdensity <Overdensity>`,
#
# $$
# \delta = \frac{\Sigma}{\bar\Sigma} - 1 , \qquad
# P(k) = \frac{L^2}{N^4} \left\langle |\delta_{\mathbf k}|^2 \right\rangle_{|\mathbf k| \approx k} ,
# $$ (eq-overdensity)
#
# of a map with $N^2$ pixels and side $L$. The mean of the map is divided out, and both parameters change amplitude and shape.

# %%
k, of_maps = power_spectrum(gravity.maps, gravity.box_size)
power = summary.per_simulation(of_maps)
ratio = summary.per_simulation(power_spectrum(feedback.maps, gravity.box_size)[1]) / power

# %% mystnb={"figure": {"name": "fig-by-cosmology", "caption": "Pixel distribution (top) and power spectrum of the overdensity (bottom) of Nbody_Lite, by thirds in Omega_m (left) and in sigma_8 (right): median and central 68 % of the simulations. The bands overlap, because the other parameters and the boxes differ as well."}, "image": {"alt": "Four panels. Top left, the pixel distribution moves to higher surface density as Omega_m grows. Top right, it broadens slightly with sigma_8. Bottom, power spectra fall from small to large k; the bands of the three groups overlap, more so for Omega_m than for sigma_8."}} tags=["hide-input"]
edges = np.arange(10.02, 13.5, 0.08)  # log10 of (Msun/h)/(Mpc/h)^2, two steps of the shipped maps
centres = 0.5 * (edges[1:] + edges[:-1])
pdf = summary.per_simulation(pixel_pdf(gravity.maps, edges))
fig, axes = plots_data.by_cosmology(centres, pdf, k, power, params)

# %% [markdown]
# ## Compare the power with theory
#
# {numref}`fig-power-3d` compares the three-dimensional power spectrum of Nbody_Lite with linear theory from CAMB
# {cite}`Lewis2000` and with HMcode2020 {cite}`Mead2021`, a model of non-linear power under gravity alone in an infinite universe.
# At $k$ = {glue:text}`data-3d-k:.2f` $h$/Mpc, the longest waves, {glue:text}`data-3d-boxes:d` boxes have on average
# {glue:text}`data-3d-linear:.2f` ± {glue:text}`data-3d-linear-error:.2f` times the linear power. At 3 to 5 $h$/Mpc the median box
# has {glue:text}`data-3d-hmcode:.2f` times the power of HMcode, and the mean of the boxes is {glue:text}`data-3d-hmcode-mean:.2f`
# times.
#
# This deficit is a property of small boxes, and CMD shares it. A box of 25 Mpc/$h$ contains few waves of about its own size, so
# single boxes scatter by tens of per cent. It contains no longer waves, so it lacks the massive halos that carry much of the
# non-linear power. Lite has one more limit: $64^3$ particles on a mesh of $128^3$ cells resolve nothing below about
# {glue:text}`data-mesh:.1f` Mpc/$h$. The {term}`Nyquist frequency <Nyquist frequency>` of the particles is
# {glue:text}`data-nyquist:.2f` $h$/Mpc, and the maps have 64 pixels on a side for this reason. All simulations share these limits,
# so a network can learn from some of them and be tested on others; but absolute spectra of Lite are not predictions.

# %% mystnb={"figure": {"name": "fig-power-3d", "caption": "Three-dimensional power spectrum of three Nbody_Lite boxes at redshift 0 (points), linear theory (dotted) and HMcode2020 (dashed). Bottom: ratio to HMcode, with the central 68 % of the boxes of all cosmologies (grey). Most boxes lie below the theory of an infinite universe."}, "image": {"alt": "Three columns, one per cosmology. Points of the measured power start near the dotted linear curve at small k, leave it upwards and run below the dashed HMcode curve, closest to it at large k. The ratios to HMcode below lie within a factor of a few of one, most of them below it."}} tags=["hide-input"]
validation = io.read_json(Path("data/lite/validation.json"))
fig, axes = plots_data.power_3d(validation["power3d"], validation["power3d_mean"])

# %% [markdown]
# ## Measure the effect of the feedback proxy
#
# The ratio of the two suites' power spectra ({numref}`fig-feedback`) is free of the scatter between boxes, because both have the
# same phases. Below {glue:text}`data-k-large:.1f` $h$/Mpc the power of Lite is {glue:text}`data-ratio-large:.3f` of that of
# Nbody_Lite (mean of the simulations; the largest deviation is {glue:text}`data-ratio-large-worst:.1f` %). At 5 $h$/Mpc the ratio
# lies between {glue:text}`data-ratio-low:.2f` and {glue:text}`data-ratio-high:.2f` (central 95 %). Before the projection, the mean
# ratio is {glue:text}`data-ratio-3d-large:.3f` at {glue:text}`data-3d-k:.2f` $h$/Mpc and {glue:text}`data-ratio-3d-small:.2f` at
# 5 $h$/Mpc.
#
# The suppression grows with the amplitude of supernovae, $A_\mathrm{SN1}$: the ratio falls in {glue:text}`data-ratio-steps:d` of the
# {glue:text}`data-ratio-bins:d` steps from one bin to the next, and the scatter within a bin comes mostly from the range
# $A_\mathrm{SN2}$. In a log-linear fit of all six parameters, one minus the ratio grows as $A_\mathrm{SN1}$ to the power
# {glue:text}`data-ratio-exponent:.2f` ± {glue:text}`data-ratio-exponent-error:.2f`.

# %% mystnb={"figure": {"name": "fig-feedback", "caption": "Power of Lite (feedback proxy) over that of Nbody_Lite (gravity only). Left: against scale, by thirds in the supernova amplitude, median and central 68 % of the simulations. Right: at 5 h/Mpc, single simulations coloured by the range A_SN2, and means of bins with standard errors. The proxy lowers the power at small scales only, and more so for a larger amplitude."}, "image": {"alt": "Left, the ratio is one at small k and falls with k, further for larger supernova amplitude. Right, the ratio at 5 h/Mpc falls with the supernova amplitude; at a given amplitude, simulations with a smaller A_SN2 lie lower."}} tags=["hide-input"]
fig, axes = plots_data.feedback_ratio(k, ratio, params, 5.0, names[::-1])

# %% [markdown]
# ## Check for particle discreteness
#
# Simulated maps can contain information that the universe does not. Particles in voids still lie on their initial lattice,
# stretched by the expansion of the void, and in maps with pixels below the particle spacing the stretch reveals $\Omega_m$. Lite
# therefore has no smaller pixels, and the displacement field is interpolated smoothly between the particles.
#
# As a test, the same simulations were projected with a finer lattice of tracers, and with one shifted by half a cell. A ridge
# regression on the power spectrum of the log map was then fitted to each version ({numref}`fig-lattice`;
# {glue:text}`data-lattice-simulations:d` simulations of Nbody_Lite). The largest change of $R^2$ is
# {glue:text}`data-lattice-change:+.3f` (95 %, paired over simulations: {glue:text}`data-lattice-low:+.3f` to
# {glue:text}`data-lattice-high:+.3f`). The 95 % interval of $R^2$ itself is wider, with a half-width of at least
# {glue:text}`data-lattice-error:.3f`. Where the interval of the change excludes zero, the particles do have an effect; a difference of
# this size between networks says nothing about the Universe.

# %% mystnb={"figure": {"name": "fig-lattice", "caption": "$R^2$ per map of a ridge regression on the power spectrum of the log map, for maps of the same simulations (Nbody_Lite) with other lattices of tracers. Bars: 95 % over simulations; shaded: the shipped maps. The changes are smaller than the error bars."}, "image": {"alt": "Two panels, Omega_m and sigma_8, each with a few horizontal error bars, one per tracer lattice. The shaded interval belongs to the first, the lattice that is shipped; the other points lie close to its centre."}} tags=["hide-input"]
fig, axes = plots_data.lattice_check(validation["lattice"]["r2"])

# %% [markdown]
# ## Scale the pixels
#
# A network needs inputs of order one. The published recipe takes $\log_{10}\Sigma$, subtracts the mean and divides by the standard
# deviation, both *of the whole file, test maps included*. Here both are computed from the training maps. For uncut Lite maps the
# two recipes differ by {glue:text}`data-scaling-mean-shift:.4f` in the mean and {glue:text}`data-scaling-std-shift:.4f` in the
# width, in units of the width. The leak is small, and avoiding it costs nothing.
#
# {numref}`fig-scaling` shows why the logarithm matters: a few halos dominate linear pixels, while the logarithm gives voids and
# halos similar ranges. Asinh is linear through zero and therefore accepts the negative pixels of some cuts
# ([chapter 02](02_cuts.ipynb)).

# %%
train_maps = feedback.maps[map_indices(train)]
scalings = {kind: fit_scaling(train_maps, kind) for kind in ("log", "asinh", "linear")}

# %% mystnb={"figure": {"name": "fig-scaling", "caption": "Training pixels of Lite (feedback proxy) after each scaling, with mean 0 and standard deviation 1. Without a logarithm, a few halos fill most of the range."}, "image": {"alt": "Three histograms with logarithmic counts. The log scaling gives a skewed bell from minus three to plus five; asinh looks similar with a longer left side cut short; linear piles up near zero with a tail to over one hundred."}} tags=["hide-input"]
sample = train_maps[:: max(1, len(train_maps) // 500)]  # 500 maps give a smooth histogram
fig, axes = plots_data.scaled_pixels({kind: s.apply(sample) for kind, s in scalings.items()})

# %% [markdown]
# ## What we found
#
# - This profile uses {glue:text}`data-n-simulations:d` simulations of each suite: {glue:text}`data-n-train:d` for training,
#   {glue:text}`data-n-valid:d` for validation and {glue:text}`data-n-test:d` for the test. No simulation is in two parts.
# - The mean of every box agrees with $\Omega_m$ to {glue:text}`data-mass-worst:.0e` (relative, the worst of both suites), and
#   {glue:text}`data-bad-pixels:d` pixels are zero, negative or not finite.
# - The feedback proxy leaves the power below {glue:text}`data-k-large:.1f` $h$/Mpc at {glue:text}`data-ratio-large:.3f` of that of
#   Nbody_Lite and lowers it at 5 $h$/Mpc to {glue:text}`data-ratio-median:.2f` in the median simulation.
# - Another lattice of particles changes the $R^2$ of a regression on the power spectrum by {glue:text}`data-lattice-change:+.3f` at
#   most ({glue:text}`data-lattice-low:+.3f` to {glue:text}`data-lattice-high:+.3f`; Nbody_Lite).
# - The $\log_{10}$ of Lite's training maps has mean {glue:text}`data-log-mean:.3f` and standard deviation
#   {glue:text}`data-log-std:.3f`. The published code {cite}`Lahiry2025` finds “11.104 and 0.492” for CMD's IllustrisTNG maps of
#   $256^2$ pixels.
#
# **Next:** [chapter 02](02_cuts.ipynb) removes parts of these maps.

# %% [markdown]
# ## Provenance

# %% tags=["remove-input"]
log, of_file = scalings["log"], fit_scaling(feedback.maps, "log")
numbers = {
    "data-n-simulations": gravity.n_simulations,
    "data-n-maps": len(gravity.maps),
    "data-grid": gravity.grid,
    "data-box": gravity.box_size,
    "data-slab": gravity.box_size / 5,
    **{f"data-n-{part}": len(rows) for part, rows in parts.items()},
    "data-n-train-part": len(split.train),
    "data-mass-worst": checks["worst deviation of a box's mean"].max(),
    "data-slab-scatter": np.std(slabs - 1),
    "data-bad-pixels": checks[["not finite", "zero or negative"]].to_numpy().sum(),
    **summary.feedback_numbers(k, ratio, params),
    **validation["numbers"],
    "data-log-mean": log.mean,
    "data-log-std": log.std,
    "data-scaling-mean-shift": abs(of_file.mean - log.mean) / log.std,
    "data-scaling-std-shift": abs(of_file.std - log.std) / log.std,
}
suites = {suite.name: suite.fingerprint for suite in (feedback, gravity)}
about = {"runs_dir": runs_dir, "profile": config, "started": started}
publish("01_data", numbers, suites=suites, **about, **numbers)
