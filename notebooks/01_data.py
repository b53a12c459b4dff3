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
# - What a network is shown: 15 projected maps of total matter from each of many simulated
#   universes, once with gravity only and once with a proxy of feedback.
# - Whether the maps are what they claim: mass, positivity, power against theory, feedback, and
#   how much the particle lattice shows.
# - How the simulations are split and the pixels scaled before any training.
# :::
#
# **What you need.** Nothing but the clone: the Lite {term}`suite <Suite>` is shipped with it. Numbers and figures on
# this page are of *Lite* at the size of the {term}`profile <Profile>` below, unless CMD is named.
#
# The question of this book is which parts of the cosmic web tell a network the matter density
# $\Omega_m$ and the amplitude of fluctuations $\sigma_8$. The study that it follows
# {cite}`Lahiry2025` used maps of the CAMELS Multifield Dataset, CMD {cite}`Villaescusa2022`. Lite has
# the same format, the same parameter table and the same box, but is simulated by this repository at
# lower resolution, so that everything runs on a laptop.

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
from IPython.display import Markdown
from myst_nb import glue

from cosmolib.data.scaling import fit_scaling
from cosmolib.data.spectra import pixel_pdf, power_spectrum
from cosmolib.data.suites import (
    BOX_SIZE,
    MAPS_PER_SIMULATION,
    PARAMETERS,
    RHO_CRIT,
    SLAB_DEPTH,
    map_indices,
    mean_surface_density,
    open_suite,
    subset,
)
from cosmolib.plots import style as plots_style
from cosmolib.study import io, provenance
from cosmolib.study.profile import load_profile
from cosmolib.training.dataset import study_split

K_LARGE = 0.5  # [h/Mpc] below it feedback should do nothing
started = time.perf_counter()
plots_style.use_style()

# %% tags=["hide-input"]
config = load_profile(profile)
feedback_name = next(name for name in config.suites if not name.startswith("Nbody_"))
names = (f"Nbody_{feedback_name}", feedback_name)

suites = {}
for name in names:
    suite = open_suite(
        name, data_dir or config.data_dir, field=config.field, sim_set=config.sim_set
    )
    suites[name] = subset(suite, config.n_simulations)
gravity, feedback = suites.values()
params, n_simulations = gravity.params, gravity.n_simulations
omega_m, sigma_8 = params[:, 0], params[:, 1]

# %% [markdown]
# ## Two suites, one set of universes
#
# Each simulation is a periodic box of {glue:text}`data-box:.0f` Mpc/$h$ with its own cosmology, its own
# feedback and its own initial phases. Three axes times five slabs of {glue:text}`data-slab:.0f` Mpc/$h$ make 15 maps of surface density a
# simulation. The profile uses {glue:text}`data-n-simulations:d` simulations, so
# {glue:text}`data-n-maps:d` maps of {glue:text}`data-grid:d` pixels a side in each suite.
#
# :::{margin}
# The proxy has the sign, the scale and the ordering of feedback in IllustrisTNG. Nothing learnt from
# it about how galaxies form would mean anything.
# :::
#
# - **Nbody_Lite**: particle-mesh simulations with PySCo {cite}`Breton2025`, gravity only.
# - **Lite**: the same simulations with a *feedback proxy*. The baryon fraction of the particles is
#   displaced along the gradient of a pressure-like field {cite}`Dai2018`; the four astrophysical
#   parameters set the amplitude and the range. It is a proxy and no hydrodynamic simulation.
#
# Map $i$ of one suite shows the same region as map $i$ of the other. The parameters are the latin
# hypercube of CAMELS {cite}`Villaescusa2021camels`, in its order of rows.

# %% tags=["hide-input"]
pd.DataFrame(
    {
        "smallest": params.min(axis=0),
        "largest": params.max(axis=0),
        "what it sets": [
            "matter density over the critical one",
            "linear fluctuations within 8 Mpc/h",
            "supernovae (Lite: amplitude of the proxy)",
            "black holes (Lite: amplitude, densest cells)",
            "supernovae (Lite: range of the proxy)",
            "black holes (Lite: range, densest cells)",
        ],
    },
    index=pd.Index(PARAMETERS, name="parameter"),
).round(2)

# %% [markdown]
# ## The split, by simulation
#
# The 15 maps of a simulation share its parameters and its structures, so a simulation belongs to
# one part only: 90 % to train on, 5 % to choose the epoch, 5 % to test. The shuffle is the
# published one, `numpy.random.seed(1)`, and the twins share it, so that no test region of one suite
# is a training region of the other. A profile may train on fewer simulations (`train_simulations`),
# to save time; it still validates and tests on the whole of the other two parts.

