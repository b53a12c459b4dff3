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
# - Networks trained with feedback and tested without, and the reverse.
# - The six claims of the paper, each with a measurement, a rule and a verdict.
# :::
#
# **What you need.** The runs of [chapter 03](03_training.ipynb) for every {term}`suite <Suite>`, cut and seed of the
# {term}`profile <Profile>`, and the {term}`attribution <Attribution>` shares of [chapter 05](05_interpretation.ipynb). What a cut removes, and
# what it leaks, is the matter of [chapter 02](02_cuts.ipynb).
#
# The logic is the paper's {cite}`Lahiry2025`: hide a part of every map, train a new network, and take
# the $R^2$ that is lost for the information that was hidden. It has two weak points. A cut can leak
# what it hides (a threshold in surface density tells $\Omega_m$ by the number of pixels cut), and a
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
from dataclasses import replace
from pathlib import Path

import pandas as pd
from IPython.display import HTML, Markdown
from myst_nb import glue

from book.explorer import explorer
from cosmolib.cuts.grammar import Cut
from cosmolib.plots import generalisation as plots_generalisation
from cosmolib.plots import results as plots_results
from cosmolib.plots import style as plots_style
from cosmolib.plots import validation as plots_validation
from cosmolib.results import claims, controls
from cosmolib.results.table import FILE_NAME, read_table, results_table
from cosmolib.study import io, provenance
from cosmolib.study.profile import load_profile
from cosmolib.training.dataset import study_suite
from cosmolib.training.scores import as_text

started = time.perf_counter()
plots_style.use_style()
pd.set_option("display.max_colwidth", None)

# %% tags=["hide-input"]
config = load_profile(profile, **({"data_dir": data_dir} if data_dir else {}))
table = results_table(config, runs_dir, progress=print)

# %% [markdown]
# ## What a network still knows after a cut
#
# $R^2$ is per map, on test simulations that no network saw; with several seeds it is their mean.
# Intervals hold 95 % and resample whole simulations. The grey points are a ridge regression on the
# mean, power spectra and pixel quantiles of the same maps under the same cut, with all squares and
# products: what a classical analysis would get.

# %% mystnb={"figure": {"name": "fig-r2-by-cut", "caption": "$R^2$ per map for every cut, on Lite (feedback proxy) and Nbody_Lite (gravity only) unless the profile names CMD. Filled: networks; open grey: summary statistics under the same cut; thin lines: uncut. Bars: 95 % over simulations. Values below $-1$ lie off the axis."}, "image": {"alt": "Two panels for Omega_m and sigma_8 with one row a cut. Coloured points with error bars give the R2 of networks for the two suites, open grey points that of summary statistics; thin vertical lines mark the uncut values at the right."}} tags=["hide-input"]
targets = [name for name in claims.COSMOLOGY if name in config.targets]
headline, axes = plots_results.r2_by_cut(table["rows"], table["suites"], targets)
folder = Path(runs_dir) / config.name / "results"
with io.atomic_path(folder / "headline.png") as temporary:
    headline.savefig(temporary, dpi=200)

# %% [markdown]
# ## What a cut costs
#
# The same numbers as differences to the uncut network of the same suite. Both are scored on the same
# test maps and resampled together, so that what easy and hard simulations share cancels.

# %% mystnb={"figure": {"name": "fig-r2-difference", "caption": "$R^2$ after a cut minus $R^2$ of the uncut maps, paired on the same test maps, on Lite (feedback proxy) and Nbody_Lite (gravity only) unless the profile names CMD. Bars: 95 % over simulations."}, "image": {"alt": "Two panels for Omega_m and sigma_8 with one row a cut; points with error bars for two suites lie at zero for the uncut maps and to the left of zero where a cut costs accuracy."}} tags=["hide-input"]
fig, axes = plots_results.r2_by_cut(table["rows"], table["suites"], targets, key="difference")

