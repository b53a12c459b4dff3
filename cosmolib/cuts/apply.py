"""Apply cuts, which hide a part of each matter map from the network.

A cut is named by one string (see `cosmolib.cuts.grammar`).

Published cuts (arXiv:2504.17839 and its code) are ``kmax`` on the linear map, absolute density
thresholds, the clamp and random fills, and `nologmean` (``monopole=False`` in the published code).
The overdensity thresholds, the other filtered fields, the mean fill, the controls and the other
steps are added here; they separate cosmological information from information that the cut leaks.
"""

import reprlib
from functools import partial
from types import SimpleNamespace

import numpy as np
import torch

from cosmolib.cuts.grammar import MASKS, OWN_WORDS, Cut, CutError
from cosmolib.cuts.noise import observe
from cosmolib.data.arrays import bad_input, checked_maps, map_blocks, mode_numbers, one_per_map
from cosmolib.study.registry import CUTS, keywords_of, register

# A mask map is 1 where a pixel was kept and 10 where it was cut, so that its log10 is the mask.
# With 0 and 1, the published log scaling would map both values to 0.
MASK_KEPT, MASK_CUT = 1.0, 10.0

# A mode whose |k| equals an edge to this relative precision is on the edge, whatever the rounding:
# it is cut at kmax and kept at kmin (kmin <= k < kmax, as in Pylians).
EDGE_TOLERANCE = 1e-6

GPU_BLOCK_PIXELS = 2**25  # processed at once by Fourier cuts on a GPU


# --------------------------------------------------------------------------------------------------
# Registered cuts
# --------------------------------------------------------------------------------------------------
def register_cut(name: str):
    """Decorate a function of maps to add it to the grammar of cuts.

    ``@register_cut("smooth")`` on ``def smooth(maps, length, *, box_size)`` defines the cut
    ``smooth:LENGTH`` for `apply_cut`, profiles and everything else that takes a cut. Steps such as
    ``nomean:`` may precede it. It has no pixel mask, and therefore no fills and no controls.

    Parameters
    ----------
    name : str
        Lower-case letters, digits and _.

    Returns
    -------
    callable
        Decorator of a function that takes maps (b, N, N), a copy that it may change, and the
        numbers of the cut, and returns finite maps of the same shape. The result for a map must not
        depend on the other maps of the block. Optional keyword-only arguments are ``box_size``
        [Mpc/h] and, for random numbers, ``seed`` and ``indices`` (b,), the index of each map in its
        suite. Several threads may call the function at once.

    Raises
    ------
    ValueError
        The name is malformed or taken (see `cosmolib.study.registry`), or the function has other
        arguments.
    """

    def decorate(function):
        (_, *numbers), asked = keywords_of(function, None, ("box_size", "seed", "indices"))
        numbers = [argument.upper() for argument in numbers]
        value = SimpleNamespace(function=function, numbers=numbers, asked=asked)
        register("cut", name, value, own=OWN_WORDS)
        return function

    return decorate


def _apply_registered(pixels, indices, cut, **options):
    """Apply a registered cut to a copy of maps (B, N, N)."""
    own, options = CUTS[cut.kind], options | {"indices": indices}
    shape, dtype = pixels.shape, pixels.dtype
    found = own.function(pixels, *cut.values, **{key: options[key] for key in own.asked})
    found, where = np.asanyarray(found), f"cut {str(cut)!r}: its function returned"
    masked = "masked " * np.ma.isMaskedArray(found)
    if found.shape != shape or found.dtype.kind not in "fiu" or masked:
        what = f"{masked}{found.dtype} of shape {found.shape}"
        raise CutError(f"{where} {what}, expected maps of shape {shape}")
    with np.errstate(over="ignore"):  # refused in the next line
        found = found.astype(dtype)
    if bad := np.count_nonzero(~np.isfinite(found)):
        raise CutError(f"{where} {bad} pixels that are not finite")
    return found


