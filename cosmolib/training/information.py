"""Information: a lower bound on the bits that a map contains about the parameters.

Unlike R2, information obeys a chain rule: the bits about two parameters are those about the first,
plus those about the second given the first.
"""

import numpy as np
import torch

from cosmolib.data.cmd_format import PARAMETERS
from cosmolib.training.scores import COSMOLOGY, average, estimate

LOG_UNIFORM = PARAMETERS[2:]  # CAMELS samples feedback parameters uniformly in their logarithm
# Share of the prior in each posterior, so that one overconfident prediction cannot dominate, or the
# weight of the prior in validation maps: the smaller of the two
PRIOR_SHARE, PRIOR_MAPS = 0.01, 7.5
FEW = 2000  # validation maps, of few simulations; for more maps, the posterior may be complex
# Folds, hidden units, Gaussians, steps and peak of the learning rate
SMALL, LARGE = (10, 8, 2, 100, 0.06), (2, 32, 4, 300, 0.03)


def information(predictions: list[dict], ranges, *, n_bootstrap: int, seed: int = 0) -> dict:
    """Compute a lower bound on the bits per map about each parameter, averaged over seeds.

    The Barber-Agakov bound (arXiv:2307.04994) is the mean log2 density of the truth under any
    posterior q, minus that under the prior. Here q is a mixture of Gaussians truncated to the
    prior. It starts from the predicted mean and std, and a small network of the predictions of all
    parameters corrects it on the validation maps: on all but one fold of their simulations, until
    the density of that fold decreases; q is the average over the folds. The prior is uniform within
    `ranges`, for feedback parameters in their logarithm. Bits about both parameters follow from the
    chain rule, with a posterior of the second that also depends on the first. A share of at most
    `PRIOR_SHARE` of the prior is mixed into each posterior.

    Parameters
    ----------
    predictions : list of dict
        The ``predictions.npz`` of each seed of one case, including the validation maps.
    ranges : (P, 2)
        Ranges of the parameters.
    n_bootstrap, seed : int

    Returns
    -------
    dict
        {parameter: estimate}, and the estimate for ``both`` if Omega_m and sigma_8 are predicted.
    """
    names = [str(name) for name in predictions[0]["parameters"]]
    both = ["both"] if {*COSMOLOGY} <= {*names} else []
    found = [_bits(item, names, np.asarray(ranges, np.float64), both) for item in predictions]
    arrays, simulations = [np.mean(found, axis=0)], predictions[0]["simulation"]
    return estimate(average, arrays, simulations, names + both, n_bootstrap, seed)


def _bits(predictions, names, ranges, both):
    """Return the bits of each map about each parameter, and about both: (n, P) or (n, P + 1)."""
    test, valid = (_uniform(predictions, part, names, ranges) for part in ("", "valid_"))
    mean, std, truth = valid
    pull = np.clip((truth - mean) / std, -5, 5)
    for part in test, valid:
        part[1] *= np.sqrt((pull**2).mean(0))  # stds that are too small or too large by a factor
    simulations = predictions["valid_simulation"]
    bits = [_gain(test, valid, p, simulations) for p in range(len(names))]
    if both:
        first, second = map(names.index, COSMOLOGY)
        bits.append(bits[first] + _gain(test, valid, second, simulations, given=first))
    return np.column_stack(bits)


def _uniform(predictions, part, names, ranges):
    """Return mean, std and truth (n, P) in coordinates with a uniform prior from 0 to 1."""
    mean, std, truth = (
        np.asarray(predictions[part + key], np.float64) for key in ("mean", "std", "truth")
    )
    logs = np.isin(names, LOG_UNIFORM) & (ranges[:, 0] > 0)  # a range from 0 has no logarithm

    def log(values):
        return np.log(np.maximum(values, ranges[:, 0] / 9), out=values.copy(), where=logs)

    low, high, mean, truth = map(log, (*ranges.T, mean, truth))
    std = np.maximum(np.where(logs, std / np.exp(mean), std) / (high - low), 1e-6)
    return [(mean - low) / (high - low), std, (truth - low) / (high - low)]