# %% mystnb={"figure": {"name": "fig-r2-kmax", "caption": "$R^2$ per map against the largest wavenumber that is kept, filtered on the linear map as published. Dashed lines and bands: uncut, with 95 %. Dotted: Nyquist wavenumber of the maps. Lite (feedback proxy) and Nbody_Lite (gravity only) unless the profile names CMD."}, "image": {"alt": "Two panels for Omega_m and sigma_8 of R2 against the largest wavenumber on a logarithmic axis; points with error bars joined by lines for the two suites, horizontal bands for the uncut maps, a dotted vertical line at the Nyquist wavenumber."}} tags=["hide-input"]
nyquist = math.pi * table["grid"] / table["box_size"]
fig, axes = plots_results.r2_against_kmax(table["rows"], table["suites"], targets, nyquist)

# %% [markdown]
# ### Explore
#
# The same numbers to read off: choose a parameter, and whether $R^2$, what a cut costs, or what the
# network has beyond summary statistics; each point says its value and its 95 % interval.

# %% tags=["hide-input"]
quantities = {
    "r2": "R2",
    "difference": "R2 minus that of the uncut maps",
    "gain": "R2 minus that of summary statistics",
}
alt = (
    "R2 of both parameters for every cut and suite, points with error bars, as in the first figure"
)
HTML(
    explorer.scores_explorer(
        table["rows"], targets, quantities, plots_style.suite_label, headline, alt
    )
)

# %% tags=["hide-input", "full-width"]
pd.DataFrame(
    [
        {
            "suite": row["suite"],
            "cut": row["cut"],
            **{
                f"{word}, {name}": as_text(row[key].get(name))
                for name in targets
                for key, word in (
                    ("r2", "R2"),
                    ("difference", "minus uncut"),
                    ("gain", "minus summary"),
                )
            },
        }
        for row in table["rows"]
    ]
).set_index(["suite", "cut"])

# %% [markdown]
# ## Controls: what a cut does besides hiding
#
# A cut shows more than it says, and hides less. Each pair below is one of the cuts above and a {term}`control <Control>`
# of it, on the suite with feedback and the same test maps: *mask*, the network sees only which pixels
# were cut; *shuffled*, as many pixels cut at random places; *mean removed*, every map divided by its
# own mean, which in a slab of 5 Mpc/$h$ gives $\Omega_m$ away and which no Fourier cut touches; other
# *fills* of the pixels that were cut; and the *log* of the map filtered in place of the map, so that no
# pixel becomes negative. (Filtering the {term}`overdensity <Overdensity>` is filtering the map: the two differ by a factor.)

# %% mystnb={"figure": {"name": "fig-controls", "caption": "$R^2$ per map under a cut (circles) and under its control (open squares), on the suite with feedback (Lite: a proxy). Left labels: the cut, and below it the control. Bars: 95 % over simulations."}, "image": {"alt": "Two panels for Omega_m and sigma_8 with one row for each pair of a cut and its control; a filled circle with error bar for the cut and an open square for the control below it."}} tags=["hide-input"]
own_controls = [x for x in table["controls"] if x["suite"] == claims.hydro_suite(table)]
own_controls.sort(key=lambda x: x["kind"])
if own_controls:
    fig, axes = plots_results.control_pairs(own_controls, targets)
else:
    print("Left out: this profile has no complete run of both a cut and its control.")

# %% tags=["hide-input", "full-width"]
pd.DataFrame(
    [
        {
            "control": x["kind"],
            "cut": x["cut"],
            "controlled by": x["control"],
            **{
                f"R2 of the control, {name}": as_text(x["control_r2"].get(name)) for name in targets
            },
            **{
                f"cut minus control, {name}": as_text(x["difference"].get(name)) for name in targets
            },
        }
        for x in own_controls
    ]
).set_index(["control", "cut"]) if own_controls else Markdown("Left out, as the figure is.")

