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
# # Tune the training
#
# Of {glue:text}`tuning_trials:d` trials on {glue:text}`tuning_suite:s`, the best has a validation loss of
# {glue:text}`tuning_best_loss:.3f`. {glue:text}`tuning_comparison:s` The hyper-parameter that explains most of the variance
# between trials is the {glue:text}`tuning_most_important:s`.
#
# :::{admonition} Overview
# - Optuna searches learning rate, weight decay, dropout and width, as in the published study; everything else stays fixed.
# - The search writes to disk after each trial and resumes after an interruption. Trials without prospects are stopped early.
# - The figures show how much each setting matters, and whether the best lies at an edge of its range.
# :::
#
# **What you need.** [Chapter 03](03_training.ipynb): one trial is one training of its {term}`network <Moment network>`.
# No other chapter depends on the outcome: the settings of a {term}`profile <Profile>` are fixed in its file, so that
# every {term}`cut <Cut>` is trained in the same way.

# %% tags=["remove-cell"]
import os

import cosmolib

places = ".", "..", os.path.dirname(cosmolib.__path__[0])  # a kernel may start in any folder
os.chdir(next((folder for folder in places if os.path.isdir(f"{folder}/data/lite")), "."))

# %% tags=["parameters", "hide-input"]
profile = "demo"  # name of a file in configs/, or a path to one
trials = 0  # complete and pruned trials in the end; 0: from the profile
seed = 1  # of the sampler and of every training
workers = 1  # processes of this machine that share the search
data_dir = ""  # folder of CMD files; "": from the profile (Lite is shipped)
runs_dir = "runs"  # the study is <runs_dir>/<profile>/tuning/study.journal, or $COSMOLIB_STUDY
stored_dir = "results"  # stored studies, results/<study>/

# %% tags=["hide-input"]
import time

import pandas as pd
from IPython.display import display

from cosmolib.plots import style as plots_style
from cosmolib.plots import training as plots_training
from cosmolib.study.chapter import publish, stored_results
from cosmolib.study.profile import load_profile
from cosmolib.training.devices import select_device
from cosmolib.tuning import search as tuning_search

started = time.perf_counter()
plots_style.use_style()

# %%
config = load_profile(profile, **({"data_dir": data_dir} if data_dir else {}))
search = tuning_search.prepare_search(config, seed)  # .suite, .data, .profile, .name

# %% [markdown]
# ## What is searched
#
# - **Searched**: the four hyper-parameters of the published study, in its ranges; `lite` is tried at smaller widths. The
#   sampler is a tree-structured Parzen estimator {cite}`Akiba2019`, which starts with a few random trials; the
#   first trial has the profile's own settings.
# - **Fixed**: architecture, batch size, schedule, augmentation, initial weights and the
#   order of the maps. All trials share one split and one seed, so that they differ only in what is
#   searched.
# - **Objective**: the lowest validation loss of a trial, for both parameters together.
#   The loss is a logarithm of errors: a decrease of a tenth means errors smaller by a few percent. A trial whose
#   loss is above the median of the earlier trials at the same epoch is stopped.

# %% tags=["hide-input"]
table = pd.DataFrame(
    [
        {
            "hyper-parameter": name,
            "from": f"{span.low:g}",
            "to": f"{span.high:g}",
            "scale": "logarithmic" if span.log else "linear",
            "profile": f"{getattr(config, name):g}",
        }
        for name, span in tuning_search.search_space(config).items()
    ]
).set_index("hyper-parameter")
display(table)

# %% [markdown]
# ## Search
#
# The study is kept on disk. Its name identifies what the trials were trained on, so that other data or
# another number of epochs start a new study, and anything else resumes the old one. Several workers, of this
# page (`workers`), of `cosmolib tune` on other machines, or of the workflow, can share one study; when a worker dies, another
# one repeats its trial. Where the profile names a stored study, this page shows the stored search, and the search of the
# profile is a short repetition of it.

# %%
study = tuning_search.run_study(
    search,
    tuning_search.default_storage(runs_dir, config),
    n_trials=trials,
    device=select_device(),
    workers=workers,
)
live = pd.DataFrame(tuning_search.study_table(study))

# %% tags=["hide-input"]
stored = stored_results(config, "04_tuning.json", stored_dir) if config.answer else None
table = pd.DataFrame(stored["trials"]) if stored else live
used = stored["provenance"]["config"] if stored else config.model_dump()
best = {"this search": live["value"].min(), "shown": table["value"].min()}
print(f"This search: {len(live)} trials, best loss {best['this search']:.3f}.")
print(f"Shown, profile {used['name']}: {len(table)} trials, best loss {best['shown']:.3f}.")

# %% mystnb={"figure": {"name": "fig-study-history", "caption": "Validation loss of every trial in order, on Lite (feedback proxy) unless the profile names another suite. Circles: complete; crosses: pruned, at the last loss that they reported; line: the best so far; dashed: the profile's own settings, where they lie within the ranges."}, "image": {"alt": "Validation loss against trial number, blue circles for complete trials and grey crosses for pruned ones, with a red step line that falls to the lowest loss found so far."}} tags=["hide-input"]
values, pruned = table["value"].to_numpy(float), table["pruned"].to_numpy(bool)
own = table[table["profile"] & ~table["pruned"]]
reference = ("profile's settings", float(own["value"].iloc[0])) if len(own) else None
fig, axes = plots_training.study_history(table["number"].to_numpy(), values, pruned, reference)

