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
# # Test the networks on other simulations
#
# A network trained on gravity-only maps is tested on maps with feedback, and the reverse; on the maps of another simulation
# recipe; on many boxes of one cosmology, on boxes in which one parameter varies, and on extreme feedback.
#
# :::{admonition} Overview
# - Networks are tested on suites that they were not trained on, with two ways to scale the tested maps.
# - Cuts may protect an inference: one figure compares what each cut costs with the bias that remains.
# - Attribution shows whether networks that were trained with strong feedback look elsewhere.
# - Other sets of the same suite test bias, scatter and the response to each parameter.
# :::
#
# **What you need.** The table of [chapter 06](06_results.ipynb), for which the uncut networks of the
# {term}`profile <Profile>` were tested on every {term}`suite <Suite>` and set of simulations (such as {term}`LH`) in its data folder.

# %% tags=["remove-cell"]
import os

import cosmolib

places = ".", "..", os.path.dirname(cosmolib.__path__[0])  # a kernel may start in any folder
os.chdir(next((folder for folder in places if os.path.isdir(f"{folder}/data/lite")), "."))

# %% tags=["parameters", "hide-input"]
profile = "demo"  # name of a file in configs/, or a path to one
data_dir = ""  # folder of CMD files; "": from the profile (Lite is shipped)
runs_dir = "runs"  # where the table of chapter 06 is, <runs_dir>/<profile>/results/
stored_dir = "results"  # stored studies, results/<study>/06_results.json

# %% tags=["hide-input"]
import time
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import display

from cosmolib.data.cmd_format import regions_of
from cosmolib.data.spectra import power_spectrum
from cosmolib.data.suites import subset
from cosmolib.data.summary import check_maps, per_simulation
from cosmolib.interpretation import cosmic_web, experiments
from cosmolib.plots import attribution as plots_attribution
from cosmolib.plots import data as plots_data
from cosmolib.plots import results as plots_results
from cosmolib.plots import style as plots_style
from cosmolib.results import claims, measurements
from cosmolib.results.summary import estimates_table, generalisation_numbers, sets_summary
from cosmolib.results.table import FILE_NAME, read_table
from cosmolib.study.chapter import publish, shown_study, stored_results
from cosmolib.study.profile import load_profile
from cosmolib.training.dataset import study_suite
from cosmolib.training.scores import as_text

started = time.perf_counter()
plots_style.use_style()

# %%
config = load_profile(profile, **({"data_dir": data_dir} if data_dir else {}))
own = Path(runs_dir) / config.name / "results"
table = read_table((Path(stored_dir) / config.answer if config.answer else own) / FILE_NAME)

# %% tags=["hide-input"]
targets = [name for name in claims.COSMOLOGY if name in table["targets"]]
print(f"Shown: the study {table['profile']}. Simulations by set:")
for name, rows in table["sets"].items():
    print(f"{name}: {', '.join(dict.fromkeys(row['suite'] for row in rows)) or 'left out'}")
print(*table["left_out"], sep="\n")

# %%
display(sets_summary(table))

# %% [markdown]
# ## How visible is the feedback?
#
# A network can fail on feedback only if feedback leaves a trace. In *Lite* it leaves almost none: the maps change by
# {glue:text}`visible_lite_rms:.3f` dex rms, and summary statistics predict $A_\mathrm{SN1}$ with an $R^2$ of {glue:text}`visible_lite_sn1:s`.
# **Lite_strong** is a positive control with the same simulations and an *exaggerated* proxy: its maps change by
# {glue:text}`visible_strong_rms:.3f` dex, and $A_\mathrm{SN1}$ has an $R^2$ of {glue:text}`visible_strong_sn1:s`.
# {numref}`fig-visible` shows that its effect is still local, and grows with $A_\mathrm{SN1}$.

# %%
visible = measurements.visible_suite(table)
names = [visible, f"Nbody_{regions_of(visible)}"] if table["feedback"] else []
twins = [study_suite(name, config) for name in names]
twins = [subset(suite, min(200, suite.n_simulations)) for suite in twins]
spectra = [power_spectrum(suite.maps, suite.box_size) for suite in twins]

# %% mystnb={"figure": {"name": "fig-visible", "caption": "Power of the suite with the most visible feedback over that of its gravity-only twin, for some of the simulations. Left: against scale, by thirds in the supernova amplitude, median and central 68 % of the simulations. Right: at 5 h/Mpc, single simulations coloured by the range A_SN2, and means of bins with standard errors. Lite_strong has an exaggerated proxy, not a simulation of gas."}, "image": {"alt": "Left, the ratio is one at small k and falls with k, further for larger supernova amplitude. Right, the ratio at 5 h/Mpc falls with the supernova amplitude; at a given amplitude, simulations with a smaller A_SN2 lie lower."}} tags=["hide-input"]
if twins:
    of_feedback, of_gravity = (per_simulation(power) for _, power in spectra)
    k, ratio = spectra[0][0], of_feedback / of_gravity
    fig, axes = plots_data.feedback_ratio(k, ratio, twins[0].params, 5.0, names)