# %% [markdown]
# ## Noise: does the void information survive?
#
# The maps have no noise; a survey's have. White noise is added to every map before the cut, with a
# standard deviation a pixel in units of the fiducial mean density, so that the network sees dense and
# empty pixels as they are *observed*. In weak-lensing maps noise moved the attribution from {term}`voids <Void>` to
# peaks {cite}`Matilla2020`. Noisy maps are scaled by asinh in place of the log, the noiseless ones
# beside them here too. Shot noise, where the profile has it, is in the table.

# %% mystnb={"figure": {"name": "fig-noise", "caption": "$R^2$ per map of networks that see all pixels, only under-dense and only over-dense ones, against the white noise that is added first, on the suite with feedback (Lite: a proxy). Bars: 95 % over simulations."}, "image": {"alt": "Two panels for Omega_m and sigma_8 of R2 against the level of noise, with three lines for all pixels, under-dense pixels and over-dense pixels; all fall to the right."}} tags=["hide-input"]
seen = {
    "all pixels": "none",
    "only under-dense": "above:delta=0:clamp",
    "only over-dense": "below:delta=0:clamp",
}
noisy = [(Cut.parse(row["cut"]), row) for row in table["control_rows"]]
noisy = [(cut, row) for cut, row in noisy if cut.noise]
white = sorted({cut.noise[1] for cut, _ in noisy if cut.noise[0] == "white"})
by_case = {(cut.noise, str(replace(cut, before=()))): row["r2"] for cut, row in noisy}
noise_curves = {
    label: [by_case.get((("white", level), base)) for level in white]
    for label, base in seen.items()
}
if len(white) > 1:
    fig, axes = plots_validation.by_noise(white, noise_curves, targets, "$R^2$, a map")
else:
    print(f"Left out: the figure needs two levels of white noise, complete are {len(white)}.")

# %% tags=["hide-input"]
pd.DataFrame(
    [
        {"case": row["cut"], **{f"R2, {name}": as_text(row["r2"].get(name)) for name in targets}}
        for _, row in noisy
    ]
).set_index("case") if noisy else Markdown("Left out: this profile has no complete run with noise.")

# %% [markdown]
# ## Across the suites
#
# A network trained on one suite is tested on every other of the same grid that is at hand, also where
# no network was trained on that one. Index-matched twins hold the same regions, and only those that
# the network was tested on at home are shown to it; unrelated suites have a test part of their own.
# The reference is the network that was trained on the tested suite. In Lite this asks whether the
# feedback *proxy* misleads a network that knows gravity only, and the reverse. The tested maps are
# scaled in two ways: with the mean and standard deviation that the network was trained with, and
# with their own, as one gets by preparing each suite by itself.

# %% mystnb={"figure": {"name": "fig-cross-table", "caption": "$R^2$ per map and bias (prediction minus truth, in units of the mean predicted standard deviation) of uncut networks, by the suites that they were trained on → tested on. Lite (feedback proxy) and Nbody_Lite (gravity only) unless the profile names CMD. Bars: 95 % over simulations; $R^2$ below $-1$ lies off the axis."}, "image": {"alt": "Four panels: R2 at the left and bias at the right, for Omega_m above and sigma_8 below, with one row for each pair of training and test suite. Black circles for networks tested on their own suite, red diamonds and blue squares for the other suite with the two scalings, with horizontal error bars."}} tags=["hide-input"]
fig, axes = plots_generalisation.transfer_matrix(table["cross"], targets)

# %% tags=["hide-input", "full-width"]
pd.DataFrame(
    [
        {
            "trained on": entry["trained"],
            "tested on": entry["tested"],
            "scaling of": entry["scaling"],
            **{
                f"{word}, {name}": as_text(entry[key].get(name), digits)
                for name in targets
                for key, word, digits in (
                    ("r2", "R2", 2),
                    ("difference", "minus trained there", 3),
                    ("bias", "bias", 3),
                )
            },
        }
        for entry in table["cross"]
    ]
).set_index(["trained on", "tested on", "scaling of"])

