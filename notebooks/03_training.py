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
# # Train a network
#
# :::{admonition} Overview
# - A small convolutional network learns the cosmology of one map at a time, and how sure it is.
# - What it sees of the maps is fixed by one string, the *cut*; everything else stays the same.
# - The result is judged on simulations that it never saw, with intervals that know that the 15
#   maps of a simulation are not independent.
# :::
#
# **What you need.** The maps of [chapter 01](01_data.ipynb) and the cuts of
# [chapter 02](02_cuts.ipynb). This notebook is also the batch job of the study: every network of
# [chapter 06](06_results.ipynb) is one execution of it, for example
#
# ```bash
# python workflow/run_notebook.py notebooks/03_training.ipynb out.ipynb -p suite Lite -p cut kmax:4
# ```
#
# and leaves one folder, `runs/<profile>/<suite>/<cut>/<architecture>-s<seed>/`. A run that is
# complete is shown, not repeated; one that was interrupted goes on from its last epoch.
#
# With `-p weights path/to/weights_41.pt`, a state dict of the published code, nothing is trained:
# that network is shown and judged on the test maps, in `runs/<profile>-weights_41/...`.

# %% tags=["remove-cell"]
import os

if os.path.isdir("../data/lite"):  # JupyterLab starts kernels next to the notebook
    os.chdir("..")

# %% tags=["parameters", "hide-input"]
profile = "demo"  # name of a file in configs/, or a path to one
suite = "Lite"  # the maps: "Lite", "Nbody_Lite" or a CMD suite such as "IllustrisTNG"
cut = "none"  # what the network may see, e.g. "kmax:4" or "above:1e12:clamp"; see chapter 02
architecture = ""  # "lite", "o3" or "k4s2"; "": as the profile says
seed = 1  # of initial weights, batches and augmentation
epochs = 0  # 0: as the profile says; another number trains in a folder of its own
shuffle_labels = False  # permute the parameters: nothing to learn, in a folder of its own
data_dir = ""  # folder of CMD files; "": as the profile says (Lite is shipped)
weights = ""  # a published state dict to judge instead of a training, e.g. weights_41.pt
runs_dir = "runs"  # the run's folder is made in here

# %% tags=["hide-input"]
import time

import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown
from myst_nb import glue

from cosmolib.cuts.apply import apply_cut
from cosmolib.cuts.grammar import Cut
from cosmolib.data.suites import map_indices
from cosmolib.plots import style as plots_style
from cosmolib.plots import training as plots_training
from cosmolib.results.baseline import stored_baseline
from cosmolib.study import io, provenance
from cosmolib.study.profile import load_profile
from cosmolib.study.run import Run
from cosmolib.training.dataset import study_split, study_suite
from cosmolib.training.fit import augment
from cosmolib.training.networks import build_network
from cosmolib.training.predictions import read_predictions
from cosmolib.training.run import evaluate_pretrained, pretrained_name, train_run
from cosmolib.training.scores import as_text, from_metrics, r2_of
from cosmolib.training.weights import published_network

started = time.perf_counter()
plots_style.use_style()

# %% tags=["hide-input"]
overrides = {"data_dir": data_dir} if data_dir else {}
config = load_profile(profile, **overrides)
if epochs:
    config = load_profile(profile, **overrides, epochs=epochs, name=f"{config.name}-{epochs}epochs")
config = config.shuffled if shuffle_labels else config
architecture = "o3" if weights else architecture or config.architecture
cut = str(Cut.parse(cut))
study = pretrained_name(config, weights) if weights else config.name

# %%
maps = study_suite(suite, config)  # .maps, .params, .box_size
split = study_split(maps, config)  # .train, .valid, .test: simulations
run = Run(study, suite, cut, architecture, seed, root=runs_dir)  # one training, one folder
print(f"{suite}, cut {cut}: {len(split.train)} simulations to fit, {len(split.test)} to test")

# %% [markdown]
# ## The network
#
# The default for maps of $64^2$ pixels repeats one block: a 3×3 convolution, batch normalisation and
# a leaky rectifier, then a 2×2 convolution of stride 2 that halves the map, again normalised and
# rectified. All padding is periodic, as the box is. A global average pool makes the answer
# independent of where a structure lies, and two fully connected layers with dropout end in two
# numbers a parameter: a mean and a standard deviation.
#
# For maps of $256^2$ pixels, the architecture `o3` is the published one, down to the names in its
# state dictionary.

# %%
if weights:
    network = published_network(weights)
else:
    size = maps.grid, config.hidden, config.dropout, len(config.targets)
    network = build_network(architecture, *size)

# %% tags=["hide-input"]
n_weights = sum(weights.numel() for weights in network.parameters())
layers = [
    (name, type(layer).__name__, sum(weights.numel() for weights in layer.parameters()))
    for name, layer in network.named_modules()
    if not list(layer.children()) and list(layer.parameters())
]
pd.DataFrame(layers, columns=["name", "layer", "parameters"]).set_index("name")

