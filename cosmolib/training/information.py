"""Information: how many bits a map tells about the parameters, at least.

Unlike R2, bits about two parameters obey a chain rule: those about both are those about one and
those about the other once the first is known.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from cosmolib.training.scores import COSMOLOGY, average, estimate

PRIOR_SHARE = 0.01  # of each posterior: no single map, of which a network is far too sure, decides


def information(predictions: list[dict], ranges, *, n_bootstrap: int, seed: int = 0) -> dict:
    """Bound from below how many bits a map tells about each parameter, averaged over seeds.

    The Barber-Agakov bound (arXiv:2307.04994): the mean log2 density of the truth under any
    posterior q minus that under the prior, uniform within `ranges`. Here q is the Gaussian
    truncated to the prior that has the predicted mean and std; the validation maps choose one
    factor for all stds, and for two parameters the correlation of their errors. `PRIOR_SHARE` of
    the prior is mixed in.

    Parameters
    ----------
    predictions : list of dict
        The ``predictions.npz`` of each seed of one case, with those of the validation maps.
    ranges : (P, 2)
        Of the parameters.
    n_bootstrap, seed : int

    Returns
    -------
    dict
        {parameter: estimate}, and the estimate of ``both`` where Omega_m and sigma_8 are predicted.
    """
    found = [_bits(item, np.asarray(ranges, np.float64)) for item in predictions]
    names = [str(name) for name in predictions[0]["parameters"]]
    names += ["both"] * (len(names) < found[0].shape[1])
    arrays, simulations = [np.mean(found, axis=0)], predictions[0]["simulation"]
    return estimate(average, arrays, simulations, names, n_bootstrap, seed)


def _bits(predictions, ranges):
    """Bits of each map about each parameter, and about both: (n, P) or (n, P + 1)."""
    low, high = ranges.T
    names = [str(name) for name in predictions["parameters"]]

    def standardised(prefix, scale):
        mean, std, truth = (
            np.asarray(predictions[prefix + key], np.float64) for key in ("mean", "std", "truth")
        )
        centre, width = _untruncated(mean, scale * std, low, high)
        return [(x - centre) / width for x in (truth, low, high)]

    def gain(z, a, b):
        return _log_ratio(_normal(z) * (b - a) / np.maximum(ndtr(b) - ndtr(a), 1e-300))

    scales = np.geomspace(0.5, 4, 40)
    validated = [gain(*standardised("valid_", scale)).mean(0) for scale in scales]
    scale = scales[np.argmax(validated, axis=0)]  # (P,)
    bits = gain(*standardised("", scale))
    if not {*COSMOLOGY} <= {*names}:
        return bits
    pair = [names.index(name) for name in COSMOLOGY]
    valid, test = ([x[:, pair].T for x in standardised(part, scale)] for part in ("valid_", ""))
    rhos = np.linspace(-0.95, 0.95, 39)
    rho = rhos[np.argmax([_log_ratio(_joint_ratio(*valid, rho)).mean() for rho in rhos])]
    return np.column_stack([bits, _log_ratio(_joint_ratio(*test, rho))])


def _log_ratio(ratio):
    """log2 of posterior over prior, with a share of the prior mixed in."""
    return np.log2(PRIOR_SHARE + (1 - PRIOR_SHARE) * ratio)


def _joint_ratio(truth, low, high, rho):
    """Density of a truncated bivariate normal over that of the prior; all arguments (2, n)."""
    (z, y), (a, c), (b, d), narrow = truth, low, high, np.sqrt(1 - rho**2)
    # The mass within the prior: Gauss-Legendre along one parameter, exact along the other.
    nodes, weights = np.polynomial.legendre.leggauss(64)
    start, end = np.maximum(a, -8)[:, None], np.minimum(b, 8)[:, None]
    u = (start + end) / 2 + (end - start) / 2 * nodes
    inside = ndtr((d[:, None] - rho * u) / narrow) - ndtr((c[:, None] - rho * u) / narrow)
    mass = (end - start)[:, 0] / 2 * ((_normal(u) * inside) @ weights)
    mass = np.where(mass > 1e-300, mass, np.inf)  # a posterior that lies outside tells nothing
    density = _normal(z) * _normal((y - rho * z) / narrow) / narrow
    return density * (b - a) * (d - c) / mass


def _normal(x):
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


def _untruncated(mean, std, low, high):
    """Centre and width of the Gaussians that have these moments once truncated; all (n, P)."""
    size = high - low
    mean = np.clip(mean, low + 0.01 * size, high - 0.01 * size)
    std = np.maximum(std, 1e-6 * size)
    centre, width = mean, std
    for _ in range(50):
        a, b = (low - centre) / width, (high - centre) / width
        mass = np.maximum(ndtr(b) - ndtr(a), 1e-300)
        shift = (_normal(a) - _normal(b)) / mass
        variance = 1 + (a * _normal(a) - b * _normal(b)) / mass - shift**2
        centre = np.clip(centre + mean - (centre + width * shift), low - size, high + size)
        ratio = std / (width * np.sqrt(np.maximum(variance, 1e-3)))
        width = np.minimum(width * np.clip(ratio, 0.7, 1.4), 3 * size)
    return centre, width
