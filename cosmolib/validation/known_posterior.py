"""Networks on mocks: maps with an analytic posterior or an injected signal.

The method of this book is "train a network, read its R2". Here it is tested on maps whose exact
posterior is known (`cosmolib.validation.gaussian_fields`), which fixes the right R2 and error bar,
and on maps whose signal lies in one known place (`cosmolib.validation.injected_signals`), which
fixes what a cut must cost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cosmolib.cuts.apply import EDGE_TOLERANCE, apply_cut
from cosmolib.cuts.grammar import Cut, folder_name
from cosmolib.data.scaling import fit_scaling
from cosmolib.interpretation.attribution import attribute, make_baseline
from cosmolib.study.identity import digest, identity
from cosmolib.study.profile import Profile
from cosmolib.study.state_dicts import read_state, write_state
from cosmolib.training.dataset import Data, normalise
from cosmolib.training.fit import fit, seeded
from cosmolib.training.networks import build_network
from cosmolib.training.predictions import predict, stored_predictions
from cosmolib.training.scores import as_text, average, estimate, r2, r2_of
from cosmolib.validation.calibration import calibration_scores
from cosmolib.validation.gaussian_fields import TARGETS, Posterior, shell_powers
from cosmolib.validation.injected_signals import HIDING, SPARING, planted_share
from cosmolib.validation.mocks import (
    RANGES_OF,
    KnownAnswer,
    exact_answer,
    gaussian_field,
    is_answerable,
    known_answer,
)

# What a sound instrument keeps to, see `faults`
R2_MISSED = 0.04  # R2 below the ceiling
SIGMA_OFF = 0.10  # predicted over exact standard deviation, minus 1
EXACT_OFF = 5.0  # standard errors of the exact posterior's chi2 and bias: only a wrong one's are


# --------------------------------------------------------------------------------------------------
# Training on maps with a known answer
# --------------------------------------------------------------------------------------------------
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
    if known.kind == "gaussian" and not (cut.is_spectral and cut.field in (None, "linear")):
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
        fingerprint=known.fingerprint,
    )


def train_known(
    known: KnownAnswer,
    profile: Profile,
    cut="none",
    seed: int = 1,
    device: str = "cpu",
    folder: str | Path | None = None,
) -> tuple[torch.nn.Module, Data]:
    """Train the profile's network for mocks on maps under a cut.

    By the same code as every other network. The keys ``known_answer_*`` replace those of the study,
    because maps are free here: no dropout, hardly any weight decay, a high learning rate.

    Parameters
    ----------
    known : KnownAnswer
    seed : int
        Of the network and its training.
    folder : path, optional
        Where checkpoint and weights are kept: ``<folder>/<kind>/<cut>/``. Weights of the present
        identity, see `cosmolib.study.identity`, are loaded instead of trained again.
    """
    own = profile.replace(
        targets=list(TARGETS),
        epochs=profile.known_answer_epochs,
        max_lr=profile.known_answer_max_lr,
        batch_size=profile.known_answer_batch,
        weight_decay=1e-3,
    )
    data = known_answer_data(known, cut)
    with seeded(seed):
        network = build_network(
            profile.known_answer_architecture,
            known.maps.shape[-1],
            profile.known_answer_hidden,
            0.0,
            len(TARGETS),
        )
    if folder is None:
        fit(network, data, own, seed=seed, device=device)
        return network, data
    now = digest(_identity(known, profile, cut, seed))
    place = _place(known, cut, folder)
    weights = place / "weights.pt"
    stored = read_state(weights, "weights file", "a dict") if weights.is_file() else {}
    if stored.get("identity") == now:
        network.load_state_dict(stored["weights"])
        return network.eval(), data
    checkpoint = place / f"checkpoint-{now}.pt"  # of another identity: not found
    fit(network, data, own, seed=seed, device=device, checkpoint=checkpoint)
    state = {key: value.cpu() for key, value in network.state_dict().items()}
    write_state(weights, {"identity": now, "weights": state})
    for path in place.glob("checkpoint*.pt"):
        path.unlink()
    return network, data


def known_answer_test(
    known: KnownAnswer,
    profile: Profile,
    cut="none",
    seed: int = 1,
    device: str = "cpu",
    folder: str | Path | None = None,
) -> dict:
    """Train a network on mocks, see `train_known`, and predict the test maps.

    With a folder, the predictions are kept next to the weights and reused like them.

    Returns
    -------
    dict
        As of `cosmolib.training.predictions.predict`, each map its own simulation.
    """

    def learnt():
        network, data = train_known(known, profile, cut, seed, device, folder)
        return predict(network, data, device) | {"simulation": data.test_map}

    if folder is None:
        return learnt()
    now = _identity(known, profile, cut, seed)
    return stored_predictions(_place(known, cut, folder), now, learnt)


def _place(known, cut, folder):
    return Path(folder) / known.kind / folder_name(cut)


def _identity(known, profile, cut, seed):
    return identity(
        "known_answer", profile, fingerprint=known.fingerprint, maps=known.kind,
        cut=str(Cut.parse(cut)), architecture=profile.known_answer_architecture, seed=seed,
    )  # fmt: skip


def as_predicted(posterior: Posterior, like: dict) -> dict:
    """Return an exact posterior in the form of predictions, of the maps of `like`."""
    return {**like, "mean": posterior.mean, "std": posterior.std}


# --------------------------------------------------------------------------------------------------
# Is the instrument sound?
# --------------------------------------------------------------------------------------------------
def faults(learnt: dict, exact: dict) -> list[str]:
    """List the faults that a network's predictions of mocks reveal.

    An exact posterior whose chi2 is not 1 or whose mean is off (wrong spectrum, box, or modes); of
    the network, an R2 above the Bayes-optimal one (test maps were seen) or more than 0.04 below it,
    and a predicted standard deviation more than 10 % off in the median map.

    Parameters
    ----------
    learnt, exact : dict
        Predictions of the network, and of the exact posterior (`as_predicted`).

    Returns
    -------
    list of str
        Empty for a sound method.
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
    """List what is wrong before any training: maps in two parts, a cut that keeps other modes.

    The exact posterior of maps that were cut must be that of whole maps of which only the modes of
    the cut are known: one mode too many or too few changes it.

    Parameters
    ----------
    known : KnownAnswer
    cut : str or Cut
    n_maps : int
        Test maps that are cut and compared.
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
    already = replace(some, maps=apply_cut(some.maps, cut))
    whole, cut_first = exact_answer(some, cut), exact_answer(already, cut)
    k, before, _ = shell_powers(gaussian_field(some))
    _, after, _ = shell_powers(gaussian_field(already))
    low, high = Cut.parse(cut).k_range
    hidden = (k < low * (1 - EDGE_TOLERANCE)) | (k >= high * (1 - EDGE_TOLERANCE))
    left = after[:, hidden].sum() > 1e-6 * before.sum()
    if left or not np.allclose(whole.mean, cut_first.mean, rtol=1e-3):
        found.append(f"cut {str(Cut.parse(cut))!r} keeps other modes than its name says")
    return found


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
    """Train a network under each cut and compare it with the analytic posterior.

    Parameters
    ----------
    known, profile, seed, device, folder
        As for `known_answer_test`.
    cuts : sequence of str
    progress : callable, optional
        Called with a line of text per cut.

    Returns
    -------
    list of dict
        A dict per cut: ``cut``, ``network`` (R2), and, None where the answer is not known,
        ``ceiling`` (R2 of the exact mean), ``missed`` (their paired difference), ``sigma``
        (`sigma_ratio`), ``chi2``, ``chi2_exact``, ``faults``; estimates by parameter.
    """
    options = {"n_bootstrap": profile.bootstrap_samples}
    rows = []
    for cut in cuts:
        learnt = known_answer_test(known, profile, cut, seed, device, folder)
        row = {"cut": str(Cut.parse(cut)), "network": r2_of([learnt], **options)}
        row |= dict.fromkeys(("ceiling", "missed", "sigma", "chi2", "chi2_exact", "faults"))
        if is_answerable(known, Cut.parse(cut)):
            exact = as_predicted(exact_answer(known, cut), learnt)
            row |= {
                "ceiling": r2_of([exact], **options),
                "missed": r2_of([exact], [learnt], **options),
                "sigma": sigma_ratio(learnt, exact),
                "chi2": calibration_scores(learnt, **options)["chi2"],
                "chi2_exact": calibration_scores(exact, **options)["chi2"],
                "faults": setup_faults(known, cut) + faults(learnt, exact),
            }
        rows.append(row)
        if progress is not None:
            found = ", ".join(f"{name} {as_text(x, 3)}" for name, x in row["network"].items())
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
        The place, see `cosmolib.validation.injected_signals`.
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
        ``share``: {method: estimate} of `cosmolib.validation.injected_signals.planted_share` for
        the network of whole maps, Integrated Gradients from the mean log-density, GradientSHAP from
        training maps; ``chance``: its mean by chance.
    """
    known = known_answer(profile.planted_maps, n_test, seed=seed, kind=name)
    n_bootstrap = profile.bootstrap_samples
    roles = [("whole", "none"), *(("hidden", cut) for cut in HIDING[name])]
    roles += [("spared", cut) for cut in SPARING[name]]
    cases = []
    for role, cut in roles:
        found = known_answer_test(known, profile, cut, seed, device, folder)
        cases.append({"role": role, "cut": cut, "r2": r2_of([found], n_bootstrap=n_bootstrap)})
    network, data = train_known(known, profile, "none", seed, device, folder)
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
            n_steps=profile.ig_steps, tolerance=profile.ig_tolerance,
            n_samples=profile.shap_samples,
        )  # fmt: skip
        share, chance = planted_share(name, found.values, maps)
        shares |= estimate(average, [share[:, None]], np.arange(len(x)), [method], n_bootstrap)
    return {"cases": cases, "share": shares, "chance": float(chance.mean())}
