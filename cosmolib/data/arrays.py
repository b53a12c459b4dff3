"""Checked arrays, blocks of maps and Fourier mode numbers: once, for every module.

Every public function that takes maps checks them here, so that a missing pixel is an error at the
door and not a number in the result. Nothing here imports torch: simulations do without it.
"""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

BLOCK_PIXELS = 2**18  # pixels worked on at once: 2 MB in float64, within a cache


def bad_input(where, found, expected) -> ValueError:
    """Return the one error that every bad input gets: where it is, what was found and expected."""
    return ValueError(f"{where}: found {found}, expected {expected}")


# Kinds of numbers that a function may take, as ``numpy.dtype.kind`` has them.
_KINDS = {"f": "floating-point numbers of at most 64 bits", "i": "integers", "b": "booleans"}


def checked_maps(maps, name="maps", kinds="f", infinite=False):
    """Check maps and return them as a stack, with the shape they came in.

    Parameters
    ----------
    maps : array, torch tensor or `cosmolib.training.dataset.MapsOnDisk`
        (N, N), (n, N, N) or (n, 1, N, N), at least one map of 2 x 2 pixels; see `checked_numbers`.
    name, kinds, infinite
        As of `checked_numbers`.

    Returns
    -------
    stack : (n, N, N) array
        A view where `maps` is an array; float32 of maps that are float16.
    shape : tuple of int
        That of `maps`, for the results that have one number per pixel.

    Raises
    ------
    ValueError
        One sentence, with the first bad map and pixel.
    """
    maps = _as_array(maps, name, kinds)
    shape = maps.shape
    fits = len(shape) in (2, 3) or (len(shape) == 4 and shape[1] == 1)
    if not (fits and shape[-1] == shape[-2] >= 2 and maps.size):
        raise bad_input(name, f"shape {shape}", "square maps (N, N), (n, N, N) or (n, 1, N, N)")
    stack = maps.reshape(-1, *shape[-2:])
    _check_finite(stack, name, infinite)
    return stack, shape


def checked_map(density, name):
    """Check a single map, as `checked_maps` does, and return it, (N, N)."""
    stack, shape = checked_maps(density, name)
    if len(stack) > 1:
        raise bad_input(name, f"shape {shape}", "one map (N, N)")
    return stack[0]


def checked_numbers(values, name, kinds="f", infinite=False):
    """Check an array of any shape, for what has no map's shape, and return it.

    Parameters
    ----------
    values : array or torch tensor
        Not masked; float16 comes back as float32.
    name : str
        What errors call it.
    kinds : {"f", "bf", "b", "iu", "biu"}
        Kinds of numbers that are allowed, as ``numpy.dtype.kind`` has them.
    infinite : bool
        Whether infinities are allowed; NaN never is.
    """
    values = _as_array(values, name, kinds)
    _check_finite(values, name, infinite)
    return values


def one_per_map(values, shape):
    """Return values (n, ...) of maps of a shape, without the first axis for a single (N, N)."""
    return values if len(shape) > 2 else values[0]


def map_blocks(stack, pixels=None):
    """Slices of (n, N, N) maps, or of such a shape: at least one map, at most so many pixels."""
    n, *sides = getattr(stack, "shape", stack)
    step = max(1, (pixels or BLOCK_PIXELS) // max(1, int(np.prod(sides))))
    return [slice(i, min(i + step, n)) for i in range(0, n, step)]


def mode_numbers(grid):
    """Wavenumbers of a real transform of a map in units of the fundamental, (N, 1) and (1, N//2+1).

    The sign of the first axis is that of ``numpy.fft.fftfreq``, but for +N/2 on an even grid.
    """
    rows = np.arange(grid)
    return np.where(rows > grid // 2, rows - grid, rows)[:, None], np.arange(grid // 2 + 1)[None]


def _as_array(values, name, kinds):
    parts = values if isinstance(values, (list, tuple)) else [values]
    if any(isinstance(part, np.ma.MaskedArray) for part in parts):  # numpy would drop the mask
        raise bad_input(name, "a masked array", "plain numbers in every pixel")
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":  # unknown to numpy
            values = values.float()
    try:
        values = np.asarray(values)
    except ValueError:  # parts of different shapes
        raise bad_input(name, "arrays of different shapes", "equal ones") from None
    if values.dtype.kind not in kinds or values.dtype.itemsize > 8:
        expected = " or ".join(text for kind, text in _KINDS.items() if kind in kinds)
        raise bad_input(name, values.dtype, expected)
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _check_finite(values, name, infinite):
    """Refuse NaN and infinities: the sum shows in one fast pass whether any can be there."""
    if values.dtype.kind != "f":
        return
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()):
            return
    expected = "no NaN" if infinite else "finite numbers"
    for i, one in enumerate(values if values.ndim > 2 else [values]):
        for place in np.argwhere(np.isnan(one) if infinite else ~np.isfinite(one))[:1].tolist():
            raise bad_input(name, f"{one[*place]} in map {i}, pixel {(*place,)}", expected)


def in_parallel(function: Callable, items) -> list:
    """Return ``[function(item) for item in items]``, worked out by as many threads as torch uses.

    For numpy's work on blocks of maps, during which Python waits for nothing.
    """
    torch = sys.modules.get("torch")  # simulations do without it
    items, threads = list(items), torch.get_num_threads() if torch else 1
    if threads == 1 or len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
