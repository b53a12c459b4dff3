"""Attribution: how much each pixel of a map moves what the network says of a parameter.

Three methods of captum (Kokhlikyan et al., arXiv:2009.07896) on the network in eval mode, with
respect to its scaled input:

========================  ========================================================================
``saliency``              gradient, with its sign (Simonyan et al., arXiv:1312.6034); no baseline
``integrated_gradients``  gradient along the line from a baseline, times the way (arXiv:1703.01365)
``gradient_shap``         the same at random points of lines from many baselines (arXiv:1705.07874)
========================  ========================================================================

The sum of the last two over a map should be f(x) - f(baseline), for ``gradient_shap`` averaged over
its baselines and only as far as a few draws allow: the *completeness error* says how well. A
baseline is what counts as "nothing there"; captum's default, zero, is here the mean log-density and
no void, so that the choice belongs beside every figure.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch

from cosmolib.evaluation import bootstrap, predict
from cosmolib.scaling import Scaling
from cosmolib.spectra import WEB_CLASSES
from cosmolib.training import seeded

METHODS = ("saliency", "integrated_gradients", "gradient_shap")
OUTPUTS = ("mean", "std")
BASELINES = ("mean_log", "uniform", "void", "blurred", "training")
N_TRAINING_BASELINES = 32
EXPANDED_PIXELS = 2**20  # at once, with the steps or samples of each map counted: 256 of 64 x 64


@dataclass(frozen=True, eq=False)
class Attribution:
    """Attributions of some maps, in units of the normalised parameter."""

    values: np.ndarray  # (B, N, N) float32; saliency: a unit of scaled input
    completeness: np.ndarray | None  # (B,) relative error; None for saliency
    method: str
    target: int
    output: str


def attribute(
    network: torch.nn.Module,
    x: torch.Tensor,
    method: str,
    target: int,
    *,
    output: str = "mean",
    baseline: torch.Tensor | None = None,
    n_steps: int = 50,
    n_samples: int = 5,
    stdevs: float = 0.0,
    internal_batch_size: int | None = None,
    seed: int = 0,
) -> Attribution:
    """Attribute one output of a network to the pixels of its input.

    Parameters
    ----------
    network : torch.nn.Module
        ``mean, std = network(x)``; explained in eval mode, where it stands.
    x : (B, 1, N, N)
        Scaled maps.
    method : {"saliency", "integrated_gradients", "gradient_shap"}
    target : int
        Column of the parameter among the network's targets.
    output : {"mean", "std"}
    baseline : tensor, optional
        Of `make_baseline`. For ``integrated_gradients`` (1 or B, 1, N, N); for ``gradient_shap``
        (M, 1, N, N), each draw takes one of the M. Not used by ``saliency``; required else.
    n_steps : int
        Gauss-Legendre points of the path; raise it until the completeness error is stable.
    n_samples : int
        Draws of ``gradient_shap`` for each map.
    stdevs : float
        Of the Gaussian noise that ``gradient_shap`` adds to x, in units of the scaled input.
    internal_batch_size : int, optional
        Maps at once, steps or samples of each counted: bounds memory, not the result. By default
        as many as have `EXPANDED_PIXELS`.
    seed : int
        Of ``gradient_shap``; numpy's and torch's global states are left alone.

    Returns
    -------
    Attribution

    Raises
    ------
    ValueError
        Unknown method or output, target out of range, or a baseline that is missing or does not
        fit.
    """
    _check(network, x, method, target, output, baseline)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about packages of its own that are not installed
        from captum.attr import GradientShap, IntegratedGradients, Saliency

    def forward(maps):
        return network(maps)[OUTPUTS.index(output)]  # (B, P)

    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    each = {"saliency": 1, "integrated_gradients": n_steps, "gradient_shap": n_samples}[method]
    at_once = internal_batch_size or max(1, EXPANDED_PIXELS // x.shape[-1] ** 2)
    step = max(1, at_once // each)
    values = []
    with seeded(seed, device.type), _seeded_numpy(seed):
        for start in range(0, len(x), step):
            # A leaf of its own: captum would set requires_grad on the caller's tensor, and warn.
            maps = x[start : start + step].detach().clone().to(device).requires_grad_()
            if method == "saliency":
                found = Saliency(forward).attribute(maps, target=target, abs=False)
            else:
                base = baseline.to(device)
                if method == "integrated_gradients":
                    base = base.expand(len(x), -1, -1, -1)[start : start + step]
                    found = IntegratedGradients(forward).attribute(
                        maps,
                        baselines=base,
                        target=target,
                        n_steps=n_steps,
                        # The steps of a single map can be too many as well.
                        internal_batch_size=at_once if n_steps > at_once else None,
                    )
                else:
                    found = GradientShap(forward).attribute(
                        maps, baselines=base, target=target, n_samples=n_samples, stdevs=stdevs
                    )
            values.append(found.detach().cpu().float()[:, 0])
    values = torch.cat(values).numpy()  # (B, N, N)

    completeness = None
    if method != "saliency":
        at_x, at_baseline = (
            predict(network, maps, device=device)[OUTPUTS.index(output)][:, target].astype(float)
            for maps in (x.detach(), baseline)
        )
        if method == "gradient_shap":
            at_baseline = at_baseline.mean()
        way = at_x - at_baseline
        error = np.abs(values.sum((1, 2), dtype=np.float64) - way)
        completeness = error / np.maximum(np.abs(way), np.finfo(np.float32).tiny)
    network.train(was_training)
    return Attribution(values, completeness, method, target, output)


def _check(network, x, method, target, output, baseline):
    if method not in METHODS:
        raise ValueError(f"method: found {method!r}, expected one of: {', '.join(METHODS)}")
    if output not in OUTPUTS:
        raise ValueError(f"output: found {output!r}, expected one of: {', '.join(OUTPUTS)}")
    if not 0 <= target < network.n_parameters:
        raise ValueError(f"target: found {target}, expected 0 to {network.n_parameters - 1}")
    if method == "saliency":
        return
    counts = "any number" if method == "gradient_shap" else f"1 or {len(x)}"
    expected = f"{counts} of maps {tuple(x.shape[1:])}, see make_baseline"
    if baseline is None:
        raise ValueError(f"{method}: found no baseline, expected {expected}")
    fits = baseline.shape[1:] == x.shape[1:] and len(baseline) > 0
    if not fits or (method == "integrated_gradients" and len(baseline) not in (1, len(x))):
        raise ValueError(f"{method}: found a baseline {tuple(baseline.shape)}, expected {expected}")


class _seeded_numpy:
    """Seed numpy's global state, which GradientShap draws from, and put it back after."""

    def __init__(self, seed):
        self.seed = seed

    def __enter__(self):
        self.state = np.random.get_state()  # noqa: NPY002
        np.random.seed(self.seed)  # noqa: NPY002

    def __exit__(self, *_):
        np.random.set_state(self.state)  # noqa: NPY002