# %% [markdown]
# ## Other sets of simulations
#
# Networks of uncut maps, each on sets of its own suite that it never saw: **CV**, many boxes of one
# cosmology; **1P**, one parameter varied at a time with the same initial phases; **EX**, feedback far
# outside of the range that was trained on. Lite has small sets of the same kind (in EX its feedback
# *proxy* is used far outside of what it was made for). Suites, sets and simulations that are left
# out here and in the section above are listed below, each with the reason.
#
# A posterior mean is drawn towards the middle of the prior, the more so the less a map tells: a
# response with a slope below 1, and a prediction above the truth at low values, belong to an honest
# network. In 1P and EX all simulations are one region of space, so that its own fluctuation moves all
# of their points together.

# %% tags=["hide-input"]
for name, rows in table["sets"].items():
    print(f"{name}: {', '.join(dict.fromkeys(row['suite'] for row in rows)) or 'left out'}")
for sentence in table["left_out"]:
    print(sentence)

# %% mystnb={"figure": {"name": "fig-cosmic-variance", "caption": "Predictions for boxes of one cosmology (set CV): each circle is the mean over the 15 maps of a box, the diamond the mean of all with the standard deviation that the network predicts for a single map; grey lines: the true values. Lite (feedback proxy) and Nbody_Lite (gravity only) unless the profile names CMD."}, "image": {"alt": "A scatter plot for each suite of predicted sigma_8 against predicted Omega_m. A cloud of small circles, one a box, lies around the crossing of two grey lines at the true cosmology, with a diamond and its error bars in the middle of the cloud."}} tags=["hide-input"]
if table["sets"]["CV"] and len(targets) == 2:
    fig, axes = plots_generalisation.cosmic_variance(table["sets"]["CV"], targets)
else:
    print("Left out: the figure needs the set CV and networks that predict both parameters.")

# %% mystnb={"figure": {"name": "fig-response", "caption": "Response to one parameter at a time (set 1P): predicted parameters, mean over the 15 maps with its standard error, against the varied one. Dashed: the truth. Lite (feedback proxy) and Nbody_Lite (gravity only) unless the profile names CMD."}, "image": {"alt": "Two rows of panels for predicted Omega_m and sigma_8, one column for each of the six varied parameters. The prediction rises along the dashed diagonal where its own parameter is varied and stays near the dashed horizontal line where another is; one line with error bars a suite."}} tags=["hide-input"]
if table["sets"]["1P"]:
    fig, axes = plots_generalisation.response(table["sets"]["1P"], targets)
else:
    print("Left out: no suite has a set 1P with curves of the six parameters; reasons above.")

# %% [markdown]
# What the curves amount to: the slope of the prediction with the varied parameter, and how far the
# prediction moves from its lowest to its highest value. The 15 places of the maps are resampled
# together in all simulations. For the feedback parameters the shift says how much the prediction
# hangs on what is not known; the scale to hold it against is the predicted standard deviation.

# %% tags=["hide-input", "full-width"]
pd.DataFrame(
    [
        {
            "suite": row["suite"],
            "varied": row["varied"],
            "from, to": f"{row['values'][0]:g}, {row['values'][-1]:g}",
            **{
                f"{key}, {name}": as_text(row[key].get(name), 4)
                for key in ("slope", "shift")
                for name in targets
            },
        }
        for row in table["sets"]["1P"]
    ]
) if table["sets"]["1P"] else Markdown("Left out, as the figure is.")

# %% mystnb={"figure": {"name": "fig-extremes", "caption": "Extreme feedback (set EX): mean of prediction minus truth, in units of the mean predicted standard deviation. Bars: 95 % over the maps of the one simulation. Lite (feedback proxy) and Nbody_Lite (gravity only, the same in all four) unless the profile names CMD."}, "image": {"alt": "Two panels for Omega_m and sigma_8 with one row each for the fiducial model, AGN feedback times 100, supernova feedback times 100 and no feedback; one point with an error bar a suite, around a vertical line at zero."}} tags=["hide-input"]
if table["sets"]["EX"]:
    fig, axes = plots_generalisation.extremes(table["sets"]["EX"], targets)