def _gain(test, valid, p, simulations, given=None):
    """Return log2 of posterior over prior at the truth of parameter p, for test maps (n,)."""

    def inputs(part):
        mean, std, truth = part
        columns = [mean, np.log(std)]
        if given is not None:
            pull = (truth - mean)[:, given] / std[:, given]
            columns += [truth[:, given], np.clip(pull, -5, 5)]
        start = mean[:, p], np.maximum(std[:, p], 0.01), truth[:, p]
        return np.column_stack(columns), np.column_stack(start)

    (x, start), (test_x, test_start) = inputs(valid), inputs(test)
    centre, width = x.mean(0), np.maximum(x.std(0), 1e-6)
    tensors = ((x - centre) / width, start, (test_x - centre) / width, test_start)
    x, start, test_x, test_start = (torch.as_tensor(a, dtype=torch.float32) for a in tensors)
    groups, index = np.unique(simulations, return_inverse=True)
    n_folds, *size = SMALL if len(x) < FEW else LARGE
    n_folds = min(n_folds, len(groups))
    fold = np.random.default_rng(0).permutation(len(groups))[index] % n_folds
    held_out = torch.as_tensor(fold == np.arange(n_folds)[:, None], dtype=torch.float32)
    prior = min(PRIOR_SHARE, PRIOR_MAPS / len(x))
    weights = _fit(x, start, held_out, prior, *size)
    return np.log2(_density(weights, test_x, test_start, prior).mean(0).double().numpy())


def _fit(x, start, held_out, prior, n_hidden, n_gaussians, n_steps, rate):
    """Fit one mixture per fold (F, n) to the other folds; return the best weights on the fold."""
    n_folds, n_columns = len(held_out), x.shape[1]
    random = torch.Generator().manual_seed(0)
    first = torch.randn(n_folds, n_columns, n_hidden, generator=random) / n_columns**0.5
    bias = torch.zeros(n_folds, 1, 3 * n_gaussians)
    bias[..., n_gaussians : 2 * n_gaussians] = torch.linspace(-0.5, 0.5, n_gaussians)  # not equal
    shapes = (n_folds, n_hidden, 3 * n_gaussians), (n_folds, n_columns, 3 * n_gaussians)
    weights = [first, *map(torch.zeros, shapes), bias]
    best, kept = torch.full((n_folds,), -torch.inf), [w.clone() for w in weights]
    optimiser = torch.optim.AdamW([w.requires_grad_() for w in weights])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=n_steps + 1)
    for _ in range(n_steps if n_folds > 1 else 0):  # nothing can be held out of one simulation
        gain = torch.log(_density(weights, x, start, prior))
        with torch.no_grad():
            reached = (gain * held_out).sum(1) / held_out.sum(1)
            better = reached > best
            best = torch.where(better, reached, best)
            for old, new in zip(kept, weights, strict=True):
                old[better] = new[better]
        optimiser.zero_grad()
        (-(gain * (1 - held_out)).sum() / len(x)).backward()
        optimiser.step()
        schedule.step()
    return kept


def _density(weights, x, start, prior):
    """Return the density (F, n) of the truth under the posterior of each fold."""
    mean, std, truth = start[..., None].unbind(1)
    hidden, linear, direct, bias = weights
    found = torch.tanh(x @ hidden) @ linear + x @ direct + bias
    share, shift, size = found.chunk(3, dim=-1)
    centre, width = mean + std * shift, std * torch.exp(size.clamp(-6, 3))
    low, high, z = (-centre / width, (1 - centre) / width, (truth - centre) / width)
    mass = (torch.special.ndtr(high) - torch.special.ndtr(low)).clamp(min=1e-6)
    normal = torch.exp(-(z**2) / 2) / (width * mass * (2 * torch.pi) ** 0.5)
    mixture = (torch.softmax(share, dim=-1) * normal).sum(-1)
    return prior + (1 - prior) * mixture
