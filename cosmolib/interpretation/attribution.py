"""Attribution: how much each pixel of a map moves what the network says of a parameter.

Methods of captum (Kokhlikyan et al., arXiv:2009.07896) on the network in eval mode, with respect to
its scaled input:

========================  ========================================================================
``saliency``              gradient, with its sign (Simonyan et al., arXiv:1312.6034); no baseline
``smooth_grad``           mean gradient of noisy copies (Smilkov et al., arXiv:1706.03825)
``integrated_gradients``  gradient along the line from a baseline, times the way (arXiv:1703.01365)
``gradient_shap``         the same at random points of lines from many baselines (arXiv:1705.07874)
========================  ========================================================================

The sum of the last two over a map should be f(x) - f(baseline), for ``gradient_shap`` averaged over
its baselines and only as far as a few draws allow: the *completeness error* says how well. A
baseline is what counts as "nothing there"; captum's default, zero, is here the mean log-density and
no void, so that the choice belongs beside every figure. `occlude` needs no gradient: it replaces a
region by the baseline and sees what the prediction does. A method of your own gets its name from
`register_method`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from cosmolib.data.arrays import checked_maps
from cosmolib.data.scaling import Scaling
from cosmolib.study.registry import METHODS as REGISTERED
from cosmolib.study.registry import keywords_of, register
from cosmolib.training.dataset import network_inputs
from cosmolib.training.fit import seeded
from cosmolib.training.networks import folded
from cosmolib.training.run import predict

METHODS = ("saliency", "integrated_gradients", "gradient_shap")  # of the paper
GRADIENTS = ("saliency", "smooth_grad")  # methods without a baseline
OUTPUTS = ("mean", "std")
BASELINES = ("mean_log", "uniform", "void", "blurred", "noise", "training")
N_TRAINING_BASELINES = 32
MAX_RAISES = 3  # of the steps of Integrated Gradients, each to three times as many

# Pixels at once, with the steps or samples of each map counted. Measured on two cores with 64 x 64
# maps: 32 of them fit the cache, eight times as many take half as long again.
CPU_PIXELS = 2**17
GPU_PIXELS = 2**22


@dataclass(frozen=True, eq=False)
class Attribution:
    """Attributions of some maps, in units of the normalised parameter."""

    values: np.ndarray  # (B, N, N) float32; of gradients: a unit of scaled input
    completeness: np.ndarray | None  # (B,) relative error; None without a baseline
    n_steps: np.ndarray | None  # (B,) steps that each map took; None but for integrated_gradients
    method: str
    target: int
    output: str


@dataclass(frozen=True)
class _Registered:
    """A user's function and what it asks for."""

    function: Callable
    asked: tuple[str, ...]


def register_method(name: str):
    """Give an attribution a name, for `attribute` and all that calls it: a decorator.

    Parameters
    ----------
    name : str
        Small letters, digits and _.

    Returns
    -------
    callable
        Takes, and gives back, a function ``(forward, x, target)``: ``forward(maps)`` is the chosen
        output (b, P) of scaled maps (b, 1, N, N), and x (b, 1, N, N) some of the maps, on the
        device; it returns the attribution of output ``target``, of the shape of x. After ``*`` it
        may ask for ``n_steps``, ``n_samples`` and ``stdevs``, and for the ``baseline`` of each map,
        of the shape of x. One that asks for it should return shares of f(x) - f(baseline), and its
        completeness is measured; one that does not, a sensitivity, as a gradient is.

    Raises
    ------
    ValueError
        The name is none or taken (see `cosmolib.study.registry`), or the function asks for
        something else.
    """

    def decorate(function):
        _, asked = keywords_of(function, 3, ("baseline", "n_steps", "n_samples", "stdevs"))
        register("method", name, _Registered(function, asked), own=(*METHODS, *GRADIENTS))
        return function

    return decorate