# %% mystnb={"figure": {"name": "fig-parameter-space", "caption": "The parameters of the simulations and the part of the split that each belongs to. A latin hypercube fills every plane evenly, and no parameter predicts another."}, "image": {"alt": "Three scatter plots, Omega_m against sigma_8 and two planes of feedback parameters. Grey training points fill each plane evenly; orange validation and red test points are scattered among them."}} tags=["hide-input"]
split = study_split(gravity, config)
parts = {"train": split.train, "valid": split.valid, "test": split.test}
fig, axes = plots_style.parameter_space(params, parts)

# %% [markdown]
# ## Look at maps
#
# Halos, {term}`filaments <Filament>` and {term}`voids <Void>` are seen in every map of {numref}`fig-twins`; a higher $\Omega_m$ makes
# the whole map brighter, a higher $\sigma_8$ sharpens the contrast. The {term}`feedback proxy <Feedback>` moves matter
# out of the centres of {term}`halos <Halo>` into their outskirts, by a fraction of a Mpc/$h$.

# %% mystnb={"figure": {"name": "fig-twins", "caption": "The same slabs in Nbody_Lite (top) and Lite, whose feedback is a proxy (middle), and the logarithm of their ratio (bottom; red where the proxy adds matter). One colour scale for all maps."}, "image": {"alt": "Four columns of square maps of the cosmic web. Top and middle rows look alike, bright knots joined by filaments around dark voids, brighter overall where Omega_m is high. The bottom row shows blue centres of halos ringed by red."}} tags=["hide-input"]
corners = ((0.15, 0.7), (0.15, 0.9), (0.4, 0.7), (0.4, 0.9))  # (Omega_m, sigma_8) asked for
nearest = [int(np.argmin((omega_m - om) ** 2 + (sigma_8 - s8) ** 2)) for om, s8 in corners]
titles = [
    rf"$\Omega_m$ = {om:.2f}, $\sigma_8$ = {s8:.2f}" + "\n" + rf"$A_\mathrm{{SN1}}$ = {sn1:.2f}"
    for om, s8, sn1 in params[nearest, :3]
]
first_maps = [MAPS_PER_SIMULATION * i for i in nearest]
fig, axes = plots_style.twin_gallery(
    gravity.maps[first_maps], feedback.maps[first_maps], titles, names, gravity.box_size
)

# %% [markdown]
# ## Check the mass and the pixels
#
# The five slabs of an axis hold the whole box, so their mean must be
#
#
# $$
# \bar\Sigma = \Omega_m\,\rho_\mathrm{crit}\,L_\mathrm{slab}
# $$ (eq-mass)
#
# with $\rho_\mathrm{crit}$ = {glue:text}`data-rho-crit:.3e` $(M_\odot/h)/(\mathrm{Mpc}/h)^3$ and slabs of
# $L_\mathrm{slab}$ = {glue:text}`data-slab:.0f` Mpc/$h$. Feedback
# moves matter and makes none. Since the network will see a logarithm, no pixel may be zero, negative
# or not finite.
#
# A single slab is another matter ({numref}`fig-mass`). Its mean scatters by
# {glue:text}`data-slab-scatter:.0%` about the value that $\Omega_m$ demands (Nbody_Lite, standard
# deviation), because structures of 25 Mpc/$h$ do not average out in 5 Mpc/$h$. So the mean of a map,
# its {term}`monopole <Monopole>`, tells $\Omega_m$ only roughly, and this is the bar that shapes have to pass.

# %% mystnb={"figure": {"name": "fig-mass", "caption": "Mean surface density of each slab of Nbody_Lite (blue) and of the five slabs of an axis together (red) over the value that Omega_m demands. The box has its exact mass; a single slab, all that a network sees at once, has not."}, "image": {"alt": "Ratio of mean to expected mean against Omega_m. Blue points of single slabs scatter widely around one at every Omega_m; red points of five slabs together lie on one without visible scatter."}} tags=["hide-input"]
slabs, boxes, checks = {}, {}, []
for name, suite in suites.items():
    means = suite.maps.mean(axis=(1, 2), dtype=np.float64).reshape(n_simulations, 15)
    slabs[name] = means / mean_surface_density(omega_m, suite.box_size)[:, None]
    boxes[name] = slabs[name].reshape(n_simulations, 3, 5).mean(axis=2)
    checks.append(
        {
            "suite": plots_style.suite_label(name),
            "simulations": n_simulations,
            "pixels": suite.maps.size,
            "not finite": suite.maps.size - np.count_nonzero(np.isfinite(suite.maps)),
            "zero or negative": np.count_nonzero(suite.maps <= 0),
            "smallest pixel": float(suite.maps.min()),
            "largest pixel": float(suite.maps.max()),
            "worst deviation of a box's mean": np.abs(boxes[name] - 1).max(),
        }
    )