else:
    print("Left out: the figure needs networks trained on feedback and on its gravity-only twin.")

# %% tags=["hide-input", "hide-output", "full-width"]
traces = {
    plots_style.suite_label(name): {"change of the maps [dex]": f"{trace['rms_dex']:.4f}"}
    | {f"R2 of {parameter}": as_text(x) for parameter, x in trace["r2"].items()}
    for name, trace in table["feedback"].items()
}
display(pd.DataFrame(traces).rename_axis("visibility"))
checks = pd.DataFrame([check_maps(suite)[2] for suite in twins], index=names)
contrast = [np.log10(suite.maps / suite.maps.mean((1, 2), keepdims=True)) for suite in twins]
for q in (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999):
    checks[f"log10(1 + delta), {q:g} of the pixels below"] = [np.quantile(x, q) for x in contrast]
display(checks.T.map("{:.4g}".format).rename_axis("mass and pixels"))

# %% [markdown]
# ## Across suites
#
# Each network is tested on every other suite of the same grid, whether or not a network was trained on that suite:
#
# - **Lite** and **Nbody_Lite**: does the feedback *proxy* mislead a network trained on gravity only, and the reverse?
# - **Lite_strong**, the *exaggerated* proxy: is a network trained on gravity only misled where feedback is visible?
# - **Nbody_other**: gravity only, by another recipe: half the force mesh, twice the time step, other initial phases. Networks are
#   known to fail between simulation codes, and between two resolutions of one code {cite}`Bayer2025`.
#
# Simulations with the same index in the first three show the same regions, and only the network's own test regions are used.
# The reference is the network that was trained on the tested suite. The tested maps are scaled in two ways: with the mean and
# standard deviation of the training maps, and with their own, as if each suite were prepared separately.

# %% mystnb={"figure": {"name": "fig-cross-table", "caption": "$R^2$ per map and bias (prediction minus truth, in units of the mean predicted standard deviation) of uncut networks, by the suites that they were trained on → tested on. Lite (feedback proxy), Lite_strong (exaggerated proxy), Nbody_Lite and Nbody_other (gravity only) unless the profile names CMD. Bars: 95 % over simulations; $R^2$ below $-1$ lies off the axis."}, "image": {"alt": "Four panels: R2 at the left and bias at the right, for Omega_m above and sigma_8 below, with one row for each pair of training and test suite. Black circles for networks tested on their own suite, red diamonds and blue squares for the other suite with the two scalings, with horizontal error bars."}} tags=["hide-input"]
enough = [x for x in table["cross"] if x["n_test_simulations"] >= claims.MIN_TEST_SIMULATIONS]
cross = enough or table["cross"]  # fewer simulations give no useful interval
uncut = [row for row in cross if row["cut"] == "none"]
fig, axes = plots_results.transfer_matrix(uncut, targets)

# %% tags=["hide-input", "hide-output", "full-width"]
about = {"trained on": "trained", "tested on": "tested", "scaling of": "scaling"}
about["simulations"] = "n_test_simulations"
quantities = {"R2": "r2", "minus trained there": ("difference", 3), "bias": ("bias", 3)}
display(estimates_table(uncut, about, quantities, targets))

# %% [markdown]
# ## Do cuts protect an inference?
#
# The paper suggests that aggressive cuts cost little and make an inference robust. {numref}`fig-cost-against-bias` tests this. The
# networks are trained on gravity-only maps under each cut and tested under the same cut on suites that were made to
# mislead them. A useful cut moves a point towards zero bias, far from the black point of uncut maps, and stays at the left,
# where it costs little.

# %% mystnb={"figure": {"name": "fig-cost-against-bias", "caption": "What a cut costs and the bias that remains: networks trained on gravity-only maps under a cut, tested under the same cut on another suite. Horizontal: $R^2$ lost by the cut on gravity-only maps (the better of network and summary statistics). Vertical: bias in units of the mean predicted standard deviation. Lite_strong has exaggerated feedback, Nbody_other another simulation recipe. Bars: 95 % over simulations."}, "image": {"alt": "Rows of two panels for Omega_m and sigma_8, one row per tested suite. One point with an error bar per cut gives the bias against the R2 that the cut costs; a larger black point at zero cost is for uncut maps, and a horizontal line marks zero bias."}} tags=["hide-input"]
gravity = next((name for name in table["suites"] if name.startswith("Nbody_")), "")
misleading = [name for name in ("Lite_strong", "Nbody_other")
              if any((x["trained"], x["tested"]) == (gravity, name) for x in cross)]  # fmt: skip
