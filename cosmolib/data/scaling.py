"""Scale the pixels of a field to the input of a network: a transform, then (x - mean) / std.

The published recipe (arXiv:2504.17839 and its code) takes the signed log10 of the whole file of
total matter in single precision, and ``numpy.mean`` and ``numpy.std`` of the result. Here mean and
standard deviation are computed in blocks and in double precision; the scaled maps agree with the
published ones to 1e-5 of a standard deviation.

The signed log moves zero to 1 and cannot be inverted for pixels between -1 and 1. Maps of total
matter, with 1e9 to 1e15 (Msun/h)/(Mpc/h)^2, have no such pixel, but other fields of CMD do in their
units (https://camels-multifield-dataset.readthedocs.io/en/latest/data.html): Z and MgFe without a
dimension, B in Gauss, ne in h^2/cm^3 (Mpc/h), HI far from galaxies. They are scaled with the plain
log10 and a smaller *unit*, the value at which zero and negative pixels are placed.
"""

import math
from dataclasses import dataclass

import numpy as np

from cosmolib.data.arrays import checked_maps, checked_numbers, in_parallel, map_blocks

# [(Msun/h)/(Mpc/h)^2], near the median pixel: asinh is linear below it and logarithmic above.
ASINH_SCALE = 1e11
_UNITS = {"log": 1.0, "asinh": ASINH_SCALE, "linear": 1.0}  # by kind, for total matter
_PART_PIXELS = 2**20  # read at once to compute the moments: 8 MB in float64
_ZERO = 0.01  # [dex] pixels this close to the unit are inverted to 0; float16 rounds by less


@dataclass(frozen=True)
class Scaling:
    """Convert maps to the input of a network: a transform, then (x - mean) / std.

    Attributes
    ----------
    kind : {"log", "asinh", "linear"}
        "log" is log10 x for pixels of at least the unit u, and log10 u for smaller ones. Negative
        pixels are mirrored about it: 2 log10 u - log10|x|. With u = 1 this is the published signed
        log. "asinh" is arcsinh(x / u), which is smooth through zero; "linear" is x / u.
    mean, std : float
        Moments of the transformed pixels.
    unit : float
        As determined by `fit_scaling`.
    """

    kind: str
    mean: float
    std: float
    unit: float = 1.0

    def __post_init__(self):
        if self.kind not in _UNITS:
            raise ValueError(f"unknown scaling {self.kind!r}, expected one of {[*_UNITS]}")
        if not (math.isfinite(self.mean) and 0 < self.std < math.inf and 0 < self.unit < math.inf):
            found = f"found {self.mean}, {self.std}, {self.unit}: are there NaN or infinite pixels?"
            raise ValueError(f"a scaling needs a finite mean, std > 0 and a positive unit, {found}")

    def apply(self, maps, out=None):
        """Scale maps (N, N), (n, N, N) or (n, 1, N, N) to float32, in the same shape.

        The result is written to ``out`` if it is given. ``out`` may be float16, and may be ``maps``
        itself.
        """
        stack, shape = checked_maps(maps)
        target = np.empty(stack.shape, np.float32) if out is None else out.reshape(stack.shape)

        def scale(block):
            target[block] = (transform(stack[block], self.kind, self.unit) - self.mean) / self.std

        in_parallel(scale, map_blocks(stack))
        return target.reshape(shape)

    def invert(self, scaled):
        """Convert scaled pixels of any shape back to the field, in float64.

        The log does not distinguish pixels smaller than the unit from zero: they become 0.
        """
        value = checked_numbers(scaled, "scaled pixels").astype(np.float64) * self.std + self.mean
        if self.kind == "log":
            zero = math.log10(self.unit)
            size = np.abs(value - zero)  # [dex]
            return np.where(size < _ZERO, 0.0, np.where(value < zero, -1, 1) * 10 ** (size + zero))
        return (np.sinh(value) if self.kind == "asinh" else value) * self.unit


