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
# # Judge the claims
#
# On {glue:text}`results_suite:s`, networks infer $\Omega_m$ and $\sigma_8$ from uncut maps with an $R^2$ of
# {glue:text}`r2_uncut_om:s` and {glue:text}`r2_uncut_s8:s`. Of the six claims of the paper {cite}`Lahiry2025`,
# {glue:text}`verdict_counts:s`.
#
# :::{admonition} Overview
# - Each {term}`cut <Cut>` hides part of every map; a network is then retrained on what remains. The loss of
#   $R^2$ measures the information that the hidden part contained.
# - {term}`Controls <Control>` measure what a cut does besides hiding: it leaks a mask, leaves the mean, changes the noise.
# - Six rules, written before the numbers, judge the claims.
# :::
#
# **What you need.** The networks of [chapter 03](03_training.ipynb) and the {term}`attribution <Attribution>` of
# [chapter 05](05_interpretation.ipynb). Where the {term}`profile <Profile>` names a stored study, this page shows that
# study and compares the profile's own networks with it at the end.

# %% tags=["remove-cell"]
import os

import cosmolib

places = ".", "..", os.path.dirname(cosmolib.__path__[0])  # a kernel may start in any folder
os.chdir(next((folder for folder in places if os.path.isdir(f"{folder}/data/lite")), "."))

# %% tags=["parameters", "hide-input"]
profile = "demo"  # name of a file in configs/, or a path to one
data_dir = ""  # folder of CMD files; "": from the profile (Lite is shipped)
runs_dir = "runs"  # where the runs are; the table goes to <runs_dir>/<profile>/results/
stored_dir = "results"  # stored studies, results/<study>/06_results.json

# %% tags=["hide-input"]
import math
import time
from pathlib import Path

import pandas as pd
from IPython.display import HTML, display
from myst_nb import glue

from book.explorer import explorer
from cosmolib.plots import results as plots_results
from cosmolib.plots import style as plots_style
from cosmolib.plots import validation as plots_validation
from cosmolib.results import claims, controls, measurements, summary
from cosmolib.results.table import FILE_NAME, read_table, results_table
from cosmolib.study import io
from cosmolib.study.chapter import publish, stored_results
from cosmolib.study.profile import load_profile
from cosmolib.training.dataset import study_suite

started = time.perf_counter()
plots_style.use_style()
pd.set_option("display.max_colwidth", None)

# %%
config = load_profile(profile, **({"data_dir": data_dir} if data_dir else {}))
live = results_table(config, runs_dir, progress=print)  # one row per suite and cut
stored = stored_results(config, FILE_NAME, stored_dir, read_table)
table = stored if stored and config.answer else live  # what this page shows

# %% tags=["hide-input"]
folder = Path(runs_dir) / config.name / "results"
if table is live:
    path = folder / "05_interpretation.json"
    shares = io.read_json(path) if path.is_file() else None
    keys = ("suite", "method", "baselines")
    table["attribution"] = shares and {key: shares[key] for key in keys}
    if not shares:
        print(f"Claim 3 is not judged: chapter 05 has not written {path}.")
feedback = measurements.hydro_suite(table)
targets = [name for name in claims.COSMOLOGY if name in table["targets"]]
print(f"Shown: the study {table['profile']}, {table['n_runs']} networks trained on "
      f"{table['n_train_simulations']} simulations of each suite and tested on "
      f"{table['n_test_simulations']} others.")  # fmt: skip

# %% [markdown]
# ## How accurate is the inference under each cut?
#
# {numref}`fig-r2-by-cut` gives $R^2$ per test map, as a mean over seeds where there are several. The 95 % intervals
# resample whole simulations and include the scatter between trainings. The grey points are a kernel ridge regression on
# summary statistics of the same maps under the same cut, from the mean and the power spectrum to peak counts and
# scattering-like variances. Where they lie to the right of the network, the network did not use all
# the information, and its loss measures the training. From here on we therefore use the better of the two, which the
# *validation* maps choose for each parameter.

