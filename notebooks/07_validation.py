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
# # Check the instrument
#
# :::{admonition} Overview
# - Gaussian and lognormal maps, whose information is known exactly: does the network reach the {term}`ceiling <Ceiling>`
#   under every {term}`Fourier cut <Cut>`, and does it predict the right error bar, map by map?
# - Planted signals: do cuts and {term}`attribution <Attribution>` find the one place where a number was hidden?
# - The uncut network of chapter 03: are its error bars right, before and after a recalibration, and
#   what does a full posterior add?
# - Shuffled labels: is anything found where nothing is?
# :::
#
# **What you need.** The uncut run of [chapter 03](03_training.ipynb), which is trained here where it is
# missing. All else is made here; what was made once is kept in the folder of the runs.
#
# "Hide, retrain, read $R^2$" measures information only if the network finds what is there and nothing
# else. That can be tested where the answer is known. None of the maps of the first three sections is
# Lite or CMD.

# %% tags=["remove-cell"]
import os

if os.path.isdir("../data/lite"):  # JupyterLab starts kernels next to the notebook
    os.chdir("..")

# %% tags=["parameters", "hide-input"]
profile = "demo"  # name of a file in configs/, or a path to one
seed = 1  # of the maps with a known answer and of the networks that learn them
test_maps = 1000  # test maps with a known answer
data_dir = ""  # folder of CMD files; "": as the profile says (Lite is shipped)
runs_dir = "runs"  # where the uncut run is, or is made
stored_dir = "results"  # committed tables of longer studies, results/<study>/07_known_answer.json

# %% tags=["hide-input"]
import dataclasses
import importlib.util
import time
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown
from myst_nb import glue

from cosmolib.data.cmd_format import LABELS
from cosmolib.interpretation.attribution import METHODS
from cosmolib.plots import attribution as plots_attribution
from cosmolib.plots import style as plots_style
from cosmolib.plots import validation as plots_validation
from cosmolib.study import io, provenance
from cosmolib.study import run as study_run
from cosmolib.study.profile import load_profile
from cosmolib.training.dataset import prepare_data, study_suite
from cosmolib.training.devices import select_device
from cosmolib.training.predictions import predict_valid, read_predictions
from cosmolib.training.run import load_run, train_run
from cosmolib.training.scores import as_text, from_metrics, r2_of
from cosmolib.validation import calibration, flow_posterior, injected_signals, known_posterior
from cosmolib.validation.gaussian_fields import TARGETS
from cosmolib.validation.known_posterior import known_answer_test
from cosmolib.validation.mocks import exact_answer, known_answer

started = time.perf_counter()
plots_style.use_style()

# %% tags=["hide-input"]
config = load_profile(profile, **({"data_dir": data_dir} if data_dir else {}))
device = select_device()
bootstrap = {"n_bootstrap": config.bootstrap_samples}
folder = Path(runs_dir) / config.name / "known"

# %% [markdown]
# ## Gaussian maps: the ceiling is known
#
# The maps have the power spectrum of a 5 Mpc/$h$ slab of linear matter, a function of $\Omega_m$ and
# $\sigma_8$ {cite}`Bardeen1986`, and nothing else: no mean, no phases. All that they tell is in their
# band powers, so that the posterior can be summed on a grid, without a network and without
# approximation. Its mean is the best possible estimator; its $R^2$ is the *ceiling*. A Fourier cut
# lowers the ceiling by a known amount, and the network, trained anew on each cut, should follow.

# %% tags=["hide-input"]
known = known_answer(config.known_answer_maps, test_maps, seed=seed)
table = known_posterior.against_exact(
    known, config, config.known_answer_cuts, seed, device, folder, progress=print
)

