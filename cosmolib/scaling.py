"""From surface density to the input of a network: a transform, then (x - mean) / std.

The published recipe (arXiv:2504.17839 and its code) takes the signed log10 of the whole file in
single precision, and its mean and standard deviation by ``numpy.mean`` and ``numpy.std``. Those of
4 GB are found here block by block and come out the same to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cosmolib.cuts import checked_maps, map_blocks
from cosmolib.devices import in_parallel

SCALINGS = ("log", "asinh", "linear")

# [(Msun/h)/(Mpc/h)^2], near the median pixel: asinh is linear through zero below it, a log above.
ASINH_SCALE = 1e11
_SUM_PIXELS = 2**22  # summed by one call of numpy, which goes on by halves down to 128 numbers


@dataclass(frozen=True)
class Scaling:
    """How maps become the input of a network: a transform, then (x - mean) / std.

    Attributes
    ----------
    kind : {"log", "asinh", "linear"}
        "log" is the published one: 0 becomes 1, then sign(x) log10|x|. "asinh" is
        arcsinh(x / `ASINH_SCALE`), smooth through zero. "linear" changes nothing.
    mean, std : float
        Of the transformed pixels that the scaling was fitted to.
    """

    kind: str
    mean: float
    std: float

    def __post_init__(self):
        if self.kind not in SCALINGS:
            raise ValueError(f"unknown scaling {self.kind!r}, expected one of {SCALINGS}")
        if not (math.isfinite(self.mean) and math.isfinite(self.std) and self.std > 0):
            raise ValueError(
                f"a scaling needs a finite mean and std > 0, found {self.mean}, "
                f"{self.std}: are there NaN or infinite pixels?"
            )

    def apply(self, maps, out=None):
        """Scale maps (n, N, N) or (N, N) to float32 of the same shape: new, or into ``out``.

        ``out`` may be float16, and may be ``maps`` itself.
        """
        maps, stack = checked_maps(maps)
        target = np.empty(stack.shape, np.float32) if out is None else out.reshape(stack.shape)

        def scale(block):
            target[block] = (transform(stack[block], self.kind) - self.mean) / self.std

        in_parallel(scale, map_blocks(stack))
        return target.reshape(maps.shape)

    def invert(self, scaled):
        """Undo `apply` (a zero pixel, which the log scaling moved to 1, comes back as 1)."""
        value = np.asarray(scaled, dtype=np.float64) * self.std + self.mean
        if self.kind == "log":
            return np.where(value < 0, -1.0, 1.0) * 10 ** np.abs(value)
        return np.sinh(value) * ASINH_SCALE if self.kind == "asinh" else value


def fit_scaling(maps, kind="log"):
    """Fit a `Scaling` to maps: the training maps, or (published) the whole file.

    Mean and std are ``numpy.mean`` and ``numpy.std`` of the transformed maps, to the last bit (see
    `mean_and_std`), with no transformed copy of them.

    Parameters
    ----------
    maps : (n, N, N) float32 or float64, or a function with ``shape``
        The function is called with (start, stop) and returns these maps, for what does not fit into
        memory; it is called twice for each.
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
        _, stack = checked_maps(maps)
        read, shape = (lambda start, stop: stack[start:stop]), stack.shape
    if not math.prod(shape):
        raise ValueError(f"cannot fit a scaling to no maps, found shape {shape}")
    return _scaling(kind, *mean_and_std(lambda a, b: transform(read(a, b), kind), shape))


def scale_in_place(maps, kind, order):
    """Fit a `Scaling` to maps and apply it where they lie: one transform, no copy.

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

    def change(block):
        maps[block] = transform(maps[block], kind)

    def scale(block):
        np.subtract(maps[block], scaling.mean, out=maps[block])
        np.divide(maps[block], scaling.std, out=maps[block])

    in_parallel(change, map_blocks(maps))
    shape = (len(order), *maps.shape[1:])
    scaling = _scaling(kind, *mean_and_std(lambda a, b: maps[order[a:b]], shape))
    in_parallel(scale, map_blocks(maps))
    return scaling


def _scaling(kind, mean, std):
    # What is left of a constant by rounding is no scatter: such maps scale to zero.
    return Scaling(kind, mean, std if std > 1e-6 * abs(mean) else 1.0)


def mean_and_std(read: Callable, shape) -> tuple[float, float]:
    """Return ``numpy.mean`` and ``numpy.std``, to the last bit, of an array that is read in parts.

    numpy sums a contiguous array by halves (its pairwise summation), each half rounded down to a
    multiple of eight numbers, and takes the std in a second pass from the mean. The same halves are
    followed here down to parts that one call sums.

    Parameters
    ----------
    read : callable
        ``read(start, stop)`` returns (stop - start, ...) of the array, C-contiguous.
    shape : tuple of int
        Of the whole array.
    """
    each = math.prod(shape[1:])
    count = shape[0] * each

    def total(change):
        def part(start, n):
            first, last = start // each, -(-(start + n) // each)
            values = change(read(first, last)).reshape(-1)
            with np.errstate(invalid="ignore"):  # infinite pixels are refused by `Scaling`
                return np.add.reduce(values[start - first * each :][:n])

        def halved(start, n, end):  # `end` of the parts of n numbers from the start-th on
            if n <= _SUM_PIXELS:
                return end(start, n)
            half = n // 2
            half -= half % 8
            return halved(start, half, end) + halved(start + half, n - half, end)

        parts = halved(0, count, lambda *one: [one])
        sums = dict(zip(parts, in_parallel(lambda one: part(*one), parts), strict=True))
        with np.errstate(invalid="ignore"):
            return halved(0, count, lambda *one: sums[one])

    def average(change):  # divided in double precision, then rounded, as numpy does
        summed = total(change)
        return summed.dtype.type(summed / np.intp(count))

    mean = average(lambda x: x)
    return float(mean), float(np.sqrt(average(lambda x: np.square(x - mean))))


def transform(maps, kind):
    """Transform pixels as `Scaling` says, before mean and std, in their own precision."""
    if kind == "log":
        if maps.size and maps.min() > 0:  # raw maps: the same numbers in one pass
            return np.log10(maps)
        magnitude = np.log10(np.abs(np.where(maps == 0, 1, maps)))
        return np.where(maps < 0, -magnitude, magnitude)
    return np.arcsinh(maps / ASINH_SCALE) if kind == "asinh" else maps
