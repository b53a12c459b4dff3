"""Attribution: how much each pixel of a map contributes to the parameter that a network predicts.

The methods are those of captum (Kokhlikyan et al., arXiv:2009.07896). They explain the network in
eval mode, with respect to its scaled input:

========================  ========================================================================
``saliency``              gradient, with its sign (Simonyan et al., arXiv:1312.6034); no baseline
``smooth_grad``           mean gradient over noisy copies (Smilkov et al., arXiv:1706.03825)
``integrated_gradients``  mean gradient on the line from a baseline to the map, times the difference
                          of the two (Sundararajan et al., arXiv:1703.01365)
``gradient_shap``         the same at random points of lines from many baselines (arXiv:1705.07874)
========================  ========================================================================

The last two should sum over a map to f(x) - f(baseline), which the *completeness error* measures;
``gradient_shap`` does so only for the mean over its baselines and in the limit of many draws. The
baseline represents an empty map. Captum's default, zero, is the mean log-density here and not a
void, so every figure must name its baseline. `register_method` adds a method.
"""

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from cosmolib.data.arrays import bad_input
from cosmolib.study import registry
from cosmolib.training.dataset import network_inputs
from cosmolib.training.fit import run_network, seeded
from cosmolib.training.networks import fused

METHODS = ("saliency", "integrated_gradients", "gradient_shap")  # used in the paper
OUTPUTS = ("mean", "std")
BASELINES = {  # labels in tables and figures
    "mean_log": "mean log-density",
    "uniform": "uniform, own mean",
    "void": "deepest void",
    "blurred": "blurred map",
    "noise": "white noise",
    "training": "training maps",
}
N_TRAINING_BASELINES = 32
MAX_RAISES = 3  # how often the steps of Integrated Gradients are tripled at most

# Pixels per batch, counting the steps or samples of each map. On two cores, 32 maps of 64 x 64
# pixels fit into the cache; batches eight times as large take 1.5 times as long.
CPU_PIXELS = 2**17
GPU_PIXELS = 2**22


@dataclass(frozen=True, eq=False)
class Attribution:
    """Attributions of some maps, in units of the normalised parameter."""

    values: np.ndarray  # (B, N, N) float32; gradients are per unit of the scaled input
    completeness: np.ndarray | None  # (B,) relative error; None without a baseline
    n_steps: np.ndarray | None  # (B,) steps of each map; only for integrated_gradients


def register_method(name: str):
    """Register an attribution method under a name for `attribute` and the chapters.

    Parameters
    ----------
    name : str
        Lower-case letters, digits and _.

    Returns
    -------
    callable
        Decorator for a function ``(forward, x, target)``. ``forward(maps)`` returns the explained
        output (b, P) of scaled maps (b, 1, N, N), and x (b, 1, N, N) contains some of the maps. The
        function returns the attribution of the parameter ``target``, with the shape of x. It can
        have the keyword-only arguments ``n_steps``, ``n_samples``, ``stdevs`` and ``baseline``
        (with one map for each map of x). With a baseline it should distribute f(x) - f(baseline)
        over the pixels, and the completeness is measured; without one it returns a sensitivity,
        like a gradient.

    Raises
    ------
    ValueError
        The name is invalid or taken (see `cosmolib.study.registry`), or the function has other
        arguments.
    """

    def decorate(function):
        _, asked = registry.keywords_of(function, 3, ("baseline", "n_steps", "n_samples", "stdevs"))
        registry.register("method", name, (function, asked, None), own=_BUILT_IN)
        return function

    return decorate


def _captum(forward, x, target, *, name, baseline=None, **options):
    """Apply a method of captum that is called by its class ``name``."""
    from captum import attr

    if baseline is not None:
        options["baselines"] = baseline
    return getattr(attr, name)(forward).attribute(x, target=target, **options)


def _smooth_grad(forward, x, target, n_samples, stdevs):
    from captum.attr import NoiseTunnel, Saliency

    options = {"nt_samples": n_samples, "stdevs": stdevs, "target": target, "abs": False}
    return NoiseTunnel(Saliency(forward)).attribute(x, nt_type="smoothgrad", **options)