fig, axes = plots_style.mean_density(omega_m, slabs[names[0]], boxes[names[0]], names[0])

# %% tags=["hide-input"]
checks = pd.DataFrame(checks).set_index("suite")
checks.T.map("{:.4g}".format)

# %% [markdown]
# ## Pixels and spectra by cosmology
#
# {numref}`fig-by-cosmology` shows what a network has to work with before it looks for any shape.
# $\Omega_m$ shifts the whole distribution of pixels, because it is the mean of the map; $\sigma_8$
# widens it. In the spectrum of the {term}`overdensity <Overdensity>`,
#
# $$
# \delta = \frac{\Sigma}{\bar\Sigma} - 1 , \qquad
# P(k) = \frac{L^2}{N^4} \left\langle |\delta_{\mathbf k}|^2 \right\rangle_{|\mathbf k| \approx k} ,
# $$ (eq-overdensity)
#
# of a map with $N^2$ pixels and $L$ a side, the mean is divided
# out, and the two parameters act on amplitude and shape.


# %% mystnb={"figure": {"name": "fig-by-cosmology", "caption": "Pixel distribution (top) and power spectrum of the overdensity (bottom) of Nbody_Lite, by thirds in Omega_m (left) and in sigma_8 (right): median over simulations and central 68 %. The bands hold the spread in the other parameters and from one box to the next."}, "image": {"alt": "Four panels. Top left, the pixel distribution moves to higher surface density as Omega_m grows. Top right, it broadens slightly with sigma_8. Bottom, power spectra fall from small to large k; the bands of the three groups overlap, more so for Omega_m than for sigma_8."}} tags=["hide-input"]
def per_simulation(values):
    """Mean over the 15 maps of each simulation, (15 n, ...) -> (n, ...)."""
    return values.reshape(n_simulations, MAPS_PER_SIMULATION, -1).mean(axis=1)


edges = np.arange(10.02, 13.5, 0.08)  # log10 of (Msun/h)/(Mpc/h)^2, two steps of the shipped maps
centres = 0.5 * (edges[1:] + edges[:-1])
pdf = per_simulation(pixel_pdf(gravity.maps, edges))
power = {}
for name, suite in suites.items():
    k, values = power_spectrum(suite.maps, suite.box_size)
    power[name] = per_simulation(values)
fig, axes = plots_style.by_cosmology(centres, pdf, k, power[names[0]], params)

# %% [markdown]
# ## Power against theory
#
# {numref}`fig-power-3d` compares the power of the three-dimensional density of Nbody_Lite with linear
# theory from CAMB {cite}`Lewis2000` and with HMcode2020 {cite}`Mead2021`, a model of the non-linear
# power of gravity alone in an infinite universe. In the longest waves, $k$ =
# {glue:text}`data-3d-k:.2f` $h$/Mpc, {glue:text}`data-3d-boxes:d` boxes hold
# {glue:text}`data-3d-linear:.2f` ± {glue:text}`data-3d-linear-error:.2f` times the linear power (mean
# and its error). At 3 to 5 $h$/Mpc the median box holds {glue:text}`data-3d-hmcode:.2f` times the power
# of HMcode, and the mean of boxes {glue:text}`data-3d-hmcode-mean:.2f` times (Nbody_Lite).
#
# Two limits of a small box explain the lack, and CMD shares them. A box of 25 Mpc/$h$ has few waves
# near its own size, so single boxes scatter by tens of per cent. And it has no wave longer than itself:
# what it lacks in variance it lacks in massive halos, which carry the non-linear power. A third limit
# is of Lite alone: $64^3$ particles on a $128^3$ mesh resolve nothing below about {glue:text}`data-mesh:.1f` Mpc/$h$, and
# their {term}`Nyquist frequency <Nyquist frequency>` is {glue:text}`data-nyquist:.2f` $h$/Mpc, which is why the maps stop at 64 pixels a side. All
# simulations share these limits, so a network can learn from one what it applies to another; absolute
# spectra of Lite are not predictions.

