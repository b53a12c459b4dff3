"""Train networks on mocks: maps with an analytic posterior or an injected signal.

The method of this book is to train a network and to read its R2. Here it is tested on maps whose
posterior is known analytically (`cosmolib.validation.gaussian_fields`), which gives the correct R2
and error bar, and on maps whose signal lies in one known place
(`cosmolib.validation.injected_signals`), which gives the correct effect of a cut.
"""

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
from cosmolib.validation.gaussian_fields import RANGES_OF, TARGETS, shell_powers
from cosmolib.validation.injected_signals import HIDING, SPARING, IdealEstimator, injected_share
from cosmolib.validation.mocks import Mocks, analytic_posterior, draw_mocks, has_posterior

# Tolerances of `faults`
R2_MISSED = 0.04  # R2 below the Bayes-optimal one
SIGMA_OFF = 0.10  # predicted over exact standard deviation, minus 1
EXACT_OFF = 5.0  # chi2 and bias of the exact posterior, in standard errors
_COMPARED = ("ceiling", "missed", "sigma", "chi2", "chi2_exact", "faults", "bits", "bits_exact")


# --------------------------------------------------------------------------------------------------
# Training on mocks
# --------------------------------------------------------------------------------------------------
def mock_data(mocks: Mocks, cut="none") -> Data:
    """Return the network inputs of mocks under a cut.

    The scaling is fitted to the training maps. It is the signed log, as published, but linear for
    overdensity, and where a Fourier cut of the linear field or injected modes make pixels negative.

    Raises
    ------
    ValueError
        Mocks of overdensity are cut by anything but a Fourier cut of the linear field.
    """
    cut = Cut.parse(cut)
    if mocks.kind == "gaussian" and not has_posterior(mocks, cut):
        raise ValueError(f"cut {str(cut)!r}: expected 'none' or a Fourier cut of the linear map")
    maps = apply_cut(mocks.maps, cut)
    negative = mocks.kind in ("gaussian", "band") or (cut.is_fourier and cut.field != "log")
    scaling = fit_scaling(maps[: mocks.n_train], "linear" if negative else "log")
    scaling.apply(maps, out=maps)
    theta = torch.from_numpy(normalise(mocks.params, RANGES_OF, TARGETS))
    number = np.arange(len(maps))
    parts = mocks.parts.items()
    return Data(
        **{f"{name}_x": torch.from_numpy(maps[part, None]) for name, part in parts},
        **{f"{name}_theta": theta[part] for name, part in parts if name != "test"},
        **{f"{name}_simulation": number[part] for name, part in parts},
        test_truth=mocks.params[mocks.test], test_map=number[mocks.test],
        scaling=scaling, cut=str(cut), value_range=None,
        suite=RANGES_OF, targets=TARGETS, fingerprint=mocks.fingerprint,
    )  # fmt: skip


def train_on_mocks(
    mocks: Mocks, profile: Profile, cut="none", seed=1, device="cpu", folder=None
) -> tuple[torch.nn.Module, Data]:
    """Train the profile's network for mocks on maps under a cut.

    The code is that of every other training. The keys ``known_answer_*`` of the profile replace
    those of the study, because mocks are cheap: no dropout, hardly any weight decay, and a high
    learning rate.

    Parameters
    ----------
    mocks : Mocks
    profile : Profile
    cut : str or Cut
    seed : int
        Seed of the network and its training.
    device : str
    folder : path, optional
        The checkpoint of the training is kept in ``<folder>/<kind>/<cut>/``. If it is complete and
        current (`cosmolib.study.identity`), the network is not trained again.
    """
    own = profile.replace(
        targets=list(TARGETS), epochs=profile.known_answer_epochs, weight_decay=1e-3,
        max_lr=profile.known_answer_max_lr, batch_size=profile.known_answer_batch,
    )  # fmt: skip
    data = mock_data(mocks, cut)
    name, width = profile.known_answer_architecture, profile.known_answer_hidden
    with seeded(seed):
        network = build_network(name, mocks.maps.shape[-1], width, 0.0, len(TARGETS))
    checkpoint = None
    if folder is not None:
        place, now = _place(mocks, cut, folder), digest(_identity(mocks, profile, cut, seed))
        checkpoint = place / f"checkpoint-{now}.pt"
        for other in {*place.glob("*.pt")} - {checkpoint}:  # of another identity
            other.unlink()
    fit(network, data, own, seed=seed, device=device, checkpoint=checkpoint)
    return network, data