# %% mystnb={"figure": {"name": "fig-known-answer", "caption": "$R^2$ per Gaussian map against the exact ceiling (grey), under Fourier cuts [$h$/Mpc]. Bars: 95 % over test maps. Neither Lite nor CMD."}, "image": {"alt": "Two panels for Omega_m and sigma_8; for each cut a grey dash with error bar marks the exact ceiling and a blue circle with error bar the network close beside it. Both fall together where a cut hides more."}} tags=["hide-input"]
names = list(TARGETS)
fig, axes = plots_validation.known_answer(
    [row["cut"] for row in table],
    [row["network"] for row in table],
    [row["ceiling"] for row in table],
    names,
)

# %% [markdown]
# The paired difference to the ceiling is what the network misses. The ratio of the predicted to the
# exact standard deviation of a map should be 1: its median, the range of 68 % of the maps, and the
# share of maps within 10 %. *Faults* are what a sound instrument does not do: an $R^2$ above the
# ceiling or more than {glue:text}`validation_missed_limit:.2f` below it, a median ratio more than 10 % off, an exact posterior whose
# $\chi^2$ is not 1.


# %% tags=["hide-input", "full-width"]
def shown(rows):
    """Table of networks against the exact answer."""
    return pd.DataFrame(
        [
            {
                "cut": row["cut"],
                "parameter": name,
                "ceiling": as_text(row["ceiling"][name], 3),
                "ceiling minus network": as_text(row["missed"][name], 3),
                "sigma / exact": "{median:.2f} ({low:.2f} to {high:.2f})".format(
                    **row["sigma"][name]
                ),
                "within 10 %": f"{row['sigma'][name]['within']:.0%}",
                "chi2": f"{row['chi2'][name]['value']:.2f}",
                "chi2, exact": f"{row['chi2_exact'][name]['value']:.2f}",
                "faults": "; ".join(x for x in row["faults"] if x.startswith(name)) or "none",
            }
            for row in rows
            for name in names
        ]
    ).set_index(["cut", "parameter"])


shown(table)

# %% mystnb={"figure": {"name": "fig-known-sigma", "caption": "Standard deviation that the network predicts against that of the exact posterior, one point a Gaussian test map, for the first cut of the figure above. Grey: equality and 10 %. Neither Lite nor CMD."}, "image": {"alt": "Two scatter plots of predicted against exact standard deviation for Omega_m and sigma_8; the points lie along the diagonal, most of them within a grey band of ten percent about it."}} tags=["hide-input"]
first = config.known_answer_cuts[0]
learnt = known_answer_test(known, config, first, seed, device, folder)
exact = exact_answer(known, first)
fig, axes = plots_validation.sigma_against_exact(
    learnt["std"], exact.std, names, known_posterior.SIGMA_OFF
)

# %% [markdown]
# A longer training, on more maps, is kept in the repository with its provenance ({term}`profile <Profile>` and date are
# printed): it says how much of what is missed here is patience.

# %% tags=["hide-input", "full-width"]
stored_path = Path(stored_dir) / "standard" / "07_known_answer.json"
stored = io.read_json(stored_path) if stored_path.is_file() else None
if stored:
    print(
        f"stored: profile {stored['provenance']['config']['name']}, {stored['n_train']} maps, "
        f"{stored['provenance']['utc'][:10]}, {stored['provenance']['platform']}"
    )
shown(stored["rows"]) if stored else "No stored table."

# %% [markdown]
# ## Lognormal maps: the same information, another look
#
# Each map is the exponential of a Gaussian one, divided by its own mean: skewed like the cosmic web,
# positive, and given to the network through the logarithm like every map of this book. A logarithm
# gives the Gaussian field back, so that the ceiling is that of the same modes of the log. A cut of the
# *linear* field has no known ceiling, but the uncut one bounds it: what lies below is lost to a filter
# that cuts another field than the one that is Gaussian, or to the network.

# %% tags=["hide-input"]
lognormal = known_answer(config.known_answer_maps, test_maps, seed=seed, kind="lognormal")
log_table = known_posterior.against_exact(
    lognormal, config, ["none", "kmax:4@log", "kmax:4"], seed, device, folder, progress=print
)