# --------------------------------------------------------------------------------------------------
# All cuts
# --------------------------------------------------------------------------------------------------
def apply_cut(
    maps, cut: str | Cut, *, box_size: float = 25.0, seed: int = 0,
    value_range: tuple[float, float] | None = None, indices=None, backend: str = "torch",
    device: str = "cpu",
) -> np.ndarray:  # fmt: skip
    """Apply a cut to maps of surface density and return new maps.

    Fourier cuts keep the modes kmin <= k < kmax **and always the mean of the map** (k = 0), as in
    Pylians: a ``kmin`` cut does not hide the information on Omega_m in the mean. ``@log`` filters
    the log10 of the map and returns 10**(...), which is positive. ``@delta`` filters
    Sigma/mean - 1 and returns mean * (1 + ...); since the filter is linear, this equals ``@linear``
    up to rounding and has the same negative pixels. A filter that keeps every mode of the grid
    returns an exact copy.

    Density cuts replace pixels strictly above or below the threshold. A ``mask`` map is 1 where a
    pixel was kept and 10 where it was cut, so that its log10 is the mask; a ``maskmean`` map is
    this times the mean of the map. ``moved`` shifts the mask periodically by half a box along both
    axes: holes of the same shapes that do not follow the matter.

    Steps such as noise (`cosmolib.cuts.noise.observe`) are applied before the cut. Cuts from
    `register_cut` return the result of their function.

    Parameters
    ----------
    maps : array or tensor, shape (N, N), (n, N, N) or (n, 1, N, N), floating-point
        Surface density [(Msun/h)/(Mpc/h)^2]; may be a memory map. Processed in blocks.
    cut : str or Cut
    box_size : float
        Side of the maps [Mpc/h].
    seed : int
        Seed of random fills, shuffles and noise. Each map has its own random stream: the result for
        a map does not depend on the batch, and index-matched twins share their random numbers.
    value_range : (float, float), optional
        Range of random fills; by default the extremes of the positive pixels of `maps`, as
        published. Set it (see `positive_range`) if maps are cut in parts.
    indices : (n,) ints, optional
        Index of each map in its suite, for the random streams; by default 0 ... n - 1.
    backend : {"torch", "pylians"}
        Fourier transforms by torch in double precision, or by the published call of Pylians in
        single precision. They agree to 1e-5 of the standard deviation of the filtered field.
    device : str
        Device of the transforms by torch.

    Returns
    -------
    array
        New, C-contiguous, same shape and dtype as `maps` (float32 for float16).

    Raises
    ------
    ValueError
        The cut is invalid, the range or the indices do not match the maps, or the maps are invalid
        (see `cosmolib.data.arrays.checked_maps`).
    """
    stack, shape = checked_maps(maps)
    out = cut_stack(stack, Cut.parse(cut), box_size, seed, value_range, indices, backend, device)
    return out.reshape(shape)


def cut_stack(stack, cut, box_size, seed, value_range, indices, backend="torch", device="cpu"):
    """Apply a parsed cut to checked maps (n, N, N); see `apply_cut`."""
    if backend not in ("torch", "pylians"):
        raise ValueError(f"backend: found {backend!r}, expected 'torch' or 'pylians'")
    if cut.is_identity:
        return np.array(stack, order="C")
    if cut.fill == "random":
        low, high = positive_range(stack) if value_range is None else map(float, value_range)
        if not 0 < low <= high < np.inf:
            raise ValueError(f"random fills need a range 0 < low <= high, found ({low}, {high})")
        value_range = low, high
    indices = _stream_indices(indices, len(stack))
    stack = observe(stack, cut.before, seed, indices) if cut.before else stack
    if cut.kind == "none":
        return stack
    if cut.is_fourier:
        of_block = _filter(stack.shape[-1], cut, box_size, backend, device)
    elif cut.is_density:
        of_block = partial(_replace, cut=cut, seed=seed, value_range=value_range)
    else:
        of_block = partial(_apply_registered, cut=cut, box_size=box_size, seed=seed)
    out = np.empty(stack.shape, stack.dtype)
    on_gpu = cut.is_fourier and torch.device(device).type != "cpu"
    for block in map_blocks(stack, GPU_BLOCK_PIXELS if on_gpu else None):
        out[block] = of_block(np.array(stack[block], order="C"), indices=indices[block])
    return out


