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
# :::{admonition} Overview
# - $R^2$ of $\Omega_m$ and $\sigma_8$ for every {term}`cut <Cut>` and both suites, against the uncut maps and against
#   summary statistics on the same split and the same cut.
# - {term}`Controls <Control>`: the effects of a cut other than hiding information.
# - The six claims of the paper, each with a measurement, a rule and a verdict.
# :::
#
# **What you need.** The runs of [chapter 03](03_training.ipynb) for every {term}`suite <Suite>`, cut and seed of the
# {term}`profile <Profile>`, and the {term}`attribution <Attribution>` shares of [chapter 05](05_interpretation.ipynb).
#
# The logic is the paper's {cite}`Lahiry2025`: hide a part of every map, train a new network, and take
# the $R^2$ that is lost for the information that was hidden. It has two weak points. A cut can leak
# what it hides (with a threshold in surface density, the number of cut pixels reveals $\Omega_m$), and a
# network may fail to find what is there ([chapter 07](07_validation.ipynb) tests that).

# %% tags=["remove-cell"]
import os

if os.path.isdir("../data/lite"):  # JupyterLab starts kernels next to the notebook
    os.chdir("..")

# %% tags=["parameters", "hide-input"]
profile = "demo"  # name of a file in configs/, or a path to one
data_dir = ""  # folder of CMD files; "": as the profile says (Lite is shipped)
runs_dir = "runs"  # where the runs are; the table goes to <runs_dir>/<profile>/results/
stored_dir = "results"  # committed tables of full studies, results/<study>/06_results.json

# %% tags=["hide-input"]
import math
import time
from pathlib import Path

import pandas as pd
from IPython.display import HTML

from book.explorer import explorer
from cosmolib.plots import results as plots_results
from cosmolib.plots import style as plots_style
from cosmolib.plots import validation as plots_validation
from cosmolib.results import claims, controls, summary
from cosmolib.results.table import FILE_NAME, read_table, results_table
from cosmolib.study import io
from cosmolib.study.chapter import publish
from cosmolib.study.profile import load_profile
from cosmolib.training.dataset import study_suite

started = time.perf_counter()
plots_style.use_style()
pd.set_option("display.max_colwidth", None)

# %%
config = load_profile(profile, **({"data_dir": data_dir} if data_dir else {}))
table = results_table(config, runs_dir, progress=print)  # one row per suite and cut
pairs = summary.own_controls(table)  # a cut next to its control
levels, curves = summary.noise_curves(table)  # R2 against the noise added before the cut

# %% [markdown]
# ## What a network still knows after a cut
#
# $R^2$ is per map, on test simulations that no network saw; with several seeds it is their mean.
# Intervals hold 95 %: they resample whole simulations and include the scatter between trainings where
# the profile measures it. The grey points are a kernel ridge regression on summary statistics of the same
# maps under the same cut, from the mean and power spectra to peak counts and scattering-like variances:
# what a classical analysis would get. Where they lie to the right of the network, its loss measures the
# training and not the information. The claims therefore use the better of the two, as the *validation*
# maps choose it for each parameter.

# %% mystnb={"figure": {"name": "fig-r2-by-cut", "caption": "$R^2$ per map for every cut, on Lite (feedback proxy) and Nbody_Lite (gravity only) unless the profile names CMD. Filled: networks; open grey: summary statistics under the same cut; thin lines: uncut. Bars: 95 % over simulations. Values below $-1$ lie off the axis."}, "image": {"alt": "Two panels for Omega_m and sigma_8 with one row per cut. Coloured points with error bars give the R2 of networks for the two suites, open grey points that of summary statistics; thin vertical lines mark the uncut values at the right."}} tags=["hide-input"]
targets = [name for name in claims.COSMOLOGY if name in config.targets]
headline, axes = plots_results.r2_by_cut(table["rows"], table["suites"], targets)
folder = Path(runs_dir) / config.name / "results"
with io.atomic_path(folder / "headline.png") as temporary:
    headline.savefig(temporary, dpi=200)

# %% [markdown]
# ## What a cut costs
#
# The better of network and summary statistics under each cut, minus the better of the two on uncut maps of
# the same suite. Both are scored on the same test maps and resampled together, so that the scatter
# between simulations cancels.

