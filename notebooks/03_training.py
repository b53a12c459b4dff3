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
# On {glue:text}`training_suite:s`, cut "{glue:text}`training_cut:s`", the network of this page reaches an $R^2$ per map of
# {glue:text}`training_r2_om:s` ($\Omega_m$) and {glue:text}`training_r2_s8:s` ($\sigma_8$); a regression on summary statistics
# of the same maps reaches {glue:text}`training_baseline_om:s` and {glue:text}`training_baseline_s8:s`.
# {glue:text}`training_stored:s`
#
# :::{admonition} Overview
# - A small convolutional network learns the cosmology of one map at a time, and its own uncertainty.
# - One string, the *cut*, determines what it sees of the maps; everything else stays the same.
# - It is tested on simulations that it never saw. The 15 maps of a simulation are not independent, and the intervals
#   account for that.
# :::
#
# **What you need.** The maps of [chapter 01](01_data.ipynb) and the cuts of
# [chapter 02](02_cuts.ipynb). This notebook is also the batch job of the study: every network of
# [chapter 06](06_results.ipynb) is one execution of it, for example
#
# ```bash
# .venv/bin/python workflow/run_notebook.py notebooks/03_training.ipynb out.ipynb -p suite Lite -p cut kmax:4
# ```
#
# which fills one folder, `runs/<profile>/<suite>/<cut>/<architecture>-s<seed>/`. A complete run is shown and not
# repeated; an interrupted one resumes at its last epoch. With `-p weights path/to/weights_41.pt`, a state dict of the
# published code, nothing is trained: the notebook tests that network, in `runs/<profile>-weights_41/...`.

# %% tags=["remove-cell"]
import os

import cosmolib

places = ".", "..", os.path.dirname(cosmolib.__path__[0])  # a kernel may start in any folder
os.chdir(next((folder for folder in places if os.path.isdir(f"{folder}/data/lite")), "."))

# %% tags=["parameters", "hide-input"]
profile = "demo"  # name of a file in configs/, or a path to one
suite = "Lite"  # the maps: "Lite", "Nbody_Lite" or a CMD suite such as "IllustrisTNG"
cut = "none"  # what the network may see, e.g. "kmax:4" or "above:1e12:clamp"; see chapter 02
architecture = ""  # "lite", "o3" or "k4s2"; "": from the profile
seed = 1  # of initial weights, batches and augmentation
epochs = 0  # 0: from the profile; another number trains in a separate folder
shuffle_labels = False  # permute the parameters: nothing to learn, in a separate folder
data_dir = ""  # folder of CMD files; "": from the profile (Lite is shipped)
weights = ""  # a published state dict to judge instead of a training, e.g. weights_41.pt
runs_dir = "runs"  # the run's folder is made in here
stored_dir = "results"  # stored studies; the same run of one is shown next to this run

# %% tags=["hide-input"]
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown, display
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
from cosmolib.training.scores import as_text, from_metrics, glued_texts, r2_of
from cosmolib.training.weights import published_network

started = time.perf_counter()
plots_style.use_style()

# %% tags=["hide-input"]
config = load_profile(profile, **({"data_dir": data_dir} if data_dir else {}))
if epochs:
    config = config.replace(epochs=epochs, name=f"{config.name}-{epochs}epochs")
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
# The default network for maps of $64^2$ pixels starts with a 4×4 convolution of stride 2. It then repeats one block: a 3×3
# convolution and a 2×2 convolution of stride 2 that halves the map, each with batch normalisation and
# a leaky rectifier. All padding is periodic, like the box. The mean and the standard deviation of each
# channel over the map make the output independent of where a structure lies. Two fully connected layers with dropout end in
# two numbers per parameter: a mean and a standard deviation.
#
# For maps of $256^2$ pixels, the architecture `o3` is the published one, down to the names in its
# state dictionary.

# %%
if weights:
    network = published_network(weights)
else:
    size = maps.grid, config.hidden, config.dropout, len(config.targets)
    network = build_network(architecture, *size)