# %% mystnb={"figure": {"name": "fig-power-3d", "caption": "Three-dimensional power spectrum of single Nbody_Lite boxes at redshift 0 (points) against linear theory (dotted) and HMcode2020 (dashed), and their ratio; the grey band is the central 68 % of boxes of all cosmologies. A box of 25 Mpc/h has few long waves, hence the scatter, and none longer than itself, hence the lack of non-linear power against an infinite universe."}, "image": {"alt": "Three columns, one a cosmology. Points of the measured power start near the dotted linear curve at small k, leave it upwards and run below the dashed HMcode curve, closest to it at large k. The ratios to HMcode below lie within a factor of a few of one, most of them below it."}} tags=["hide-input"]
validation = io.read_json(Path("data/lite/validation.json"))
fig, axes = plots_style.power_3d(validation["power3d"], validation["power3d_mean"])

# %% [markdown]
# ## What the feedback proxy does
#
# The ratio of the twins' spectra, {numref}`fig-feedback`, is free of the scatter between boxes,
# because both have the same phases. Over the whole hypercube the power of Lite is
# {glue:text}`data-ratio-large:.3f` of Nbody_Lite's below {glue:text}`data-k-large:.1f` $h$/Mpc (mean; the largest deviation of
# a simulation is {glue:text}`data-ratio-large-worst:.1f` %), and at 5 $h$/Mpc between
# {glue:text}`data-ratio-low:.2f` and {glue:text}`data-ratio-high:.2f` (central 95 % of simulations).
# Before projection, in three dimensions, the mean ratio is {glue:text}`data-ratio-3d-large:.3f` at
# {glue:text}`data-3d-k:.2f` $h$/Mpc and {glue:text}`data-ratio-3d-small:.2f` at 5 $h$/Mpc.
#
# The ratio falls with the amplitude of supernovae, $A_\mathrm{SN1}$, in
# {glue:text}`data-ratio-steps:d` of the {glue:text}`data-ratio-bins:d` steps from a bin to the next;
# the scatter in a bin comes from the other parameters, above all from the range $A_\mathrm{SN2}$. At
# fixed other parameters the suppression at 5 $h$/Mpc, one minus the ratio, grows as
# $A_\mathrm{SN1}$ to the power {glue:text}`data-ratio-exponent:.2f` ±
# {glue:text}`data-ratio-exponent-error:.2f` (Lite; log-linear fit in all six parameters).

# %% mystnb={"figure": {"name": "fig-feedback", "caption": "Power of Lite (feedback proxy) over that of Nbody_Lite (gravity only). Left: against scale, by thirds in the supernova amplitude, median and central 68 % of simulations. Right: at 5 h/Mpc against the supernova amplitude, each simulation, coloured by the range of the proxy A_SN2, and means of bins with their standard errors."}, "image": {"alt": "Left, the ratio is one at small k and falls with k, further for larger supernova amplitude. Right, the ratio at 5 h/Mpc falls with the supernova amplitude; at a given amplitude, simulations with a smaller A_SN2 lie lower."}} tags=["hide-input"]
ratio = power[names[1]] / power[names[0]]
fig, axes = plots_style.feedback_ratio(k, ratio, params, 5.0, names[::-1])

# %% [markdown]
# ## How much the particle lattice tells
#
# Simulated maps can tell a network things that the universe would not. In voids the particles still
# stand on their initial lattice, stretched; seen in maps finer than the particle spacing, the
# stretch is a gift of $\Omega_m$. Lite therefore stops at 64 pixels a side, the Nyquist frequency of
# its particles, and interpolates the displacement field smoothly between them. The test: project the
# same simulations again with a finer tracer lattice and with one shifted by half a cell, and fit the
# same ridge regression on the power spectrum of the log map ({numref}`fig-lattice`). Of all changes of
# $R^2$ the largest is {glue:text}`data-lattice-change:+.3f` (95 %, paired:
# {glue:text}`data-lattice-low:+.3f` to {glue:text}`data-lattice-high:+.3f`), against a half-width of
# the 95 % interval of $R^2$ itself of {glue:text}`data-lattice-error:.3f`
# ({glue:text}`data-lattice-simulations:d` simulations of Nbody_Lite; bootstrap over simulations, the
# smaller of the two parameters' errors). Differences of this size between networks on Lite mean
# nothing.

