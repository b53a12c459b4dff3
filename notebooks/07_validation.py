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
# - Gaussian and lognormal mocks, whose posterior is known analytically: does the network reach the Bayes-optimal
#   $R^2$ (the {term}`ceiling <Ceiling>`) under every {term}`Fourier cut <Cut>`, and predict the right error bar, map by map?
# - Injected signals: do cuts and {term}`attribution <Attribution>` find the one place that contains the signal?
# :::
#
# **What you need.** Nothing: all maps are made here. What was made once is kept in the folder of the runs.
#
# "Hide, retrain, read $R^2$" measures information only if the network finds all that is there and nothing
# else. Mocks can test that. None of the maps of this page is Lite or CMD;
# [error bars](07b_calibration.ipynb) and shuffled labels are tested on the study's own maps.

# %% tags=["remove-cell"]
import os

if os.path.isdir("../data/lite"):  # JupyterLab starts kernels next to the notebook
    os.chdir("..")

# %% tags=["parameters", "hide-input"]
profile = "demo"  # name of a file in configs/, or a path to one
seed = 1  # of the mocks and of the networks trained on them
test_maps = 1000  # test mocks
data_dir = ""  # folder of CMD files; "": as the profile says (Lite is shipped)
runs_dir = "runs"  # where weights and predictions are kept
stored_dir = "results"  # committed tables of longer studies, results/<study>/07_known_answer.json

# %% tags=["hide-input"]
import time
from pathlib import Path

import pandas as pd

from cosmolib.interpretation.attribution import METHODS
from cosmolib.plots import attribution as plots_attribution
from cosmolib.plots import style as plots_style
from cosmolib.plots import validation as plots_validation
from cosmolib.study import io
from cosmolib.study.chapter import publish
from cosmolib.study.profile import load_profile
from cosmolib.training.devices import select_device
from cosmolib.training.scores import as_text
from cosmolib.validation import injected_signals, known_posterior
from cosmolib.validation.gaussian_fields import TARGETS
from cosmolib.validation.mocks import analytic_posterior, draw_mocks
from cosmolib.validation.summary import injected_numbers, mocks_numbers, mocks_table

started = time.perf_counter()
plots_style.use_style()
config = load_profile(profile, **({"data_dir": data_dir} if data_dir else {}))
device = select_device()
folder = Path(runs_dir) / config.name / "known"
names = list(TARGETS)

# %% [markdown]
# ## Gaussian maps: the Bayes-optimal $R^2$ is known
#
# The maps have the power spectrum of a 5 Mpc/$h$ slab of linear matter, a function of $\Omega_m$ and
# $\sigma_8$ {cite}`Bardeen1986`, and nothing else: no mean, no phases. All of their information is in the
# band powers, so that the posterior can be summed on a grid, without a network and without
# approximation. Its mean is the best possible estimator; its $R^2$ is the *ceiling*. A Fourier cut
# lowers the ceiling by a known amount, and the network, retrained on each cut, should follow.

# %%
known = draw_mocks(config.known_answer_maps, test_maps, seed=seed)
table = known_posterior.against_exact(
    known, config, config.known_answer_cuts, seed, device, folder, progress=print
)

# %% mystnb={"figure": {"name": "fig-known-answer", "caption": "$R^2$ per Gaussian map against the exact ceiling (grey), under Fourier cuts [$h$/Mpc]. Bars: 95 % over test maps. Neither Lite nor CMD."}, "image": {"alt": "Two panels for Omega_m and sigma_8; for each cut a grey dash with error bar marks the exact ceiling and a blue circle with error bar the network close beside it. Both fall together where a cut hides more."}} tags=["hide-input"]
fig, axes = plots_validation.known_answer(
    *([row[key] for row in table] for key in ("cut", "network", "ceiling")), names
)

# %% [markdown]
# The paired difference to the ceiling is what the network misses. The ratio of the predicted to the
# exact standard deviation of a map should be 1: its median, the range of 68 % of the maps, and the
# share of maps within 10 %. *Faults* are what a sound instrument does not do: an $R^2$ above the
# ceiling or more than {glue:text}`validation_missed_limit:.2f` below it, a median ratio more than 10 % off, an exact posterior whose
# $\chi^2$ is not 1.