# %% mystnb={"figure": {"name": "fig-known-lognormal", "caption": "$R^2$ per lognormal map against the exact ceiling (grey; not known for a filter of the linear map). Bars: 95 % over test maps. Neither Lite nor CMD."}, "image": {"alt": "Two panels for Omega_m and sigma_8 with three cuts: uncut, the log filtered at 4 h/Mpc and the linear map filtered there. Blue circles of the network with error bars; grey dashes mark the exact ceiling of the first two."}} tags=["hide-input"]
fig, axes = plots_validation.known_answer(
    [row["cut"] for row in log_table],
    [row["network"] for row in log_table],
    [row["ceiling"] for row in log_table],
    names,
)

# %% tags=["hide-input", "full-width"]
shown([row for row in log_table if row["ceiling"]])

# %% [markdown]
# ## Planted signals: is the place found?
#
# Now the number, handed in as $\Omega_m$, moves one place of a fiducial map only: its pixels above a
# density, those below it, the modes of a band, or the mean. A cut that hides the place must leave
# nothing, one that spares it must cost nothing. $\sigma_8$ is not in these maps at all: any $R^2$ on it
# is a false alarm.

# %% tags=["hide-input"]
places = list(injected_signals.PLACES)
planted_found = {}
for place in places:
    planted_found[place] = known_posterior.planted_test(place, config, seed, device, folder)
    parts = [f"{x['role']} {as_text(x['r2']['Omega_m'])}" for x in planted_found[place]["cases"]]
    print(f"{place}: {', '.join(parts)}")
cases = [found["cases"] for found in planted_found.values()]
chance = [found["chance"] for found in planted_found.values()]
shares = {m: [found["share"][m] for found in planted_found.values()] for m in METHODS}

# %% mystnb={"figure": {"name": "fig-planted", "caption": "$R^2$ of networks on planted signals: on whole maps, with the place hidden, and with it spared. Left: the planted number. Right: one that is not in the maps. Grey: 0 and 1. Bars: 95 % over test maps. Neither Lite nor CMD."}, "image": {"alt": "Two panels with one row for each planted place and cut. In the left panel circles and triangles for whole and spared signals lie near one and squares for hidden ones at zero; in the right panel all lie at zero."}} tags=["hide-input"]
fig, axes = plots_validation.planted_r2(places, cases, names)

# %% mystnb={"figure": {"name": "fig-planted-attribution", "caption": "Share of each method's attribution at the planted signal, of the network of whole maps: for pixels of their absolute attribution, for the band of the attribution's power by wavenumber, for the mean of its power at wavenumber zero. Grey dashes: a share by chance. Bars: 95 % over maps. Neither Lite nor CMD."}, "image": {"alt": "Four groups for pixels above, pixels below, band and mean. In each, three markers for Saliency, Integrated Gradients and GradientSHAP give the share at the signal between zero and one, beside a grey dash for chance and a dashed line for perfect."}} tags=["hide-input"]
fig, axes = plots_validation.planted_attribution(
    places, {plots_attribution.METHOD_NAMES[m]: found for m, found in shares.items()}, chance
)

# %% tags=["hide-input"]
pd.DataFrame(
    {
        "chance": [f"{value:.4f}" for value in chance],
        **{
            plots_attribution.METHOD_NAMES[method]: [as_text(x) for x in found]
            for method, found in shares.items()
        },
    },
    index=pd.Index(places, name="planted in"),
)

# %% [markdown]
# ## Do the error bars mean what they say?
#
# Back to the maps of the study. The uncut network of the first {term}`suite <Suite>` predicts a mean and a standard
# deviation for every test map. If the posterior is Gaussian and right, the truth lies within the
# central interval of level $q$ in a share $q$ of the maps. Below the diagonal the error bars are too
# narrow, above it too wide. The recalibration multiplies each parameter's standard deviations by one
# number, with which one of them holds 68 % of the *validation* maps; the test maps judge it.