else:
    print("Left out: no suite has a set EX; reasons above.")

# %% [markdown]
# ## Beside a full study
#
# The tables of larger studies are kept in the repository, each with its provenance. Where one of the
# same suite exists, the cuts that it shares with this profile are shown beside the live numbers.

# %% tags=["hide-input"]
stored = [read_table(path) for path in sorted(Path(stored_dir).glob(f"*/{FILE_NAME}"))]
stored = [other for other in stored if other["suites"][0] in table["suites"]]
for other in stored:
    print(
        f"{other['profile']}: {other['n_simulations']} simulations of {other['suites'][0]} "
        f"({other['dataset']}), {len(other['rows'])} rows, {other['provenance']['utc'][:10]}"
    )
if not stored:
    print("No stored study of this suite.")

# %% mystnb={"figure": {"name": "fig-live-and-stored", "caption": "$R^2$ per map of the live runs of this page and of a stored study, for the cuts that they share, on the suite with feedback (Lite: a proxy). Bars: 95 % over simulations."}, "image": {"alt": "Two panels for Omega_m and sigma_8 with one row a cut; circles of the live study and squares of the stored one with horizontal error bars."}} tags=["hide-input"]
if stored:
    fig, axes = plots_results.live_and_stored(
        table["rows"],
        stored[-1]["rows"],
        claims.hydro_suite(table),
        targets,
        [f"{x['profile']}, {x['n_simulations']} simulations" for x in (table, stored[-1])],
    )
else:
    print("Left out: the figure needs a stored study.")

# %% [markdown]
# ## The six claims
#
# The rules were written before the numbers and are part of the code (`cosmolib/results/claims.py`). A claim is
# supported if the whole 95 % interval of every deciding number lies on its side of the threshold;
# otherwise it is not supported, and the reason says whether the numbers contradict it or leave it
# open. The paper gives words, not thresholds, for "little", "minimal" and "consistent": these are
# ours.

# %% tags=["hide-input"]
attribution = folder / "05_interpretation.json"
table["attribution"] = io.read_json(attribution) if attribution.is_file() else None
if table["attribution"] is None:
    print(f"Left out: the numbers of chapter 05, because there is no {attribution}.")
verdicts = claims.as_table(claims.judge(table))
pd.DataFrame(
    [
        {
            "claim": f"{row['number']}. {row['statement']}",
            "what decides": row["test"],
            "measured": row["measurement"],
            "verdict": row["verdict"],
            "why": row["reason"],
        }
        for row in verdicts
    ]
).style.hide(axis="index").set_properties(**{"text-align": "left", "vertical-align": "top"})

# %% [markdown]
# ### Which part survives the controls
#
# The same rules, asked again with one thing changed that the published cuts leave open. *Survives*:
# the whole 95 % interval lies on the claim's side, for both parameters; *does not survive*: one
# lies wholly on the other. For noise the verdict names the highest level up to which the claim holds
# at every level below.

# %% tags=["hide-input", "full-width"]
numbers = {row["key"]: row["number"] for row in verdicts}
survivors = controls.judge(table)
pd.DataFrame(
    [
        {
            "claim": numbers[row["claim"]],
            "control": row["question"],
            "measured (Omega_m and sigma_8)": row["measured"],
            "verdict": row["verdict"],
        }
        for row in survivors
    ]
).style.hide(axis="index").set_properties(**{"text-align": "left", "vertical-align": "top"})

# %% tags=["remove-input"]
if stored:
    print(f"The same six claims by the stored study {stored[-1]['profile']}:")
    for row in stored[-1]["claims"]:
        print(f"  {row['number']}. {row['verdict']}: {row['measurement']}")

