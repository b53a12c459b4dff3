"""From the pixels of a field to the input of a network: a transform, then (x - mean) / std.

The published recipe (arXiv:2504.17839 and its code) takes the signed log10 of the whole file of
total matter in single precision, and its mean and standard deviation by ``numpy.mean`` and
``numpy.std``. Those of 4 GB are found here block by block, in double precision; the scaled maps
agree with the published ones to 1e-5 of a standard deviation.

Its signed log cannot be undone where a pixel lies between -1 and 1, and moves zero to 1. Total
matter, of 1e9 to 1e15 (Msun/h)/(Mpc/h)^2, has no such pixel. Other fields of CMD do in their units
(https://camels-multifield-dataset.readthedocs.io/en/latest/data.html): Z and MgFe without a
dimension, B in Gauss, ne in h^2/cm^3 (Mpc/h), HI far from galaxies. They keep the plain log10; what
changes with the field is the *unit*, the place that zero and negative pixels get.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cosmolib.data.arrays import checked_maps, checked_numbers, in_parallel, map_blocks

SCALINGS = ("log", "asinh", "linear")

# [(Msun/h)/(Mpc/h)^2], near the median pixel: asinh is linear through zero below it, a log above.
ASINH_SCALE = 1e11
_UNITS = {"log": 1.0, "asinh": ASINH_SCALE, "linear": 1.0}  # of total matter
_PART_PIXELS = 2**20  # read at once for the moments: 8 MB in float64
_ZERO = 0.01  # [dex] above the unit, below which `invert` returns 0: float16 rounds by less


@dataclass(frozen=True)
class Scaling:
    """How maps become the input of a network: a transform, then (x - mean) / std.

    Attributes
    ----------
    kind : {"log", "asinh", "linear"}
        "log" is log10 x where x is at least the unit u, and log10 u for smaller pixels. Negative
        pixels are mirrored about it: 2 log10 u - log10|x|. With u = 1 this is the published signed
        log. "asinh" is arcsinh(x / u), smooth through zero; "linear" is x / u.
    mean, std : float
        Of the transformed pixels that the scaling was fitted to.
    unit : float, optional
        As `fit_scaling` finds it. By default that of total matter: 1, for "asinh" `ASINH_SCALE`;
        where ``mean`` says that log10 x is negative, ten standard deviations below ``mean``.
    """

    kind: str
    mean: float
    std: float
    unit: float | None = None

    def __post_init__(self):
        if self.kind not in SCALINGS:
            raise ValueError(f"unknown scaling {self.kind!r}, expected one of {SCALINGS}")
        if self.unit is None:
            small = self.kind == "log" and self.mean < 0
            unit = 10.0 ** max(self.mean - 10 * self.std, -37) if small else _UNITS[self.kind]
            object.__setattr__(self, "unit", unit)
        if not (math.isfinite(self.mean) and 0 < self.std < math.inf and 0 < self.unit < math.inf):
            raise ValueError(
                f"a scaling needs a finite mean, std > 0 and a positive unit, found {self.mean}, "
                f"{self.std}, {self.unit}: are there NaN or infinite pixels?"
            )

    def apply(self, maps, out=None):
        """Scale maps (N, N), (n, N, N) or (n, 1, N, N) to float32 of the same shape, or into `out`.

        ``out`` may be float16, and may be ``maps`` itself.
        """
        stack, shape = checked_maps(maps)
        target = np.empty(stack.shape, np.float32) if out is None else out.reshape(stack.shape)

        def scale(block):
            target[block] = (transform(stack[block], self.kind, self.unit) - self.mean) / self.std

        in_parallel(scale, map_blocks(stack))
        return target.reshape(shape)

    def invert(self, scaled):
        """Undo `apply`, for scaled pixels of any shape; float64.

        The log cannot tell pixels smaller than the unit from zero: they come back as 0.
        """
        value = checked_numbers(scaled, "scaled pixels").astype(np.float64) * self.std + self.mean
        if self.kind == "log":
            zero = math.log10(self.unit)
            size = np.abs(value - zero)  # [dex]
            return np.where(size < _ZERO, 0.0, np.where(value < zero, -1, 1) * 10 ** (size + zero))
        return (np.sinh(value) if self.kind == "asinh" else value) * self.unit


def fit_scaling(maps, kind="log"):
    """Fit a `Scaling` to maps: the training maps, or (published) the whole file.

    Mean and std are those of the transformed maps (see `mean_and_std`), with no transformed copy of
    them. The unit of the log is 1, as published, or smaller where it must be for `Scaling.invert`:
    a decade or two below the smallest positive pixel; in maps with negative pixels, which a filter
    leaves continuous through zero, 1e-8 of the largest, which single precision does not resolve. In
    maps whose largest pixel is below 1e9, asinh turns from linear to log four decades below it.

    Parameters
    ----------
    maps : (N, N), (n, N, N) or (n, 1, N, N), floating-point, or a function with ``shape``
        The function is called with (start, stop) and returns these maps, for what does not fit into
        memory; it is called once for each part, or twice where the unit is not the usual one.
    kind : {"log", "asinh", "linear"}

    Raises
    ------
    ValueError
        If there is no map, a pixel is not finite, or `kind` is unknown.
    """
    if kind not in SCALINGS:
        raise ValueError(f"unknown scaling {kind!r}, expected one of {SCALINGS}")
    read, shape = maps, getattr(maps, "shape", None)
    if not callable(maps):
        stack, _ = checked_maps(maps)
        read, shape = (lambda start, stop: stack[start:stop]), stack.shape
    if not math.prod(shape):
        raise ValueError(f"cannot fit a scaling to no maps, found shape {shape}")
    limits = []

    def first(start, stop):
        pixels = read(start, stop)
        limits.append(_limits(pixels))
        return transform(pixels, kind, _UNITS[kind])

    (mean, std), unit = mean_and_std(first, shape), _unit(kind, limits)
    if unit != _UNITS[kind]:
        mean, std = mean_and_std(lambda a, b: transform(read(a, b), kind, unit), shape)
    # The rounding error of a constant is not a scatter: such maps scale to zero.
    return Scaling(kind, mean, std if std > 1e-6 * abs(mean) else 1.0, unit)


def scale_in_place(maps, kind, order):
    """Fit a `Scaling` to maps and apply it where they lie, without a copy.

    Parameters
    ----------
    maps : (n, N, N) float32
        Replaced by the scaled maps.
    kind : {"log", "asinh", "linear"}
    order : (m,) int
        The maps that the scaling is fitted to, in the order in which they are summed.

    Returns
    -------
    Scaling
        As `fit_scaling` of ``maps[order]``, to the last bit.
    """
    checked_maps(maps)  # before one of them is changed

    def read(start, stop):
        return maps[order[start:stop]]

    read.shape = (len(order), *maps.shape[1:])
    scaling = fit_scaling(read, kind)
    scaling.apply(maps, out=maps)
    return scaling


def _limits(pixels):
    """Smallest and largest pixel, and the smallest above zero (infinite without one)."""
    low, high = float(pixels.min()), float(pixels.max())
    return low, high, low if low > 0 else float(np.min(pixels, where=pixels > 0, initial=math.inf))


def _unit(kind, limits):
    """Unit of a `Scaling` for maps with these `_limits`, as `fit_scaling` describes it."""
    lows, highs, smallest = zip(*limits, strict=True)
    low, smallest = min(lows), min(smallest)
    largest = max(max(highs), -low)
    if not 0 < largest < math.inf:  # zero everywhere; NaN and infinities are refused by `Scaling`
        return _UNITS[kind]
    if kind == "log":
        finest = 1e-8 * largest if low < 0 else smallest / 10
        return min(1.0, _power_below(finest))
    if kind == "asinh":
        return ASINH_SCALE if largest >= 1e9 else _power_below(1e-4 * largest)
    return 1.0 if largest >= 1e-10 else _power_below(largest)  # whose square is still a float32


def _power_below(x):
    return 10.0 ** math.floor(math.log10(x))


def mean_and_std(read: Callable, shape) -> tuple[float, float]:
    """Return mean and standard deviation, in double precision, of an array that is read in parts.

    The moments of the parts are combined as in Chan, Golub & LeVeque (1983). They agree with
    ``numpy.mean`` and ``numpy.std`` of the whole array to the rounding of its precision.

    Parameters
    ----------
    read : callable
        ``read(start, stop)`` returns (stop - start, ...) of the array; called once per part.
    shape : tuple of int
        Of the whole array.
    """

    @np.errstate(invalid="ignore")  # infinite pixels are refused by `Scaling`
    def moments(part):
        values = read(part.start, part.stop).astype(np.float64)
        return values.size, values.mean(), values.var()

    parts = map_blocks(shape, _PART_PIXELS)
    sizes, means, variances = np.transpose(in_parallel(moments, parts))
    with np.errstate(invalid="ignore"):
        mean = np.average(means, weights=sizes)
        variance = np.average(variances + (means - mean) ** 2, weights=sizes)
    return float(mean), float(np.sqrt(variance))


def transform(maps, kind, unit):
    """Transform pixels as `Scaling` says, before mean and std, in their own precision."""
    if kind == "linear":
        return maps if unit == 1 else maps / unit
    if kind == "asinh":
        return np.arcsinh(maps / unit)
    if maps.min() >= unit:  # raw maps: the same numbers in one pass
        return np.log10(maps)
    maps = np.where(np.abs(maps) < unit, unit, maps)
    value = signed_log(maps)
    return value if unit == 1 else np.where(maps < 0, value + 2 * math.log10(unit), value)


def signed_log(values):
    """Return the published transform, sign(x) log10|x| with 0 moved to 1."""
    magnitude = np.log10(np.abs(np.where(values == 0, 1, values)))
    return np.where(values < 0, -magnitude, magnitude)