# %% mystnb={"figure": {"name": "fig-r2-by-cut", "caption": "$R^2$ per map under every cut, on Lite (feedback proxy) and Nbody_Lite (gravity only) unless the profile names CMD. Filled: networks; open grey: summary statistics under the same cut; thin vertical lines: uncut maps. Bars: 95 % over simulations. Values below $-1$ lie off the axis."}, "image": {"alt": "Two panels for Omega_m and sigma_8 with one row per cut. Coloured points with error bars give the R2 of networks for the two suites, open grey points that of summary statistics; thin vertical lines mark the uncut values at the right."}} tags=["hide-input"]
headline, axes = plots_results.r2_by_cut(table["rows"], table["suites"], targets)
for name, options in (("png", {"dpi": 200}), ("svg", {}), ("pdf", {})):
    with io.atomic_path(folder / f"headline.{name}") as temporary:
        headline.savefig(temporary, **options)

# %% [markdown]
# ### Read off the numbers
#
# Choose a parameter and a quantity; each point shows its value and interval. The same numbers are in the table below, and
# as [CSV](../book/_static/results.csv).

# %% tags=["hide-input"]
quantities = {"r2": "R2", "difference": "R2 minus uncut", "gain": "R2 minus summary statistics"}
alt = "R2 of both parameters for every cut and suite with error bars, as in the first figure"
view = table["rows"], targets, quantities, plots_style.suite_label, headline, alt
HTML(explorer.scores_explorer(*view))

# %% tags=["hide-input", "hide-output", "full-width"]
rows = [row | {"which": ", ".join(row["better"].values())}
        for row in (*table["rows"], *table["control_rows"])]  # fmt: skip
about = {"suite": "suite", "cut": "cut", "better (Omega_m, sigma_8)": "which"}
quantities = {"R2": "r2", "summary": "baseline", "better minus uncut": "best_difference"}
numbers = summary.estimates_table(rows, about, quantities, targets)
bits = summary.estimates_table(rows, about, {"bits": "bits"}, [*targets, "both"])
numbers = pd.concat([numbers, bits], axis=1)
with io.atomic_path(folder / "results.csv") as temporary:
    numbers.to_csv(temporary)
display(numbers)

# %% [markdown]
# ## What does a cut cost?
#
# {numref}`fig-r2-difference` shows the better of network and summary statistics under each cut, minus the better of the two on
# uncut maps of the same suite. Both are scored on the same test maps and resampled together, so that the scatter between
# simulations cancels. {numref}`fig-r2-kmax` follows the cuts in scale.

# %% mystnb={"figure": {"name": "fig-r2-difference", "caption": "$R^2$ under a cut minus $R^2$ of uncut maps, of the better of network and summary statistics, paired on the same test maps, on Lite (feedback proxy) and Nbody_Lite (gravity only) unless the profile names CMD. Bars: 95 % over simulations."}, "image": {"alt": "Two panels for Omega_m and sigma_8 with one row per cut; points with error bars for two suites lie at zero for the uncut maps and to the left of zero where a cut costs accuracy."}} tags=["hide-input"]
fig, axes = plots_results.r2_by_cut(table["rows"], table["suites"], targets, key="best_difference")

# %% mystnb={"figure": {"name": "fig-r2-kmax", "caption": "$R^2$ per map against the largest wavenumber that is kept; the filter acts on the linear map, as published. Dashed lines and bands: uncut maps, with 95 %. Dotted: Nyquist wavenumber of the maps. Lite (feedback proxy) and Nbody_Lite (gravity only) unless the profile names CMD."}, "image": {"alt": "Two panels for Omega_m and sigma_8 of R2 against the largest wavenumber on a logarithmic axis; points with error bars joined by lines for the two suites, horizontal bands for the uncut maps, a dotted vertical line at the Nyquist wavenumber."}} tags=["hide-input"]
nyquist = math.pi * table["grid"] / table["box_size"]
fig, axes = plots_results.r2_against_kmax(table["rows"], table["suites"], targets, nyquist)

