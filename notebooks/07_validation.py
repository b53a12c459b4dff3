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
# On Gaussian maps, whose posterior is known exactly, the networks miss the highest possible $R^2$ by
# {glue:text}`validation_missed_Gaussian:s` at most, whatever the {term}`Fourier cut <Cut>`. A signal injected in one part of the
# map disappears when that part is hidden and stays when it is visible. Attribution is less reliable.
#
# :::{admonition} Overview
# - On Gaussian and lognormal mocks the posterior is known: does the network reach the Bayes-optimal $R^2$
#   (the {term}`ceiling <Ceiling>`), and predict the right error bar, map by map?
# - On maps with an injected signal: do cuts and {term}`attribution <Attribution>` find the one place that contains it?
# :::
#
# **What you need.** Nothing: all maps are simulated here. None of the numbers of this page is about Lite or CMD;
# [error bars](07b_calibration.ipynb) and shuffled labels are tested on the study's own maps. Where the {term}`profile <Profile>`
# names a stored study, this page shows that study and repeats some of its cases.

# %% tags=["remove-cell"]
import os

import cosmolib

places = ".", "..", os.path.dirname(cosmolib.__path__[0])  # a kernel may start in any folder
os.chdir(next((folder for folder in places if os.path.isdir(f"{folder}/data/lite")), "."))

# %% tags=["parameters", "hide-input"]
profile = "demo"  # name of a file in configs/, or a path to one
seed = 1  # of the mocks and of the networks trained on them
test_maps = 1000  # test mocks
data_dir = ""  # folder of CMD files; "": from the profile (Lite is shipped)
runs_dir = "runs"  # where weights and predictions are kept
stored_dir = "results"  # stored studies, results/<study>/07_validation.json

# %% tags=["hide-input"]
import time
from pathlib import Path

import pandas as pd
from IPython.display import display

from cosmolib.interpretation.attribution import METHODS
from cosmolib.plots import style as plots_style
from cosmolib.plots import validation as plots_validation
from cosmolib.study.chapter import publish, stored_results
from cosmolib.study.profile import load_profile
from cosmolib.training.devices import select_device
from cosmolib.training.scores import as_text
from cosmolib.validation import injected_signals, known_posterior
from cosmolib.validation.gaussian_fields import TARGETS
from cosmolib.validation.mocks import analytic_posterior, draw_mocks
from cosmolib.validation.summary import mocks_numbers, mocks_table

started = time.perf_counter()
plots_style.use_style()
config = load_profile(profile, **({"data_dir": data_dir} if data_dir else {}))
device = select_device()
folder = Path(runs_dir) / config.name / "known"
names = list(TARGETS)

# %% [markdown]
# ## Gaussian maps: the best possible $R^2$ is known
#
# The maps have the power spectrum of a 5 Mpc/$h$ slab of linear matter, a function of $\Omega_m$ and
# $\sigma_8$ {cite}`Bardeen1986`, and nothing else: no mean, no phases. All of their information is in the
# band powers. The posterior can therefore be summed on a grid, without a network and without
# approximation. Its mean is the best possible estimator, and the $R^2$ of that mean is the *ceiling*. A Fourier cut
# lowers the ceiling by a known amount, and the network, retrained on each cut, should follow.

# %%
known = draw_mocks(config.known_answer_maps, test_maps, seed=seed)
live = known_posterior.against_exact(
    known, config, config.known_answer_cuts, seed, device, folder, progress=print
)

# %% tags=["hide-input"]
stored = stored_results(config, "07_validation.json", stored_dir) if config.answer else None
if stored:
    gaussian, lognormal, injected = (stored[key] for key in ("rows", "lognormal", "injected"))
    n_train, epochs = stored["n_train"], stored["provenance"]["config"]["known_answer_epochs"]
else:
    gaussian, n_train, epochs = live, known.n_train, config.known_answer_epochs
print(f"Shown: networks trained for {epochs} epochs on {n_train} maps.")
for row in live if stored else ():
    (other,) = [x for x in gaussian if x["cut"] == row["cut"]]
    for name in names:
        print(
            f"Repeated here with {known.n_train} maps, cut {row['cut']}: R2 of {name} "
            f"{as_text(row['network'][name])}; stored {as_text(other['network'][name])}"
        )

# %% mystnb={"figure": {"name": "fig-known-answer", "caption": "$R^2$ per Gaussian map against the exact ceiling (grey), under Fourier cuts [$h$/Mpc]. Bars: 95 % over test maps. Neither Lite nor CMD."}, "image": {"alt": "Two panels for Omega_m and sigma_8; for each cut a grey dash with error bar marks the exact ceiling and a blue circle with error bar the network close to it. Both fall together where a cut hides more."}} tags=["hide-input"]
fig, axes = plots_validation.known_answer(
    *([row[key] for row in gaussian] for key in ("cut", "network", "ceiling")), names
)

