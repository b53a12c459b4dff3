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
# - Gaussian maps, whose information is known exactly: does the network reach the ceiling, at every
#   $k_\mathrm{max}$, and does it predict the right error bar?
# - The uncut network of chapter 03: does the truth lie within its error bars as often as it should?
# - Shuffled labels: is anything found where nothing is?
# :::
#
# **What you need.** The uncut run of [chapter 03](03_training.ipynb), which is trained here where it is
# missing. This is a short first form of the chapter; planted signals, noise and full posteriors are
# not in it.
#
# "Hide, retrain, read $R^2$" measures information only if the network finds what is there and nothing
# else. That can be tested where the answer is known.

# %% tags=["parameters"]
profile = "demo"  # name of a file in configs/, or a path to one
seed = 1  # of the Gaussian maps and of the networks that learn them
test_maps = 500  # Gaussian test maps
data_dir = ""  # folder of CMD files; "": as the profile says (Lite is shipped)
runs_dir = "runs"  # where the uncut run is, or is made

# %% tags=["hide-input"]
import dataclasses
import time
from pathlib import Path

import numpy as np
import pandas as pd
from myst_nb import glue

from cosmolib import plots, plots_results, runs
from cosmolib.evaluation import chi2, predict_test, read_predictions, train_run
from cosmolib.fields import TARGETS
from cosmolib.inputs import prepare_data, study_suite
from cosmolib.networks import build_network
from cosmolib.results import as_text, from_metrics, r2_of
from cosmolib.suites import LABELS
from cosmolib.training import fit, seeded, select_device
from cosmolib.validation import coverage, known_answer, known_answer_test

started = time.perf_counter()
plots.use_style()

# %%
config = runs.load_profile(profile, **({"data_dir": data_dir} if data_dir else {}))
device = select_device()
bootstrap = {"n_bootstrap": config.bootstrap_samples}

# %% [markdown]
# ## Gaussian maps with a known answer
#
# The maps have the power spectrum of a 5 Mpc/$h$ slab of linear matter, a function of $\Omega_m$ and
# $\sigma_8$ {cite}`Bardeen1986`, and nothing else: no mean, no phases. All that they tell is in their
# band powers, so that the posterior can be summed on a grid, without a network and without
# approximation. Its mean is the best possible estimator; its $R^2$ is the *ceiling*. A cut at
# $k_\mathrm{max}$ lowers the ceiling by a known amount, and the network, trained anew on each cut,
# should follow. These maps are neither Lite nor CMD.

# %%
known = known_answer(config.known_answer_maps, test_maps, seed=seed)
cases = {"1": "kmax:1", "4": "kmax:4", "all": "none"}
learnt, exact = {}, {}
for label, cut in cases.items():
    learnt[label], exact[label] = known_answer_test(known, config, cut, seed=seed, device=device)
    print(f"k_max {label}: {known.n_train} maps, {config.known_answer_epochs} epochs")

# %% mystnb={"figure": {"name": "fig-known-answer", "caption": "$R^2$ per Gaussian map against the exact ceiling (grey), for three cuts in wavenumber; \"all\" keeps every mode of the grid. Bars: 95 % over test maps."}, "image": {"alt": "Two panels for Omega_m and sigma_8; for each of three largest wavenumbers a grey dash with error bar marks the exact ceiling and a blue circle with error bar the network beside it."}}
network_r2 = {label: r2_of([learnt[label]], **bootstrap) for label in cases}
ceiling_r2 = {label: r2_of([exact[label]], **bootstrap) for label in cases}
shortfall = {label: r2_of([exact[label]], [learnt[label]], **bootstrap) for label in cases}
fig, axes = plots_results.known_answer(
    list(cases), list(network_r2.values()), list(ceiling_r2.values()), list(TARGETS)
)

# %% [markdown]
# The paired difference to the ceiling is what the network misses; it falls with more training maps and
# epochs. The ratio of the predicted to the exact standard deviation should be 1, and $\chi^2$ of
# either estimator as well.