def fit_scaling(maps, kind="log", order=None):
    """Fit a `Scaling` to maps: to the training maps, or to the whole file as published.

    Mean and std are those of the transformed maps, which are not stored. The unit of the log is 1,
    as published, unless `Scaling.invert` needs a smaller one: one to two decades below the smallest
    positive pixel. In maps with negative pixels, which a filter makes continuous through zero, it
    is 1e-8 of the largest pixel, below the resolution of single precision. If the largest pixel is
    below 1e9, asinh turns from linear to logarithmic four decades below it.

    Parameters
    ----------
    maps : (N, N), (n, N, N) or (n, 1, N, N), floating-point, or a function with ``shape``
        For maps that do not fit into memory: a function that returns the maps from ``start`` to
        ``stop``. It is called once per part, or twice if the unit differs from that of total
        matter.
    kind : {"log", "asinh", "linear"}
    order : (m,) int, optional
        Maps to fit if `maps` is an array, in the order of summation; by default all. The other
        maps are checked as well.

    Raises
    ------
    ValueError
        There is no map, a pixel is not finite, or `kind` is unknown.
    """
    read, shape = maps, getattr(maps, "shape", None)
    if not callable(maps):
        stack, _ = checked_maps(maps)
        order = np.arange(len(stack)) if order is None else order
        read, shape = (lambda start, stop: stack[order[start:stop]]), (len(order), *stack.shape[1:])
    Scaling(kind, 0.0, 1.0)  # raises an error for an unknown kind
    limits = []

    def first(start, stop):
        pixels = read(start, stop)
        positive = np.min(pixels, where=pixels > 0, initial=math.inf)
        limits.append((float(pixels.min()), float(pixels.max()), float(positive)))
        return transform(pixels, kind, _UNITS[kind])

    (mean, std), unit = mean_and_std(first, shape), _unit(kind, limits)
    if unit != _UNITS[kind]:
        mean, std = mean_and_std(lambda a, b: transform(read(a, b), kind, unit), shape)
    # Constant maps have a std of rounding errors only; they are scaled to zero.
    return Scaling(kind, mean, std if std > 1e-6 * abs(mean) else 1.0, unit)


def _unit(kind, limits):
    """Return the unit described in `fit_scaling`.

    ``limits`` has the smallest, largest and smallest positive pixel of each part.
    """
    low, high, positive = np.transpose(limits)
    low, largest, positive = low.min(), max(high.max(), -low.min()), positive.min()
    if not 0 < largest < math.inf:  # zero everywhere; `Scaling` refuses NaN and infinities
        return _UNITS[kind]
    below = {  # the unit is a power of ten below this value
        "log": min(1.0, 1e-8 * largest if low < 0 else positive / 10),
        "asinh": ASINH_SCALE if largest >= 1e9 else 1e-4 * largest,
        "linear": 1.0 if largest >= 1e-10 else largest,  # its square must fit into float32
    }
    return 10.0 ** math.floor(math.log10(below[kind]))


def mean_and_std(read, shape) -> tuple[float, float]:
    """Return mean and standard deviation of an array that is read in parts.

    The moments of the parts are computed in double precision and combined as in Chan, Golub &
    LeVeque (1983).

    Parameters
    ----------
    read : callable
        ``read(start, stop)`` returns these rows, (stop - start, ...); called once per part.
    shape : tuple of int
        Shape of the whole array.
    """

    @np.errstate(invalid="ignore")  # `Scaling` refuses the moments of infinite pixels
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
    """Apply the transform of a `Scaling`, before mean and std, in the precision of the maps."""
    if kind == "linear":
        return maps if unit == 1 else maps / unit
    if kind == "asinh":
        return np.arcsinh(maps / unit)
    if maps.min() >= unit:  # raw maps: the same result in one pass
        return np.log10(maps)
    maps = np.where(np.abs(maps) < unit, unit, maps)
    value = signed_log(maps)
    return value if unit == 1 else np.where(maps < 0, value + 2 * math.log10(unit), value)


def signed_log(values):
    """Return the published transform, sign(x) log10|x|, with zero replaced by 1."""
    magnitude = np.log10(np.abs(np.where(values == 0, 1, values)))
    return np.where(values < 0, -magnitude, magnitude)