# %% mystnb={"figure": {"name": "fig-r2-difference", "caption": "$R^2$ after a cut minus $R^2$ of the uncut maps, of the better of network and summary statistics, paired on the same test maps, on Lite (feedback proxy) and Nbody_Lite (gravity only) unless the profile names CMD. Bars: 95 % over simulations."}, "image": {"alt": "Two panels for Omega_m and sigma_8 with one row per cut; points with error bars for two suites lie at zero for the uncut maps and to the left of zero where a cut costs accuracy."}} tags=["hide-input"]
fig, axes = plots_results.r2_by_cut(table["rows"], table["suites"], targets, key="best_difference")

# %% mystnb={"figure": {"name": "fig-r2-kmax", "caption": "$R^2$ per map against the largest wavenumber that is kept, filtered on the linear map as published. Dashed lines and bands: uncut, with 95 %. Dotted: Nyquist wavenumber of the maps. Lite (feedback proxy) and Nbody_Lite (gravity only) unless the profile names CMD."}, "image": {"alt": "Two panels for Omega_m and sigma_8 of R2 against the largest wavenumber on a logarithmic axis; points with error bars joined by lines for the two suites, horizontal bands for the uncut maps, a dotted vertical line at the Nyquist wavenumber."}} tags=["hide-input"]
nyquist = math.pi * table["grid"] / table["box_size"]
fig, axes = plots_results.r2_against_kmax(table["rows"], table["suites"], targets, nyquist)

# %% [markdown]
# ### Explore
# The same numbers to read off: choose a parameter, and whether to show $R^2$, the loss by a cut, or the
# gain over summary statistics; each point shows its value and its 95 % interval.

# %% tags=["hide-input"]
quantities = {"r2": "R2", "difference": "R2 minus uncut", "gain": "R2 minus summary statistics"}
alt = "R2 of both parameters for every cut and suite with error bars, as in the first figure"
view = table["rows"], targets, quantities, plots_style.suite_label, headline, alt
HTML(explorer.scores_explorer(*view))

# %% tags=["hide-input", "full-width"]
quantities = {"R2": "r2", "summary": "baseline", "better minus uncut": "best_difference"}
about = {"suite": "suite", "cut": "cut", "better (Omega_m, sigma_8)": "which"}
rows = [row | {"which": ", ".join(row["better"].values())} for row in table["rows"]]
summary.estimates_table(rows, about, quantities, targets)

# %% [markdown]
# ## In bits
#
# $R^2$ of two parts of a map do not add up to that of the whole; bits of information do obey a chain rule.
# A map tells at least as many bits about a parameter as the log posterior density of the truth exceeds that
# of the prior, whatever the posterior {cite}`Sui2023`. Here the posterior is a Gaussian with the predicted
# mean and standard deviation, recalibrated on the validation maps, of the better of network and summary
# statistics. [Chapter 07](07_validation.ipynb) shows how far the bound lies below the exact number, which is
# known for Gaussian maps.

# %% tags=["hide-input", "full-width"]
feedback = claims.hydro_suite(table)
rows = [row for row in (*table["rows"], *table["control_rows"]) if row["suite"] == feedback]
summary.estimates_table(rows, {"cut": "cut"}, {"bits": "bits"}, [*targets, "both"])

# %% [markdown]
# ## Controls: what a cut does besides hiding
#
# Each pair below is a cut and a {term}`control <Control>` of it, on the suite with feedback: *mask*, only which pixels were cut is
# shown; *moved*, the same mask half a box away, with holes of the same shapes that do not follow the matter; *shuffle*, as many
# pixels cut at random places, which a network can fill in from their neighbours; *nomean*, every map divided by its own mean,
# which in a slab of 5 Mpc/$h$ reveals $\Omega_m$ and which no Fourier cut touches; *maskmean*, the mask and the mean against
# the pixels without their mean; *fill*, other values for the pixels that were cut; *field*, the log of the map filtered, so
# that no pixel becomes negative. $R^2$ is that of the better of network and summary statistics.

# %% mystnb={"figure": {"name": "fig-controls", "caption": "$R^2$ per map under a cut (circles) and under its control (open squares), on the suite with feedback (Lite: a proxy). Left labels: the cut, and below it the control. Bars: 95 % over simulations."}, "image": {"alt": "Two panels for Omega_m and sigma_8 with one row for each pair of a cut and its control; a filled circle with error bar for the cut and an open square for the control below it."}} tags=["hide-input"]
if pairs:
    fig, axes = plots_results.control_pairs(pairs, targets)
else:
    print("Left out: this profile has no complete run of both a cut and its control.")

# %% tags=["hide-input", "full-width"]
about = {"control": "kind", "cut": "cut", "controlled by": "control"}
quantities = {"R2 of the control": "control_r2", "cut minus control": "difference"}
summary.estimates_table(pairs, about, quantities, targets)