# %% tags=["hide-input"]
suite = config.suites[0]
maps = study_suite(suite, config)
run = study_run.Run(config.name, suite, "none", config.architecture, config.seeds[0], runs_dir)
metrics = train_run(run, config)
predictions = read_predictions(run.path("predictions.npz"))
uncut_data = prepare_data(maps, config)
uncut_network, _, _ = load_run(run)
factors = calibration.recalibration(predict_valid(uncut_network, uncut_data, "cpu"))
versions = {
    "as predicted": predictions,
    "recalibrated": calibration.recalibrated(predictions, factors),
}

# %% mystnb={"figure": {"name": "fig-coverage", "caption": "Measured against nominal coverage of the intervals that the uncut network predicts, on test maps of the profile's first suite (Lite: with a feedback proxy), before and after the recalibration. Bands: 95 % over simulations; dashed: calibrated."}, "image": {"alt": "Two panels, as predicted and recalibrated, of measured coverage against nominal coverage from zero to one; a line with markers and a shaded band for each of Omega_m and sigma_8 beside the dashed diagonal of perfect calibration."}} tags=["hide-input"]
levels = np.linspace(0.05, 0.95, 19)
covered = {
    label: calibration.coverage(item, levels, config.bootstrap_samples)
    for label, item in versions.items()
}
fig, axes = plots_validation.coverage(levels, covered, LABELS)

# %% tags=["hide-input"]
calibrated = {
    label: calibration.calibration_scores(item, config.bootstrap_samples)
    for label, item in versions.items()
}
pd.DataFrame(
    [
        {
            "sigmas": label,
            "parameter": name,
            "factor": f"{factors[name]:.2f}" if label == "recalibrated" else "1",
            "chi2": as_text(item["chi2"][name]),
            "within 1 sigma": as_text(item["coverage_68"][name]),
            "mean sigma": as_text(item["sharpness"][name], 3),
            "log score": as_text(item["log_score"][name]),
        }
        for label, item in calibrated.items()
        for name in config.targets
    ]
).set_index(["sigmas", "parameter"])

# %% [markdown]
# ## The full posterior
#
# A Gaussian along the axes is all that a {term}`moment network <Moment network>` can say. A normalising flow, conditioned on
# the features that the network's last layer sees, gives the posterior its shape: neural posterior
# estimation {cite}`Greenberg2019`, with the flows of `sbi` {cite}`TejeroCantero2020`, an optional
# extra. It is trained on the study's training maps and stopped by its validation maps. Two tests of
# its coverage: the rank of the truth among the samples, parameter by parameter {cite}`Talts2018`, and
# distances to random points, for all parameters together {cite}`Lemos2023`.

# %% tags=["hide-input"]
flow, flow_predictions = None, None
x = {part: getattr(uncut_data, f"{part}_x") for part in ("train", "valid", "test")}
features = {
    part: flow_posterior.network_features(uncut_network, maps_) for part, maps_ in x.items()
}
if importlib.util.find_spec("sbi") is None:
    print("sbi is not installed (pip install -e '.[posterior]'): this section is left out.")
else:
    flow = flow_posterior.fit_posterior(
        features["train"], uncut_data.train_theta, features["valid"], uncut_data.valid_theta,
        suite=suite, targets=uncut_data.targets, seed=seed, progress=print,
    )  # fmt: skip
    samples = flow.sample(features["test"], 500, seed=seed)  # (n, 500, P)
    flow_predictions = flow_posterior.as_predictions(samples, predictions)

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

# %% tags=["hide-input"]
scored = {"moment network": predictions, "recalibrated": versions["recalibrated"]}
if flow is not None:
    scored["full posterior"] = flow_predictions
