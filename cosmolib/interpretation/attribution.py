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

import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from cosmolib.data.scaling import Scaling
from cosmolib.study.registry import METHODS as REGISTERED
from cosmolib.study.registry import keywords_of, register
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


@dataclass(frozen=True)
class _Method:
    """A function ``(forward, x, target)`` and the keyword arguments that it takes."""

    function: Callable
    asked: tuple[str, ...]


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
        _, asked = keywords_of(function, 3, ("baseline", "n_steps", "n_samples", "stdevs"))
        own = ("integrated_gradients", *_BUILT_IN)
        register("method", name, _Method(function, asked), own=own)
        return function

    return decorate


def _saliency(forward, x, target):
    return _captum().Saliency(forward).attribute(x, target=target, abs=False)


def _smooth_grad(forward, x, target, *, n_samples, stdevs):
    attr = _captum()
    return attr.NoiseTunnel(attr.Saliency(forward)).attribute(
        x, nt_type="smoothgrad", nt_samples=n_samples, stdevs=stdevs, target=target, abs=False
    )


def _gradient_shap(forward, x, target, *, baseline, n_samples, stdevs):
    return (
        _captum()
        .GradientShap(forward)
        .attribute(x, baselines=baseline, n_samples=n_samples, stdevs=stdevs, target=target)
    )


_BUILT_IN = {
    "saliency": _Method(_saliency, ()),
    "smooth_grad": _Method(_smooth_grad, ("n_samples", "stdevs")),
    "gradient_shap": _Method(_gradient_shap, ("baseline", "n_samples", "stdevs")),
}


def _captum():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about optional packages that are not installed
        import captum.attr
    return captum.attr


def takes_baseline(method: str) -> bool:
    """Whether a method shares out f(x) - f(baseline); else it is a sensitivity, like a gradient."""
    return method == "integrated_gradients" or "baseline" in _method(method).asked


def _method(name):
    return REGISTERED[name] if name in REGISTERED else _BUILT_IN[name]


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

    def forward(maps):
        return fast(maps)[column]  # (B, P)

    at_once = internal_batch_size or maps_at_once(x, device)
    way = None
    if takes_baseline(method):
        at_x, at_baseline = (
            run_network(fast, maps, device=device)[column][:, target].double().numpy()
            for maps in (x, baseline)
        )
        way = at_x - (at_baseline.mean() if method == "gradient_shap" else at_baseline)
        if method != "gradient_shap":
            baseline = baseline.expand(len(x), -1, -1, -1)
    steps = None
    with seeded(seed, device.type), _seeded_numpy(seed):
        if method == "integrated_gradients":
            values, steps = _integrate(
                forward, x, baseline, target, device, at_once, n_steps, tolerance, way
            )
        else:
            offered = {"n_steps": n_steps, "n_samples": n_samples, "stdevs": stdevs}
            values = _in_batches(forward, x, method, target, baseline, device, at_once, offered)
    completeness = None if way is None else _completeness(values, way)
    return Attribution(values, completeness, steps)


def _completeness(values, way):
    """Error of each map's sum, relative to the difference that it should equal."""
    error = np.abs(values.sum((1, 2), dtype=np.float64) - way)
    return error / np.maximum(np.abs(way), np.finfo(np.float32).tiny)