# %% tags=["hide-input", "full-width"]
mocks_table(table)

# %%
first = config.known_answer_cuts[0]
learnt = known_posterior.predict_mocks(known, config, first, seed, device, folder)
exact = analytic_posterior(known, first)

# %% mystnb={"figure": {"name": "fig-known-sigma", "caption": "Standard deviation that the network predicts against that of the exact posterior, one point per Gaussian test map, for the first cut of the figure above. Grey: equality and 10 %. Neither Lite nor CMD."}, "image": {"alt": "Two scatter plots of predicted against exact standard deviation for Omega_m and sigma_8; the points lie along the diagonal, most of them within a grey band of ten percent about it."}} tags=["hide-input"]
fig, axes = plots_validation.sigma_against_exact(
    learnt["std"], exact.std, names, known_posterior.SIGMA_OFF
)

# %% [markdown]
# A longer training, on more maps, is kept in the repository with its provenance ({term}`profile <Profile>` and date are
# printed): it shows how much of the difference is due to the short training.

# %% tags=["hide-input", "full-width"]
stored_path = Path(stored_dir) / "reference" / "07_known_answer.json"
stored = io.read_json(stored_path) if stored_path.is_file() else None
if stored:
    print(
        f"stored: profile {stored['provenance']['config']['name']}, {stored['n_train']} maps, "
        f"{stored['provenance']['utc'][:10]}, {stored['provenance']['platform']}"
    )
mocks_table(stored["rows"]) if stored else "No stored table."

# %% [markdown]
# ## Lognormal maps: the same information, seen through an exponential
#
# Each map is the exponential of a Gaussian one, divided by its own mean: skewed like the cosmic web,
# positive, and given to the network through the logarithm like every map of this book. A logarithm
# gives the Gaussian field back, so that the ceiling is that of the same modes of the log. A cut of the
# *linear* field has no known ceiling, but the uncut one bounds it: what lies below is lost to a filter
# that cuts another field than the one that is Gaussian, or to the network.

# %%
lognormal = draw_mocks(config.known_answer_maps, test_maps, seed=seed, kind="lognormal")
log_table = known_posterior.against_exact(
    lognormal, config, ["none", "kmax:4@log", "kmax:4"], seed, device, folder, progress=print
)

# %% mystnb={"figure": {"name": "fig-known-lognormal", "caption": "$R^2$ per lognormal map against the exact ceiling (grey; not known for a filter of the linear map). Bars: 95 % over test maps. Neither Lite nor CMD."}, "image": {"alt": "Two panels for Omega_m and sigma_8 with three cuts: uncut, the log filtered at 4 h/Mpc and the linear map filtered there. Blue circles of the network with error bars; grey dashes mark the exact ceiling of the first two."}} tags=["hide-input"]
fig, axes = plots_validation.known_answer(
    *([row[key] for row in log_table] for key in ("cut", "network", "ceiling")), names
)

# %% tags=["hide-input", "full-width"]
mocks_table([row for row in log_table if row["ceiling"]])

# %% [markdown]
# ## Injected signals: is the place found?
#
# Now the signal, passed as $\Omega_m$, changes one place of a fiducial map only: its pixels above a
# density, those below it, the modes of a band, or the mean. With a cut that hides the place $R^2$ must
# vanish, and a cut that spares it must cost nothing. $\sigma_8$ is not in these maps at all: any $R^2$ on
# it is a false alarm.

# %%
places = list(injected_signals.PLACES)
injected = {
    place: known_posterior.injection_test(place, config, seed, device, folder) for place in places
}

# %% tags=["hide-input"]
for place in places:
    parts = [f"{x['role']} {as_text(x['r2']['Omega_m'])}" for x in injected[place]["cases"]]
    print(f"{place}: {', '.join(parts)}")
cases = [found["cases"] for found in injected.values()]
chance = [found["chance"] for found in injected.values()]
ideal = [found["ideal"]["integrated_gradients"]["value"] for found in injected.values()]
shares = {m: [found["share"][m] for found in injected.values()] for m in METHODS}