flow_calibration = {
    k: calibration.calibration_scores(x, config.bootstrap_samples) for k, x in scored.items()
}
flow_r2 = {k: r2_of([x], **bootstrap) for k, x in scored.items()}
pd.DataFrame(
    [
        {
            "posterior": label,
            "parameter": name,
            "R2 of its mean": as_text(flow_r2[label][name]),
            "chi2": as_text(item["chi2"][name]),
            "mean sigma": as_text(item["sharpness"][name], 3),
            "log score of its moments": as_text(item["log_score"][name]),
        }
        for label, item in flow_calibration.items()
        for name in config.targets
    ]
).set_index(["posterior", "parameter"])

# %% [markdown]
# ## Shuffled labels
#
# The parameters are permuted among the training simulations and among the validation simulations, and
# the network is trained as before. The test simulations keep their parameters. Any $R^2$ above zero
# would be a leak between the parts of the split. Below zero is what fitting noise costs. Chapter 05
# asks what the attributions of this network look like.

# %% tags=["hide-input"]
shuffled_run = dataclasses.replace(run, profile=config.shuffled.name)
train_run(shuffled_run, config.shuffled, device=device)
shuffled_r2 = r2_of([read_predictions(shuffled_run.path("predictions.npz"))], **bootstrap)
real_r2 = {name: from_metrics(metrics["parameters"][name], "r2") for name in config.targets}

# %% mystnb={"figure": {"name": "fig-shuffled", "caption": "$R^2$ per test map of the uncut network and of one trained on shuffled labels, on the profile's first suite (Lite: with a feedback proxy). Bars: 95 % over simulations."}, "image": {"alt": "Two panels for Omega_m and sigma_8; a circle with error bar for true labels to the right, a square with error bar for shuffled labels near or left of the line at zero."}} tags=["hide-input"]
fig, axes = plots_validation.control_r2(
    {"true labels": real_r2, "shuffled labels": shuffled_r2},
    [name for name in TARGETS if name in config.targets],
)

# %% tags=["remove-input"]
of_kind = {"Gaussian": table, "lognormal": log_table}
of_kind = {kind: [row for row in rows if row["ceiling"]] for kind, rows in of_kind.items()}
checked = [row for rows in of_kind.values() for row in rows]
worst = max(
    ((row, name) for row in checked for name in names), key=lambda x: x[0]["missed"][x[1]]["value"]
)
for kind, rows in of_kind.items():
    most = max((row["missed"][n] for row in rows for n in names), key=lambda x: x["value"])
    glue(f"validation_missed_{kind}", as_text(most, 3), display=False)
glue("validation_missed_limit", known_posterior.R2_MISSED, display=False)
glue("validation_worst_parameter", worst[1].replace("_", " "), display=False)
glue("validation_worst_cut", worst[0]["cut"], display=False)
glue("validation_cuts", int(len(table)), display=False)
glue("validation_train_maps", int(known.n_train), display=False)
glue("validation_test_maps", int(test_maps), display=False)
glue("validation_epochs", int(config.known_answer_epochs), display=False)
sigma = [row["sigma"][name] for row in table for name in names]
glue("validation_sigma_low", float(min(x["median"] for x in sigma)), display=False)
glue("validation_sigma_high", float(max(x["median"] for x in sigma)), display=False)
glue("validation_within_low", float(100 * min(x["within"] for x in sigma)), display=False)
glue("validation_within_high", float(100 * max(x["within"] for x in sigma)), display=False)
glue("validation_faults", int(sum(len(row["faults"]) for row in checked)), display=False)
if stored:
    missed = [row["missed"][name]["value"] for row in stored["rows"] for name in names]
    sentence = (
        f"The stored training on {stored['n_train']} maps misses {max(missed):.3f} at most, with "
        f"{sum(len(row['faults']) for row in stored['rows'])} faults in {len(stored['rows'])} cuts."
    )
else:
    sentence = "There is no stored table of a longer training."