# %% [markdown]
# $R^2$ of two parts of a map does not add up to that of the whole map. Bits of information obey a chain rule. We quote
# a lower bound on the information that a map contains about both parameters {cite}`Sui2023`: the mean log posterior density
# of the truth minus that of the prior. The posterior is a mixture of Gaussians that starts from the predicted mean and
# standard deviation and is fitted to the validation maps.
# With the mean of each map divided out, all pixels give {glue:text}`bits_all:s` bits, under-dense pixels alone
# {glue:text}`bits_under:s`, and over-dense pixels alone {glue:text}`bits_over:s`. [Chapter 07](07_validation.ipynb) compares
# the bound with the exact number on Gaussian maps.
#
# ## What does a cut do besides hiding?
#
# Each pair in the next figure is a cut and a {term}`control <Control>` of it, on the suite with feedback:
#
# - *mask*: only the positions of the cut pixels are visible;
# - *moved*: the same mask, shifted by half a box, so that its holes no longer follow the matter;
# - *shuffle*: as many pixels cut at random places, which a network can fill in from their neighbours;
# - *nomean*: each map divided by its mean, which reveals $\Omega_m$ in a thin slab and which no Fourier cut touches;
# - *maskmean*: the mask and the mean, against the visible pixels without their mean;
# - *fill*: other values for the cut pixels;
# - *field*: the log of the map is filtered, so that no pixel becomes negative.

# %%
pairs = [pair for pair in table["controls"] if pair["suite"] == feedback]
pairs.sort(key=lambda pair: pair["kind"])
levels, curves = summary.noise_curves(table)  # R2 against the noise added before the cut

# %% mystnb={"figure": {"name": "fig-controls", "caption": "$R^2$ per map under a cut (circles) and under its control (open squares), of the better of network and summary statistics, on the suite with feedback (Lite: a proxy). Left labels: the cut, and below it the control. Bars: 95 % over simulations."}, "image": {"alt": "Two panels for Omega_m and sigma_8 with one row for each pair of a cut and its control; a filled circle with error bar for the cut and an open square for the control below it."}} tags=["hide-input"]
if pairs:
    fig, axes = plots_results.control_pairs(pairs, targets)
else:
    print("Left out: this study has no complete run of both a cut and its control.")

# %% [markdown]
# **Noise.** Simulated maps have no noise; those of a survey do. In the next figure white noise is added to every map before
# the cut, so that dense and empty pixels are those *observed* to be so. Before that, the mean of each map is divided out, because
# a network could read $\Omega_m$ from it at any noise level. In weak-lensing maps, noise moved the attribution from
# {term}`voids <Void>` to peaks {cite}`Matilla2020`.

# %% mystnb={"figure": {"name": "fig-noise", "caption": "$R^2$ per map (the better of network and summary statistics) of all pixels, of under-dense and of over-dense pixels alone, against the standard deviation of the white noise per pixel in units of the fiducial mean density, on the suite with feedback (Lite: a proxy). Bars: 95 % over simulations."}, "image": {"alt": "Two panels for Omega_m and sigma_8 of R2 against the level of noise, with three lines for all pixels, under-dense pixels and over-dense pixels; all fall to the right."}} tags=["hide-input"]
if len(levels) > 1:
    fig, axes = plots_validation.by_noise(levels, curves, targets, "$R^2$ per map")
else:
    print(f"Left out: the figure needs two levels of white noise, complete are {len(levels)}.")

# %% [markdown]
# ## The six claims
#
# The rules are part of the code (`cosmolib/results/claims.py`). A claim is *supported* if the 95 % interval of every deciding
# number lies on its side of the threshold, *not supported* if a number contradicts it (with a Bonferroni correction for how many
# there are), and otherwise *left open*. Claims 1 and 5, on robustness, are judged on the suite whose feedback is most visible,
# such as [*Lite_strong*](06b_generalisation.ipynb), whose proxy is exaggerated. They have *no power* on maps in which feedback leaves
# no trace, because they could not fail there. The paper gives no thresholds for "little", "minimal" and "consistent"; ours are
# stated with each rule. The controls apply the same rules with one thing changed that the published cuts leave open.

# %%
verdicts = claims.judge(table)
survivors = controls.judge(table)