def predict_mocks(
    mocks: Mocks, profile: Profile, cut="none", seed=1, device="cpu", folder=None
) -> dict:
    """Train a network on mocks, see `train_on_mocks`, and predict the test maps.

    With a folder, the predictions are stored next to the weights and reused while they are current.

    Returns
    -------
    dict
        As from `cosmolib.training.predictions.predict`; each map counts as one simulation.
    """

    def make():
        network, data = train_on_mocks(mocks, profile, cut, seed, device, folder)
        found = predict(network, data, device, profile.average_symmetries)
        return found | {"simulation": data.test_map}

    if folder is None:
        return make()
    now = _identity(mocks, profile, cut, seed)
    return stored_predictions(_place(mocks, cut, folder), now, make)


def _place(mocks, cut, folder):
    return Path(folder) / mocks.kind / folder_name(cut)


def _identity(mocks, profile, cut, seed):
    return identity(
        "known_answer", profile, fingerprint=mocks.fingerprint, maps=mocks.kind,
        cut=str(Cut.parse(cut)), architecture=profile.known_answer_architecture, seed=seed,
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------
# Comparison with the analytic posterior
# --------------------------------------------------------------------------------------------------
def faults(learnt: dict, exact: dict) -> list[str]:
    """List the faults of the method that the predictions of mocks reveal.

    These are an exact posterior whose chi2 is not 1 or whose mean is biased (wrong spectrum, box or
    modes), and a network with an R2 above the Bayes-optimal one (it has seen the test maps), an R2
    more than 0.04 below it, or a median predicted standard deviation more than 10 % off.

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
    optimal, reached = (r2(item["mean"], None, truth) for item in (exact, learnt))
    # An estimator exceeds the exact mean only by chance: the scatter of their difference.
    gain = offset**2 - (learnt["mean"] - truth) ** 2  # (n, P)
    chance = gain.std(0) / np.sqrt(len(gain)) / truth.var(0)
    ratio = np.median(learnt["std"] / exact["std"], axis=0)
    found = []
    for p, name in enumerate(exact["parameters"]):
        for what, values, expected in (("chi2", pull[:, p], 1), ("bias", offset[:, p], 0)):
            if abs(values.mean() - expected) > EXACT_OFF * values.std() / np.sqrt(len(values)):
                is_ = f"of the exact posterior is {values.mean():.3f}, not {expected}"
                found.append(f"{name}: {what} {is_}")
        score = f"{name}: R2 {reached[p]:.3f} is"
        if reached[p] > optimal[p] + 4 * chance[p]:
            found.append(f"{score} above the Bayes-optimal {optimal[p]:.3f}")
        if reached[p] < optimal[p] - R2_MISSED:
            found.append(f"{score} too far below the Bayes-optimal {optimal[p]:.3f}")
        if abs(ratio[p] - 1) > SIGMA_OFF:
            found.append(f"{name}: the median of predicted over exact sigma is {ratio[p]:.2f}")
    return found


def setup_faults(mocks: Mocks, cut="none", n_maps: int = 20) -> list[str]:
    """List faults that are present before any training: shared maps, or a cut of wrong modes.

    The exact posterior of maps after a cut must equal that of whole maps of which only the modes of
    the cut are used; one mode too many or too few changes it.

    Parameters
    ----------
    mocks : Mocks
    cut : str or Cut
    n_maps : int
        Number of test maps that are cut and compared.
    """
    found = []
    digests = [hashlib.sha256(one.tobytes()).digest() for one in mocks.maps]
    parts = [set(digests[part]) for part in mocks.parts.values()]
    if shared := sum(map(len, parts)) - len(set.union(*parts)):
        found.append(f"{shared} maps are in more than one of training, validation and test")
    some = mocks.test_only(n_maps)
    after_cut = replace(some, maps=apply_cut(some.maps, cut))
    expected, measured = (analytic_posterior(one, cut)["mean"] for one in (some, after_cut))
    (k, before, _), (_, after, _) = (shell_powers(one.field) for one in (some, after_cut))
    low, high = (edge * (1 - EDGE_TOLERANCE) for edge in Cut.parse(cut).k_range)
    remainder = after[:, (k < low) | (k >= high)].sum()
    if remainder > 1e-6 * before.sum() or not np.allclose(expected, measured, rtol=1e-3):
        found.append(f"cut {str(Cut.parse(cut))!r} keeps other modes than its name implies")
    return found


def sigma_ratio(learnt: dict, exact: dict) -> dict:
    """Compute predicted over exact standard deviation per map.

    Returns
    -------
    dict
        {parameter: {"median", "low", "high" (16 and 84 %), "within" (share within 10 %)}}
    """
    ratio = learnt["std"] / exact["std"]
    low, median, high = np.percentile(ratio, (16, 50, 84), axis=0)
    table = {"median": median, "low": low, "high": high}
    table["within"] = (np.abs(ratio - 1) <= SIGMA_OFF).mean(0)
    return pd.DataFrame(table, learnt["parameters"]).to_dict("index")


def against_exact(
    mocks: Mocks, profile: Profile, cuts, seed=1, device="cpu", folder=None, progress=None
) -> list[dict]:
    """Train a network under each cut and compare it with the analytic posterior.

    Parameters
    ----------
    mocks, profile, seed, device, folder
        As for `train_on_mocks`.
    cuts : sequence of str
    progress : callable, optional
        Called with a line of text per cut.

    Returns
    -------
    list of dict
        One dict per cut: ``cut``, ``network`` (R2), and, None without an analytic posterior,
        ``ceiling`` (R2 of the exact mean), ``missed`` (their paired difference), ``sigma``
        (`sigma_ratio`), ``chi2``, ``chi2_exact``, ``faults``, ``bits`` (`information`) and
        ``bits_exact``; estimates by parameter.
    """
    options = {"n_bootstrap": profile.bootstrap_samples}
    rows = []
    for cut in cuts:
        learnt = predict_mocks(mocks, profile, cut, seed, device, folder)
        row = {"cut": str(Cut.parse(cut)), "network": r2_of([learnt], **options)}
        row |= dict.fromkeys(_COMPARED)
        if has_posterior(mocks, cut):
            exact = learnt | analytic_posterior(mocks, cut)
            row |= {
                "ceiling": r2_of([exact], **options),
                "missed": r2_of([exact], [learnt], **options),
                "sigma": sigma_ratio(learnt, exact),
                "chi2": calibration_scores(learnt, **options)["chi2"],
                "chi2_exact": calibration_scores(exact, **options)["chi2"],
                "faults": setup_faults(mocks, cut) + faults(learnt, exact),
                "bits": information([learnt], parameter_ranges(RANGES_OF)[:2], **options),
                "bits_exact": dict(zip((*TARGETS, "both"), exact["bits"].mean(0), strict=True)),
            }
        rows.append(row)
        if progress is not None:
            found = ", ".join(f"{name} {as_text(x, 3)}" for name, x in row["network"].items())
            progress(f"{mocks.kind} maps, {row['cut']}: {mocks.n_train} training maps, R2 {found}")
    return rows


def injection_test(
    name: str, profile: Profile, seed=1, device="cpu", folder=None, n_test=300, n_explained=64
) -> dict:
    """Retrain under cuts, and attribute, on maps with a signal in one place.

    Parameters
    ----------
    name : {"above", "below", "band", "mean"}
        The place, see `cosmolib.validation.injected_signals`.
    profile, seed, device, folder
        As for `train_on_mocks`.
    n_test : int
    n_explained : int
        Number of test maps over which attributions are averaged.

    Returns
    -------
    dict
        ``cases``: dicts of ``role`` ("whole", "hidden" or "spared": the effect of the cut on the
        signal), ``cut`` and ``r2``, estimates by parameter, where sigma_8 has no effect on the
        maps. ``share``: {method: estimate} of `cosmolib.validation.injected_signals.injected_share`
        for the network of uncut maps; Integrated Gradients starts from the mean log-density,
        GradientSHAP from training maps. ``ideal``: the same for `IdealEstimator` on the same maps.
        ``chance``: the mean chance level.
    """
    mocks = draw_mocks(profile.planted_maps, n_test, seed=seed, kind=name)
    n_bootstrap = profile.bootstrap_samples
    roles = {"whole": ["none"], "hidden": HIDING[name], "spared": SPARING[name]}
    cases = [{"role": role, "cut": cut} for role, cuts in roles.items() for cut in cuts]
    for case in cases:
        found = predict_mocks(mocks, profile, case["cut"], seed, device, folder)
        case["r2"] = r2_of([found], n_bootstrap=n_bootstrap)
    network, data = train_on_mocks(mocks, profile, "none", seed, device, folder)
    x, maps = data.test_x[:n_explained], mocks.maps[mocks.test][:n_explained]
    baselines = {
        "saliency": None,
        "integrated_gradients": make_baseline("mean_log", x),
        "gradient_shap": make_baseline("training", x, train_x=data.train_x),
    }
    options = {"n_steps": profile.ig_steps, "tolerance": profile.ig_tolerance}
    options["n_samples"] = profile.shap_samples
    shares = {"share": {}, "ideal": {}}
    networks = {"share": network, "ideal": IdealEstimator(name, data.scaling)}
    for (key, explained), method in itertools.product(networks.items(), baselines):
        found = attribute(explained, x, method, 0, baseline=baselines[method], **options)
        share, chance = injected_share(name, found.values, maps)
        shares[key] |= estimate(average, [share[:, None]], range(len(x)), [method], n_bootstrap)
    return {"cases": cases, "chance": float(chance.mean()), **shares}