def make_baseline(
    name: str,
    x: torch.Tensor,
    *,
    scaling: Scaling | None = None,
    train_x: torch.Tensor | None = None,
    sigma: float | None = None,
    seed: int = 0,
) -> torch.Tensor:
    """Return the baseline of a name, scaled like x.

    Parameters
    ----------
    name : str
        "mean_log": zero everywhere, the mean of the training pixels after their log (captum's
        default). "uniform": each box with its own mean density everywhere; needs `scaling`.
        "void": the deepest pixel of the training maps (of x without them) everywhere. "blurred":
        each map smoothed. "training": random training maps; needs `train_x`.
    x : (B, 1, N, N)
        Scaled maps to be explained.
    scaling : Scaling
    train_x : (n, 1, N, N)
    sigma : float
        Of the Gaussian of "blurred" [pixels]; by default an eighth of the side.
    seed : int
        Of the choice of "training".

    Returns
    -------
    (1, 1, N, N), (B, 1, N, N) or (M, 1, N, N)
    """
    if name == "mean_log":
        return torch.zeros_like(x[:1])
    if name == "uniform":
        _needed(name, "scaling", scaling)
        mean = scaling.invert(x.detach().cpu().numpy()).mean((2, 3), keepdims=True)  # (B, 1, 1, 1)
        scaled = scaling.apply(mean.reshape(-1, 1, 1))
        return torch.from_numpy(scaled).to(x.device).view(-1, 1, 1, 1).expand_as(x).contiguous()
    if name == "void":
        return torch.full_like(x[:1], float((x if train_x is None else train_x).min()))
    if name == "blurred":
        sigma = x.shape[-1] / 8 if sigma is None else sigma
        k = 2 * torch.pi * torch.fft.fftfreq(x.shape[-1], device=x.device)  # [1/pixel]
        square = k[:, None] ** 2 + k[: x.shape[-1] // 2 + 1].abs() ** 2
        modes = torch.fft.rfft2(x.detach()) * torch.exp(-0.5 * sigma**2 * square)
        return torch.fft.irfft2(modes, s=x.shape[2:])
    if name == "training":
        _needed(name, "train_x", train_x)
        generator = torch.Generator().manual_seed(seed)
        return train_x[torch.randperm(len(train_x), generator=generator)[:N_TRAINING_BASELINES]]
    raise ValueError(f"baseline: found {name!r}, expected one of: {', '.join(BASELINES)}")


def _needed(name, key, value):
    if value is None:
        raise ValueError(f"baseline {name!r}: found no {key}, expected one")


# --------------------------------------------------------------------------------------------------
# Summaries
# --------------------------------------------------------------------------------------------------
def by_density(values, overdensity, edges, simulations, n_bootstrap=1000, seed=0) -> dict:
    """Sum attributions up in bins of density, with 95 % intervals over simulations.

    Parameters
    ----------
    values : (n, N, N)
        Attributions.
    overdensity : (n, N, N)
        Density of each pixel, in the units of `edges`.
    edges : (nb + 1,)
        Ascending; a bin holds its lower edge. Pixels outside belong to no bin, but to the totals.
    simulations : (n,) int
        Simulation of each map.

    Returns
    -------
    dict
        ``edges``; ``fraction`` (nb,): share of the pixels; ``per_pixel`` (nb, 3): mean absolute
        attribution of the bin's pixels, in units of the mean over all pixels, so that 1 is chance;
        ``signed_per_pixel`` (nb, 3): the same with signs, in the same units; ``share`` (nb, 3): of
        the summed absolute attribution. Columns are value, low, high; NaN for an empty bin.
    """
    edges = np.asarray(edges, float)
    if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise ValueError(f"edges: found {edges}, expected at least two, ascending")
    bins = np.searchsorted(edges, overdensity, side="right") - 1  # -1 and nb lie outside
    found = _by_bin(values, bins, len(edges) - 1, simulations, n_bootstrap, seed)
    return {"edges": edges, **found}


def by_class(values, classes, simulations, n_bootstrap=1000, seed=0) -> dict:
    """Sum attributions up by class of the cosmic web (`cosmolib.spectra.WEB_CLASSES`).

    Parameters
    ----------
    values : (n, N, N)
    classes : (n, N, N) int
        Of `cosmolib.spectra.web_classes`.
    simulations : (n,) int

    Returns
    -------
    dict
        ``names`` and, for each class, what `by_density` gives for a bin.
    """
    found = _by_bin(values, classes, len(WEB_CLASSES), simulations, n_bootstrap, seed)
    return {"names": WEB_CLASSES, **found}


def over_to_under(values, overdensity, simulations, n_bootstrap=1000, seed=0) -> dict:
    """Compare overdense (delta >= 0) with underdense pixels.

    Parameters
    ----------
    values : (n, N, N)
    overdensity : (n, N, N)
        delta, from -1.
    simulations : (n,) int

    Returns
    -------
    dict
        ``over_to_under_per_pixel``: ratio of the mean absolute attributions; ``under_share``: share
        of the underdense pixels in the sum. Each {"value", "low", "high"}, None if undefined.
    """
    bins = (np.asarray(overdensity) >= 0).astype(int)
    sums = [table[:, :2] for table in _sums(values, bins, 2)]  # nothing lies outside

    def ratio(absolute, signed, count, weights):
        under, over = np.moveaxis((weights @ absolute) / (weights @ count), -1, 0)
        return over / under

    def share(absolute, signed, count, weights):
        total = weights @ absolute
        return total[..., 0] / total.sum(-1)

    result = {}
    for key, statistic in (("over_to_under_per_pixel", ratio), ("under_share", share)):
        with np.errstate(divide="ignore", invalid="ignore"):
            value = statistic(*sums, weights=np.ones((1, len(bins))))[0]
            low, high = bootstrap(statistic, sums, simulations, n_bootstrap, seed)
        ends = {"value": value, "low": low, "high": high}
        result[key] = {end: float(x) if np.isfinite(x) else None for end, x in ends.items()}
    return result


def _sums(values, bins, n_bins):
    """Sums over the pixels of each map and bin, (n, nb + 1) each, the last column the outside.

    Absolute attribution, signed attribution, number of pixels.
    """
    values = np.asarray(values, np.float64)
    bins = np.where((bins >= 0) & (bins < n_bins), bins, n_bins)
    if values.shape != bins.shape or values.ndim != 3:
        raise ValueError(
            f"attributions: found shapes {values.shape} and {bins.shape}, expected (n, N, N) twice"
        )
    n, width = len(values), n_bins + 1
    place = (bins.reshape(n, -1) + width * np.arange(n)[:, None]).ravel()
    return [
        np.bincount(place, None if w is None else w.ravel(), n * width).reshape(n, width)
        for w in (np.abs(values), values, None)
    ]


def _by_bin(values, bins, n_bins, simulations, n_bootstrap, seed):
    absolute, signed, count = _sums(values, bins, n_bins)

    def statistic(absolute, signed, count, weights):
        a, s, c = (weights @ table for table in (absolute, signed, count))  # (S, nb + 1)
        total = a.sum(-1, keepdims=True)
        mean = total / c.sum(-1, keepdims=True)
        per_bin = np.stack([a / c / mean, s / c / mean, a / total], -1)  # (S, nb + 1, 3)
        return per_bin[:, :-1]

    tables = (absolute, signed, count)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = statistic(*tables, weights=np.ones((1, len(absolute))))[0]
        low, high = bootstrap(statistic, tables, simulations, n_bootstrap, seed)
    found = np.stack([value, low, high], -1)  # (nb, 3 summaries, 3)
    return {
        "fraction": count.sum(0)[:-1] / count.sum(),
        "per_pixel": found[:, 0],
        "signed_per_pixel": found[:, 1],
        "share": found[:, 2],
    }
