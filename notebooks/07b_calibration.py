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
# # Check the error bars
#
# On {glue:text}`validation_suite:s`, the truth lies within one predicted standard deviation in a share of
# {glue:text}`validation_coverage_raw_om:s` ($\Omega_m$) and {glue:text}`validation_coverage_raw_s8:s` ($\sigma_8$) of the test
# maps; for a Gaussian posterior that share should be 68 %. Networks trained on shuffled labels predict nothing.
#
# :::{admonition} Overview
# - The error bars of the uncut network, before and after a recalibration, and compared with a full posterior.
# - Networks trained on shuffled labels: is anything found where there is nothing to find?
# :::
#
# **What you need.** The uncut network of [chapter 03](03_training.ipynb) for the first {term}`suite <Suite>` of the
# {term}`profile <Profile>`, and one trained on shuffled labels; or those of the stored study that the profile names.

# %% tags=["remove-cell"]
import os

import cosmolib

places = ".", "..", os.path.dirname(cosmolib.__path__[0])  # a kernel may start in any folder
os.chdir(next((folder for folder in places if os.path.isdir(f"{folder}/data/lite")), "."))

# %% tags=["parameters", "hide-input"]
profile = "demo"  # name of a file in configs/, or a path to one
seed = 1  # of the normalising flow
data_dir = ""  # folder of CMD files; "": from the profile (Lite is shipped)
runs_dir = "runs"  # where the uncut run is, or is made
stored_dir = "results"  # stored studies, results/<study>/

# %% tags=["hide-input"]
import dataclasses
import importlib.util
import time

import numpy as np
from IPython.display import display

from cosmolib.data.cmd_format import LABELS
from cosmolib.plots import style as plots_style
from cosmolib.plots import validation as plots_validation
from cosmolib.results.summary import estimates_table
from cosmolib.study.chapter import publish, shown_study
from cosmolib.study.profile import load_profile
from cosmolib.study.run import Run
from cosmolib.training.dataset import prepare_data, study_split, study_suite
from cosmolib.training.devices import select_device
from cosmolib.training.predictions import read_predictions, validation_part
from cosmolib.training.run import load_run
from cosmolib.training.scores import glued_texts, r2_of
from cosmolib.validation import calibration, flow_posterior
from cosmolib.validation.gaussian_fields import TARGETS
from cosmolib.validation.summary import leak_sentence, shuffled_r2

started = time.perf_counter()
plots_style.use_style()
config = load_profile(profile, **({"data_dir": data_dir} if data_dir else {}))
device = select_device()
bootstrap = {"n_bootstrap": config.bootstrap_samples}
names = list(TARGETS)

# %% [markdown]
# ## Are the error bars calibrated?
#
# The uncut network predicts a mean and a standard deviation for every test map. If the posterior is
# Gaussian and correct, the truth lies within the central interval of level $q$ in a share $q$ of the maps.
# Below the diagonal of {numref}`fig-coverage` the error bars are too narrow, above it too wide. The recalibration multiplies the
# standard deviations of each parameter by one factor, chosen so that one standard deviation contains 68 % of
# the *validation* maps; the test maps judge it.

# %%
shown, root = shown_study(config, runs_dir, stored_dir)
suite = shown.suites[0]
run = Run(shown.name, suite, "none", shown.architecture, shown.seeds[0], root)
maps = study_suite(suite, shown)
predictions = read_predictions(run.path("predictions.npz"))

# %%
factors = calibration.recalibration(validation_part(predictions))  # one per parameter
versions = {
    "as predicted": predictions,
    "recalibrated": predictions | {"std": predictions["std"] * [*factors.values()]},
}

# %%
levels = np.linspace(0.05, 0.95, 19)
covered = {
    label: calibration.coverage(item, levels, config.bootstrap_samples)
    for label, item in versions.items()
}

# %% mystnb={"figure": {"name": "fig-coverage", "caption": "Measured against nominal coverage of the intervals that the uncut network predicts, on test maps of the profile's first suite (Lite: with a feedback proxy), before and after the recalibration. Bands: 95 % over simulations; dashed: calibrated."}, "image": {"alt": "Two panels, as predicted and recalibrated, of measured coverage against nominal coverage from zero to one; a line with markers and a shaded band for each of Omega_m and sigma_8 next to the dashed diagonal of perfect calibration."}} tags=["hide-input"]
fig, axes = plots_validation.coverage(levels, covered, LABELS)