# %% tags=["remove-input"]
feedback = claims.hydro_suite(table)
gravity = f"Nbody_{feedback}"
names = {"om": "Omega_m", "s8": "sigma_8"}


def entry(suite, cut, key="r2"):
    """One quantity of a row by parameter; {} where the profile has no such run."""
    row = claims.find_row(table, suite, cut) if cut else None
    return row[key] if row else {}


kept = [Cut.parse(row["cut"]) for row in table["rows"] if row["suite"] == feedback]
kmax = [cut for cut in kept if cut.kind == "kmax" and cut.field == "linear" and cut.is_plain]
nearest = min(kmax, key=lambda cut: abs(math.log(cut.values[0] / 4)), default=None)
under, over = (claims.extreme_cut(table, kind, overdensity=True) for kind in ("above", "below"))
moved = [
    x
    for x in table["cross"]
    if (x["trained"], x["tested"], x["scaling"]) == (gravity, feedback, "trained")
]
cv = next((x for x in table["sets"]["CV"] if x["suite"] == feedback), {})
curves = {x["varied"]: x for x in table["sets"]["1P"] if x["suite"] == feedback}
gain = entry(feedback, "none", "gain")
for short, name in names.items():
    glue(f"r2_{short}_uncut", as_text(entry(feedback, "none").get(name)), display=False)
    baseline = entry(feedback, "none", "baseline")
    glue(f"r2_{short}_baseline", as_text(baseline.get(name)), display=False)
    glue(f"r2_{short}_gain", as_text(gain.get(name)), display=False)
    glue(f"r2_{short}_gravity", as_text(entry(gravity, "none").get(name)), display=False)
    glue(f"r2_{short}_kmax", as_text(entry(feedback, nearest).get(name)), display=False)
    glue(f"r2_{short}_underdense", as_text(entry(feedback, under).get(name)), display=False)
    glue(f"r2_{short}_overdense", as_text(entry(feedback, over).get(name)), display=False)
    transfer = moved[0] if moved else {}
    glue(f"r2_{short}_transfer", as_text(transfer.get("r2", {}).get(name)), display=False)
    glue(f"bias_{short}_transfer", as_text(transfer.get("bias", {}).get(name), 3), display=False)
    for key in ("bias", "map_scatter", "simulation_scatter", "sigma"):
        glue(f"cv_{key}_{short}", as_text(cv.get(key, {}).get(name), 3), display=False)
    slope = curves.get(name, {}).get("slope", {})
    glue(f"slope_{short}", as_text(slope.get(name)), display=False)
    for varied, word in (("A_SN1", "sn"), ("A_AGN1", "agn")):
        shift = curves.get(varied, {}).get("shift", {})
        glue(f"shift_{short}_{word}", as_text(shift.get(name), 4), display=False)
for number, row in enumerate(verdicts, 1):
    glue(f"claim_{number}_verdict", row["verdict"], display=False)
    glue(f"claim_{number}_measurement", row["measurement"], display=False)
missing = "not in this profile"
glue("kmax_shown", f"{nearest.values[0]:g} h/Mpc" if nearest else missing, display=False)
glue("underdense_cut", under or missing, display=False)
glue("overdense_cut", over or missing, display=False)
glue("profile_name", config.name, display=False)
glue("dataset", table["dataset"], display=False)
glue("results_suite", plots_style.suite_label(feedback), display=False)
glue("n_simulations", int(table["n_simulations"]), display=False)
glue("n_train_simulations", int(table["n_train_simulations"]), display=False)
glue("n_test_maps", int(table["n_test_maps"]), display=False)
glue("n_test_simulations", int(table["n_test_simulations"]), display=False)
glue("n_cuts", int(len({row["cut"] for row in table["rows"]})), display=False)
glue("n_runs", int(table["n_runs"]), display=False)
gains = [gain.get(name) for name in targets]
ends = [(x["low"], x["high"]) for x in gains if x and x["low"] is not None]
if len(ends) < 2 or table["n_test_simulations"] < claims.MIN_TEST_SIMULATIONS:
    sentence = "Whether the network does better than summary statistics cannot be told here."