# %% mystnb={"figure": {"name": "fig-planted", "caption": "$R^2$ of networks on injected signals: on whole maps, with the place hidden, and with it spared. Left: the injected signal. Right: a parameter that is not in the maps. Grey: 0 and 1. Bars: 95 % over test maps. Neither Lite nor CMD."}, "image": {"alt": "Two panels with one row for each injected signal and cut. In the left panel circles and triangles for whole and spared signals lie near one and squares for hidden ones at zero; in the right panel all lie at zero."}} tags=["hide-input"]
fig, axes = plots_validation.planted_r2(places, cases, names)

# %% mystnb={"figure": {"name": "fig-planted-attribution", "caption": "Share of each method's attribution at the injected signal, of the network of whole maps: for pixels of their absolute attribution, for the band of the attribution's power by wavenumber, for the mean of its power at wavenumber zero. Black dashes: Integrated Gradients of an ideal estimator, which uses the place alone. Grey dashes: a share by chance. Bars: 95 % over maps. Neither Lite nor CMD."}, "image": {"alt": "Four groups for pixels above, pixels below, band and mean. In each, three markers for Saliency, Integrated Gradients and GradientSHAP give the share at the signal between zero and one, beside a grey dash for chance and a black one for an ideal estimator."}} tags=["hide-input"]
fig, axes = plots_validation.planted_attribution(
    places, {plots_attribution.METHOD_NAMES[m]: found for m, found in shares.items()}, chance, ideal
)

# %% tags=["hide-input"]
pd.DataFrame(
    {
        "chance": [f"{value:.4f}" for value in chance],
        "ideal estimator": [f"{value:.2f}" for value in ideal],
        **{
            plots_attribution.METHOD_NAMES[method]: [as_text(x) for x in found]
            for method, found in shares.items()
        },
    },
    index=pd.Index(places, name="injected in"),
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
# - With the injected signal hidden, $R^2$ is {glue:text}`validation_hidden_high:.2f` at most; whole or
#   spared it is {glue:text}`validation_spared_low:.2f` at least. The largest false alarm on
#   the parameter that is not in the maps is {glue:text}`validation_alarm:.2f`.
# - Attribution does not always point to the signal, and an ideal estimator would not reach 1 either: the methods explain the scaled
#   log-density, and a band or a mean is no linear function of it. {numref}`tab-planted` has the share at the signal.
#
# :::{table} Share of the attribution at an injected signal, by chance and of an ideal estimator (Integrated Gradients).
# :name: tab-planted
#
# | injected in | chance | ideal | Saliency | Integrated Gradients | GradientSHAP |
# |---|---|---|---|---|---|
# | dense pixels | {glue:text}`validation_chance_above:.3f` | {glue:text}`validation_ideal_above:.2f` | {glue:text}`validation_saliency_above:s` | {glue:text}`validation_integrated_gradients_above:s` | {glue:text}`validation_gradient_shap_above:s` |
# | empty pixels | {glue:text}`validation_chance_below:.3f` | {glue:text}`validation_ideal_below:.2f` | {glue:text}`validation_saliency_below:s` | {glue:text}`validation_integrated_gradients_below:s` | {glue:text}`validation_gradient_shap_below:s` |
# | a band of scales | {glue:text}`validation_chance_band:.3f` | {glue:text}`validation_ideal_band:.2f` | {glue:text}`validation_saliency_band:s` | {glue:text}`validation_integrated_gradients_band:s` | {glue:text}`validation_gradient_shap_band:s` |
# | the mean | {glue:text}`validation_chance_mean:.4f` | {glue:text}`validation_ideal_mean:.2f` | {glue:text}`validation_saliency_mean:s` | {glue:text}`validation_integrated_gradients_mean:s` | {glue:text}`validation_gradient_shap_mean:s` |
# :::
#
# **Next:** [error bars, full posteriors and shuffled labels](07b_calibration.ipynb).

# %% [markdown]
# ## Provenance

# %% tags=["remove-input"]
numbers = mocks_numbers(table, log_table, stored) | injected_numbers(injected)
numbers["validation_train_maps"], numbers["validation_test_maps"] = known.n_train, test_maps
numbers["validation_epochs"] = config.known_answer_epochs
options = {
    "runs_dir": runs_dir, "profile": config, "suites": {}, "started": started, "device": device,
}  # fmt: skip
publish("07_known_answer", {}, **options, n_train=known.n_train, n_test=test_maps, rows=table)
publish("07_validation", numbers, **options, lognormal=log_table, planted=injected)
