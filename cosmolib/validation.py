"""Validation: networks on maps whose answer is known, and whether error bars mean what they say.

The instrument of this book is "train a network, read its R2". Here it is pointed at Gaussian maps
(`cosmolib.fields`), where the exact posterior says what R2 and which error bar are right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.special import erf

from cosmolib.cuts import Cut, apply_cut
from cosmolib.evaluation import bootstrap, predict_test
from cosmolib.fields import TARGETS, exact_posterior, gaussian_maps
from cosmolib.inputs import Data, normalise
from cosmolib.networks import build_network
from cosmolib.runs import Profile
from cosmolib.scaling import fit_scaling
from cosmolib.suites import BOX_SIZE, parameter_ranges
from cosmolib.training import fit, seeded

RANGES_OF = "Lite"  # the prior of the Gaussian maps is that of Lite and of IllustrisTNG's LH set


@dataclass(frozen=True, eq=False)
class KnownAnswer:
    """Gaussian maps with their parameters, in three parts; every map is a universe of its own."""

    maps: np.ndarray  # (n, N, N) float32, overdensity
    params: np.ndarray  # (n, 2) Omega_m, sigma_8, uniform over the LH ranges
    n_train: int  # the first maps
    n_valid: int  # the next; the rest are test maps

    @property
    def test(self) -> slice:
        """Test maps."""
        return slice(self.n_train + self.n_valid, None)


def known_answer(n_train: int, n_test: int = 500, grid: int = 64, seed: int = 0) -> KnownAnswer:
    """Draw Gaussian maps: `n_train` to train on, a tenth of that (20 at least) to validate.

    Parameters
    ----------
    n_train, n_test : int
    grid : int
        Pixels a side.
    seed : int
    """
    n_valid = max(n_train // 10, 20)
    n = n_train + n_valid + n_test
    low, high = parameter_ranges(RANGES_OF)[: len(TARGETS)].T
    params = np.random.default_rng(seed).uniform(low, high, (n, len(TARGETS)))
    return KnownAnswer(gaussian_maps(params, grid, seed=seed), params, n_train, n_valid)


def known_answer_data(known: KnownAnswer, cut="none") -> Data:
    """Network inputs of known-answer maps under a Fourier cut, scaled linearly.

    Raises
    ------
    ValueError
        The cut is no Fourier cut of the linear field: the overdensity has no logarithm.
    """
    cut = Cut.parse(cut)
    if cut.kind != "none" and (not cut.is_fourier or cut.field != "linear"):
        raise ValueError(f"cut {str(cut)!r}: expected 'none' or a Fourier cut of the linear map")
    maps = apply_cut(known.maps, cut)
    scaling = fit_scaling(maps[: known.n_train], "linear")
    x = torch.from_numpy(scaling.apply(maps))[:, None]
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
        fingerprint="known answer",
    )


def known_answer_test(
    known: KnownAnswer, profile: Profile, cut="none", seed: int = 1, device: str = "cpu"
) -> tuple[dict, dict]:
    """Train the profile's network on known-answer maps; return its predictions and the exact ones.

    Both are as `cosmolib.evaluation.predict_test` gives them, but each map is its own simulation.

    Parameters
    ----------
    known : KnownAnswer
    profile : Profile
        Its architecture, its training and its ``known_answer_epochs``.
    cut : str or Cut
        "none" or "kmax:...": what the posterior is exact for.
    seed : int
    device : str
    """
    cut = Cut.parse(cut)
    if cut.kind not in ("none", "kmax"):
        raise ValueError(f"cut {str(cut)!r}: expected 'none' or 'kmax:...'")
    profile = replace(profile, targets=list(TARGETS), epochs=profile.known_answer_epochs)
    data = known_answer_data(known, cut)
    with seeded(seed):
        network = build_network(
            profile.architecture, known.maps.shape[-1], profile.hidden, profile.dropout, 2
        )
    fit(network, data, profile, seed=seed, device=device)
    learnt = predict_test(network, data, device) | {"simulation": data.test_map}
    kmax = cut.values[0] if cut.kind == "kmax" else None
    posterior = exact_posterior(known.maps[known.test], BOX_SIZE, kmax=kmax, suite=RANGES_OF)
    return learnt, {**learnt, "mean": posterior.mean, "std": posterior.std}


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

    def share(values, weights):
        return weights @ values / weights.sum(-1, keepdims=True)

    low, high = bootstrap(share, [flat], predictions["simulation"], n_bootstrap, seed)
    table = np.stack([flat.mean(0), low, high], -1).reshape(*inside.shape[1:], 3)
    return {str(name): table[p] for p, name in enumerate(predictions["parameters"])}