# %% mystnb={"figure": {"name": "fig-lattice", "caption": "Coefficient of determination per map of a ridge regression on the power spectrum of the log map, for maps made with other tracer lattices from the same simulations (Nbody_Lite); 95 % intervals from a bootstrap over simulations. The shaded interval is that of the shipped maps."}, "image": {"alt": "Two panels, Omega_m and sigma_8, each with a few horizontal error bars, one a tracer lattice. The shaded interval belongs to the first, the lattice that is shipped; the other points lie close to its centre."}} tags=["hide-input"]
fig, axes = plots_style.lattice_check(validation["lattice"]["r2"])

# %% [markdown]
# ## Scale the pixels
#
# A network wants inputs of order one. The published recipe takes $\log_{10}\Sigma$, subtracts the
# mean and divides by the standard deviation *of the whole file, test maps included*. Here both come
# from the training maps. What the difference amounts to on Lite, uncut: the mean moves by
# {glue:text}`data-scaling-mean-shift:.4f` and the width by {glue:text}`data-scaling-std-shift:.4f`,
# both in units of the width, so the leak itself is small; the clean way costs nothing.
# {numref}`fig-scaling` shows why the scaling itself matters: on linear pixels a few halos are all
# that is seen, while the logarithm spreads voids and halos over like ranges. Asinh is linear through
# zero and so accepts negative pixels, which some cuts make ([chapter 02](02_cuts.ipynb)).