def cut_mask(maps, cut, *, seed=0, indices=None):
    """Return which pixels a density cut replaces, a bool array with the shape of `maps`.

    For ``shuffle`` these are the random pixels (`seed` and `indices` as in `apply_cut`), for
    ``moved`` those of the shifted mask; for ``none`` all are False. Other cuts raise a ValueError.
    """
    cut = Cut.parse(cut)
    stack, shape = checked_maps(maps)
    if cut.is_fourier or cut.kind in CUTS:
        raise ValueError(f"cut {str(cut)!r} has no mask of pixels: it is no density cut")
    hidden = np.zeros(stack.shape, bool)
    if cut.is_density:
        indices = _stream_indices(indices, len(stack))
        stack = observe(stack, cut.before, seed, indices) if cut.before else stack
        for block in map_blocks(stack):
            pixels = np.ascontiguousarray(stack[block])
            *_, hidden[block] = _hidden(pixels, cut, seed, indices[block])
    return hidden.reshape(shape)


def fraction_cut(maps, cut):
    """Return the fraction of pixels per map that a density cut replaces, (n,) or a float."""
    hidden = cut_mask(maps, cut)
    return one_per_map(hidden.reshape(-1, *hidden.shape[-2:]).mean(axis=(1, 2)), hidden.shape)


def positive_range(maps):
    """Return the smallest and largest positive pixel, the published range of random fills."""
    stack, _ = checked_maps(maps)
    blocks = [stack[block] for block in map_blocks(stack)]
    low = [np.min(pixels, where=pixels > 0, initial=np.inf) for pixels in blocks]
    return float(min(low)), float(max(map(np.max, blocks)))


# --------------------------------------------------------------------------------------------------
# Fourier cuts
# --------------------------------------------------------------------------------------------------
def _filter(grid, cut, box_size, backend, device):
    """Return the function of maps (B, N, N) that applies a Fourier cut, see `apply_cut`."""
    if not 0 < box_size < np.inf:
        raise ValueError(f"box_size must be positive [Mpc/h], found {box_size}")
    kept = _modes_kept(grid, cut, box_size)
    if kept.all():
        return lambda pixels, indices: pixels
    if backend == "pylians":
        smooth = _pylians_filter(grid, cut, box_size)
    else:
        columns = int(np.flatnonzero(kept.any(0))[-1]) + 1  # the last one with a mode that is kept
        smooth = partial(_smooth, kept=torch.from_numpy(kept[:, :columns]).to(device))

    def of_block(pixels, indices):
        if cut.field == "linear":
            return smooth(pixels.astype(pixels.dtype.newbyteorder("=")))  # as torch needs it
        field = pixels.astype(np.float64)
        if cut.field == "log":
            if bad := np.count_nonzero(~(field > 0)):
                what = "filters the log of the map, but"
                raise ValueError(f"cut {str(cut)!r} {what} {bad} pixels are not positive")
            field = np.log10(field)
        mean = field.mean(axis=(1, 2), keepdims=True)
        if cut.field == "log":  # subtracting the mean, which is kept, reduces rounding errors
            return 10 ** (mean + smooth(field - mean))
        if not (mean > 0).all():
            raise ValueError(f"cut {str(cut)!r} needs maps of positive mean")
        return mean * (1 + smooth(field / mean - 1))

    return of_block


def _edges(cut):
    """Return the edges [h/Mpc], lowered so that a mode on an edge does not depend on rounding."""
    return tuple(edge * (1 - EDGE_TOLERANCE) for edge in cut.k_range)