# %% tags=["hide-input", "full-width"]
calibrated = {
    label: calibration.calibration_scores(item, config.bootstrap_samples)
    for label, item in versions.items()
}
quantities = {
    "chi2": "chi2", "within 1 sigma": "coverage_68", "mean sigma": ("sharpness", 3),
    "log score": "log_score",
}  # fmt: skip
rows = [{"sigmas": label, **item} for label, item in calibrated.items()]
print("factors:", ", ".join(f"{name} {factor:.2f}" for name, factor in factors.items()))
display(estimates_table(rows, {"sigmas": "sigmas"}, quantities, shown.targets))

# %% [markdown]
# ## Does a full posterior do better?
#
# A {term}`moment network <Moment network>` predicts a Gaussian without correlations. A normalising flow, conditioned on
# the features that the network's last layer receives, gives the posterior its shape. This is neural posterior
# estimation {cite}`Greenberg2019`, with the flows of `sbi` {cite}`TejeroCantero2020`, an optional
# extra. The flow is trained on the study's training maps and stopped by its validation maps. We test its coverage
# in two ways: by the rank of the truth among the samples, parameter by parameter {cite}`Talts2018`, and by
# distances to random points, for all parameters together {cite}`Lemos2023`.

# %%
uncut_data = prepare_data(maps, shown)
network, _, _ = load_run(run)
features = {
    part: flow_posterior.network_features(network, getattr(uncut_data, f"{part}_x"))
    for part in ("train", "valid", "test")
}

# %%
if importlib.util.find_spec("sbi") is None:
    flow = flow_predictions = None
    print("sbi is not installed (pip install -e '.[posterior]'): this section is left out.")
else:
    flow = flow_posterior.fit_posterior(
        (features["train"], uncut_data.train_theta), (features["valid"], uncut_data.valid_theta),
        suite=suite, targets=uncut_data.targets, seed=seed, progress=print,
    )  # fmt: skip
    samples = flow.sample(features["test"], 500, seed=seed)  # (n, 500, P)
    moments = {"mean": samples.mean(1), "std": samples.std(1, ddof=1)}
    flow_predictions = predictions | moments

