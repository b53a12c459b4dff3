"""Check arrays of maps, divide them into blocks and number their Fourier modes.

Every public function that takes maps checks them here, so that a missing pixel raises an error
instead of entering the result. This module does not import torch, because simulations do not need
it.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

BLOCK_PIXELS = 2**18  # pixels processed at once: 2 MB in float64, which fit into a cache


def bad_input(where, found, expected) -> ValueError:
    """Return the error for bad input: its place, what was found and what is allowed."""
    return ValueError(f"{where}: found {found}, expected {expected}")


_KINDS = {"f": "floating-point numbers of at most 64 bits", "i": "integers", "b": "booleans"}


def checked_maps(maps, name="maps", kinds="f", infinite=False):
    """Check maps and return them as a stack, together with their original shape.

    Parameters
    ----------
    maps : array, torch tensor or `cosmolib.training.dataset.MapsOnDisk`
        (N, N), (n, N, N) or (n, 1, N, N), at least one map of 2 x 2 pixels; see `checked_numbers`.
    name, kinds, infinite
        See `checked_numbers`.

    Returns
    -------
    stack : (n, N, N) array
        A view if `maps` is an array; float16 maps become float32.
    shape : tuple of int
        Shape of `maps`, to which results with one number per pixel are reshaped.

    Raises
    ------
    ValueError
        The maps are invalid; the message names the first bad map and pixel.
    """
    maps = checked_numbers(maps, name, kinds, infinite)
    shape = maps.shape
    fits = len(shape) in (2, 3) or (len(shape) == 4 and shape[1] == 1)
    if not (fits and shape[-1] == shape[-2] >= 2 and maps.size):
        raise bad_input(name, f"shape {shape}", "square maps (N, N), (n, N, N) or (n, 1, N, N)")
    return maps.reshape(-1, *shape[-2:]), shape


def checked_map(density, name):
    """Check a single map as `checked_maps` does and return it, shape (N, N)."""
    stack, shape = checked_maps(density, name)
    if len(stack) > 1:
        raise bad_input(name, f"shape {shape}", "one map (N, N)")
    return stack[0]


def checked_numbers(values, name, kinds="f", infinite=False):
    """Check an array of any shape and return it.

    Parameters
    ----------
    values : array or torch tensor
        Must not be masked; float16 becomes float32.
    name : str
        Name of the array in errors.
    kinds : {"f", "bf", "b", "iu", "biu"}
        Allowed values of ``numpy.dtype.kind``.
    infinite : bool
        Whether infinities are allowed; NaN never is.
    """
    values = _as_array(values, name, kinds)
    with np.errstate(over="ignore", invalid="ignore"):
        if values.dtype.kind != "f" or np.isfinite(values.sum()):  # one fast pass
            return values
    for i, one in enumerate(values if values.ndim > 2 else [values]):
        bad = np.isnan(one) if infinite else ~np.isfinite(one)
        for place in np.argwhere(bad)[:1].tolist():
            found = f"{one[*place]} in map {i}, pixel {tuple(place[-2:])}"
            raise bad_input(name, found, "no NaN" if infinite else "finite numbers")
    return values


def one_per_map(values, shape):
    """Return values (n, ...) for maps of a shape; a single map (N, N) has no first axis."""
    return values if len(shape) > 2 else values[0]


def map_blocks(stack, pixels=None):
    """Return slices that divide maps (n, N, N), given as array or shape, into blocks of a size.

    A block has at most ``pixels`` pixels (by default `BLOCK_PIXELS`) and at least one map.
    """
    n, *sides = getattr(stack, "shape", stack)
    step = max(1, (pixels or BLOCK_PIXELS) // max(1, int(np.prod(sides))))
    return [slice(i, min(i + step, n)) for i in range(0, n, step)]


def mode_numbers(grid):
    """Return the wavenumbers of a real transform of a map, in units of the fundamental mode.

    Shapes (N, 1) and (1, N//2 + 1). The first axis follows ``numpy.fft.fftfreq``, except that the
    Nyquist mode of an even grid is +N/2.
    """
    rows = np.arange(grid)
    return np.where(rows > grid // 2, rows - grid, rows)[:, None], np.arange(grid // 2 + 1)[None]


def _as_array(values, name, kinds):
    parts = values if isinstance(values, (list, tuple)) else [values]
    if any(isinstance(part, np.ma.MaskedArray) for part in parts):  # numpy would drop the mask
        raise bad_input(name, "a masked array", "plain numbers in every pixel")
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":  # numpy does not have it
            values = values.float()
    try:
        values = np.asarray(values)
    except ValueError:  # parts of different shapes
        raise bad_input(name, "arrays of different shapes", "equal ones") from None
    if values.dtype.kind not in kinds or values.dtype.itemsize > 8:
        expected = " or ".join(text for kind, text in _KINDS.items() if kind in kinds)
        raise bad_input(name, values.dtype, expected)
    return values.astype(np.float32) if values.dtype == np.float16 else values


def in_parallel(function, items) -> list:
    """Return ``[function(item) for item in items]``, computed in as many threads as torch uses.

    Suited to numpy operations on blocks of maps, which release Python's global lock.
    """
    torch = sys.modules.get("torch")  # not imported by simulations
    items, threads = list(items), torch.get_num_threads() if torch else 1
    if threads == 1 or len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
