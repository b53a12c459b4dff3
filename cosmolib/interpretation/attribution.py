"""Attribution: how much each pixel of a map changes the parameter that a network predicts.

Methods of captum (Kokhlikyan et al., arXiv:2009.07896) on the network in eval mode, with respect to
its scaled input:

========================  ========================================================================
``saliency``              gradient, with its sign (Simonyan et al., arXiv:1312.6034); no baseline
``smooth_grad``           mean gradient of noisy copies (Smilkov et al., arXiv:1706.03825)
``integrated_gradients``  gradient along the line from a baseline, times the way (arXiv:1703.01365)
``gradient_shap``         the same at random points of lines from many baselines (arXiv:1705.07874)
========================  ========================================================================

The sum of the last two over a map should be f(x) - f(baseline), for ``gradient_shap`` averaged over
its baselines and only as far as a few draws allow; the *completeness error* measures the
difference. A baseline is what counts as "nothing there"; captum's default, zero, is here the mean
log-density and not a void, so every figure must name its baseline. `register_method` adds a method.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from cosmolib.study import registry
from cosmolib.training.dataset import network_inputs
from cosmolib.training.fit import run_network, seeded
from cosmolib.training.networks import fused

METHODS = ("saliency", "integrated_gradients", "gradient_shap")  # of the paper
OUTPUTS = ("mean", "std")
BASELINES = {  # names on the page
    "mean_log": "mean log-density",
    "uniform": "uniform, own mean",
    "void": "deepest void",
    "blurred": "blurred map",
    "noise": "white noise",
    "training": "training maps",
}
N_TRAINING_BASELINES = 32
MAX_RAISES = 3  # of the steps of Integrated Gradients, each to three times as many

# Pixels per batch, with the steps or samples of each map counted. Measured on two cores with
# 64 x 64 maps: 32 of them fit the cache, eight times as many take half as long again.
CPU_PIXELS = 2**17
GPU_PIXELS = 2**22


@dataclass(frozen=True, eq=False)
class Attribution:
    """Attributions of some maps, in units of the normalised parameter."""

    values: np.ndarray  # (B, N, N) float32; of gradients: per unit of scaled input
    completeness: np.ndarray | None  # (B,) relative error; None without a baseline
    n_steps: np.ndarray | None  # (B,) steps that each map took; None but for integrated_gradients


def register_method(name: str):
    """Register an attribution method under a name that `attribute` and the chapters accept.

    Parameters
    ----------
    name : str
        Lower-case letters, digits and _.

    Returns
    -------
    callable
        A decorator of a function ``(forward, x, target)``: ``forward(maps)`` is the chosen output
        (b, P) of scaled maps (b, 1, N, N), and x (b, 1, N, N) some of the maps, on the device; it
        returns the attribution of output ``target``, of the shape of x. Its optional keyword-only
        arguments are ``n_steps``, ``n_samples``, ``stdevs`` and ``baseline``, the last with one
        map for each of x. A function with a baseline should return shares of f(x) - f(baseline),
        and its completeness is measured; one without returns a sensitivity, like a gradient.

    Raises
    ------
    ValueError
        The name is invalid or taken (see `cosmolib.study.registry`), or the function takes other
        arguments.
    """

    def decorate(function):
        _, asked = registry.keywords_of(function, 3, ("baseline", "n_steps", "n_samples", "stdevs"))
        registry.register("method", name, (function, asked, None), own=_BUILT_IN)
        return function

    return decorate


def _saliency(forward, x, target):
    from captum.attr import Saliency

    return Saliency(forward).attribute(x, target, abs=False)


def _smooth_grad(forward, x, target, n_samples, stdevs):
    from captum.attr import NoiseTunnel, Saliency

    options = {"nt_samples": n_samples, "stdevs": stdevs, "target": target, "abs": False}
    return NoiseTunnel(Saliency(forward)).attribute(x, nt_type="smoothgrad", **options)


def _integrated_gradients(forward, x, target, baseline, **options):
    from captum.attr import IntegratedGradients

    options["method"] = "riemann_middle"
    return IntegratedGradients(forward).attribute(x, baseline, target, **options)


def _gradient_shap(forward, x, target, baseline, **options):
    from captum.attr import GradientShap

    return GradientShap(forward).attribute(x, baseline, target=target, **options)


_SIZE = "internal_batch_size"
_BUILT_IN = {  # function, its keyword arguments, and the one that counts copies of each map
    "saliency": (_saliency, (), None),
    "smooth_grad": (_smooth_grad, ("n_samples", "stdevs"), "n_samples"),
    "integrated_gradients": (_integrated_gradients, ("baseline", "n_steps", _SIZE), "n_steps"),
    "gradient_shap": (_gradient_shap, ("baseline", "n_samples", "stdevs"), "n_samples"),
}


def _methods():
    return _BUILT_IN | registry.METHODS


def takes_baseline(method: str) -> bool:
    """Whether a method shares out f(x) - f(baseline); else it is a sensitivity, like a gradient."""
    return "baseline" in _methods()[method][1]


def attribute(
    network: torch.nn.Module,
    x: torch.Tensor,
    method: str,
    target: int,
    *,
    output: str = "mean",
    baseline: torch.Tensor | None = None,
    n_steps: int = 50,
    tolerance: float | None = None,
    n_samples: int = 5,
    stdevs: float = 0.0,
    internal_batch_size: int | None = None,
    seed: int = 0,
) -> Attribution:
    """Attribute one output of a network to the pixels of its input.

    Parameters
    ----------
    network : torch.nn.Module
        ``mean, std = network(x)``; explained in eval mode, on its own device.
    x : (B, 1, N, N)
        Scaled maps, see `cosmolib.training.dataset.network_inputs`.
    method : str
        "saliency", "smooth_grad", "integrated_gradients", "gradient_shap", or one of
        `register_method`.
    target : int
        Column of the parameter among the network's targets.
    output : {"mean", "std"}
    baseline : optional
        Scaled maps like x, of `make_baseline`: (1 or B, 1, N, N); for ``gradient_shap``
        (M, 1, N, N), each draw takes one of the M. Gradients ignore it; all others require it.
    n_steps : int
        Points of the path, the middles of equal parts. The networks are piecewise linear: on maps
        of Lite the error falls as fast as that of captum's Gauss-Legendre points or faster, and
        three times as many points keep the old ones.
    tolerance : float, optional
        Triple the steps of the maps whose completeness error is larger, up to `MAX_RAISES` times.
    n_samples : int
        Draws of ``gradient_shap`` or ``smooth_grad`` for each map.
    stdevs : float
        Of their Gaussian noise, in units of the scaled input; above zero for ``smooth_grad``.
    internal_batch_size : int, optional
        Maps per batch, steps or samples of each counted. It bounds memory; which random draw
        belongs to which map depends on it. By default as many as have `CPU_PIXELS` or `GPU_PIXELS`.
    seed : int
        Of the draws. The global random states are restored.

    Raises
    ------
    ValueError
        An argument is unknown, out of range or missing, or a pixel is not finite.
    """
    x, baseline = _check(network, x, method, target, output, baseline, stdevs)
    device = next(network.parameters()).device
    fast, column = fused(network), OUTPUTS.index(output)
    settings = {"n_samples": n_samples, "stdevs": stdevs}
    settings[_SIZE] = internal_batch_size or maps_at_once(x, device)

    def forward(maps):
        return fast(maps)[column]  # (B, P)

    way = steps = None
    if baseline is not None:
        at_x, at_baseline = (
            run_network(fast, maps, device=device)[column][:, target].double().numpy()
            for maps in (x, baseline)
        )
        way = at_x - (at_baseline.mean() if method == "gradient_shap" else at_baseline)
        if method != "gradient_shap":
            baseline = baseline.expand(len(x), -1, -1, -1)
    explain = partial(_in_batches, forward, method, target, device, settings)
    with seeded(seed, device.type), _seeded_numpy(seed):
        values = explain(x, baseline, n_steps)
        if method == "integrated_gradients":
            steps = np.full(len(x), n_steps)
            if tolerance is not None:
                _raise_steps(explain, x, baseline, values, steps, way, tolerance)
    completeness = None if way is None else _completeness(values, way)
    return Attribution(values, completeness, steps)


def _raise_steps(explain, x, baseline, values, steps, way, tolerance):
    """Triple the steps of the maps that are not complete, in place.

    n points at (i + 1/2) / n become 3 n by two more sets, shifted by a third of a step either way:
    captum's own rule on the line shifted by as much.
    """
    for _ in range(MAX_RAISES):
        open_ = np.flatnonzero(_completeness(values, way) > tolerance)
        if not len(open_):
            return
        points = int(steps[open_[0]])  # all that are still open have been raised as often
        ends = x[open_], baseline[open_]
        shift = (ends[0] - ends[1]) * (1 / (3 * points))
        sides = [explain(*(end + sign * shift for end in ends), points) for sign in (-1, 1)]
        values[open_] = (values[open_] + sides[0] + sides[1]) / 3
        steps[open_] *= 3


def _completeness(values, way):
    """Error of each map's sum, relative to the difference that it should equal."""
    error = np.abs(values.sum((1, 2), dtype=np.float64) - way)
    return error / np.maximum(np.abs(way), np.finfo(np.float32).tiny)