elif all(low > 0 for low, _ in ends):
    sentence = "The network does better than summary statistics on both parameters."
elif any(high < 0 for _, high in ends):
    sentence = "Summary statistics do better than the network on at least one parameter."
else:
    sentence = "The network is not shown to do better than summary statistics on both parameters."
glue("against_summary", sentence, display=False)
counts = pd.Series([row["verdict"] for row in verdicts]).value_counts()
for number, row in enumerate(verdicts, 1):
    own = [
        x["verdict"] for x in survivors if x["claim"] == row["key"] and x["verdict"] != "not run"
    ]
    said = pd.Series(own, dtype=str).value_counts()
    text = ", ".join(f"{word} ({n})" for word, n in said.items()) or "no control was run"
    glue(f"claim_{number}_controls", text, display=False)
for short, name in names.items():
    for word, cut in (
        ("nomean", "nomean:none"),
        ("mask", "mask:above:delta=0"),
        ("shuffle_over", "shuffle:above:delta=0:clamp"),
        ("shuffle_under", "shuffle:below:delta=0:clamp"),
    ):
        glue(f"r2_{short}_{word}", as_text(entry(feedback, cut).get(name)), display=False)
    for word, row in (("first", 0), ("last", -1)):
        for label, key in (("under", "only under-dense"), ("over", "only over-dense")):
            found = noise_curves[key][row] if white else None
            glue(f"noise_{word}_{label}_{short}", as_text((found or {}).get(name)), display=False)
glue("noise_highest", f"{white[-1]:g}" if white else missing, display=False)
glue("verdict_counts", ", ".join(f"{n} {word}" for word, n in counts.items()), display=False)

# %% tags=["remove-input"]
now = provenance.provenance(
    config, None, time.perf_counter() - started, runs=[row["cut"] for row in table["rows"]]
)
stored_table = {key: value for key, value in table.items() if key != "attribution"}
if table["attribution"]:
    keys = ("suite", "method", "baselines")
    stored_table["attribution"] = {key: table["attribution"][key] for key in keys}
io.write_json(
    folder / FILE_NAME,
    {**stored_table, "claims": verdicts, "survives": survivors, "provenance": now},
)