# %% [markdown]
# ## The loss
#
# A {term}`moment network <Moment network>` {cite}`Jeffrey2020` learns the mean $\mu$ and the standard deviation $\sigma$ of
# the posterior of each parameter $\theta$ without a likelihood. Its loss, as published, is for a
# batch of maps
#
# $$
# \mathcal{L} = \frac{1}{P} \sum_{p=1}^{P} \left[
#   \log \left\langle (\theta_p - \mu_p)^2 \right\rangle
#   + \log \left\langle \left( (\theta_p - \mu_p)^2 - \sigma_p^2 \right)^2 \right\rangle
# \right] ,
# $$ (eq-moment-loss)
#
# with the parameters scaled to 0 to 1 over their prior. The first term of {eq}`eq-moment-loss` is smallest where $\mu$ is
# the posterior mean, the second where $\sigma^2$ is the posterior variance. Parameters that are not
# predicted, here the feedback, vary from simulation to simulation and are thereby marginalised over.
#
# ## Augmentation
#
# A map has no orientation and a periodic box no origin. Each time that a map is shown, it is flipped
# or turned into one of eight symmetries and shifted periodically by a random vector, on the batch
# and without any copy in memory.

# %%
first = map_indices(split.train[:1])[:1]
example = torch.from_numpy(apply_cut(maps.maps[first], cut, box_size=maps.box_size))[:, None]
random = torch.Generator().manual_seed(seed)
turned = augment(example.repeat(3, 1, 1, 1), random, config.symmetries, config.shifts)

# %% mystnb={"figure": {"name": "fig-augmentation", "caption": "One training map as this run's network sees it, after its cut, and three augmented versions of it: flipped or turned, and shifted periodically."}, "image": {"alt": "Four square maps in a row with the same bright knots and filaments; in the second to fourth the pattern is mirrored or turned and wrapped around the edges."}} tags=["hide-input"]
shown = torch.cat([example, turned])[:, 0].numpy()
fig, axes = plots_training.augmented(shown, maps.box_size)

# %% [markdown]
# ## Train
#
# AdamW with the {term}`profile <Profile>`'s schedule of the learning rate; the epoch with the lowest validation loss
# is kept. The test simulations play no part until the end. A network that is brought along was trained
# elsewhere: of it there is no history, only the loss that it has on the validation maps here.

# %%
if weights:
    metrics = evaluate_pretrained(run, config, weights)
else:
    metrics = train_run(run, config, progress=print)

# %% mystnb={"figure": {"name": "fig-learning-curves", "caption": "Moment loss of training maps (with augmentation and dropout) and of validation maps, and the learning rate, by epoch. The dotted line marks the epoch whose weights are kept."}, "image": {"alt": "Left, two lines of loss against epoch, circles for training and squares for validation maps, with a dotted vertical line at the lowest validation loss. Right, the learning rate against epoch on a logarithmic axis."}} tags=["hide-input"]
made = io.read_json(run.path("provenance.json"))
if weights:
    print(f"Trained elsewhere: {made['weights']['name']}, SHA-256 {made['weights']['sha256']}")
    print(f"Its loss on the validation maps: {metrics['valid_loss']}")
else:
    history = pd.read_csv(run.path("history.csv"))
    fig, axes = plots_training.learning_curves(history.to_dict("records"))

# %% [markdown]
# ## Predict
#
# The test simulations are shown once. They are judged by
#
# $$
# R^2 = 1 - \frac{\langle (\theta - \mu)^2 \rangle}
#   {\langle (\theta - \langle\theta\rangle)^2 \rangle} , \qquad
# \chi^2 = \left\langle \frac{(\theta - \mu)^2}{\sigma^2} \right\rangle .
# $$ (eq-r2)
#
# {term}`R² <R²>` is 1 where the prediction is perfect and 0 where it is no better than the mean of the
# prior would be; {term}`χ² <Chi-squared>` in {eq}`eq-r2` is 1 where the predicted error bars are right, less where they are too
# wide. All intervals hold 95 % and come from drawing whole simulations anew.

# %%
predictions = read_predictions(run.path("predictions.npz"))  # mean, std, truth, ...

# %% mystnb={"figure": {"name": "fig-predictions", "caption": "Predicted against true parameters of the test simulations. Circles: single maps with the standard deviation that the network predicts; diamonds: the mean over the 15 maps of a simulation; dashed: ideal."}, "image": {"alt": "A scatter plot for each parameter. Small blue circles with thin error bars form columns at the true value of each test simulation, red diamonds mark the mean of each column, a dashed diagonal marks perfect prediction."}} tags=["hide-input"]
texts = []
for name in config.targets:
    r2, chi2 = (metrics["parameters"][name][key] for key in ("r2", "chi2"))
    r2, chi2 = ("not defined" if x is None else f"{x:.3g}" for x in (r2, chi2))
    texts += [f"$R^2$ = {r2}, $\\chi^2$ = {chi2}"]