# %% [markdown]
# ## Noise: does the void information survive?
#
# The maps have no noise; those of a survey do. White noise is added to every map before the cut, with a
# standard deviation per pixel in units of the fiducial mean density, so that dense and empty pixels are
# those *observed* to be so, and the mean of each map is divided out: noise does not hide it, so that a
# network could read $\Omega_m$ from it at any level. In weak-lensing maps noise moved the attribution from {term}`voids <Void>` to
# peaks {cite}`Matilla2020`. Noisy maps are scaled by asinh in place of the log.

# %% mystnb={"figure": {"name": "fig-noise", "caption": "$R^2$ per map (the better of network and summary statistics) of all pixels, only under-dense and only over-dense ones, against the white noise that is added first, on the suite with feedback (Lite: a proxy). Bars: 95 % over simulations."}, "image": {"alt": "Two panels for Omega_m and sigma_8 of R2 against the level of noise, with three lines for all pixels, under-dense pixels and over-dense pixels; all fall to the right."}} tags=["hide-input"]
if len(levels) > 1:
    fig, axes = plots_validation.by_noise(levels, curves, targets, "$R^2$ per map")
else:
    print(f"Left out: the figure needs two levels of white noise, complete are {len(levels)}.")

# %% [markdown]
# ## Next to a full study
#
# The tables of larger studies are kept in the repository, each with its provenance. Where one of the
# same suite exists, the cuts that it shares with this profile are shown next to the live numbers.

# %% tags=["hide-input"]
stored = [read_table(path) for path in sorted(Path(stored_dir).glob(f"*/{FILE_NAME}"))]
stored = [other for other in stored if other["suites"][0] in table["suites"]]
for other in stored:
    rows, date = len(other["rows"]), other["provenance"]["utc"][:10]
    about = f"{other['n_simulations']} simulations of {other['suites'][0]} ({other['dataset']})"
    print(f"{other['profile']}: {about}, {rows} rows, {date}")

# %% mystnb={"figure": {"name": "fig-live-and-stored", "caption": "$R^2$ per map of the live runs of this page and of a stored study, for the cuts that they share, on the suite with feedback (Lite: a proxy). Bars: 95 % over simulations."}, "image": {"alt": "Two panels for Omega_m and sigma_8 with one row per cut; circles of the live study and squares of the stored one with horizontal error bars."}} tags=["hide-input"]
if stored:
    labels = [f"{x['profile']}, {x['n_simulations']} simulations" for x in (table, stored[-1])]
    rows = table["rows"], stored[-1]["rows"]
    fig, axes = plots_results.live_and_stored(*rows, claims.hydro_suite(table), targets, labels)
else:
    print("Left out: the figure needs a stored study.")

# %% [markdown]
# ## The six claims
#
# The rules were written before the numbers and are part of the code (`cosmolib/results/claims.py`). A claim is
# supported if the whole 95 % interval of every deciding number lies on its side of the threshold;
# otherwise it is not supported, and the reason says whether the numbers contradict it (an interval that is
# widened for the number of them lies on the other side) or leave it open. A claim that could
# not fail on these maps, because feedback leaves no trace in them, has no power. The paper gives no thresholds for "little", "minimal" and "consistent": these are ours.

# %% tags=["hide-input"]
path, keys = folder / "05_interpretation.json", ("suite", "method", "baselines")
shares = io.read_json(path) if path.is_file() else None
table["attribution"] = shares and {key: shares[key] for key in keys}
if not shares:
    print(f"Left out: the numbers of chapter 05, because there is no {path}.")

# %%
verdicts = claims.judge(table)  # by its rows alone

# %% tags=["hide-input"]
view = pd.DataFrame(verdicts).drop(columns=["key", "interval"]).set_index("number")
view.columns = ["claim", "what decides", "measured", "verdict", "why"]
view.style.set_properties(**{"text-align": "left", "vertical-align": "top"})

# %% [markdown]
# ### Which part survives the controls
#
# The same rules, asked again with one thing changed that the published cuts leave open. *Survives*:
# the whole 95 % interval lies on the claim's side, for both parameters; *does not survive*: one
# lies wholly on the other. For noise the verdict names the highest level up to which the claim holds
# at every level below.

# %%
survivors = controls.judge(table)