def _in_batches(forward, method, target, device, settings, x, baseline, n_steps):
    """Attribution (B, N, N) of a method, a batch of maps at a time."""
    function, asked, copies = _methods()[method]
    settings = settings | {"n_steps": n_steps}
    size = max(1, settings[_SIZE] // settings.get(copies, 1))
    options = {key: settings[key] for key in asked if key != "baseline"}
    parts = []
    for start in range(0, len(x), size):
        batch = slice(start, start + size)
        maps = x[batch].to(device)
        if "baseline" in asked:
            per_map = baseline if method == "gradient_shap" else baseline[batch]
            options["baseline"] = per_map.to(device)
        if method in _BUILT_IN:  # captum would set it on the caller's tensor, and warn
            maps = maps.clone().requires_grad_()
        found = function(forward, maps, target, **options)
        if not isinstance(found, torch.Tensor) or found.shape != maps.shape:
            kind = f"{type(found).__name__} {tuple(getattr(found, 'shape', ()))}"
            expected = f"from its function, expected a tensor {tuple(maps.shape)}"
            raise ValueError(f"method {method!r}: found a {kind} {expected}")
        if not found.isfinite().all():
            raise ValueError(f"method {method!r}: found values that are not finite")
        parts.append(found.detach().cpu().float()[:, 0])
    return torch.cat(parts).numpy()


def maps_at_once(x, device) -> int:
    """Number of maps in a batch of `CPU_PIXELS` or `GPU_PIXELS`, at least one."""
    return max(1, (CPU_PIXELS if device.type == "cpu" else GPU_PIXELS) // x.shape[-1] ** 2)


def _check(network, x, method, target, output, baseline, stdevs):
    """Check the arguments of `attribute`; return x and the baseline as a network takes them."""
    x = network_inputs(x)
    for name, found, allowed in (
        ("method", method, _methods()),
        ("output", output, OUTPUTS),
        ("target", target, range(network.n_parameters)),
    ):
        if found not in allowed:
            allowed = ", ".join(map(str, allowed))
            raise ValueError(f"{name}: found {found!r}, expected one of: {allowed}")
    if method == "smooth_grad" and not stdevs > 0:
        raise ValueError(f"smooth_grad: found noise of stdevs={stdevs}, expected more than 0")
    if not takes_baseline(method):
        return x, None
    counts = "any number" if method == "gradient_shap" else f"1 or {len(x)}"
    expected = f"{counts} of maps {tuple(x.shape[1:])}, see make_baseline"
    if baseline is None:
        raise ValueError(f"{method}: found no baseline, expected {expected}")
    baseline = network_inputs(baseline, "baseline").to(x.device)
    fits = baseline.shape[1:] == x.shape[1:]
    if not fits or (method != "gradient_shap" and len(baseline) not in (1, len(x))):
        raise ValueError(f"{method}: found a baseline {tuple(baseline.shape)}, expected {expected}")
    return x, baseline


@contextmanager
def _seeded_numpy(seed):
    """Seed numpy's global state, which GradientShap draws from, and restore it after."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def make_baseline(name: str, x, *, scaling=None, train_x=None, seed: int = 0) -> torch.Tensor:
    """Return the baseline of a name, scaled like x.

    Parameters
    ----------
    name : str
        "mean_log": zero, the mean log-density of the training pixels. "uniform": each box with its
        own mean density everywhere; needs `scaling`. "void": the deepest pixel of the training maps
        (of x without them) everywhere. "blurred": each map, smoothed with an eighth of its side.
        "noise": white noise with the mean and scatter of the training pixels, one map each.
        "training": random training maps; needs `train_x`.
    x : (B, 1, N, N)
        Scaled maps to be explained, as `attribute` takes them.
    scaling : cosmolib.data.scaling.Scaling
    train_x : (n, 1, N, N)
        Scaled training maps.
    seed : int
        Of "noise" and "training".

    Returns
    -------
    (1, 1, N, N), (B, 1, N, N) or (M, 1, N, N)
    """
    x = network_inputs(x)
    train_x = None if train_x is None else network_inputs(train_x, "train_x")
    for needs, key, value in (("uniform", "scaling", scaling), ("training", "train_x", train_x)):
        if name == needs and value is None:
            raise ValueError(f"baseline {name!r}: found no {key}, expected one")
    generator = torch.Generator().manual_seed(seed)
    if name == "mean_log":
        return torch.zeros_like(x[:1])
    if name == "uniform":
        mean = scaling.invert(x).mean((2, 3), keepdims=True)  # (B, 1, 1, 1)
        return torch.from_numpy(scaling.apply(np.broadcast_to(mean, x.shape))).to(x.device)
    if name == "void":
        return torch.full_like(x[:1], float((x if train_x is None else train_x).min()))
    if name == "blurred":
        sigma = x.shape[-1] / 8  # [pixels]
        k = 2 * torch.pi * torch.fft.fftfreq(x.shape[-1], device=x.device)  # [1/pixel]
        square = k[:, None] ** 2 + k[: x.shape[-1] // 2 + 1].abs() ** 2
        modes = torch.fft.rfft2(x) * torch.exp(-0.5 * sigma**2 * square)
        return torch.fft.irfft2(modes, s=x.shape[2:])
    if name == "noise":
        return torch.randn(x.shape, generator=generator).to(x)
    if name == "training":
        return train_x[torch.randperm(len(train_x), generator=generator)[:N_TRAINING_BASELINES]]
    raise ValueError(f"baseline: found {name!r}, expected one of: {', '.join(BASELINES)}")