# %% mystnb={"figure": {"name": "fig-scaling", "caption": "Training pixels of Lite (feedback proxy) as the network sees them, after each scaling; mean 0 and standard deviation 1 in each panel."}, "image": {"alt": "Three histograms with logarithmic counts. The log scaling gives a skewed bell from minus three to plus five; asinh looks similar with a longer left side cut short; linear piles up near zero with a tail to over one hundred."}} tags=["hide-input"]
train = map_indices(split.train)
train_maps = feedback.maps[train]
sample = train_maps[:: max(1, len(train_maps) // 500)]  # 500 maps draw a smooth histogram
scalings = {kind: fit_scaling(train_maps, kind) for kind in ("log", "asinh", "linear")}
fig, axes = plots_style.scaled_pixels({kind: s.apply(sample) for kind, s in scalings.items()})

# %% tags=["hide-input"]
whole_file = fit_scaling(feedback.maps, "log")
log_train = scalings["log"]
at_5 = ratio[:, np.argmin(np.abs(k - 5.0))]
large_scale = ratio[:, k < K_LARGE].mean(axis=1)
a_sn1 = params[:, PARAMETERS.index("A_SN1")]
bin_means = np.array([at_5[rows].mean() for rows in plots_style.quantile_groups(a_sn1, 6)])
# ln(1 - ratio) = c + sum of exponents * ln(parameter)
design = np.column_stack([np.ones(n_simulations), np.log(params)])
suppression = np.log(np.clip(1 - at_5, 1e-4, None))
exponents, *_ = np.linalg.lstsq(design, suppression, rcond=None)
residual = suppression - design @ exponents
covariance = np.linalg.inv(design.T @ design) * residual.var(ddof=design.shape[1])
sn1 = 1 + PARAMETERS.index("A_SN1")

boxes_3d, feedback_3d = validation["power3d_mean"], validation["feedback3d"]
k_3d = np.array(boxes_3d["k"])
to_linear = boxes_3d["measured_over_linear"]
to_hmcode = {key: np.array(value) for key, value in boxes_3d["measured_over_hmcode"].items()}
small = (k_3d > 3) & (k_3d < 5)
lattice = validation["lattice"]
changes = [change for entry in lattice["difference"].values() for change in entry.values()]
largest = max(changes, key=lambda change: abs(change[0]))  # [change of R2, low, high]
lattice_shipped = np.array(list(lattice["r2"]["shipped"].values()))  # (parameter, [R2, low, high])
numbers = {
    "data-n-simulations": n_simulations,
    "data-n-maps": len(feedback.maps),
    "data-grid": feedback.grid,
    "data-n-train": len(split.train),
    "data-n-valid": len(split.valid),
    "data-n-test": len(split.test),
    "data-mass-worst": float(checks["worst deviation of a box's mean"].max()),
    "data-slab-scatter": float(np.std(slabs[names[0]] - 1)),
    "data-bad-pixels": int(checks[["not finite", "zero or negative"]].to_numpy().sum()),
    "data-ratio-large": float(large_scale.mean()),
    "data-ratio-large-worst": float(100 * np.abs(large_scale - 1).max()),
    "data-ratio-low": float(np.quantile(at_5, 0.025)),
    "data-ratio-high": float(np.quantile(at_5, 0.975)),
    "data-ratio-median": float(np.median(at_5)),
    "data-ratio-exponent": float(exponents[sn1]),
    "data-ratio-exponent-error": float(np.sqrt(covariance[sn1, sn1])),
    "data-ratio-steps": int(np.count_nonzero(np.diff(bin_means) < 0)),
    "data-ratio-bins": len(bin_means) - 1,
    "data-3d-k": float(k_3d[0]),
    "data-3d-boxes": int(boxes_3d["rows"]),
    "data-3d-linear": float(to_linear["mean"][0]),
    "data-3d-linear-error": float(
        (to_linear["q84"][0] - to_linear["q16"][0]) / 2 / np.sqrt(boxes_3d["rows"])
    ),
    "data-3d-hmcode": float(to_hmcode["q50"][small].mean()),
    "data-3d-hmcode-mean": float(to_hmcode["mean"][small].mean()),
    "data-ratio-3d-large": float(feedback_3d["ratio"]["mean"][0]),
    "data-ratio-3d-small": float(np.interp(5.0, feedback_3d["k"], feedback_3d["ratio"]["mean"])),
    "data-lattice-simulations": int(lattice["simulations"]),
    "data-lattice-change": float(largest[0]),
    "data-lattice-low": float(largest[1]),
    "data-lattice-high": float(largest[2]),
    "data-lattice-error": float((lattice_shipped[:, 2] - lattice_shipped[:, 1]).min() / 2),
    "data-rho-crit": RHO_CRIT,
    "data-slab": SLAB_DEPTH * gravity.box_size / BOX_SIZE,
    "data-box": gravity.box_size,
    "data-mesh": gravity.box_size / 128,
    "data-nyquist": float(np.pi * 64 / gravity.box_size),
    "data-k-large": K_LARGE,
    "data-log-mean": log_train.mean,
    "data-log-std": log_train.std,
    "data-scaling-mean-shift": float(abs(whole_file.mean - log_train.mean) / log_train.std),
    "data-scaling-std-shift": float(abs(whole_file.std - log_train.std) / log_train.std),
}
for key, value in numbers.items():
    glue(key, value, display=False)
made = provenance.provenance(config, feedback.fingerprint, time.perf_counter() - started)
io.write_json(
    Path(runs_dir) / config.name / "results" / "01_data.json", {**numbers, "provenance": made}
)

# %% [markdown]
# ## What we found
#
# - Lite and Nbody_Lite hold {glue:text}`data-n-simulations:d` simulations in this profile, used as
#   {glue:text}`data-n-train:d` : {glue:text}`data-n-valid:d` : {glue:text}`data-n-test:d` for
#   training, validation and test. No simulation is in two parts.
# - The mean of a box agrees with $\Omega_m$ to {glue:text}`data-mass-worst:.0e` (relative, the worst of
#   both suites, Lite and Nbody_Lite); {glue:text}`data-bad-pixels:d` of their pixels are zero, negative
#   or not finite.
# - The log10 of Lite's training maps has mean {glue:text}`data-log-mean:.3f` and standard deviation
#   {glue:text}`data-log-std:.3f`; the published code {cite}`Lahiry2025` finds “11.104 and 0.492” on CMD's IllustrisTNG maps
#   of $256^2$ pixels.
# - The feedback proxy leaves the power below {glue:text}`data-k-large:.1f` $h$/Mpc at {glue:text}`data-ratio-large:.3f` and
#   lowers it at 5 $h$/Mpc to {glue:text}`data-ratio-median:.2f` in the median simulation of Lite.
# - Another particle lattice changes what the power spectrum of Nbody_Lite tells by at most
#   {glue:text}`data-lattice-change:+.3f` in $R^2$, whose statistical error is
#   {glue:text}`data-lattice-error:.3f`.
#
# **Next:** [chapter 02](02_cuts.ipynb) takes parts of these maps away.

# %% [markdown]
# ## What made this page

# %% tags=["remove-input"]
command = f"papermill notebooks/01_data.ipynb 01.ipynb -p profile {config.name}"
data = {one.name: one.fingerprint for one in (feedback, gravity)}
Markdown(provenance.what_made([("Made", command, made)], data))
