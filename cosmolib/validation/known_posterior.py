"""Networks on mocks: maps with an analytic posterior or an injected signal.

The method of this book is "train a network, read its R2". Here it is tested on maps whose exact
posterior is known (`cosmolib.validation.gaussian_fields`), which fixes the right R2 and error bar,
and on maps whose signal lies in one known place (`cosmolib.validation.injected_signals`), which
fixes what a cut must cost.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cosmolib.cuts.apply import EDGE_TOLERANCE, apply_cut
from cosmolib.cuts.grammar import Cut, folder_name
from cosmolib.data.scaling import fit_scaling
from cosmolib.data.tables import parameter_ranges
from cosmolib.interpretation.attribution import attribute, make_baseline
from cosmolib.study.identity import digest, identity
from cosmolib.study.profile import Profile
from cosmolib.training.dataset import Data, normalise
from cosmolib.training.fit import fit, seeded
from cosmolib.training.information import information
from cosmolib.training.networks import build_network
from cosmolib.training.predictions import predict, stored_predictions
from cosmolib.training.scores import as_text, average, estimate, r2, r2_of
from cosmolib.validation.calibration import calibration_scores
from cosmolib.validation.gaussian_fields import TARGETS, shell_powers
from cosmolib.validation.injected_signals import HIDING, SPARING, IdealEstimator, planted_share
from cosmolib.validation.mocks import (
    RANGES_OF,
    KnownAnswer,
    exact_answer,
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
    if known.kind == "gaussian" and not is_answerable(known, cut):
        raise ValueError(f"cut {str(cut)!r}: expected 'none' or a Fourier cut of the linear map")
    maps = apply_cut(known.maps, cut)
    negative = known.kind in ("gaussian", "band") or (cut.is_fourier and cut.field != "log")
    scaling = fit_scaling(maps[: known.n_train], "linear" if negative else "log")
    scaling.apply(maps, out=maps)
    theta = torch.from_numpy(normalise(known.params, RANGES_OF, TARGETS))
    number = np.arange(len(maps))
    parts = known.parts.items()
    return Data(
        **{f"{name}_x": torch.from_numpy(maps[part, None]) for name, part in parts},
        **{f"{name}_theta": theta[part] for name, part in parts if name != "test"},
        **{f"{name}_simulation": number[part] for name, part in parts},
        test_truth=known.params[known.test],
        test_map=number[known.test],
        scaling=scaling,
        cut=str(cut),
        value_range=None,
        suite=RANGES_OF,
        targets=TARGETS,
        fingerprint=known.fingerprint,
    )


def train_known(
    known: KnownAnswer, profile: Profile, cut="none", seed=1, device="cpu", folder=None
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
        Where the checkpoint of the training is kept: ``<folder>/<kind>/<cut>/``. If it is complete
        and of the present identity, see `cosmolib.study.identity`, nothing is trained again.
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
    checkpoint = None
    if folder is not None:
        now = digest(_identity(known, profile, cut, seed))
        checkpoint = _place(known, cut, folder) / f"checkpoint-{now}.pt"
        for path in checkpoint.parent.glob("*.pt"):  # of another identity
            if path != checkpoint:
                path.unlink()
    fit(network, data, own, seed=seed, device=device, checkpoint=checkpoint)
    return network, data


def known_answer_test(
    known: KnownAnswer, profile: Profile, cut="none", seed=1, device="cpu", folder=None
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
        Predictions of the network, and the same with mean and std of the exact posterior.

    Returns
    -------
    list of str
        Empty for a sound method.
    """
    truth = exact["truth"]
    offset = exact["mean"] - truth
    pull = (offset / exact["std"]) ** 2
    ceiling, reached = (r2(item["mean"], None, truth) for item in (exact, learnt))
    # No estimator beats the exact mean but by luck, whose size is that of their difference.
    gain = offset**2 - (learnt["mean"] - truth) ** 2  # (n, P)
    luck = gain.std(0) / np.sqrt(len(gain)) / truth.var(0)
    ratio = np.median(learnt["std"] / exact["std"], axis=0)
    found = []
    for p, name in enumerate(exact["parameters"]):
        for what, values, expected in (("chi2", pull[:, p], 1), ("bias", offset[:, p], 0)):
            if abs(values.mean() - expected) > EXACT_OFF * values.std() / np.sqrt(len(values)):
                found.append(
                    f"{name}: {what} of the exact posterior is {values.mean():.3f}, not {expected}"
                )
        if reached[p] > ceiling[p] + 4 * luck[p]:
            found.append(f"{name}: R2 {reached[p]:.3f} lies above the ceiling {ceiling[p]:.3f}")
        if reached[p] < ceiling[p] - R2_MISSED:
            found.append(f"{name}: R2 {reached[p]:.3f} misses the ceiling {ceiling[p]:.3f}")
        if abs(ratio[p] - 1) > SIGMA_OFF:
            found.append(f"{name}: predicted over exact sigma is {ratio[p]:.2f} in the median")
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
    parts = [
        {hashlib.sha256(one.tobytes()).digest() for one in known.maps[part]}
        for part in known.parts.values()
    ]
    shared = sum(map(len, parts)) - len(set.union(*parts))
    if shared:
        found.append(f"{shared} maps are in more than one of training, validation and test")
    some = known.test_only(n_maps)
    already = replace(some, maps=apply_cut(some.maps, cut))
    whole, cut_first = exact_answer(some, cut), exact_answer(already, cut)
    k, before, _ = shell_powers(some.field)
    _, after, _ = shell_powers(already.field)
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
    table = pd.DataFrame(
        {"median": median, "low": low, "high": high, "within": within}, learnt["parameters"]
    )
    return table.to_dict("index")