glue("validation_stored", sentence, display=False)
hidden = [x["r2"]["Omega_m"] for own in cases for x in own if x["role"] == "hidden"]
spared = [x["r2"]["Omega_m"] for own in cases for x in own if x["role"] != "hidden"]
glue("validation_hidden_high", float(max(x["value"] for x in hidden)), display=False)
glue("validation_spared_low", float(min(x["value"] for x in spared)), display=False)
alarm = max(abs(x["r2"]["sigma_8"]["value"]) for own in cases for x in own)
glue("validation_alarm", float(alarm), display=False)
for place, by_chance in zip(places, chance, strict=True):
    glue(f"validation_chance_{place}", float(by_chance), display=False)
for method, found in shares.items():
    for place, value in zip(places, found, strict=True):
        glue(f"validation_{method}_{place}", as_text(value), display=False)
for word, name in (("om", "Omega_m"), ("s8", "sigma_8")):
    item = flow_calibration.get("full posterior", {}).get("chi2", {})
    glue(f"validation_flow_chi2_{word}", as_text(item.get(name)), display=False)
    item = flow_r2.get("full posterior", {})
    glue(f"validation_flow_r2_{word}", as_text(item.get(name)), display=False)
sentence = "It was not made here."
if flow is not None:
    by_tarp = flow_coverage["TARP"]["all together"]
    off = by_tarp[np.abs(by_tarp[:, 0] - levels).argmax()]
    nominal = levels[np.abs(by_tarp[:, 0] - levels).argmax()]
    sentence = (
        f"TARP is farthest from nominal at a level of {nominal:.2f}, where it is "
        f"{off[0]:.2f} [{off[1]:.2f}, {off[2]:.2f}]."
    )
glue("validation_flow_tarp", sentence, display=False)
glue("validation_suite", plots_style.suite_label(suite), display=False)
for word, name in (("om", "Omega_m"), ("s8", "sigma_8")):
    for label, key in (("as predicted", "raw"), ("recalibrated", "new")):
        item = calibrated[label]
        for score in ("chi2", "coverage_68"):
            glue(f"validation_{score}_{key}_{word}", as_text(item[score].get(name)), display=False)
    glue(f"validation_factor_{word}", float(factors.get(name, np.nan)), display=False)
    glue(f"validation_shuffled_{word}", as_text(shuffled_r2.get(name)), display=False)
highest = [x["low"] for x in shuffled_r2.values()]
if any(low is None for low in highest):
    sentence = "With one test simulation an interval cannot be given."
elif all(low <= 0 for low in highest):
    sentence = "Both are compatible with zero or below it: no leak is seen."
else:
    sentence = "At least one lies above zero: something leaks."
glue("validation_leak", sentence, display=False)
now = provenance.provenance(config, maps.fingerprint, time.perf_counter() - started, device)
results = Path(runs_dir) / config.name / "results"
io.write_json(
    results / "07_known_answer.json",
    {"n_train": known.n_train, "n_test": test_maps, "rows": table, "provenance": now},
)
io.write_json(
    results / "07_validation.json",
    {
        "lognormal": log_table,
        "planted": planted_found,
        "suite": suite,
        "recalibration": factors,
        "calibration": calibrated,
        "levels": levels,
        "coverage": covered,
        "flow": {"calibration": flow_calibration, "r2": flow_r2, "coverage": flow_coverage},
        "shuffled_r2": shuffled_r2,
        "r2": real_r2,
        "provenance": now,
    },
)