# %% tags=["hide-input", "full-width"]
glue("claim_cards", HTML(summary.claim_cards(verdicts)), display=False)
HTML(summary.claim_cards(verdicts, survivors))

# %% [markdown]
# ## Do this profile's own networks agree?
#
# Anyone can train part of the stored study, or all of it. A study with the same recipe must reproduce every $R^2$ to within the
# scatter between trainings. A smaller one, such as the demo, has a lower $R^2$; what must agree is the $R^2$ that a cut costs.

# %% tags=["hide-input"]
compared = summary.agreement(live, stored) if stored else pd.DataFrame({"agrees": []})
agree = f"{compared['agrees'].sum():.0f} of {len(compared)}"
if stored:
    print(f"{live['profile']} agrees with {stored['profile']} in {agree} numbers (95 %)")
else:
    print(f"{config.name} has no stored study to be compared with.")

# %% mystnb={"figure": {"name": "fig-live-and-stored", "caption": "$R^2$ per map of this profile's own networks (circles) and of the stored study (open squares), for the cuts that both have, on the suite with feedback (Lite: a proxy). Bars: 95 % over simulations."}, "image": {"alt": "Two panels for Omega_m and sigma_8 with one row per cut; circles of the profile's own networks and squares of the stored study with horizontal error bars."}} tags=["hide-input"]
if stored:
    labels = [f"{x['profile']}, {x['n_train_simulations']} simulations" for x in (live, stored)]
    both = [(*x["rows"], *x["control_rows"]) for x in (live, stored)]
    fig, axes = plots_results.live_and_stored(*both, feedback, targets, labels)
else:
    print("Left out: the figure needs a stored study.")

# %% tags=["hide-input", "hide-output", "full-width"]
display(compared)

# %% [markdown]
# ## What we found
#
# - On {glue:text}`results_suite:s`, uncut, $R^2$ per map is {glue:text}`r2_uncut_om:s` ($\Omega_m$) and {glue:text}`r2_uncut_s8:s`
#   ($\sigma_8$) by networks, {glue:text}`r2_baseline_om:s` and {glue:text}`r2_baseline_s8:s` by summary statistics, from
#   {glue:text}`n_train_simulations:d` training simulations. {glue:text}`against_summary:s`
# - Gravity-only maps give {glue:text}`r2_gravity_om:s` and {glue:text}`r2_gravity_s8:s`.
# - With the mean of each map divided out, under-dense pixels alone give {glue:text}`r2_underdense_om:s` and
#   {glue:text}`r2_underdense_s8:s`, over-dense pixels alone {glue:text}`r2_overdense_om:s` and {glue:text}`r2_overdense_s8:s`.
# - Of the six claims, {glue:text}`verdict_counts:s`. This profile's own networks agree with the stored study in
#   {glue:text}`results_agree:s` numbers.
#
# On *CMD* (IllustrisTNG, uncut, $256^2$ pixels), the stored output of the published notebook has $R^2$ of “0.994 and 0.982”
# {cite}`Lahiry2025`.
#
# **Limits.** Lite resolves wavenumbers up to 8 $h$/Mpc and its feedback is a proxy, so a verdict on Lite is a verdict
# on the argument and not on the paper's maps. Claims 1 and 5 are about feedback: a network that feedback does not mislead may still
# fail on maps from [another simulation recipe](06b_generalisation.ipynb). Losses of a few hundredths of $R^2$ are within the
# scatter between trainings.
#
# **Next:** [other suites and sets](06b_generalisation.ipynb); then [chapter 07](07_validation.ipynb) tests the method on mocks.

# %% [markdown]
# ## Provenance

# %% tags=["remove-input"]
numbers = summary.results_numbers(table, verdicts) | {"results_agree": agree}
numbers["results_suite"] = plots_style.suite_label(feedback)
suites = {name: study_suite(name, config).fingerprint for name in config.suites}
about = {"runs_dir": runs_dir, "profile": config, "suites": suites, "started": started}
judged = live if config.answer else table | {"claims": verdicts, "survives": survivors}
publish("06_results", numbers, **about, table=judged, agreement=compared.to_dict("records"))