_SIZE = "internal_batch_size"
_PATH = partial(_captum, name="IntegratedGradients", method="riemann_middle")
_SHAP = partial(_captum, name="GradientShap")
_BUILT_IN = {  # function, its keyword arguments, and the one that counts copies of each map
    "saliency": (partial(_captum, name="Saliency", abs=False), (), None),
    "smooth_grad": (_smooth_grad, ("n_samples", "stdevs"), "n_samples"),
    "integrated_gradients": (_PATH, ("baseline", "n_steps", _SIZE), "n_steps"),
    "gradient_shap": (_SHAP, ("baseline", "n_samples", "stdevs"), "n_samples"),
}


def _methods():
    return _BUILT_IN | registry.METHODS


def takes_baseline(method: str) -> bool:
    """Return whether a method distributes f(x) - f(baseline); otherwise it is a sensitivity."""
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
    seed: int = 0,
) -> Attribution:
    """Attribute one output of a network to the pixels of its input.

    Parameters
    ----------
    network : torch.nn.Module
        ``mean, std = network(x)``; it is explained in eval mode on its own device.
    x : (B, 1, N, N)
        Scaled maps, see `cosmolib.training.dataset.network_inputs`.
    method : str
        "saliency", "smooth_grad", "integrated_gradients", "gradient_shap", or a name from
        `register_method`.
    target : int
        Column of the parameter among the targets of the network.
    output : {"mean", "std"}
    baseline : optional
        Scaled maps from `make_baseline`, (1 or B, 1, N, N). ``gradient_shap`` takes any number of
        maps and draws from them. Methods without a baseline ignore it; all others require it.
    n_steps : int
        Points on the path, at the centres of equal intervals. The networks are piecewise linear, so
        that on maps of Lite the error decreases at least as fast as with captum's Gauss-Legendre
        points; and tripling the number keeps the points that were already computed.
    tolerance : float, optional
        Triple the steps of all maps with a larger completeness error, up to `MAX_RAISES` times.
    n_samples : int
        Draws of ``gradient_shap`` or ``smooth_grad`` per map.
    stdevs : float
        Standard deviation of their Gaussian noise, in units of the scaled input; above zero for
        ``smooth_grad``.
    seed : int
        Seed of the draws. The global random states are restored.

    Raises
    ------
    ValueError
        An argument is unknown, out of range or missing, or a pixel is not finite.
    """
    x = network_inputs(x)
    known = {"method": _methods(), "output": OUTPUTS, "target": range(network.n_parameters)}
    for name, found in (("method", method), ("output", output), ("target", target)):
        if found not in known[name]:
            raise bad_input(name, repr(found), f"one of: {', '.join(map(str, known[name]))}")
    if method == "smooth_grad" and not stdevs > 0:
        raise bad_input(method, f"stdevs={stdevs}", "more than 0")
    many = method == "gradient_shap"
    baseline = _checked_baseline(baseline, x, method, many) if takes_baseline(method) else None
    device = next(network.parameters()).device
    fast, column = fused(network), OUTPUTS.index(output)
    settings = {"n_samples": n_samples, "stdevs": stdevs, _SIZE: maps_at_once(x, device)}

    def forward(maps):
        return fast(maps)[column]  # (B, P)

    difference = steps = None
    if baseline is not None:
        outputs = (run_network(fast, maps, device=device)[column] for maps in (x, baseline))
        at_x, at_baseline = (found[:, target].double().numpy() for found in outputs)
        difference = at_x - (at_baseline.mean() if many else at_baseline)
        baseline = baseline if many else baseline.expand_as(x)
    explain = partial(_in_batches, forward, method, target, device, settings)
    with seeded(seed, device.type), _seeded_numpy(seed):
        values = explain(x, baseline, n_steps)
        if method == "integrated_gradients":
            steps = np.full(len(x), n_steps)
            if tolerance is not None:
                _raise_steps(explain, x, baseline, values, steps, difference, tolerance)
    completeness = None if difference is None else _completeness(values, difference)
    return Attribution(values, completeness, steps)


def _checked_baseline(baseline, x, method, many):
    """Return the baseline of a method that requires one, as network inputs."""
    counts = "any number" if many else f"1 or {len(x)}"
    expected = f"{counts} of maps {tuple(x.shape[1:])}, see make_baseline"
    if baseline is None:
        raise bad_input(method, "no baseline", expected)
    baseline = network_inputs(baseline, "baseline").to(x.device)
    if baseline.shape[1:] != x.shape[1:] or not (many or len(baseline) in (1, len(x))):
        raise bad_input(method, f"a baseline {tuple(baseline.shape)}", expected)
    return baseline