# %% [markdown]
# ## What we found
#
# - On {glue:text}`validation_test_maps:d` test maps, after {glue:text}`validation_epochs:d` epochs on
#   {glue:text}`validation_train_maps:d`, the network misses the exact ceiling of Gaussian maps under
#   {glue:text}`validation_cuts:d` cuts by {glue:text}`validation_missed_Gaussian:s` in $R^2$ at most,
#   and that of lognormal ones by {glue:text}`validation_missed_lognormal:s`; the worst case is
#   {glue:text}`validation_worst_parameter:s`, cut {glue:text}`validation_worst_cut:s`.
#   {glue:text}`validation_stored:s`
# - The median ratio of its predicted to the exact standard deviation lies between
#   {glue:text}`validation_sigma_low:.2f` and {glue:text}`validation_sigma_high:.2f`, and
#   {glue:text}`validation_within_low:.0f` to {glue:text}`validation_within_high:.0f` % of single maps
#   agree to 10 %. Faults found on this page: {glue:text}`validation_faults:d`.
# - Of a planted number that was hidden, $R^2$ {glue:text}`validation_hidden_high:.2f` is left at most;
#   whole or spared it is {glue:text}`validation_spared_low:.2f` at least. The largest false alarm on
#   the number that is not there is {glue:text}`validation_alarm:.2f`.
# - Attribution does not always point to the signal. {numref}`tab-planted` has the share at the signal.
#
# :::{table} Share of the attribution at a planted signal, with the share by chance.
# :name: tab-planted
#
# | planted in | chance | Saliency | Integrated Gradients | GradientSHAP |
# |---|---|---|---|---|
# | dense pixels | {glue:text}`validation_chance_above:.3f` | {glue:text}`validation_saliency_above:s` | {glue:text}`validation_integrated_gradients_above:s` | {glue:text}`validation_gradient_shap_above:s` |
# | empty pixels | {glue:text}`validation_chance_below:.3f` | {glue:text}`validation_saliency_below:s` | {glue:text}`validation_integrated_gradients_below:s` | {glue:text}`validation_gradient_shap_below:s` |
# | a band of scales | {glue:text}`validation_chance_band:.3f` | {glue:text}`validation_saliency_band:s` | {glue:text}`validation_integrated_gradients_band:s` | {glue:text}`validation_gradient_shap_band:s` |
# | the mean | {glue:text}`validation_chance_mean:.4f` | {glue:text}`validation_saliency_mean:s` | {glue:text}`validation_integrated_gradients_mean:s` | {glue:text}`validation_gradient_shap_mean:s` |
# :::
#
# - On {glue:text}`validation_suite:s`, uncut, $\chi^2$ is {glue:text}`validation_chi2_raw_om:s`
#   ($\Omega_m$) and {glue:text}`validation_chi2_raw_s8:s` ($\sigma_8$), and the truth lies within one
#   standard deviation in a share of {glue:text}`validation_coverage_68_raw_om:s` and
#   {glue:text}`validation_coverage_68_raw_s8:s` of the test maps. The recalibration multiplies the
#   standard deviations by {glue:text}`validation_factor_om:.2f` and
#   {glue:text}`validation_factor_s8:.2f`; then $\chi^2$ is {glue:text}`validation_chi2_new_om:s` and
#   {glue:text}`validation_chi2_new_s8:s`.
# - The full posterior of the same features has $\chi^2$ of {glue:text}`validation_flow_chi2_om:s` and
#   {glue:text}`validation_flow_chi2_s8:s`, and $R^2$ of its mean of {glue:text}`validation_flow_r2_om:s`
#   and {glue:text}`validation_flow_r2_s8:s`. {glue:text}`validation_flow_tarp:s`
# - Shuffled labels give $R^2$ of {glue:text}`validation_shuffled_om:s` and
#   {glue:text}`validation_shuffled_s8:s`. {glue:text}`validation_leak:s`
#
# In the stored output of the published notebook, on *CMD* (IllustrisTNG, uncut), the mean predicted
# standard deviation is “0.013 and 0.022” at an RMSE of “0.009 and 0.016” {cite}`Lahiry2025`: over-dispersed by about 40 %.
#
# **Next:** [reproduce the book](../book/reproduce.md), or point it at [your own data](../book/your-data.md).

# %% [markdown]
# ## What made this page

# %% tags=["remove-input"]
command = f"papermill notebooks/07_validation.ipynb 07.ipynb -p profile {config.name}"
Markdown(provenance.what_made([("Made", command, now)], {suite: maps.fingerprint}))