def _modes_kept(grid, cut, box_size):
    """Return which modes (N, N//2 + 1) of a real transform are kept."""
    k = 2 * np.pi / box_size * np.hypot(*mode_numbers(grid))  # [h/Mpc]
    kmin, kmax = _edges(cut)
    kept = (k >= kmin) & (k < kmax)
    kept[0, 0] = True
    return kept


def _smooth(field, kept):
    """Filter fields (B, N, N) in double precision; the result has the dtype of the fields.

    Columns of modes beyond those of ``kept`` (N, columns) are dropped between the two axes.
    """
    field = torch.from_numpy(field).to(kept.device)
    modes = torch.fft.rfft(field.double())[..., : kept.shape[1]]
    modes = torch.fft.fft(modes, dim=1) * kept
    smooth = torch.fft.irfft(torch.fft.ifft(modes, dim=1), n=field.shape[-1])
    return smooth.to(field.dtype).cpu().numpy()


def _pylians_filter(grid, cut, box_size):
    """Return the published filter of fields (B, N, N), in single precision."""
    from smoothing_library import FT_filter_2D, field_smoothing_2D

    kmin, kmax = _edges(cut)
    kmax = min(kmax, 2 * np.pi / box_size * grid)  # finite, beyond the corner of the grid
    window = FT_filter_2D(box_size, 0.0, grid, "Top-Hat-k", 1, kmin, kmax)
    return lambda field: np.stack([field_smoothing_2D(x, window, 1) for x in np.float32(field)])


# --------------------------------------------------------------------------------------------------
# Density cuts
# --------------------------------------------------------------------------------------------------
def _replace(pixels, indices, cut, seed, value_range):
    """Apply a density cut to maps (B, N, N)."""
    mean, threshold, hidden = _hidden(pixels, cut, seed, indices)
    fill = threshold if cut.fill == "clamp" else mean
    if cut.control in MASKS:
        level = mean if cut.control == "maskmean" else np.ones_like(mean)
        pixels, fill = MASK_KEPT * level, MASK_CUT * level
    elif cut.fill == "random":
        low, high = np.log10(value_range)
        uniform = _uniform(seed, indices, pixels.shape[1:], stream=0)
        fill = (10 ** (low + (high - low) * uniform)).astype(pixels.dtype)
    return np.where(hidden, fill, pixels)


def _hidden(pixels, cut, seed, indices):
    """Return means, thresholds and hidden pixels of maps (B, N, N).

    Means and thresholds are (B, 1, 1), in the precision of the maps. A pixel that equals the
    threshold is not hidden.
    """
    mean = pixels.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
    threshold = (1 + cut.threshold) * mean if cut.overdensity else 0 * mean + cut.threshold
    mean, threshold = mean.astype(pixels.dtype), threshold.astype(pixels.dtype)
    hidden = pixels > threshold if cut.kind == "above" else pixels < threshold
    if cut.control == "moved":
        half = hidden.shape[-1] // 2
        hidden = np.roll(hidden, (half, half), axis=(1, 2))
    if cut.control == "shuffle":
        # Hide the pixels with the smallest random numbers: a smaller cut is part of a larger.
        draws = _uniform(seed, indices, (hidden[0].size,), stream=1)  # (B, N^2)
        ranks = draws.argsort(axis=1).argsort(axis=1).reshape(hidden.shape)
        hidden = ranks < hidden.sum(axis=(1, 2), keepdims=True)
    return mean, threshold, hidden


def _uniform(seed, indices, shape, stream):
    """Draw uniform numbers (B, *shape) in [0, 1) from the random stream of each map."""
    streams = (np.random.default_rng([seed, index, stream]) for index in indices)
    return np.stack([rng.random(shape) for rng in streams])


def _stream_indices(indices, count):
    """Check the indices of the maps in their suite, or number the maps."""
    indices = np.arange(count) if indices is None else np.atleast_1d(indices)
    if indices.shape != (count,) or indices.dtype.kind not in "iu" or (indices < 0).any():
        raise bad_input("indices", reprlib.repr(indices), f"{count} integers from 0, one per map")
    return indices