def against_exact(
    known: KnownAnswer, profile: Profile, cuts, seed=1, device="cpu", folder=None, progress=None
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
        (`sigma_ratio`), ``chi2``, ``chi2_exact``, ``faults``, ``bits`` (`information`) and
        ``bits_exact``; estimates by parameter.
    """
    options = {"n_bootstrap": profile.bootstrap_samples}
    rows = []
    for cut in cuts:
        learnt = known_answer_test(known, profile, cut, seed, device, folder)
        row = {"cut": str(Cut.parse(cut)), "network": r2_of([learnt], **options)}
        row |= dict.fromkeys(
            ("ceiling", "missed", "sigma", "chi2", "chi2_exact", "faults", "bits", "bits_exact")
        )
        if is_answerable(known, Cut.parse(cut)):
            exact = learnt | vars(exact_answer(known, cut))
            row |= {
                "ceiling": r2_of([exact], **options),
                "missed": r2_of([exact], [learnt], **options),
                "sigma": sigma_ratio(learnt, exact),
                "chi2": calibration_scores(learnt, **options)["chi2"],
                "chi2_exact": calibration_scores(exact, **options)["chi2"],
                "faults": setup_faults(known, cut) + faults(learnt, exact),
                "bits": information([learnt], parameter_ranges(RANGES_OF)[:2], **options),
                "bits_exact": dict(zip((*TARGETS, "both"), exact["bits"].mean(0), strict=True)),
            }
        rows.append(row)
        if progress is not None:
            found = ", ".join(f"{name} {as_text(x, 3)}" for name, x in row["network"].items())
            progress(f"{known.kind} maps, {row['cut']}: {known.n_train} to train on, R2 {found}")
    return rows


def planted_test(
    name: str, profile: Profile, seed=1, device="cpu", folder=None, n_test=300, n_explained=64
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
        training maps; ``ideal``: the same of `IdealEstimator` on the same maps; ``chance``: the
        mean share by chance.
    """
    known = known_answer(profile.planted_maps, n_test, seed=seed, kind=name)
    n_bootstrap = profile.bootstrap_samples
    cuts = {"whole": ("none",), "hidden": HIDING[name], "spared": SPARING[name]}
    cases = []
    for role, cut in ((role, cut) for role, own in cuts.items() for cut in own):
        found = known_answer_test(known, profile, cut, seed, device, folder)
        cases.append({"role": role, "cut": cut, "r2": r2_of([found], n_bootstrap=n_bootstrap)})
    network, data = train_known(known, profile, "none", seed, device, folder)
    x, maps = data.test_x[:n_explained], known.maps[known.test][:n_explained]
    baselines = {
        "saliency": None,
        "integrated_gradients": make_baseline("mean_log", x),
        "gradient_shap": make_baseline("training", x, train_x=data.train_x),
    }
    shares = {"share": {}, "ideal": {}}
    networks = {"share": network, "ideal": IdealEstimator(name, data.scaling)}
    for (key, explained), method in itertools.product(networks.items(), baselines):
        found = attribute(
            explained, x, method, 0, baseline=baselines[method],
            n_steps=profile.ig_steps, tolerance=profile.ig_tolerance,
            n_samples=profile.shap_samples,
        )  # fmt: skip
        share, chance = planted_share(name, found.values, maps)
        own = estimate(average, [share[:, None]], np.arange(len(x)), [method], n_bootstrap)
        shares[key] |= own
    return {"cases": cases, "chance": float(chance.mean()), **shares}