# %% [markdown]
# The table has the paired difference to the ceiling, which is what the network misses. It also gives the ratio of the predicted to the
# exact standard deviation of a map, which should be 1: its median, the range of 68 % of the maps, and the share of maps
# within 10 %. *Faults* must not occur with a sound instrument: an $R^2$ above the ceiling or more than
# {glue:text}`validation_missed_limit:.2f` below it, a median ratio more than 10 % off, an exact posterior whose $\chi^2$ is not 1.
# The bits are the lower bound of [chapter 06](06_results.ipynb), next to their exact value. They differ mostly by what the network
# misses, which is most for both parameters together: maps determine a combination of the two far better than either, and an error
# of the network that is small for each parameter is large along that combination.

# %% tags=["hide-input", "hide-output", "full-width"]
display(mocks_table(gaussian))

# %%
first = config.known_answer_cuts[0]
learnt = known_posterior.predict_mocks(known, config, first, seed, device, folder)
exact = analytic_posterior(known, first)

# %% mystnb={"figure": {"name": "fig-known-sigma", "caption": "Standard deviation that the network predicts against that of the exact posterior, one point per Gaussian test map, for a case that was trained on this machine. Grey: equality and 10 %. Neither Lite nor CMD."}, "image": {"alt": "Two scatter plots of predicted against exact standard deviation for Omega_m and sigma_8; the points lie along the diagonal, most of them within a grey band of ten percent about it."}} tags=["hide-input"]
fig, axes = plots_validation.sigma_against_exact(
    learnt["std"], exact["std"], names, known_posterior.SIGMA_OFF
)

# %% [markdown]
# ## Lognormal maps: the same information behind an exponential
#
# Each map is the exponential of a Gaussian map, divided by its own mean: positive and skewed like the cosmic web. The network
# gets its logarithm, as for every map of this book. The logarithm recovers the Gaussian field, so that the ceiling is that of the
# same modes of the log. A filter of the *linear* field has no known ceiling, but the uncut ceiling bounds it: what is missing below
# it was lost to a filter that acts on another field than the Gaussian one, or to the network.

# %%
if not stored:
    log_maps = draw_mocks(config.known_answer_maps, test_maps, seed=seed, kind="lognormal")
    cuts = ["none", "kmax:4@log", "kmax:4"]
    lognormal = known_posterior.against_exact(log_maps, config, cuts, seed, device, folder)

# %% mystnb={"figure": {"name": "fig-known-lognormal", "caption": "$R^2$ per lognormal map against the exact ceiling (grey; not known for a filter of the linear map). Bars: 95 % over test maps. Neither Lite nor CMD."}, "image": {"alt": "Two panels for Omega_m and sigma_8 with three cuts: uncut, the log filtered at 4 h/Mpc and the linear map filtered there. Blue circles of the network with error bars; grey dashes mark the exact ceiling of the first two."}} tags=["hide-input"]
fig, axes = plots_validation.known_answer(
    *([row[key] for row in lognormal] for key in ("cut", "network", "ceiling")), names
)

# %% tags=["hide-input", "hide-output", "full-width"]
display(mocks_table([row for row in lognormal if row["ceiling"]]))

# %% [markdown]
# ## Injected signals: is the place found?
#
# Now the signal, passed as $\Omega_m$, changes one place of a fiducial map only: its pixels above a
# density, those below it, the modes of a band, or the mean. If a cut hides the place, $R^2$ must
# vanish; if it spares the place, $R^2$ must stay. $\sigma_8$ is not in these maps at all: any $R^2$ on
# it is a false alarm.

# %%
if not stored:
    injected = {
        place: known_posterior.injection_test(place, config, seed, device, folder)
        for place in injected_signals.PLACES
    }

# %% tags=["hide-input"]
places = list(injected)
cases = [found["cases"] for found in injected.values()]
chance = [found["chance"] for found in injected.values()]
ideal = [found["ideal"]["integrated_gradients"]["value"] for found in injected.values()]
shares = {m: [found["share"][m] for found in injected.values()] for m in METHODS}

# %% mystnb={"figure": {"name": "fig-planted", "caption": "$R^2$ of networks on injected signals: on whole maps, with the place hidden, and with it spared. Left: the injected signal. Right: a parameter that is not in the maps. Grey: 0 and 1. Bars: 95 % over test maps. Neither Lite nor CMD."}, "image": {"alt": "Two panels with one row for each injected signal and cut. In the left panel circles and triangles for whole and spared signals lie near one and squares for hidden ones at zero; in the right panel all lie at zero."}} tags=["hide-input"]
fig, axes = plots_validation.planted_r2(places, cases, names)