# %% tags=["hide-input"]
rows = []
for label in cases:
    for p, name in enumerate(TARGETS):
        sigma = learnt[label]["std"][:, p].mean() / exact[label]["std"][:, p].mean()
        both = [
            float(chi2(*(item[key] for key in ("mean", "std", "truth")))[p])
            for item in (learnt[label], exact[label])
        ]
        rows.append(
            {
                "k_max": label,
                "parameter": name,
                "ceiling": ceiling_r2[label][name]["value"],
                "network": network_r2[label][name]["value"],
                "missed": shortfall[label][name],
                "sigma": float(sigma),
                "chi2": both[0],
                "chi2_exact": both[1],
            }
        )
shown = pd.DataFrame(rows)
shown["missed"] = shown["missed"].map(as_text)
shown.round(2).rename(
    columns={"missed": "ceiling minus network", "sigma": "sigma / exact sigma"}
).set_index(["k_max", "parameter"])

# %% [markdown]
# ## Do the error bars mean what they say?
#
# The uncut network of the first suite predicts a mean and a standard deviation for every test map. If
# the posterior is Gaussian and right, the truth lies within the central interval of level $q$ in a
# share $q$ of the maps. Below the diagonal the error bars are too narrow, above it too wide.

# %% mystnb={"figure": {"name": "fig-coverage", "caption": "Measured against nominal coverage of the intervals that the uncut network predicts, on test maps of the profile's first suite (Lite: with a feedback proxy). Bands: 95 % over simulations; dashed: calibrated."}, "image": {"width": "60%", "alt": "Measured coverage against nominal coverage from zero to one; a line with markers and a shaded band for each of Omega_m and sigma_8 beside the dashed diagonal of perfect calibration."}}
suite = config.suites[0]
run = runs.Run(config.name, suite, "none", config.architecture, config.seeds[0], runs_dir)
metrics = train_run(run, config)
predictions = read_predictions(run.path("predictions.npz"))
levels = np.linspace(0.05, 0.95, 19)
covered = coverage(predictions, levels, config.bootstrap_samples)
fig, axes = plots_results.coverage(
    levels, list(covered.values()), [LABELS[name] for name in covered]
)

# %% [markdown]
# ## Shuffled labels
#
# The parameters are permuted among the training simulations and among the validation simulations, and
# the network is trained as before, for as many epochs as a trial of chapter 04. The test simulations
# keep their parameters. Any $R^2$ above zero would be a leak between the parts of the split. Below
# zero is what fitting noise costs.

# %%
maps = study_suite(suite, config)
short = dataclasses.replace(config, epochs=config.tuning_epochs)
data = prepare_data(maps, short, "none", shuffle_labels=True)
with seeded(seed):
    network = build_network(
        config.architecture, maps.grid, config.hidden, config.dropout, len(config.targets)
    )
fit(network, data, short, seed=seed, device=device)
shuffled_r2 = r2_of([predict_test(network, data, device)], **bootstrap)
real_r2 = {name: from_metrics(metrics["parameters"][name], "r2") for name in config.targets}

# %% mystnb={"figure": {"name": "fig-shuffled", "caption": "$R^2$ per test map of the uncut network and of one trained on shuffled labels, on the profile's first suite (Lite: with a feedback proxy). Bars: 95 % over simulations."}, "image": {"alt": "Two panels for Omega_m and sigma_8; a circle with error bar for true labels to the right, a square with error bar for shuffled labels near or left of the line at zero."}}
fig, axes = plots_results.control_r2(
    {"true labels": real_r2, "shuffled labels": shuffled_r2},
    [name for name in TARGETS if name in config.targets],
)

