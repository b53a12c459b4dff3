"""Information: a lower bound on the bits that a map contains about the parameters.

Unlike R2, information obeys a chain rule: the bits about two parameters are those about the first,
plus those about the second given the first.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from cosmolib.training.scores import COSMOLOGY, average, estimate

PRIOR_SHARE = 0.01  # of each posterior, so that one overconfident prediction cannot dominate


def information(predictions: list[dict], ranges, *, n_bootstrap: int, seed: int = 0) -> dict:
    """Compute a lower bound on the bits per map about each parameter, averaged over seeds.

    The Barber-Agakov bound (arXiv:2307.04994) is the mean log2 density of the truth under any
    posterior q, minus that under the prior, which is uniform within `ranges`. Here q is a Gaussian
    truncated to the prior, with the predicted mean and std; one factor for all stds is fitted to
    the validation maps. Bits about both parameters follow from the chain rule: a regression that is
    fitted to the validation maps predicts the second parameter from the first and from the
    predictions. A share `PRIOR_SHARE` of the prior is mixed into each posterior.

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
    found = [_bits(item, np.asarray(ranges, np.float64)) for item in predictions]
    names = [str(name) for name in predictions[0]["parameters"]]
    names += ["both"] * (len(names) < found[0].shape[1])
    arrays, simulations = [np.mean(found, axis=0)], predictions[0]["simulation"]
    return estimate(average, arrays, simulations, names, n_bootstrap, seed)


def _bits(predictions, ranges):
    """Return the bits of each map about each parameter, and about both: (n, P) or (n, P + 1)."""
    low, high = ranges.T
    names = [str(name) for name in predictions["parameters"]]

    def gain(part, scale):
        keys = ("mean", "std", "truth")
        mean, std, truth = (np.asarray(predictions[part + key], np.float64) for key in keys)
        return _gain(truth, *_untruncated(mean, scale * std, low, high), low, high)

    bits = gain("", _best(np.geomspace(0.5, 4, 40), lambda scale: gain("valid_", scale)))
    if not {*COSMOLOGY} <= {*names}:
        return bits
    first, second = (names.index(name) for name in COSMOLOGY)
    if len(np.unique(predictions["valid_simulation"])) < 3:  # too few to fit their correlation
        return np.column_stack([bits, bits[:, [first, second]].sum(1)])
    further = _conditional_bits(predictions, first, second, low[second], high[second])
    return np.column_stack([bits, bits[:, first] + further])


def _conditional_bits(predictions, first, second, low, high):
    """Return the bits (n,) about the second parameter given the first.

    The posterior is a Gaussian truncated to the prior. Its centre, which is quadratic in the
    predicted means, the logs of the stds and the first parameter, and its width are fitted to the
    validation maps.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    def features(part):
        mean, std, truth = (predictions[part + key] for key in ("mean", "std", "truth"))
        logs = np.log(np.maximum(std, 1e-6))
        return np.column_stack([mean, logs, truth[:, first]]).astype(float), truth[:, second]

    def ridge(degree):
        steps = StandardScaler(), PolynomialFeatures(degree, include_bias=False), StandardScaler()
        return make_pipeline(*steps, RidgeCV(np.logspace(-3, 4, 15)))

    (x, truth), (test, test_truth) = features("valid_"), features("")
    groups = predictions["valid_simulation"]
    folds = GroupKFold(min(10, len(np.unique(groups))))
    error = truth - cross_val_predict(ridge(2), x, truth, groups=groups, cv=folds)
    width = ridge(1).fit(x, np.log(np.abs(error) + 1e-4 * (high - low)))

    def gain(truth, centre, size):
        return _gain(truth, np.clip(centre, low - size, high + size), size, low, high)

    size, test_size = (np.exp(np.clip(width.predict(one), -20, 2)) for one in (x, test))
    scales = np.geomspace(0.5, 8, 40)
    scale = _best(scales, lambda scale: gain(truth, truth - error, scale * size))
    return gain(test_truth, ridge(2).fit(x, truth).predict(test), scale * test_size)


def _best(scales, gain):
    """Return the factor of the widths with the largest mean gain over maps, for each parameter."""
    return scales[np.argmax([gain(scale).mean(0) for scale in scales], axis=0)]


def _gain(truth, centre, width, low, high):
    """Return log2 of the truncated normal (with its share of the prior) over the prior."""
    truth, low, high = ((x - centre) / width for x in (truth, low, high))
    ratio = _normal(truth) * (high - low) / np.maximum(ndtr(high) - ndtr(low), 1e-300)
    return np.log2(PRIOR_SHARE + (1 - PRIOR_SHARE) * ratio)


def _normal(x):
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


def _untruncated(mean, std, low, high):
    """Return centres and widths of Gaussians with these moments after truncation; all (n, P)."""
    size = high - low
    mean = np.clip(mean, low + 0.01 * size, high - 0.01 * size)
    std = np.maximum(std, 1e-6 * size)
    centre, width = mean, std
    for _ in range(50):
        a, b = (low - centre) / width, (high - centre) / width
        mass = np.maximum(ndtr(b) - ndtr(a), 1e-300)
        at_a, at_b = _normal(a), _normal(b)
        shift = (at_a - at_b) / mass
        variance = 1 + (a * at_a - b * at_b) / mass - shift**2
        centre = np.clip(centre + mean - (centre + width * shift), low - size, high + size)
        ratio = std / (width * np.sqrt(np.maximum(variance, 1e-3)))
        width = np.minimum(width * np.clip(ratio, 0.7, 1.4), 3 * size)
    return centre, width