# %% tags=["hide-input", "full-width"]
numbers = {row["key"]: row["number"] for row in verdicts}
view = pd.DataFrame(survivors).assign(claim=[numbers[row["claim"]] for row in survivors])
view.columns = ["claim", "control", "measured (Omega_m and sigma_8)", "verdict"]
view.style.hide(axis="index").set_properties(**{"text-align": "left", "vertical-align": "top"})

# %% tags=["remove-input"]
if stored:
    print(f"The same six claims by the stored study {stored[-1]['profile']}:")
    for row in stored[-1]["claims"]:
        print(f"  {row['number']}. {row['verdict']}: {row['measurement']}")

# %% [markdown]
# ## What we found
#
# From {glue:text}`n_runs:d` networks trained on {glue:text}`n_train_simulations:d` simulations of a suite
# ({glue:text}`dataset:s`, profile {glue:text}`profile_name:s`), tested on {glue:text}`n_test_maps:d`
# maps of {glue:text}`n_test_simulations:d` simulations. $R^2$ per map with 95 % intervals, on
# {glue:text}`results_suite:s` unless said otherwise:
#
# :::{table} $R^2$ of the networks under each cut, *Lite* unless CMD is named.
# :name: tab-left
#
# | | density $\Omega_m$ | clustering $\sigma_8$ |
# |---|---|---|
# | uncut | {glue:text}`r2_om_uncut:s` | {glue:text}`r2_s8_uncut:s` |
# | summary statistics | {glue:text}`r2_om_baseline:s` | {glue:text}`r2_s8_baseline:s` |
# | network minus summary statistics | {glue:text}`r2_om_gain:s` | {glue:text}`r2_s8_gain:s` |
# | uncut, gravity only | {glue:text}`r2_om_gravity:s` | {glue:text}`r2_s8_gravity:s` |
# | trained on gravity only, tested with feedback | {glue:text}`r2_om_transfer:s` | {glue:text}`r2_s8_transfer:s` |
# | the same, bias | {glue:text}`bias_om_transfer:s` | {glue:text}`bias_s8_transfer:s` |
# | $k$ below {glue:text}`kmax_shown:s` | {glue:text}`r2_om_kmax:s` | {glue:text}`r2_s8_kmax:s` |
# | {glue:text}`underdense_cut:s` | {glue:text}`r2_om_underdense:s` | {glue:text}`r2_s8_underdense:s` |
# | {glue:text}`overdense_cut:s` | {glue:text}`r2_om_overdense:s` | {glue:text}`r2_s8_overdense:s` |
# :::
#
# {glue:text}`against_summary:s` Verdicts on the six claims: {glue:text}`verdict_counts:s`.
#
# :::{table} Verdict on each claim, and of its controls (how many).
# :name: tab-controls
#
# | claim | verdict | under its controls |
# |---|---|---|
# | 1. inference | {glue:text}`claim_1_verdict:s` | {glue:text}`claim_1_controls:s` |
# | 2. both sides | {glue:text}`claim_2_verdict:s` | {glue:text}`claim_2_controls:s` |
# | 3. per pixel and in total | {glue:text}`claim_3_verdict:s` | {glue:text}`claim_3_controls:s` |
# | 4. saturation | {glue:text}`claim_4_verdict:s` | {glue:text}`claim_4_controls:s` |
# | 5. consistency | {glue:text}`claim_5_verdict:s` | {glue:text}`claim_5_controls:s` |
# | 6. degradation | {glue:text}`claim_6_verdict:s` | {glue:text}`claim_6_controls:s` |
# :::
#
# For comparison, the stored output of the published notebook {cite}`Lahiry2025` has $R^2$ of “0.994 and 0.982” on *CMD*
# (IllustrisTNG, uncut, $256^2$ pixels, 1000 simulations).
#
# **What the numbers do not say.** Lite ends at a wavenumber of 8 $h$/Mpc and its feedback is a proxy; a
# verdict on Lite is one on the argument, not on the paper's own maps. A control is trained like any
# other run, with the same short schedule: a difference of a few hundredths may come from the training.
#
# **Next:** [other suites and sets](06b_generalisation.ipynb), then [chapter 07](07_validation.ipynb) tests the method on mocks.

# %% [markdown]
# ## Provenance

# %% tags=["remove-input"]
numbers = summary.results_numbers(table, verdicts, survivors)
numbers["results_suite"] = plots_style.suite_label(claims.hydro_suite(table))
suites = {name: study_suite(name, config).fingerprint for name in config.suites}
table |= {"claims": verdicts, "survives": survivors}
about = {"runs_dir": runs_dir, "profile": config, "suites": suites, "started": started}
publish("06_results", numbers, **about, table=table)
