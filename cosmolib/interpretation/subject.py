"""Collect what is explained: a trained network, test maps, and the settings of the study."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from cosmolib.data.scaling import Scaling
from cosmolib.data.suites import map_indices, simulation_of
from cosmolib.interpretation.attribution import attribute, make_baseline, takes_baseline
from cosmolib.interpretation.binned import mean_estimate
from cosmolib.interpretation.cosmic_web import web_classes
from cosmolib.study.io import read_json
from cosmolib.study.profile import Profile
from cosmolib.study.run import Run
from cosmolib.training.dataset import MapsOnDisk, study_split, study_suite
from cosmolib.training.run import evaluate_pretrained, load_run, pretrained_name
from cosmolib.training.scores import COSMOLOGY

USUAL_BASELINE = {"integrated_gradients": "mean_log", "gradient_shap": "training"}
SMOOTHING = 0.3  # noise of SmoothGrad, in standard deviations of the log-density
N_TRAINING_MAPS = 64  # from which baselines are computed


@dataclass(eq=False)
class Subject:
    """A network, the test maps on which it is explained, and the settings of its study."""

    run: Run
    profile: Profile
    network: torch.nn.Module
    scaling: Scaling
    network_config: dict  # arguments of `cosmolib.training.networks.build_network`
    maps: np.ndarray  # (n, N, N) without noise [(Msun/h)/(Mpc/h)^2]
    x: torch.Tensor  # (n, 1, N, N) network inputs, under the cut of the run
    train_x: torch.Tensor  # (m, 1, N, N) some of the training maps, scaled
    chosen: np.ndarray  # (n,) indices of the maps in the suite
    params: np.ndarray  # (n, 6) parameters of their simulations
    box_size: float  # [Mpc/h]

    @property
    def pretrained(self) -> bool:
        """Whether the network is a published state dict and not a run of the profile."""
        return self.run.profile != self.profile.name

    @property
    def fingerprint(self) -> str:
        """``Suite.fingerprint`` of the data on which the network was tested."""
        return read_json(self.run.path("provenance.json"))["data_fingerprint"]

    @property
    def simulations(self) -> np.ndarray:
        """Simulation of each map, (n,)."""
        return simulation_of(self.chosen)

    @property
    def resampling(self) -> tuple[np.ndarray, int]:
        """Simulations and number of resamplings, the last arguments of functions in `binned`."""
        return self.simulations, self.profile.bootstrap_samples

    @property
    def targets(self) -> dict[str, int]:
        """Columns of the cosmological parameters that the network predicts."""
        names = self.profile.targets
        return {t: names.index(t) for t in COSMOLOGY if t in names}

    @cached_property
    def density(self) -> np.ndarray:
        """1 + delta of each map, relative to its mean, (n, N, N)."""
        return self.maps / self.maps.mean((1, 2), keepdims=True, dtype=float)

    @cached_property
    def classes(self) -> np.ndarray:
        """Cosmic-web class of each pixel, (n, N, N)."""
        return web_classes(self.maps, self.box_size)

    def estimate(self, numbers) -> dict:
        """Estimate the mean of one number per map."""
        return mean_estimate(numbers, *self.resampling)

    def some(self, count: int) -> "Subject":
        """Return a subject with about `count` of the maps, spread evenly over the simulations."""
        part = spread(len(self.maps), count)
        fields = {name: getattr(self, name)[part] for name in ("maps", "x", "chosen", "params")}
        return replace(self, **fields)

    def few(self) -> "Subject":
        """Return a subject with the maps that the sanity checks use."""
        return self.some(self.profile.attribution_check_maps)


def spread(total: int, count: int) -> np.ndarray:
    """Return `count` (or fewer) evenly spaced integers from 0 to `total` - 1."""
    return np.unique(np.linspace(0, total - 1, count).round().astype(int))


def load_subject(run: Run, profile: Profile, tested: str = "") -> Subject:
    """Load the network of a complete run and the test maps on which a profile explains it.

    The maps have the same indices for all suites and cuts. They are those of the suite ``tested``,
    by default of the suite of the run, in the scaling of the run.

    Raises
    ------
    ValueError
        The run is not complete.
    """
    network, scaling, config = load_run(run)
    suite = study_suite(tested or run.suite, profile)
    split = study_split(suite, profile)
    test, train = map_indices(split.test), map_indices(split.train)
    chosen = test[spread(len(test), profile.attribution_maps)]
    known = train[spread(len(train), N_TRAINING_MAPS)]
    prepared = run.cut, config["value_range"], scaling
    x, train_x = (MapsOnDisk(suite, maps, *prepared)[:] for maps in (chosen, known))
    return Subject(
        run=run, profile=profile, network=network, scaling=scaling,
        network_config=config["network"], maps=np.array(suite.maps[chosen]), x=x, train_x=train_x,
        chosen=chosen, params=suite.params[simulation_of(chosen)], box_size=suite.box_size,
    )  # fmt: skip


def load_subjects(
    profile: Profile, runs_dir="runs", *, suite: str = "", weights="", seed: int = 0
) -> dict[str, Subject]:
    """Load the uncut network of each suite of a profile, the one with feedback first.

    Parameters
    ----------
    profile : Profile
    runs_dir : path
    suite : str
        Only this suite; by default all suites of the profile.
    weights : path
        Published state dict, to be explained on the maps of each suite instead.
    seed : int
        Seed of the training; 0 for the first seed of the profile.
    """
    study = pretrained_name(profile, weights) if weights else profile.name
    architecture = "o3" if weights else profile.architecture
    subjects = {}
    for name in sorted([suite] if suite else profile.suites, key=lambda s: s.startswith("Nbody_")):
        run = Run(study, name, "none", architecture, seed or profile.seeds[0], runs_dir)
        if weights:
            evaluate_pretrained(run, profile, weights)
        subjects[name] = load_subject(run, profile)
    return subjects


def options_of(subject: Subject, method: str, baseline: str | None = None) -> dict:
    """Return the keyword arguments of `attribute` for a method, from the profile of a subject.

    By default the baseline is the usual one of the method. If it is a distribution, all methods
    except GradientSHAP use one map of it per map, in turn.
    """
    options = {"n_steps": subject.profile.ig_steps, "n_samples": subject.profile.shap_samples}
    if method == "smooth_grad":
        options["stdevs"] = SMOOTHING
    if takes_baseline(method):
        name, x = baseline or USUAL_BASELINE.get(method, "mean_log"), subject.x
        maps = make_baseline(name, x, scaling=subject.scaling, train_x=subject.train_x, seed=1)
        if method != "gradient_shap" and name == "training":
            maps = maps[torch.arange(len(x)) % len(maps)]
        options["baseline"] = maps
    return options


def explain(subject: Subject, method: str, target: int, baseline: str | None = None, **options):
    """Attribute an output of the network of a subject to its maps, with the profile's settings.

    The steps of Integrated Gradients increase until a map is complete within the tolerance of the
    profile. Further options are those of `attribute`.

    Returns
    -------
    cosmolib.interpretation.attribution.Attribution
    """
    settings = options_of(subject, method, baseline) | {"tolerance": subject.profile.ig_tolerance}
    return attribute(subject.network, subject.x, method, target, **settings | options)