if misleading:
    fig, axes = plots_results.cost_against_bias(table["rows"], cross, gravity, misleading, targets)
else:
    print(
        "Left out: the figure needs networks trained on gravity only and a suite that misleads them."
    )

# %% tags=["hide-input", "hide-output", "full-width"]
protection = [row for row in cross if row["trained"] == gravity != row["tested"]
              and row["scaling"] == "trained"]  # fmt: skip
about = {"tested on": "tested", "cut": "cut"}
quantities = {"R2": "r2", "bias": ("bias", 3), "bias in sigma": "bias_sigma"}
display(estimates_table(protection, about, quantities, targets))

# %% [markdown]
# ## Does feedback move the attribution?
#
# Strong feedback moves gas from halos to their surroundings. {numref}`fig-attribution-shift` shows whether networks that were trained
# with it look elsewhere than networks trained on the gravity-only twin: the ratio of their absolute attribution per
# pixel, in units of the mean pixel, by Integrated Gradients ([chapter 05](05_interpretation.ipynb)). *Same maps*: both explain the
# maps with feedback, so that a difference comes from their training. *Own maps*: each explains maps like those of its
# training. There are two nulls. In Lite feedback leaves almost no trace, so that its networks differ from the twin's by chance;
# and untrained networks, in the table, show what the maps alone do.

# %%
shown, root = shown_study(config, runs_dir, stored_dir)
stored = stored_results(config, "06b_generalisation.json", stored_dir) if config.answer else None
shifts = stored["shifts"] if stored else experiments.feedback_shift(shown, root)

# %% mystnb={"figure": {"name": "fig-attribution-shift", "caption": "Ratio of the absolute attribution per pixel (Integrated Gradients, in units of the mean pixel): networks trained with feedback over networks trained on the gravity-only twin, by density, distance to the nearest peak, and class of the cosmic web. Above 1: a network trained with feedback looks there more. Lite has a feedback proxy, Lite_strong an exaggerated one. Bars: 95 %, over simulations and seeds."}, "image": {"alt": "Two rows of three panels for Omega_m and sigma_8: ratio of attribution per pixel on a logarithmic axis against one plus delta, against distance to the nearest peak, and for void, filament and halo. One line or marker with error bars per comparison, around a horizontal line at one."}} tags=["hide-input"]
strongest = next(reversed(shifts), "")
if shifts:
    curves = {f"{name}, same maps": table["same maps"] for name, table in shifts.items()}
    curves[f"{strongest}, own maps"] = shifts[strongest]["own maps"]
    edges = {"density": experiments.DENSITIES, "distance": experiments.DISTANCES}
    fig, axes = plots_attribution.ratios(curves, edges, cosmic_web.WEB_CLASSES)
else:
    print("Left out: the figure needs complete uncut runs with feedback and of gravity only.")

# %% tags=["hide-input", "hide-output", "full-width"]
by_class = {
    (name, kind, t): dict(zip(cosmic_web.WEB_CLASSES, map(as_text, row["class"]), strict=True))
    for name, kinds in shifts.items() for kind, table in kinds.items() for t, row in table.items()
}  # fmt: skip
display(pd.DataFrame(by_class).T.rename_axis(["feedback", "compared", "predicted"]))

# %% [markdown]
# ## Many boxes of one cosmology
#
# The set CV has many boxes of the fiducial cosmology. The scatter of the predictions between its maps should be as large as the
# standard deviation that the network predicts.

# %% mystnb={"figure": {"name": "fig-cosmic-variance", "caption": "Predictions for boxes of one cosmology (set CV): each circle is the mean over the 15 maps of a box, the diamond the mean of all with the standard deviation that the network predicts for a single map; grey lines: the true values. Lite (feedback proxy) and Nbody_Lite (gravity only) unless the profile names CMD."}, "image": {"alt": "A scatter plot for each suite of predicted sigma_8 against predicted Omega_m. A cloud of small circles, one per box, lies around the crossing of two grey lines at the true cosmology, with a diamond and its error bars in the middle of the cloud."}} tags=["hide-input"]
if table["sets"]["CV"] and len(targets) == 2:
    fig, axes = plots_results.cosmic_variance(table["sets"]["CV"], targets)
else:
    print("Left out: the figure needs the set CV and networks that predict both parameters.")

# %% [markdown]
# ## One parameter at a time
#
# In the set 1P one parameter varies and the initial phases stay the same. All simulations are one region of space, so that its
# own fluctuation shifts all points together. A posterior mean is drawn towards the middle of the prior, the more so the less
# information a map has: a slope below 1, and predictions above the truth at low values, are expected of a correct network.
# For the feedback parameters, the shift measures how much the prediction depends on what is marginalised over; compare it
# with the predicted standard deviation in the table above.