# %% [markdown]
# ## What matters, and where the optimum lies
#
# The importance of a hyper-parameter is the share of the variance of the loss that it explains over
# its range (fANOVA on a random forest of the complete trials). With few trials it is only a hint.
# {numref}`fig-study-slices` shows the trials themselves: an optimum at the edge of its
# range means that the range is too narrow, or that the hyper-parameter is not needed.

# %%
importances = tuning_search.importances(study)  # their sum is 1
flags = tuning_search.boundary_flags(study)  # optima at the edge of their range

# %% mystnb={"figure": {"name": "fig-study-slices", "caption": "Validation loss against each hyper-parameter. Circles: complete trials; crosses: pruned; star: the best; dotted: the edges of the range. A red title marks an optimum within 5 % of an edge."}, "image": {"alt": "Four scatter plots of validation loss against learning rate, weight decay, dropout and width; dotted vertical lines mark the edges of each range and a red star the best trial."}} tags=["hide-input"]
if stored:
    importances, flags = stored["importances"], stored["flags"]
space = tuning_search.search_space(config)
fig, axes = plots_training.study_slices(
    {name: table[name].to_numpy(float) for name in space},
    values,
    pruned,
    {name: (span.low, span.high) for name, span in space.items()},
    {name: span.log for name, span in space.items()},
    {flag["parameter"] for flag in flags},
)

# %% mystnb={"figure": {"name": "fig-study-importances", "caption": "Share of the variance of the validation loss that each hyper-parameter explains over its range, from the complete trials."}, "image": {"alt": "Horizontal bars, one for each of the four hyper-parameters, whose lengths sum to one; the longest bar is on top."}} tags=["hide-input"]
if importances:
    fig, axes = plots_training.importances(importances)
else:
    print("Left out: importances need two complete trials with different losses.")

# %% tags=["remove-input"]
n_simulations = search.suite.n_simulations
n_valid = len(set(search.data.valid_simulation.tolist()))
if stored:
    n_simulations, n_valid = stored["n_simulations"], stored["n_valid_simulations"]
best = table[~table["pruned"]].sort_values("value").iloc[0]
gain = reference[1] - float(best["value"]) if reference else 0.0
if reference is None:
    comparison = "The profile's own settings lie outside the ranges and were not tried."
elif best["profile"]:
    comparison = "No trial did better than the profile's own settings."
else:
    comparison = f"The profile's own settings reached {reference[1]:.3f}, {gain:.3f} more."
edges = [f"{flag['parameter']} ({flag['edge']} edge, {flag['value']:.3g})" for flag in flags]
results = {
    "tuning_suite": used["tuning_suite"],
    "tuning_trials": int(len(table)),
    "tuning_pruned": int(pruned.sum()),
    "tuning_simulations": n_simulations,
    "tuning_valid_simulations": n_valid,
    "tuning_epochs": used["tuning_epochs"],
    "tuning_best_loss": float(best["value"]),
    "tuning_best_max_lr": float(best["max_lr"]),
    "tuning_best_weight_decay": float(best["weight_decay"]),
    "tuning_best_dropout": float(best["dropout"]),
    "tuning_best_hidden": int(best["hidden"]),
    "tuning_most_important": max(importances, key=importances.get, default="not known").replace(
        "_", " "
    ),
    "tuning_comparison": comparison,
    "tuning_edges": ", ".join(edges).replace("_", " ") or "none",
}

# %% [markdown]
# ## What we found
#
# - Of {glue:text}`tuning_trials:d` trials, {glue:text}`tuning_pruned:d` were stopped early. A trial trains for
#   {glue:text}`tuning_epochs:d` epochs on {glue:text}`tuning_simulations:d` simulations of {glue:text}`tuning_suite:s`.
# - The best has a validation loss of {glue:text}`tuning_best_loss:.3f`, with a learning rate of
#   {glue:text}`tuning_best_max_lr:.2g`, a weight decay of {glue:text}`tuning_best_weight_decay:.2g`,
#   a dropout of {glue:text}`tuning_best_dropout:.2f` and a width of
#   {glue:text}`tuning_best_hidden:d`. {glue:text}`tuning_comparison:s`
# - The {glue:text}`tuning_most_important:s` explains most of the variance. Optima at the edge of
#   their range: {glue:text}`tuning_edges:s`.
# - The validation loss is measured on {glue:text}`tuning_valid_simulations:d` simulations, and the best
#   of many trials is partly the luckiest. A short search ranks settings for short trainings; the
#   ranking for long trainings may differ.
#
# The published study, on *CMD* (IllustrisTNG, uncut, all six parameters, 50 trials of 200 epochs),
# {cite}`Lahiry2025` ended at “a learning rate of 4.88e-3, a weight decay of 2.44e-4, a dropout of
# 0.209 and a width of 7”.
#
# **Next:** [chapter 05](05_interpretation.ipynb) shows which pixels a trained network depends on.

# %% [markdown]
# ## Provenance

# %% tags=["remove-input"]
publish(
    "04_tuning", results, runs_dir=runs_dir, profile=config, started=started,
    suites={search.suite.name: search.suite.fingerprint}, n_simulations=search.suite.n_simulations,
    n_valid_simulations=len(set(search.data.valid_simulation.tolist())),
    importances=tuning_search.importances(study), flags=tuning_search.boundary_flags(study),
    trials=live.to_dict("records"), trials_seconds=float(live["seconds"].sum()),
)  # fmt: skip