def takes_baseline(method: str) -> bool:
    """Whether a method shares out f(x) - f(baseline); else it is a sensitivity, like a gradient."""
    if method in REGISTERED:
        return "baseline" in REGISTERED[method].asked
    return method not in GRADIENTS


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
        ``mean, std = network(x)``; explained in eval mode, where it stands.
    x : (B, 1, N, N)
        Scaled maps: a tensor, an array or maps on disk, see
        `cosmolib.training.dataset.network_inputs`.
    method : str
        "saliency", "smooth_grad", "integrated_gradients", "gradient_shap", or one of
        `register_method`.
    target : int
        Column of the parameter among the network's targets.
    output : {"mean", "std"}
    baseline : optional
        Scaled maps like x, of `make_baseline`. For ``integrated_gradients`` (1 or B, 1, N, N); for
        ``gradient_shap`` (M, 1, N, N), each draw takes one of the M. Not used by gradients;
        required else. For a registered method that asks for it as for ``integrated_gradients``.
    n_steps : int
        Points of the path, the middles of equal parts. The networks bend at their rectifiers: on
        maps of Lite the error falls as that of captum's Gauss-Legendre points or faster, and three
        times as many points keep the old ones.
    tolerance : float, optional
        Triple the steps of the maps whose completeness error is larger, up to `MAX_RAISES` times.
    n_samples : int
        Draws of ``gradient_shap`` or ``smooth_grad`` for each map.
    stdevs : float
        Of the Gaussian noise that these add to x, in units of the scaled input; above zero for
        ``smooth_grad``.
    internal_batch_size : int, optional
        Maps at once, steps or samples of each counted: bounds memory, not the result (but for what
        is drawn for which map). By default as many as have `CPU_PIXELS` or `GPU_PIXELS`.
    seed : int
        Of the draws; numpy's and torch's global states are left alone.

    Returns
    -------
    Attribution

    Raises
    ------
    ValueError
        Unknown method or output, target out of range, no noise for ``smooth_grad``, or a baseline
        that is missing or does not fit; a pixel is not finite.
    """
    x, baseline = _check(network, x, method, target, output, baseline, stdevs)
    device = next(network.parameters()).device
    fast = folded(network, x[:1].to(device))

    def forward(maps):
        return fast(maps)[OUTPUTS.index(output)]  # (B, P)

    at_once = internal_batch_size or _maps_at_once(x, device)
    way = None
    if takes_baseline(method):
        at_x, at_baseline = (
            predict(fast, maps, device=device)[OUTPUTS.index(output)][:, target].astype(float)
            for maps in (x, baseline)
        )
        way = at_x - (at_baseline.mean() if method == "gradient_shap" else at_baseline)
    steps = None
    with seeded(seed, device.type), _seeded_numpy(seed):
        if method == "integrated_gradients":
            values, steps = _integrate(
                forward, x, baseline, target, device, at_once, n_steps, tolerance, way
            )
        elif method in REGISTERED:
            offered = {"n_steps": n_steps, "n_samples": n_samples, "stdevs": stdevs}
            values = _of_registered(forward, x, method, target, baseline, device, at_once, offered)
        else:
            each = 1 if method == "saliency" else n_samples
            options = {"target": target, "n_samples": n_samples, "stdevs": stdevs}
            values = np.concatenate(
                [
                    _draw(forward, part.to(device), method, baseline, **options)
                    for part in x.split(max(1, at_once // each))
                ]
            )
    completeness = None if way is None else _completeness(values, way)
    return Attribution(values, completeness, steps, method, target, output)


def _completeness(values, way):
    """Error of the sum of each map, relative to the way that it should be."""
    error = np.abs(values.sum((1, 2), dtype=np.float64) - way)
    return error / np.maximum(np.abs(way), np.finfo(np.float32).tiny)


def _of_registered(forward, x, method, target, baseline, device, at_once, offered):
    """Attribution (B, N, N) of a registered method, batch by batch."""
    own = REGISTERED[method]
    options = {key: offered[key] for key in own.asked if key != "baseline"}
    ends = [x] if "baseline" not in own.asked else [x, baseline.expand(len(x), -1, -1, -1)]
    parts = []
    for maps, *others in zip(*(end.split(at_once) for end in ends), strict=True):
        if others:
            options["baseline"] = others[0].to(device)
        found = own.function(forward, maps.to(device), target, **options)
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


def _draw(forward, x, method, baseline, target, n_samples, stdevs):
    """One batch of a method that takes one gradient, or one a draw, (B, N, N)."""
    attr = _captum()
    x = x.clone().requires_grad_()  # captum would set it on the caller's tensor, and warn
    if method == "gradient_shap":
        options = {"baselines": baseline.to(x.device), "n_samples": n_samples, "stdevs": stdevs}
        found = attr.GradientShap(forward).attribute(x, target=target, **options)
    else:
        found, options = attr.Saliency(forward), {}
        if method == "smooth_grad":
            found = attr.NoiseTunnel(found)
            options = {"nt_type": "smoothgrad", "nt_samples": n_samples, "stdevs": stdevs}
        found = found.attribute(x, target=target, abs=False, **options)
    return found.detach().cpu().float()[:, 0].numpy()


def _integrate(forward, x, baseline, target, device, at_once, n_steps, tolerance, way):
    """Integrated gradients by the midpoint rule, (B, N, N), and the steps that each map took.

    n points at (i + 1/2) / n become 3 n by two more sets, shifted by a third of a step either way:
    captum's own rule on the line moved by as much.
    """
    integrator = _captum().IntegratedGradients(forward)
    baseline = baseline.expand(len(x), -1, -1, -1)

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
                # The steps of a single map can be too many as well.
                internal_batch_size=at_once if points > at_once else None,
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


@torch.no_grad()
def occlude(
    network: torch.nn.Module,
    x: torch.Tensor,
    regions,
    target: int,
    *,
    baseline: torch.Tensor,
    output: str = "mean",
) -> np.ndarray:
    """Replace one region of each map after the other by the baseline: what does the output lose?

    No gradient is asked, so that it checks those that are. A region of two pixels that the network
    needs only one of counts little, and what two regions do together is in neither.

    Parameters
    ----------
    network, x, target, output
        As in `attribute`.
    regions : (1 or B, N, N) int
        Region of each pixel, from 0; below zero in none.
    baseline : (1 or B, 1, N, N)

    Returns
    -------
    (B, R) float64
        f(x) - f(x without the region), in units of the normalised parameter; 0 where a map has none
        of it.
    """
    x, baseline = _check(network, x, "integrated_gradients", target, output, baseline, 0.0)
    regions = torch.from_numpy(checked_maps(regions, "regions", "iu")[0].astype(np.int64))
    if regions.shape[1:] != x.shape[2:] or len(regions) not in (1, len(x)):
        expected = f"1 or {len(x)} of {tuple(x.shape[2:])}"
        raise ValueError(f"regions: found shape {tuple(regions.shape)}, expected {expected}")
    device = next(network.parameters()).device
    fast = folded(network, x[:1].to(device))
    count = int(regions.max()) + 1
    at_once = _maps_at_once(x, device)
    lost = np.empty((len(x), count))
    column = OUTPUTS.index(output)
    for one, (a, b, r) in enumerate(
        zip(x, baseline.expand(len(x), -1, -1, -1), regions.expand(len(x), -1, -1), strict=True)
    ):
        a, b, r = (tensor.to(device) for tensor in (a, b, r))
        inside = r == torch.arange(count, device=device)[:, None, None]  # (R, N, N)
        hidden = torch.where(inside[:, None], b, a)  # (R, 1, N, N)
        outputs = [fast(part)[column][:, target] for part in hidden.split(at_once)]
        lost[one] = (fast(a[None])[column][:, target] - torch.cat(outputs)).cpu()
    return lost


def patches(grid: int, size: int) -> np.ndarray:
    """Square patches of `size` pixels as regions of `occlude`, (1, N, N), row by row."""
    place = np.arange(grid) // size
    return (place[:, None] * (place[-1] + 1) + place)[None]


def _maps_at_once(x, device):
    return max(1, (CPU_PIXELS if device.type == "cpu" else GPU_PIXELS) // x.shape[-1] ** 2)


def _captum():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about packages of its own that are not installed
        import captum.attr
    return captum.attr


def _check(network, x, method, target, output, baseline, stdevs):
    """Check what `attribute` is given; return x and the baseline as a network takes them."""
    x = network_inputs(x)
    known = dict.fromkeys((*METHODS, *GRADIENTS, *REGISTERED))
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
        each map smoothed. "noise": white noise with the mean and scatter of the training pixels,
        a map each: no structure. "training": random training maps; needs `train_x`.
    x : (B, 1, N, N)
        Scaled maps to be explained, as `attribute` takes them.
    scaling : Scaling
    train_x : (n, 1, N, N)
        The same of the training.
    sigma : float
        Of the Gaussian of "blurred" [pixels]; by default an eighth of the side.
    seed : int
        Of "noise" and of the choice of "training".

    Returns
    -------
    (1, 1, N, N), (B, 1, N, N) or (M, 1, N, N)
    """
    x = network_inputs(x)
    train_x = None if train_x is None else network_inputs(train_x, "train_x")
    if name == "mean_log":
        return torch.zeros_like(x[:1])
    if name == "uniform":
        _needed(name, "scaling", scaling)
        mean = scaling.invert(x).mean((2, 3), keepdims=True)  # (B, 1, 1, 1)
        return torch.from_numpy(scaling.apply(np.broadcast_to(mean, x.shape))).to(x.device)
    if name == "void":
        return torch.full_like(x[:1], float((x if train_x is None else train_x).min()))
    if name == "blurred":
        sigma = x.shape[-1] / 8 if sigma is None else sigma
        k = 2 * torch.pi * torch.fft.fftfreq(x.shape[-1], device=x.device)  # [1/pixel]
        square = k[:, None] ** 2 + k[: x.shape[-1] // 2 + 1].abs() ** 2
        modes = torch.fft.rfft2(x) * torch.exp(-0.5 * sigma**2 * square)
        return torch.fft.irfft2(modes, s=x.shape[2:])
    generator = torch.Generator().manual_seed(seed)
    if name == "noise":
        return torch.randn(x.shape, generator=generator).to(x)
    if name == "training":
        _needed(name, "train_x", train_x)
        return train_x[torch.randperm(len(train_x), generator=generator)[:N_TRAINING_BASELINES]]
    raise ValueError(f"baseline: found {name!r}, expected one of: {', '.join(BASELINES)}")


def _needed(name, key, value):
    if value is None:
        raise ValueError(f"baseline {name!r}: found no {key}, expected one")