# %% mystnb={"figure": {"name": "fig-response", "caption": "Response to one parameter at a time (set 1P): predicted parameters, mean over the 15 maps with its standard error, against the varied one. Dashed: the truth. Lite (feedback proxy) and Nbody_Lite (gravity only) unless the profile names CMD."}, "image": {"alt": "Two rows of panels for predicted Omega_m and sigma_8, one column for each of the six varied parameters. The prediction rises along the dashed diagonal where its own parameter is varied and stays near the dashed horizontal line where another is; one line with error bars per suite."}} tags=["hide-input"]
if table["sets"]["1P"]:
    fig, axes = plots_results.response(table["sets"]["1P"], targets)
else:
    print("Left out: no suite has a set 1P with curves of the six parameters; reasons above.")

# %% tags=["hide-input", "hide-output", "full-width"]
curves = [
    {**row, "range": f"{row['values'][0]:g}, {row['values'][-1]:g}"} for row in table["sets"]["1P"]
]
about = {"suite": "suite", "varied": "varied", "from, to": "range"}
display(estimates_table(curves, about, {"slope": ("slope", 4), "shift": ("shift", 4)}, targets))

# %% [markdown]
# ## Extreme feedback
#
# The set EX has feedback far outside the range of the training. In Lite it uses the *proxy* far outside its intended range.

# %% mystnb={"figure": {"name": "fig-extremes", "caption": "Extreme feedback (set EX): mean of prediction minus truth, in units of the mean predicted standard deviation. Bars: 95 % over the maps of the one simulation. Lite (feedback proxy) and Nbody_Lite (gravity only, the same in all four) unless the profile names CMD."}, "image": {"alt": "Two panels for Omega_m and sigma_8 with one row each for the fiducial model, AGN feedback times 100, supernova feedback times 100 and no feedback; one point with an error bar per suite, around a vertical line at zero."}} tags=["hide-input"]
if table["sets"]["EX"]:
    fig, axes = plots_results.extremes(table["sets"]["EX"], targets)
else:
    print("Left out: no suite has a set EX; reasons above.")

# %% [markdown]
# ## What we found
#
# Networks that are trained on gravity only and tested on *Lite_strong* reach an $R^2$ of {glue:text}`r2_fails_om:s` and
# {glue:text}`r2_fails_s8:s`, with a bias of {glue:text}`bias_sigma_fails_om:s` and {glue:text}`bias_sigma_fails_s8:s` predicted
# standard deviations; networks that are trained on it reach {glue:text}`r2_learns_om:s` and {glue:text}`r2_learns_s8:s`. Where these
# agree, feedback that summary statistics can see does not mislead a network. On the same maps, the networks of *Lite_strong* give
# halos {glue:text}`shift_halo_om:s` ($\Omega_m$) and {glue:text}`shift_halo_s8:s` ($\sigma_8$) times the attribution per pixel that
# those of gravity only give them; for *Lite*, the null, it is {glue:text}`shift_halo_null_om:s` and {glue:text}`shift_halo_null_s8:s`.
#
# The same test does fail on other simulations of the same physics. Networks that are trained on *Nbody_Lite* and tested on
# *Nbody_other* have a bias of {glue:text}`bias_sigma_other_uncut_om:s` predicted standard deviations in $\Omega_m$. Under the same
# cut in training and test it is {glue:text}`bias_sigma_other_over_om:s` if only over-dense pixels are visible,
# {glue:text}`bias_sigma_other_under_om:s` if only under-dense pixels are, and {glue:text}`bias_sigma_other_large_om:s` on scales above
# those of $k$ = 2 $h$/Mpc. A bias that vanishes when one part of the maps is hidden comes from that part.
#
# The table at the top is for the networks of {glue:text}`sets_suite:s`. The bias between suites and the shift
# over the range of a feedback parameter should be read against the predicted standard deviation per map: on Lite, whose
# feedback proxy leaves almost no trace, neither could be large. [Chapter 06](06_results.ipynb) therefore judges claims 1 and 5 on
# *Lite_strong*.
#
# **Next:** [chapter 07](07_validation.ipynb) tests the same method on mocks whose posterior is known.

# %% [markdown]
# ## Provenance

# %% tags=["remove-input"]
numbers = generalisation_numbers(table, shifts)
numbers["sets_suite"] = plots_style.suite_label(measurements.hydro_suite(table))
suites = {name: study_suite(name, config).fingerprint for name in config.suites}
publish(
    "06b_generalisation", numbers,
    runs_dir=runs_dir, profile=config, suites=suites, started=started,
    cross=table["cross"], sets=table["sets"], left_out=table["left_out"], shifts=shifts,
)  # fmt: skip