def _in_batches(forward, x, method, target, baseline, device, at_once, offered):
    """Attribution (B, N, N) of a method that is a function of a batch of maps."""
    own = _method(method)
    options = {key: offered[key] for key in own.asked if key != "baseline"}
    if method in ("smooth_grad", "gradient_shap"):
        at_once = max(1, at_once // offered["n_samples"])
    parts = []
    for start in range(0, len(x), at_once):
        batch = slice(start, start + at_once)
        maps = x[batch].to(device)
        if "baseline" in own.asked:
            per_map = baseline if method == "gradient_shap" else baseline[batch]
            options["baseline"] = per_map.to(device)
        if method in _BUILT_IN:  # captum would set it on the caller's tensor, and warn
            maps = maps.clone().requires_grad_()
        found = own.function(forward, maps, target, **options)
        if not isinstance(found, torch.Tensor) or found.shape != maps.shape:
            shape = tuple(found.shape) if hasattr(found, "shape") else ""
            raise ValueError(
                f"method {method!r}: found a {type(found).__name__} {shape} from its function, "
                f"expected a tensor {tuple(maps.shape)}"
            )
        if not found.isfinite().all():
            raise ValueError(f"method {method!r}: found values that are not finite")
        parts.append(found.detach().cpu().float()[:, 0])
    return torch.cat(parts).numpy()


def _integrate(forward, x, baseline, target, device, at_once, n_steps, tolerance, way):
    """Integrated gradients by the midpoint rule, (B, N, N), and the steps that each map took.

    n points at (i + 1/2) / n become 3 n by two more sets, shifted by a third of a step either way:
    captum's own rule on the line shifted by as much.
    """
    integrator = _captum().IntegratedGradients(forward)

    def middles(which, points, shift):
        parts = []
        for chosen in which.split(max(1, at_once // points)):
            ends = [maps[chosen].to(device) for maps in (x, baseline)]
            moved = shift * (ends[0] - ends[1])
            found = integrator.attribute(
                (ends[0] + moved).requires_grad_(),
                baselines=ends[1] + moved,
                target=target,
                n_steps=points,
                method="riemann_middle",
                internal_batch_size=at_once if points > at_once else None,  # one map is too many
            )
            parts.append(found.detach().cpu().float()[:, 0])
        return torch.cat(parts).numpy()

    values = middles(torch.arange(len(x)), n_steps, 0.0)
    steps = np.full(len(x), n_steps)
    for _ in range(MAX_RAISES if tolerance is not None else 0):
        open_ = np.flatnonzero(_completeness(values, way) > tolerance)
        if not len(open_):
            break
        points = int(steps[open_[0]])  # all that are still open have been raised as often
        shift, which = 1 / (3 * points), torch.from_numpy(open_)
        sides = [middles(which, points, sign * shift) for sign in (-1, 1)]
        values[open_] = (values[open_] + sides[0] + sides[1]) / 3
        steps[open_] *= 3
    return values, steps


def maps_at_once(x, device) -> int:
    """Number of maps in a batch of `CPU_PIXELS` or `GPU_PIXELS`, at least one."""
    return max(1, (CPU_PIXELS if device.type == "cpu" else GPU_PIXELS) // x.shape[-1] ** 2)


def _check(network, x, method, target, output, baseline, stdevs):
    """Check the arguments of `attribute`; return x and the baseline as a network takes them."""
    x = network_inputs(x)
    known = dict.fromkeys((*METHODS, *_BUILT_IN, *REGISTERED))
    if method not in known:
        raise ValueError(f"method: found {method!r}, expected one of: {', '.join(known)}")
    if output not in OUTPUTS:
        raise ValueError(f"output: found {output!r}, expected one of: {', '.join(OUTPUTS)}")
    if not 0 <= target < network.n_parameters:
        raise ValueError(f"target: found {target}, expected 0 to {network.n_parameters - 1}")
    if method == "smooth_grad" and not stdevs > 0:
        raise ValueError(f"smooth_grad: found noise of stdevs={stdevs}, expected more than 0")
    if not takes_baseline(method):
        return x, None
    counts = "any number" if method == "gradient_shap" else f"1 or {len(x)}"
    expected = f"{counts} of maps {tuple(x.shape[1:])}, see make_baseline"
    if baseline is None:
        raise ValueError(f"{method}: found no baseline, expected {expected}")
    baseline = network_inputs(baseline, "baseline")
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


def make_baseline(
    name: str,
    x: torch.Tensor,
    *,
    scaling: Scaling | None = None,
    train_x: torch.Tensor | None = None,
    seed: int = 0,
) -> torch.Tensor:
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
    scaling : Scaling
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