# %% tags=["remove-input"]
worst = max(rows, key=lambda row: row["missed"]["value"])
glue("validation_worst", as_text(worst["missed"]), display=False)
glue("validation_worst_parameter", worst["parameter"].replace("_", " "), display=False)
glue("validation_worst_kmax", worst["k_max"], display=False)
glue("validation_train_maps", int(known.n_train), display=False)
glue("validation_test_maps", int(test_maps), display=False)
glue("validation_epochs", int(config.known_answer_epochs), display=False)
glue("validation_sigma_low", float(min(row["sigma"] for row in rows)), display=False)
glue("validation_sigma_high", float(max(row["sigma"] for row in rows)), display=False)
glue("validation_exact_low", float(min(row["chi2_exact"] for row in rows)), display=False)
glue("validation_exact_high", float(max(row["chi2_exact"] for row in rows)), display=False)
glue("validation_suite", plots.suite_label(suite), display=False)
at_68 = coverage(predictions, [0.6827], config.bootstrap_samples)
for word, name in (("om", "Omega_m"), ("s8", "sigma_8")):
    known_name = name in config.targets
    value, low, high = at_68[name][0] if known_name else (np.nan,) * 3
    found = {"value": float(value), "low": float(low), "high": float(high)}
    glue(f"validation_68_{word}", as_text(found), display=False)
    scores = from_metrics(metrics["parameters"][name], "chi2") if known_name else None
    glue(f"validation_chi2_{word}", as_text(scores), display=False)
    glue(f"validation_shuffled_{word}", as_text(shuffled_r2.get(name)), display=False)
highest = [x["low"] for x in shuffled_r2.values()]
if any(low is None for low in highest):
    sentence = "With one test simulation an interval cannot be given."
elif all(low <= 0 for low in highest):
    sentence = "Both are compatible with zero or below it: no leak is seen."
else:
    sentence = "At least one lies above zero: something leaks."
glue("validation_leak", sentence, display=False)
now = runs.provenance(config, maps.fingerprint, time.perf_counter() - started, device)
runs.write_json(
    Path(runs_dir) / config.name / "results" / "07_validation.json",
    {
        "known_answer": rows,
        "suite": suite,
        "levels": levels,
        "coverage": covered,
        "shuffled_r2": shuffled_r2,
        "r2": real_r2,
        "provenance": now,
    },
)

# %% [markdown]
# ## What we found
#
# - On {glue:text}`validation_test_maps:d` Gaussian maps, after {glue:text}`validation_epochs:d` epochs
#   on {glue:text}`validation_train_maps:d`, the network misses the exact ceiling most at $k_\mathrm{max}$
#   {glue:text}`validation_worst_kmax:s` for {glue:text}`validation_worst_parameter:s`: by
#   {glue:text}`validation_worst:s` in $R^2$. Differences in $R^2$ of that size between cuts may be the
#   network's, not the maps'.
# - Its mean predicted standard deviation is {glue:text}`validation_sigma_low:.2f` to
#   {glue:text}`validation_sigma_high:.2f` of the exact one. $\chi^2$ of the exact posterior itself is
#   {glue:text}`validation_exact_low:.2f` to {glue:text}`validation_exact_high:.2f`: the yardstick
#   checks itself.
# - On {glue:text}`validation_suite:s`, uncut, the 68 % interval holds the truth in a share of
#   {glue:text}`validation_68_om:s` ($\Omega_m$) and {glue:text}`validation_68_s8:s` ($\sigma_8$) of
#   the test maps; $\chi^2$ is {glue:text}`validation_chi2_om:s` and {glue:text}`validation_chi2_s8:s`.
# - Shuffled labels give $R^2$ of {glue:text}`validation_shuffled_om:s` and
#   {glue:text}`validation_shuffled_s8:s`. {glue:text}`validation_leak:s`
#
# In the stored output of the published notebook, on *CMD* (IllustrisTNG, uncut), the mean predicted
# standard deviation is 0.013 and 0.022 at an RMSE of 0.009 and 0.016: over-dispersed by about 40 %.
#
# **Next:** [reproduce the book](../book/reproduce.md), or point it at [your own data](../book/your-data.md).

# %% tags=["remove-input"]
commit = (now["git"] or {}).get("commit", "not under git")
print(f"Made by notebooks/07_validation.ipynb -p profile {config.name}, commit {commit[:12]}")
print(f"{now['utc']}, {now['seconds']:.0f} s, {now['platform']}")