fig, axes = plots_training.predicted_against_true(
    *(predictions[key] for key in ("truth", "mean", "std", "simulation")), config.targets, texts
)

# %% tags=["hide-input"]
statistics = {
    "r2": "R2 per map", "r2_simulation": "R2, mean of a simulation's maps", "rmse": "RMSE per map",
    "mean_sigma": "mean predicted sigma", "chi2": "chi2",
}  # fmt: skip
scores = {name: metrics["parameters"][name] for name in config.targets}
shown = {
    name: {text: as_text(from_metrics(one, key), 3) for key, text in statistics.items()}
    for name, one in scores.items()
}
pd.DataFrame(shown)

# %% [markdown]
# ## Without a network
#
# What would a classical analysis get? A kernel ridge regression on summary statistics of the same maps under
# the same {term}`cut <Cut>` is fitted on the same training simulations: the mean, power spectra, pixel
# quantiles, and moments, peaks, minima and scattering-like variances of the smoothed log map.

# %%
ridge = stored_baseline(maps, config, cut, runs_dir)  # predictions, as of a network
baseline_r2 = r2_of([ridge], n_bootstrap=config.bootstrap_samples)

# %% tags=["hide-input"]
for name in config.targets:
    print(f"R2 of {name} per map by summary statistics: {as_text(baseline_r2[name], 3)}")

# %% tags=["remove-input"]
for short, name in (("om", "Omega_m"), ("s8", "sigma_8")):
    glue(f"training_baseline_{short}", as_text(baseline_r2.get(name), 3), display=False)
    scores = metrics["parameters"].get(name)
    for key in ("r2", "r2_simulation", "rmse", "chi2"):
        text = as_text(from_metrics(scores, key) if scores else None, 2 if key == "chi2" else 3)
        glue(f"training_{key}_{short}", text, display=False)
if weights:
    how = f"was trained elsewhere and read from {made['weights']['name']}"
else:
    kept = history.loc[history["valid_loss"].idxmin(), "epoch"]
    how = f"learnt from {15 * len(split.train)} maps in {config.epochs} epochs, "
    how += f"of which number {kept} was kept"
numbers = {
    "how": how, "suite": suite, "cut": cut, "architecture": architecture, "weights": n_weights,
    "test_maps": len(predictions["simulation"]),
    "test_simulations": len(np.unique(predictions["simulation"])),
}  # fmt: skip
for key, value in numbers.items():
    glue(f"training_{key}", value, display=False)

# %% [markdown]
# ## What we found
#
# On {glue:text}`training_suite:s`, cut "{glue:text}`training_cut:s`", the network
# {glue:text}`training_architecture:s` with {glue:text}`training_weights:d` weights
# {glue:text}`training_how:s`. On {glue:text}`training_test_maps:d` maps of
# {glue:text}`training_test_simulations:d` test simulations of {glue:text}`training_suite:s`:
#
# :::{table} The test maps of the run that this page shows.
# :name: tab-test
#
# | | density $\Omega_m$ | clustering $\sigma_8$ |
# |---|---|---|
# | $R^2$ per map | {glue:text}`training_r2_om:s` | {glue:text}`training_r2_s8:s` |
# | $R^2$ per map, summary statistics | {glue:text}`training_baseline_om:s` | {glue:text}`training_baseline_s8:s` |
# | $R^2$, mean of a simulation's maps | {glue:text}`training_r2_simulation_om:s` | {glue:text}`training_r2_simulation_s8:s` |
# | RMSE per map | {glue:text}`training_rmse_om:s` | {glue:text}`training_rmse_s8:s` |
# | $\chi^2$ | {glue:text}`training_chi2_om:s` | {glue:text}`training_chi2_s8:s` |
# :::
#
# For comparison, the stored output of the published notebook {cite}`Lahiry2025` has $R^2$ of “0.994 and 0.982” a map on
# *CMD* (IllustrisTNG, uncut, $256^2$ pixels, 1000 simulations). Lite has fewer pixels, and a profile
# may use fewer simulations, so that its numbers measure Lite and not that network.
#
# **Next:** [chapter 04](04_tuning.ipynb) searches for better settings.

# %% [markdown]
# ## Provenance

# %% tags=["remove-input"]
now = provenance.provenance(config, maps.fingerprint, time.perf_counter() - started)
option = f" -p weights {made['weights']['name']}" if weights else ""
option += " -p shuffle_labels True" * shuffle_labels
command = (
    f"papermill notebooks/03_training.ipynb 03.ipynb -p profile {config.name} -p suite {suite} "
    f"-p cut {cut} -p seed {seed}{option}"
)
steps = [("Judged" if weights else "Trained", command, made), ("Shown", command, now)]
Markdown(provenance.what_made(steps, {maps.name: maps.fingerprint}))