# %% tags=["hide-input", "hide-output"]
n_weights = sum(weights.numel() for weights in network.parameters())
layers = [
    (name, type(layer).__name__, sum(weights.numel() for weights in layer.parameters()))
    for name, layer in network.named_modules()
    if not list(layer.children()) and list(layer.parameters())
]
display(pd.DataFrame(layers, columns=["name", "layer", "parameters"]).set_index("name"))

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
# predicted, here those of feedback, vary between simulations, so that the network marginalises over them.
#
# ## Augmentation
#
# A map has no orientation and a periodic box has no origin. Each time a map is shown, it is flipped
# or turned into one of eight symmetries and shifted periodically by a random vector.

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
# AdamW follows the {term}`profile <Profile>`'s schedule of the learning rate, and the epoch with the lowest validation loss
# is kept. The test simulations play no part until the end. A pretrained network has no history here, only
# its loss on the validation maps.

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
# The test maps are shown once, in all eight symmetries if the profile sets it; their predictions are averaged. The scores are
#
# $$
# R^2 = 1 - \frac{\langle (\theta - \mu)^2 \rangle}
#   {\langle (\theta - \langle\theta\rangle)^2 \rangle} , \qquad
# \chi^2 = \left\langle \frac{(\theta - \mu)^2}{\sigma^2} \right\rangle .
# $$ (eq-r2)
#
# {term}`R² <R²>` is 1 for a perfect prediction and 0 for the mean of the test set. {term}`χ² <Chi-squared>` is 1 where the
# predicted error bars are right, and lower where they are too wide. All intervals are 95 % and resample whole simulations.

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

# %% [markdown]
# ## Compare with summary statistics
#
# What would a classical analysis get? A kernel ridge regression on summary statistics of the same maps under
# the same {term}`cut <Cut>` is fitted to the same training simulations. The statistics are the mean, power spectra, pixel
# quantiles, and the moments, peaks, minima and scattering-like variances of the smoothed log map.

# %%
ridge = stored_baseline(maps, config, cut, runs_dir)  # predictions, as of a network
baseline_r2 = r2_of([ridge], n_bootstrap=config.bootstrap_samples)

# %% tags=["hide-input"]
for name in config.targets:
    learnt, classical = from_metrics(metrics["parameters"][name], "r2"), baseline_r2[name]
    print(f"R2 of {name} per map: {as_text(learnt)}; by summary statistics: {as_text(classical)}")
other = replace(run, profile=config.answer or config.name, root=stored_dir)
stored = "The profile names no stored study that has this run."
if other.complete and not (weights or shuffle_labels):
    kept = io.read_json(other.path("metrics.json"))["parameters"]
    texts = [as_text(from_metrics(kept[name], "r2")) for name in config.targets]
    stored = f"In the stored study, {other.profile}, the same run reaches {' and '.join(texts)}."
print(stored)

# %% tags=["remove-input"]
r2 = {name: from_metrics(scores, "r2") for name, scores in metrics["parameters"].items()}
texts = glued_texts("training_", {"r2": r2, "baseline": baseline_r2})
if weights:
    how = f"was trained elsewhere and read from {made['weights']['name']}"
else:
    kept = history.loc[history["valid_loss"].idxmin(), "epoch"]
    how = f"learnt from {15 * len(split.train)} maps in {config.epochs} epochs, "
    how += f"of which number {kept} was kept"
numbers = {
    "how": how, "stored": stored, "suite": suite, "cut": cut, "architecture": architecture,
    "weights": n_weights, "test_maps": len(predictions["simulation"]),
    "test_simulations": len(np.unique(predictions["simulation"])),
}  # fmt: skip
for key, value in (texts | {f"training_{key}": value for key, value in numbers.items()}).items():
    glue(key, value, display=False)

# %% [markdown]
# ## What we found
#
# On {glue:text}`training_suite:s`, cut "{glue:text}`training_cut:s`", the network
# {glue:text}`training_architecture:s` with {glue:text}`training_weights:d` weights
# {glue:text}`training_how:s`. It was tested on {glue:text}`training_test_maps:d` maps of
# {glue:text}`training_test_simulations:d` simulations of {glue:text}`training_suite:s`.
# {glue:text}`training_stored:s`

# %% tags=["hide-input"]
statistics = {
    "r2": "R2 per map", "r2_simulation": "R2, mean of a simulation's maps", "rmse": "RMSE per map",
    "mean_sigma": "mean predicted sigma", "chi2": "chi2",
}  # fmt: skip
shown = {
    name: {text: as_text(from_metrics(scores, key), 3) for key, text in statistics.items()}
    | {"R2 per map, summary statistics": as_text(baseline_r2[name], 3)}
    for name, scores in metrics["parameters"].items()
}
display(pd.DataFrame(shown))

# %% [markdown]
# On *CMD* (IllustrisTNG, uncut, $256^2$ pixels, 1000 simulations), the stored output of the published notebook {cite}`Lahiry2025`
# has $R^2$ of “0.994 and 0.982” per map. Lite has fewer pixels, and a profile may use fewer simulations.
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