# %% mystnb={"figure": {"name": "fig-corner", "caption": "Posteriors of three test maps (low, middle and high $\\Omega_m$) of the profile's first suite (Lite: with a feedback proxy): the flow's samples in blue, the moment network's Gaussian dashed, the truth in black."}, "image": {"alt": "Three small corner plots of sigma_8 against Omega_m. Blue regions of 68 and 95 percent are bent and cut off at the edges of the prior; dashed red ellipses of the moment network lie over them; a black cross marks the truth."}} tags=["hide-input"]
pair = [uncut_data.targets.index(name) for name in TARGETS if name in uncut_data.targets]
if flow is not None and len(pair) == 2:
    order = np.argsort(predictions["truth"][:, pair[0]])
    shown_maps = order[[len(order) // 8, len(order) // 2, -1 - len(order) // 8]]
    drawn = flow.sample(features["test"][shown_maps], 4000, seed=seed)[:, :, pair]
    fig, axes = plots_validation.corner(
        list(drawn),
        *(predictions[key][shown_maps][:, pair] for key in ("mean", "std", "truth")),
        names,
        [f"test map {predictions['map'][i]}" for i in shown_maps],
    )
else:
    print("Left out: the figure needs the flow and networks that predict both parameters.")

# %% mystnb={"figure": {"name": "fig-coverage-flow", "caption": "Coverage of the full posterior on test maps of the profile's first suite (Lite: with a feedback proxy): by ranks, parameter by parameter, and by TARP, all parameters at once. Bands: 95 % over simulations; dashed: calibrated."}, "image": {"alt": "Two panels of measured against nominal coverage from zero to one, one for ranks with a line for each parameter and one for TARP with a single line; shaded bands lie about the dashed diagonal."}} tags=["hide-input"]
flow_coverage = {}
if flow is not None:
    samples_options = {"levels": levels, "n_bootstrap": config.bootstrap_samples}
    flow_coverage = {
        "ranks": flow_posterior.rank_coverage(samples, predictions, **samples_options),
        "TARP": {"all together": flow_posterior.tarp(samples, predictions, **samples_options)},
    }
    fig, axes = plots_validation.coverage(levels, flow_coverage, LABELS)
else:
    print("Left out: the figure needs the flow.")

# %% tags=["hide-input", "full-width"]
scored = {"moment network": predictions, "recalibrated": versions["recalibrated"]}
if flow is not None:
    scored["full posterior"] = flow_predictions
flow_calibration = {
    k: calibration.calibration_scores(x, config.bootstrap_samples) for k, x in scored.items()
}
flow_r2 = {k: r2_of([x], **bootstrap) for k, x in scored.items()}
quantities = {
    "R2 of its mean": "r2", "chi2": "chi2", "mean sigma": ("sharpness", 3),
    "log score of its moments": "log_score",
}  # fmt: skip
rows = [{"posterior": k, "r2": flow_r2[k], **item} for k, item in flow_calibration.items()]
display(estimates_table(rows, {"posterior": "posterior"}, quantities, shown.targets))

# %% [markdown]
# ## Is anything found where there is nothing?
#
# The parameters are permuted among the training simulations and among the validation simulations, and
# a network is trained as before. The test simulations keep their parameters. An $R^2$ above zero
# would reveal a leak between the parts of the split; fitting noise pushes it below zero. By chance a permutation of $n$ labels
# correlates with the true ones by about $1/\sqrt n$, which a network can learn. We therefore average over networks with
# different permutations, whose scatter is part of the interval. [Chapter 05](05_interpretation.ipynb) shows their attributions.

# %%
runs = [
    dataclasses.replace(run, profile=shown.shuffled.name, seed=seed)
    for seed in shown.attribution_seeds
]
runs = [one for one in runs if one.complete] or runs[:1]
chance = [read_predictions(one.path("predictions.npz")) for one in runs]
shuffled = shuffled_r2(chance, len(study_split(maps, shown).train), **bootstrap)

# %% mystnb={"figure": {"name": "fig-shuffled", "caption": "$R^2$ per test map of the uncut network and of networks trained on shuffled labels, on the profile's first suite (Lite: with a feedback proxy). Bars: 95 % over simulations."}, "image": {"alt": "Two panels for Omega_m and sigma_8; a circle with error bar for true labels to the right, a square with error bar for shuffled labels near or left of the line at zero."}} tags=["hide-input"]
real_r2 = r2_of([predictions], **bootstrap)
fig, axes = plots_validation.control_r2(
    {"true labels": real_r2, "shuffled labels": shuffled},
    [name for name in TARGETS if name in shown.targets],
)

# %% [markdown]
# ## What we found
#
# - *As predicted*, $\chi^2$ is {glue:text}`validation_chi2_raw_om:s`
#   ($\Omega_m$) and {glue:text}`validation_chi2_raw_s8:s` ($\sigma_8$), and the truth lies within one
#   standard deviation in a share of {glue:text}`validation_coverage_raw_om:s` and
#   {glue:text}`validation_coverage_raw_s8:s` of the test maps.
# - *Recalibrated*, $\chi^2$ is {glue:text}`validation_chi2_new_om:s` and {glue:text}`validation_chi2_new_s8:s`.
# - *The full posterior* of the same features has $\chi^2$ of {glue:text}`validation_chi2_flow_om:s` and
#   {glue:text}`validation_chi2_flow_s8:s`, and $R^2$ of its mean of {glue:text}`validation_r2_flow_om:s`
#   and {glue:text}`validation_r2_flow_s8:s`.
# - *Shuffled labels* give $R^2$ of {glue:text}`validation_shuffled_om:s` and
#   {glue:text}`validation_shuffled_s8:s`. {glue:text}`validation_leak:s`
#
# In the stored output of the published notebook, on *CMD* (IllustrisTNG, uncut), the mean predicted
# standard deviation is “0.013 and 0.022” at an RMSE of “0.009 and 0.016” {cite}`Lahiry2025`: about 40 % too wide.
#
# **Next:** [reproduce the book](../book/reproduce.md), or use [your own data](../book/your-data.md).

# %% [markdown]
# ## Provenance

# %% tags=["remove-input"]
labels = {"raw": "as predicted", "new": "recalibrated"}
chi2 = {f"chi2_{key}": calibrated[label]["chi2"] for key, label in labels.items()}
flow_scores = flow_calibration.get("full posterior", {})
numbers = glued_texts(
    "validation_",
    chi2
    | {
        "coverage_raw": calibrated["as predicted"]["coverage_68"],
        "chi2_flow": flow_scores.get("chi2"),
        "r2_flow": flow_r2.get("full posterior"),
        "shuffled": shuffled,
    },
)
numbers |= {
    "validation_suite": plots_style.suite_label(suite),
    "validation_leak": leak_sentence(shuffled),
}
publish(
    "07b_calibration", numbers,
    runs_dir=runs_dir, profile=config, suites={suite: maps.fingerprint}, started=started,
    device=device, suite=suite, recalibration=factors, calibration=calibrated, levels=levels,
    coverage=covered, shuffled_r2=shuffled, r2=real_r2,
    flow={"calibration": flow_calibration, "r2": flow_r2, "coverage": flow_coverage},
)  # fmt: skip