# %% [markdown]
# ## What we found
#
# From {glue:text}`n_runs:d` networks trained on {glue:text}`n_train_simulations:d` simulations of a suite
# ({glue:text}`dataset:s`, profile {glue:text}`profile_name:s`), tested on {glue:text}`n_test_maps:d`
# maps of {glue:text}`n_test_simulations:d` simulations. $R^2$ per map with 95 % intervals, on
# {glue:text}`results_suite:s` unless said otherwise:
#
# :::{table} $R^2$ of what is left, *Lite* unless CMD is named.
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
# {numref}`tab-controls` has what the controls leave of each claim.
#
# :::{table} What the controls leave of each claim (how many of them say so).
# :name: tab-controls
#
# | claim | verdict | under its controls |
# |---|---|---|
# | 1. inference | {glue:text}`claim_1_verdict:s` | {glue:text}`claim_1_controls:s` |
# | 2. both sides | {glue:text}`claim_2_verdict:s` | {glue:text}`claim_2_controls:s` |
# | 3. a pixel and in total | {glue:text}`claim_3_verdict:s` | {glue:text}`claim_3_controls:s` |
# | 4. saturation | {glue:text}`claim_4_verdict:s` | {glue:text}`claim_4_controls:s` |
# | 5. consistency | {glue:text}`claim_5_verdict:s` | {glue:text}`claim_5_controls:s` |
# | 6. degradation | {glue:text}`claim_6_verdict:s` | {glue:text}`claim_6_controls:s` |
# :::
#
# {numref}`tab-behind` has the numbers behind it.
#
# :::{table} The numbers behind the controls.
# :name: tab-behind
#
# | | density $\Omega_m$ | clustering $\sigma_8$ |
# |---|---|---|
# | mean of each map removed | {glue:text}`r2_om_nomean:s` | {glue:text}`r2_s8_nomean:s` |
# | which pixels are over-dense, and nothing else | {glue:text}`r2_om_mask:s` | {glue:text}`r2_s8_mask:s` |
# | as many pixels as are over-dense hidden at random | {glue:text}`r2_om_shuffle_over:s` | {glue:text}`r2_s8_shuffle_over:s` |
# | as many as are under-dense | {glue:text}`r2_om_shuffle_under:s` | {glue:text}`r2_s8_shuffle_under:s` |
# | only under-dense, no noise | {glue:text}`noise_first_under_om:s` | {glue:text}`noise_first_under_s8:s` |
# | only over-dense, no noise | {glue:text}`noise_first_over_om:s` | {glue:text}`noise_first_over_s8:s` |
# | only under-dense, white noise {glue:text}`noise_highest:s` | {glue:text}`noise_last_under_om:s` | {glue:text}`noise_last_under_s8:s` |
# | only over-dense, white noise {glue:text}`noise_highest:s` | {glue:text}`noise_last_over_om:s` | {glue:text}`noise_last_over_s8:s` |
# :::
#
# On the other sets of {glue:text}`results_suite:s`, with the network of its uncut maps:
#
# :::{table} The other sets of the suite: the same cosmology in many boxes (CV), one parameter varied at a time (1P).
# :name: tab-sets
#
# | | density $\Omega_m$ | clustering $\sigma_8$ |
# |---|---|---|
# | CV: mean prediction minus truth | {glue:text}`cv_bias_om:s` | {glue:text}`cv_bias_s8:s` |
# | CV: scatter of the predictions from map to map | {glue:text}`cv_map_scatter_om:s` | {glue:text}`cv_map_scatter_s8:s` |
# | CV: scatter from box to box, means of 15 maps | {glue:text}`cv_simulation_scatter_om:s` | {glue:text}`cv_simulation_scatter_s8:s` |
# | CV: predicted standard deviation of a map | {glue:text}`cv_sigma_om:s` | {glue:text}`cv_sigma_s8:s` |
# | 1P: slope of the prediction with its own parameter (ideal 1) | {glue:text}`slope_om:s` | {glue:text}`slope_s8:s` |
# | 1P: shift of the prediction over the range of $A_\mathrm{SN1}$ (ideal 0) | {glue:text}`shift_om_sn:s` | {glue:text}`shift_s8_sn:s` |
# | 1P: the same, $A_\mathrm{AGN1}$ | {glue:text}`shift_om_agn:s` | {glue:text}`shift_s8_agn:s` |
# :::
#
# For comparison, the stored output of the published notebook {cite}`Lahiry2025` has $R^2$ of “0.994 and 0.982” on *CMD*
# (IllustrisTNG, uncut, $256^2$ pixels, 1000 simulations).
#
# **What the numbers do not say.** Lite ends at a wavenumber of 8 $h$/Mpc and its feedback is a proxy; a
# verdict on Lite is one on the argument, not on the paper's own maps. A control is a training like any
# other, with the same short schedule: a difference of a few hundredths may be the training's.
#
# **Next:** [chapter 07](07_validation.ipynb) points the same instrument at maps whose answer is known.

# %% [markdown]
# ## What made this page

# %% tags=["remove-input"]
command = f"papermill notebooks/06_results.ipynb 06.ipynb -p profile {config.name}"
data = {name: study_suite(name, config).fingerprint for name in config.suites}
Markdown(provenance.what_made([("Made", command, now)], data))