def _raise_steps(explain, x, baseline, values, steps, difference, tolerance):
    """Triple the steps of the maps that are not complete, in place.

    The n points at (i + 1/2) / n become 3 n points by two further sets, which are shifted by a
    third of a step in either direction. Each set is captum's rule on a shifted line.
    """
    for _ in range(MAX_RAISES):
        open_ = np.flatnonzero(_completeness(values, difference) > tolerance)
        if not len(open_):
            return
        points = int(steps[open_[0]])  # all of these maps have the same number of steps
        ends = x[open_], baseline[open_]
        shift = (ends[0] - ends[1]) * (1 / (3 * points))
        sides = [explain(*(end + sign * shift for end in ends), points) for sign in (-1, 1)]
        values[open_] = (values[open_] + sides[0] + sides[1]) / 3
        steps[open_] *= 3


def _completeness(values, difference):
    """Return the error of the sum over each map, relative to the exact difference."""
    error = np.abs(values.sum((1, 2), dtype=np.float64) - difference)
    return error / np.maximum(np.abs(difference), np.finfo(np.float32).tiny)


def _in_batches(forward, method, target, device, settings, x, baseline, n_steps):
    """Return the attribution (B, N, N) by a method, computed in batches of maps."""
    function, asked, copies = _methods()[method]
    settings = settings | {"n_steps": n_steps}
    size = max(1, settings[_SIZE] // settings.get(copies, 1))
    options = {key: settings[key] for key in asked if key != "baseline"}
    parts = []
    for batch in torch.arange(len(x)).split(size):
        maps = x[batch].to(device)
        if "baseline" in asked:
            chosen = baseline if method == "gradient_shap" else baseline[batch]
            options["baseline"] = chosen.to(device)
        if method in _BUILT_IN:  # captum would set it on the caller's tensor and warn
            maps = maps.clone().requires_grad_()
        found = function(forward, maps, target, **options)
        if not isinstance(found, torch.Tensor) or found.shape != maps.shape:
            kind = f"a {type(found).__name__} {tuple(getattr(found, 'shape', ()))}"
            expected = f"a tensor {tuple(maps.shape)}"
            raise bad_input(f"method {method!r}", f"{kind} from its function", expected)
        if not found.isfinite().all():
            raise ValueError(f"method {method!r}: found values that are not finite")
        parts.append(found.detach().cpu().float()[:, 0])
    return torch.cat(parts).numpy()


def maps_at_once(x, device) -> int:
    """Return the number of maps in a batch of `CPU_PIXELS` or `GPU_PIXELS`, at least one."""
    return max(1, (CPU_PIXELS if device.type == "cpu" else GPU_PIXELS) // x.shape[-1] ** 2)


@contextmanager
def _seeded_numpy(seed):
    """Seed the global random state of numpy, which GradientShap uses, and restore it."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def make_baseline(name: str, x, *, scaling=None, train_x=None, seed: int = 0) -> torch.Tensor:
    """Return a baseline by its name, scaled like x.

    Parameters
    ----------
    name : str
        "mean_log": zero, the mean log-density of the training pixels. "uniform": the mean density
        of each map in all of its pixels; requires `scaling`. "void": the lowest density of the
        training maps (or of x) everywhere. "blurred": each map, smoothed with an eighth of its
        side. "noise": white noise with the mean and scatter of the training pixels, one map for
        each map of x. "training": random training maps; requires `train_x`.
    x : (B, 1, N, N)
        Scaled maps to explain.
    scaling : cosmolib.data.scaling.Scaling
    train_x : (n, 1, N, N)
        Scaled training maps.
    seed : int
        Seed of "noise" and "training".

    Returns
    -------
    (1, 1, N, N), (B, 1, N, N) or (M, 1, N, N)
    """
    x = network_inputs(x)
    train_x = None if train_x is None else network_inputs(train_x, "train_x")
    for needs, key, value in (("uniform", "scaling", scaling), ("training", "train_x", train_x)):
        if name == needs and value is None:
            raise bad_input(f"baseline {name!r}", f"no {key}", "one")
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
    raise bad_input("baseline", repr(name), f"one of: {', '.join(BASELINES)}")
