"""Validation: networks on maps whose answer is known, and whether error bars mean what they say.

The instrument of this book is "train a network, read its R2". Here it is pointed at maps whose
exact posterior is known (`cosmolib.fields`), which says what R2 and which error bar are right, and
at maps whose signal lies in one known place (`cosmolib.planted`), which says what a cut must cost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.special import erf

from cosmolib.attribution import attribute, make_baseline
from cosmolib.cuts import EDGE_TOLERANCE, Cut, apply_cut
from cosmolib.evaluation import predict_test, stored_predictions
from cosmolib.fields import (
    TARGETS,
    Posterior,
    exact_posterior,
    gaussian_maps,
    lognormal_maps,
    shell_powers,
    underlying_gaussian,
)
from cosmolib.inputs import Data, normalise
from cosmolib.networks import build_network
from cosmolib.planted import PLACES, planted_maps, planted_share
from cosmolib.planted import place as planted_place
from cosmolib.results import r2_of
from cosmolib.runs import Profile
from cosmolib.scaling import fit_scaling
from cosmolib.scores import average, bootstrap, estimate, r2
from cosmolib.suites import BOX_SIZE, parameter_ranges
from cosmolib.training import fit, seeded

RANGES_OF = "Lite"  # the prior of these maps is that of Lite and of IllustrisTNG's LH set
KINDS = ("gaussian", "lognormal", *PLACES)

# What a sound instrument keeps to, see `faults`
R2_MISSED = 0.04  # R2 below the ceiling
SIGMA_OFF = 0.10  # predicted over exact standard deviation, minus 1
EXACT_OFF = 5.0  # standard errors of the exact posterior's chi2 and bias: only a wrong one's are


# --------------------------------------------------------------------------------------------------
# Maps with a known answer
# --------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class KnownAnswer:
    """Maps with a known answer, in three parts; every map is a universe of its own."""

    maps: np.ndarray  # (n, N, N) float32: overdensity if gaussian, else surface density
    params: np.ndarray  # (n, 2) Omega_m, sigma_8, uniform over the LH ranges
    n_train: int  # the first maps
    n_valid: int  # the next; the rest are test maps
    kind: str = "gaussian"  # one of `KINDS`
    seed: int = 0

    @property
    def test(self) -> slice:
        """Test maps."""
        return slice(self.n_train + self.n_valid, None)


def known_answer(
    n_train: int, n_test: int = 500, grid: int = 64, seed: int = 0, kind: str = "gaussian"
) -> KnownAnswer:
    """Draw maps: `n_train` to train on, a tenth of that (20 at least) to validate.

    Parameters
    ----------
    n_train, n_test : int
    grid : int
        Pixels a side.
    seed : int
    kind : str
        "gaussian" or "lognormal" (`cosmolib.fields`), or a place of `cosmolib.planted`.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: found {kind!r}, expected one of {', '.join(KINDS)}")
    n_valid = max(n_train // 10, 20)
    n = n_train + n_valid + n_test
    low, high = parameter_ranges(RANGES_OF)[: len(TARGETS)].T
    params = np.random.default_rng(seed).uniform(low, high, (n, len(TARGETS)))
    if kind in PLACES:
        maps = planted_maps(kind, params[:, 0], grid, seed=seed)
    else:
        draw = gaussian_maps if kind == "gaussian" else lognormal_maps
        maps = draw(params, grid, seed=seed)
    return KnownAnswer(maps, params, n_train, n_valid, kind, seed)


def known_answer_data(known: KnownAnswer, cut="none") -> Data:
    """Network inputs of known-answer maps under a cut.

    The scaling is fitted to the training maps: signed log as published, but linear for overdensity
    and where a Fourier cut of the linear field or planted modes make negative pixels.

    Raises
    ------
    ValueError
        A cut of overdensity that is no Fourier cut of the linear field.
    """
    cut = Cut.parse(cut)
    if known.kind == "gaussian" and not (_spectral(cut) and cut.field in (None, "linear")):
        raise ValueError(f"cut {str(cut)!r}: expected 'none' or a Fourier cut of the linear map")
    maps = apply_cut(known.maps, cut)
    negative = known.kind in ("gaussian", "band") or (cut.is_fourier and cut.field != "log")
    scaling = fit_scaling(maps[: known.n_train], "linear" if negative else "log")
    scaling.apply(maps, out=maps)
    x = torch.from_numpy(maps)[:, None]
    theta = torch.from_numpy(normalise(known.params, RANGES_OF, TARGETS))
    number = np.arange(len(maps))
    train, valid = slice(known.n_train), slice(known.n_train, known.n_train + known.n_valid)
    return Data(
        train_x=x[train],
        train_theta=theta[train],
        valid_x=x[valid],
        valid_theta=theta[valid],
        test_x=x[known.test],
        test_truth=known.params[known.test],
        train_simulation=number[train],
        valid_simulation=number[valid],
        test_simulation=number[known.test],
        test_map=number[known.test],
        scaling=scaling,
        cut=str(cut),
        value_range=None,
        suite=RANGES_OF,
        targets=TARGETS,
        fingerprint=f"{known.kind} maps, seed {known.seed}",
    )


def _spectral(cut):
    """Whether a cut keeps or removes whole modes, and does nothing else."""
    return cut.is_identity or (cut.is_fourier and not cut.before)


def _answerable(known, cut):
    """Whether the exact posterior of such maps under such a cut is known."""
    field = {"gaussian": "linear", "lognormal": "log"}.get(known.kind)
    return field is not None and _spectral(cut) and cut.field in (None, field)


def exact_answer(known: KnownAnswer, cut="none", box_size: float = BOX_SIZE) -> Posterior:
    """Exact posterior of the test maps under a cut.

    It is known for Fourier cuts of the field that is Gaussian: the overdensity of "gaussian" maps,
    the log of "lognormal" ones.

    Raises
    ------
    ValueError
        The answer is not known for such maps under such a cut.
    """
    cut = Cut.parse(cut)
    if not _answerable(known, cut):
        raise ValueError(
            f"{known.kind} maps, cut {str(cut)!r}: the exact posterior is not known, expected "
            "'none' or a Fourier cut, @linear of gaussian or @log of lognormal maps"
        )
    maps = _gaussian_field(replace(known, maps=known.maps[known.test], n_train=0, n_valid=0))
    low, high = cut.k_range
    return exact_posterior(maps, box_size, kmax=high, suite=RANGES_OF, kmin=low)


def train_known(
    known: KnownAnswer,
    profile: Profile,
    cut="none",
    seed: int = 1,
    device: str = "cpu",
    checkpoint: str | Path | None = None,
) -> tuple[torch.nn.Module, Data]:
    """Train the profile's known-answer network on maps under a cut.

    By the same code as every other network. Its keys ``known_answer_*`` stand in for those of the
    study, because maps are free here: no dropout, hardly any weight decay, a high learning rate.

    Parameters
    ----------
    known : KnownAnswer
    profile : Profile
    cut : str or Cut
    seed : int
        Of the network and its training.
    device : str
    checkpoint : path, optional
        As in `cosmolib.training.fit`.
    """
    profile = replace(profile, targets=list(TARGETS), **_recipe(profile))
    data = known_answer_data(known, cut)
    with seeded(seed):
        network = build_network(
            profile.known_answer_architecture,
            known.maps.shape[-1],
            profile.known_answer_hidden,
            0.0,
            len(TARGETS),
        )
    fit(network, data, profile, seed=seed, device=device, checkpoint=checkpoint)
    if checkpoint is not None:
        Path(checkpoint).unlink(missing_ok=True)
    return network, data


def _recipe(profile):
    return {
        "epochs": profile.known_answer_epochs,
        "max_lr": profile.known_answer_max_lr,
        "batch_size": profile.known_answer_batch,
        "weight_decay": 1e-3,
    }


def known_answer_test(
    known: KnownAnswer,
    profile: Profile,
    cut="none",
    seed: int = 1,
    device: str = "cpu",
    folder: str | Path | None = None,
) -> dict:
    """Train a network on known-answer maps, see `train_known`, and predict the test maps.

    Parameters
    ----------
    known : KnownAnswer
    profile : Profile
    cut : str or Cut
    seed : int
    device : str
    folder : path, optional
        Where checkpoint and predictions are kept: ``<folder>/<kind>/<cut>/``. What lies there is
        read, if it was made with the same settings, and a training that was killed goes on.

    Returns
    -------
    dict
        As of `cosmolib.evaluation.predict_test`, each map its own simulation.
    """
    cut = str(Cut.parse(cut))
    settings = {
        "kind": known.kind,
        "maps": [known.n_train, known.n_valid, *known.maps.shape],
        "seeds": [known.seed, seed],
        "cut": cut,
        "network": [profile.known_answer_architecture, profile.known_answer_hidden],
        "recipe": _recipe(profile),
        "training": [profile.betas, profile.schedule, profile.symmetries, profile.shifts],
    }
    place = None if folder is None else Path(folder) / known.kind / cut

    def make():
        checkpoint = None if place is None else place / "checkpoint.pt"
        network, data = train_known(known, profile, cut, seed, device, checkpoint)
        return predict_test(network, data, device) | {"simulation": data.test_map}

    return make() if place is None else stored_predictions(place, settings, make)


def as_predicted(posterior: Posterior, like: dict) -> dict:
    """Return an exact posterior in the form of predictions, of the same maps as `like`."""
    return {**like, "mean": posterior.mean, "std": posterior.std}


# --------------------------------------------------------------------------------------------------
# Is the instrument sound?
# --------------------------------------------------------------------------------------------------
def faults(learnt: dict, exact: dict) -> list[str]:
    """What a network's predictions of known-answer maps say against the instrument.

    Each sentence names one thing that a sound instrument does not do: an exact posterior whose
    chi2 is not 1 or whose mean is off (wrong spectrum, box, or modes), an R2 above what is possible
    (test maps were seen), one more than 0.04 below it, a predicted standard deviation more than
    10 % off in the median map; the last three of the network, against the exact posterior.

    Parameters
    ----------
    learnt, exact : dict
        Predictions of the network, and of the exact posterior (`as_predicted`).

    Returns
    -------
    list of str
        Empty for a sound instrument.
    """
    found = []
    truth = exact["truth"]
    names = [str(name) for name in exact["parameters"]]
    offset = exact["mean"] - truth
    pull = (offset / exact["std"]) ** 2
    ceiling, reached = (r2(item["mean"], None, truth) for item in (exact, learnt))
    # No estimator beats the exact mean but by luck, whose size is that of their difference.
    gain = (exact["mean"] - truth) ** 2 - (learnt["mean"] - truth) ** 2  # (n, P)
    luck = gain.std(0) / np.sqrt(len(gain)) / truth.var(0)
    ratio = learnt["std"] / exact["std"]
    for p, name in enumerate(names):
        for what, values, expected in (("chi2", pull[:, p], 1), ("bias", offset[:, p], 0)):
            if abs(values.mean() - expected) > EXACT_OFF * values.std() / np.sqrt(len(values)):
                found.append(
                    f"{name}: {what} of the exact posterior is {values.mean():.3f}, not {expected}"
                )
        if reached[p] > ceiling[p] + 4 * luck[p]:
            found.append(f"{name}: R2 {reached[p]:.3f} lies above the ceiling {ceiling[p]:.3f}")
        if reached[p] < ceiling[p] - R2_MISSED:
            found.append(f"{name}: R2 {reached[p]:.3f} misses the ceiling {ceiling[p]:.3f}")
        if abs(np.median(ratio[:, p]) - 1) > SIGMA_OFF:
            found.append(
                f"{name}: predicted over exact sigma is {np.median(ratio[:, p]):.2f} in the median"
            )
    return found


def setup_faults(known: KnownAnswer, cut="none", n_maps: int = 20) -> list[str]:
    """What is wrong before any training: maps in two parts, a cut that keeps other modes.

    The exact posterior of maps that were cut must be that of whole maps of which only the modes of
    the cut are known: one mode too many or too few changes it.

    Parameters
    ----------
    known : KnownAnswer
    cut : str or Cut
        One whose exact posterior is known.
    n_maps : int
        Test maps that are cut and compared.

    Returns
    -------
    list of str
    """
    found = []
    edges = (0, known.n_train, known.n_train + known.n_valid, len(known.maps))
    parts = [
        {hashlib.sha256(one.tobytes()).digest() for one in known.maps[a:b]}
        for a, b in zip(edges[:-1], edges[1:], strict=True)
    ]
    shared = sum(map(len, parts)) - len(set.union(*parts))
    if shared:
        found.append(f"{shared} maps are in more than one of training, validation and test")
    some = replace(known, maps=known.maps[known.test][:n_maps], n_train=0, n_valid=0)
    whole = exact_answer(some, cut)
    cut_first = exact_answer(replace(some, maps=apply_cut(some.maps, cut)), cut)
    k, before, _ = shell_powers(_gaussian_field(some))
    _, after, _ = shell_powers(_gaussian_field(replace(some, maps=apply_cut(some.maps, cut))))
    low, high = Cut.parse(cut).k_range
    hidden = (k < low * (1 - EDGE_TOLERANCE)) | (k >= high * (1 - EDGE_TOLERANCE))
    left = after[:, hidden].sum() > 1e-6 * before.sum()
    if left or not np.allclose(whole.mean, cut_first.mean, rtol=1e-3):
        found.append(f"cut {str(Cut.parse(cut))!r} keeps other modes than its name says")
    return found


def _gaussian_field(known):
    """The Gaussian field behind known-answer maps: themselves, or the log of lognormal ones."""
    return underlying_gaussian(known.maps) if known.kind == "lognormal" else known.maps


def sigma_ratio(learnt: dict, exact: dict) -> dict:
    """Predicted over exact standard deviation, map by map.

    Returns
    -------
    dict
        {parameter: {"median", "low", "high" (16 and 84 %), "within" (share within 10 %)}}
    """
    ratio = learnt["std"] / exact["std"]
    low, median, high = np.percentile(ratio, (16, 50, 84), axis=0)
    within = (np.abs(ratio - 1) <= SIGMA_OFF).mean(0)
    return {
        str(name): dict(zip(("median", "low", "high", "within"), map(float, row), strict=True))
        for name, row in zip(
            learnt["parameters"], np.stack([median, low, high, within], 1), strict=True
        )
    }


def against_exact(
    known: KnownAnswer,
    profile: Profile,
    cuts,
    seed: int = 1,
    device: str = "cpu",
    folder: str | Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[dict]:
    """Train a network under each cut and hold it against the exact answer.

    Parameters
    ----------
    known, profile, seed, device, folder
        As for `known_answer_test`.
    cuts : sequence of str
    progress : callable, optional
        Called with a line of text a cut.

    Returns
    -------
    list of dict
        A dict a cut: ``cut``, ``network`` (R2), and, None where the answer is not known,
        ``ceiling`` (R2 of the exact mean), ``missed`` (their paired difference), ``sigma``
        (`sigma_ratio`), ``chi2``, ``chi2_exact``, ``faults``; estimates by parameter.
    """
    options = {"n_bootstrap": profile.bootstrap_samples}
    rows = []
    for cut in cuts:
        learnt = known_answer_test(known, profile, cut, seed, device, folder)
        row = {"cut": str(Cut.parse(cut)), "network": r2_of([learnt], **options)}
        row |= dict.fromkeys(("ceiling", "missed", "sigma", "chi2", "chi2_exact", "faults"))
        if _answerable(known, Cut.parse(cut)):
            exact = as_predicted(exact_answer(known, cut), learnt)
            row |= {
                "ceiling": r2_of([exact], **options),
                "missed": r2_of([exact], [learnt], **options),
                "sigma": sigma_ratio(learnt, exact),
                "chi2": calibration(learnt, **options)["chi2"],
                "chi2_exact": calibration(exact, **options)["chi2"],
                "faults": setup_faults(known, cut) + faults(learnt, exact),
            }
        rows.append(row)
        if progress is not None:
            found = ", ".join(f"{name} {x['value']:.3f}" for name, x in row["network"].items())
            progress(f"{known.kind} maps, {row['cut']}: {known.n_train} to train on, R2 {found}")
    return rows


def planted_test(
    name: str,
    profile: Profile,
    seed: int = 1,
    device: str = "cpu",
    folder: str | Path | None = None,
    n_test: int = 300,
    n_explained: int = 64,
) -> dict:
    """Cut and retrain, and attribute, on maps with a signal in one place.

    Parameters
    ----------
    name : {"above", "below", "band", "mean"}
        The place, see `cosmolib.planted`.
    profile : Profile
    seed, device, folder
        As for `known_answer_test`.
    n_test : int
    n_explained : int
        Test maps whose attribution is averaged.

    Returns
    -------
    dict
        ``cases``: dicts of ``role`` ("whole", "hidden" or "spared": what the cut does to the
        signal), ``cut`` and ``r2``, estimates by parameter, of which sigma_8 is not in the maps;
        ``share``: {method: estimate} of `cosmolib.planted.planted_share` for the network of whole
        maps, Integrated Gradients from the mean log-density, GradientSHAP from training maps;
        ``chance``: its mean by chance.
    """
    known = known_answer(profile.planted_maps, n_test, seed=seed, kind=name)
    place, n_bootstrap = planted_place(name), profile.bootstrap_samples
    roles = [("whole", "none"), *(("hidden", cut) for cut in place.hiding)]
    roles += [("spared", cut) for cut in place.sparing]
    cases = []
    for role, cut in roles:
        found = known_answer_test(known, profile, cut, seed, device, folder)
        cases.append({"role": role, "cut": cut, "r2": r2_of([found], n_bootstrap=n_bootstrap)})
    network, data = train_known(known, profile, "none", seed, device)
    x, maps = data.test_x[:n_explained], known.maps[known.test][:n_explained]
    baselines = {
        "saliency": None,
        "integrated_gradients": make_baseline("mean_log", x),
        "gradient_shap": make_baseline("training", x, train_x=data.train_x),
    }
    shares = {}
    for method, baseline in baselines.items():
        found = attribute(
            network, x, method, 0, baseline=baseline,
            n_steps=profile.ig_steps, n_samples=profile.shap_samples,
        )  # fmt: skip
        share, chance = planted_share(name, found.values, maps)
        alone = np.arange(len(x))  # each map is a universe of its own
        shares |= estimate(average, [share[:, None]], alone, [method], n_bootstrap)
    return {"cases": cases, "share": shares, "chance": float(chance.mean())}


# --------------------------------------------------------------------------------------------------
# Calibration
# --------------------------------------------------------------------------------------------------
def coverage(predictions: dict, levels, n_bootstrap: int = 1000, seed: int = 0) -> dict:
    """How often the truth lies within the central interval of each nominal level.

    The predicted posterior is taken as Gaussian: level q covers |truth - mean| < z(q) std.

    Parameters
    ----------
    predictions : dict
        As of `cosmolib.evaluation.predict_test`.
    levels : (q,) floats between 0 and 1
    n_bootstrap, seed : int

    Returns
    -------
    dict
        {parameter: (q, 3) array}: measured coverage and its 95 % limits over simulations.
    """
    pull = np.abs(predictions["truth"] - predictions["mean"]) / predictions["std"]
    # The level whose interval ends at the truth: uniform from 0 to 1 if calibrated.
    reached = erf(pull / np.sqrt(2))  # (n, P)
    inside = (reached[:, :, None] < np.asarray(levels)).astype(float)  # (n, P, q)
    flat = inside.reshape(len(inside), -1)
    low, high = bootstrap(average, [flat], predictions["simulation"], n_bootstrap, seed)
    table = np.stack([flat.mean(0), low, high], -1).reshape(*inside.shape[1:], 3)
    return {str(name): table[p] for p, name in enumerate(predictions["parameters"])}


def recalibration(valid: dict) -> dict[str, float]:
    """Factor for each parameter's predicted standard deviations that makes 1 sigma hold 68.27 %.

    One number a parameter: the quantile of |truth - mean| / std. (The root of chi2 would be the
    best rescaling of a Gaussian posterior, but a single map of which a network is far too sure
    decides it.) Fit it to the *validation* maps: training maps look better than they are, and test
    maps must judge it.

    Parameters
    ----------
    valid : dict
        Predictions of the validation maps.
    """
    pull = np.abs(valid["truth"] - valid["mean"]) / valid["std"]
    found = np.quantile(pull, erf(1 / np.sqrt(2)), axis=0)
    return {str(name): float(x) for name, x in zip(valid["parameters"], found, strict=True)}


def recalibrated(predictions: dict, factors: dict[str, float]) -> dict:
    """Return predictions with their standard deviations multiplied by `recalibration`'s factors."""
    scale = np.array([factors[str(name)] for name in predictions["parameters"]])
    return {**predictions, "std": predictions["std"] * scale}


def calibration(predictions: dict, n_bootstrap: int = 1000, seed: int = 0) -> dict:
    """Return chi2, sharpness and score of predicted posteriors, as estimates by parameter.

    ``sharpness`` is the mean predicted standard deviation [physical]: of two calibrated posteriors
    the narrower tells more. ``log_score`` is the mean log density of the truth under the predicted
    Gaussian, which rewards both [log of 1 / physical].

    Returns
    -------
    dict
        {"chi2" | "sharpness" | "log_score" | "coverage_68": {parameter: {value, low, high}}}
    """
    mean, std, truth = (
        np.asarray(predictions[key], np.float64) for key in ("mean", "std", "truth")
    )
    pull = (truth - mean) / std
    columns = {
        "chi2": pull**2,
        "sharpness": std,
        "log_score": -0.5 * pull**2 - np.log(std) - 0.5 * np.log(2 * np.pi),
        "coverage_68": (np.abs(pull) < 1).astype(float),
    }
    names = predictions["parameters"]
    return {
        key: estimate(average, [values], predictions["simulation"], names, n_bootstrap, seed)
        for key, values in columns.items()
    }