# %% mystnb={"figure": {"name": "fig-planted-attribution", "caption": "Share of each method's attribution at the injected signal, of the network of whole maps: for pixels of their absolute attribution, for the band of the attribution's power by wavenumber, for the mean of its power at wavenumber zero. Black dashes: Integrated Gradients of an ideal estimator, which uses the place alone. Grey dashes: a share by chance. Bars: 95 % over maps. Neither Lite nor CMD."}, "image": {"alt": "Four groups for pixels above, pixels below, band and mean. In each, three markers for Saliency, Integrated Gradients and GradientSHAP give the share at the signal between zero and one, next to a grey dash for chance and a black one for an ideal estimator."}} tags=["hide-input"]
fig, axes = plots_validation.planted_attribution(places, shares, chance, ideal)

# %% tags=["hide-input", "hide-output"]
table = pd.DataFrame(
    {
        "chance": [f"{value:.4f}" for value in chance],
        "ideal estimator": [f"{value:.2f}" for value in ideal],
        **{
            plots_style.METHOD_NAMES[method]: [as_text(x) for x in found]
            for method, found in shares.items()
        },
    },
    index=pd.Index(places, name="injected in"),
)
display(table)

# %% [markdown]
# ## What we found
#
# - On {glue:text}`validation_test_maps:d` test maps, after {glue:text}`validation_epochs:d` epochs on
#   {glue:text}`validation_train_maps:d`, the network misses the ceiling of Gaussian maps under
#   {glue:text}`validation_cuts:d` cuts by {glue:text}`validation_missed_Gaussian:s` in $R^2$ at most
#   ({glue:text}`validation_worst_Gaussian:s`), and that of lognormal maps by {glue:text}`validation_missed_lognormal:s`
#   ({glue:text}`validation_worst_lognormal:s`). Of the information in Gaussian maps it misses at most
#   {glue:text}`validation_bits_missed_each:.2f` bits about each parameter, and {glue:text}`validation_bits_missed_both:.2f` about both.
# - The median ratio of its predicted to the exact standard deviation lies between
#   {glue:text}`validation_sigma_low:.2f` and {glue:text}`validation_sigma_high:.2f`, and
#   {glue:text}`validation_within_low:.0f` to {glue:text}`validation_within_high:.0f` % of single maps
#   agree to 10 %. Number of faults: {glue:text}`validation_faults:d`.
# - With the injected signal hidden, $R^2$ is at most {glue:text}`validation_hidden_high:.2f`; with whole maps or the place
#   spared it is at least {glue:text}`validation_spared_low:.2f`. The largest false alarm on
#   the parameter that is not in the maps is {glue:text}`validation_alarm:.2f`.
# - Attribution does not always point to the signal. Integrated Gradients put {glue:text}`validation_share_above:s` on dense pixels
#   that contain it (ideal estimator {glue:text}`validation_ideal_above:.2f`, chance {glue:text}`validation_chance_above:.2f`),
#   {glue:text}`validation_share_below:s` on empty pixels ({glue:text}`validation_ideal_below:.2f`,
#   {glue:text}`validation_chance_below:.2f`), {glue:text}`validation_share_band:s` on a band of scales
#   ({glue:text}`validation_ideal_band:.2f`, {glue:text}`validation_chance_band:.2f`) and {glue:text}`validation_share_mean:s` on the
#   mean ({glue:text}`validation_ideal_mean:.2f`, {glue:text}`validation_chance_mean:.4f`). An ideal estimator does not
#   reach 1 either, because a band or a mean is no linear function of the scaled log-density. For
#   [claim 3](05_interpretation.ipynb) this means that attribution misplaces a signal on either side of the mean density.
#
# **Next:** [error bars, full posteriors and shuffled labels](07b_calibration.ipynb).

# %% [markdown]
# ## Provenance

# %% tags=["remove-input"]
numbers = mocks_numbers(gaussian, lognormal, injected) | {
    "validation_train_maps": n_train,
    "validation_test_maps": stored["n_test"] if stored else test_maps,
    "validation_epochs": epochs,
}
tables = {} if stored else {"lognormal": lognormal, "injected": injected}
publish(
    "07_validation", numbers, runs_dir=runs_dir, profile=config, suites={}, started=started,
    device=device, n_train=known.n_train, n_test=test_maps, rows=live, **tables,
)  # fmt: skip
