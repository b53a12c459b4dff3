"""Apply cuts: hide part of each matter map from the network.

A cut is named by one string, in the grammar of `cosmolib.cuts.grammar`.

Published (arXiv:2504.17839 and its code): ``kmax`` on the linear map, absolute density thresholds,
clamp and random fills. The overdensity thresholds, the other filtered fields, the mean fill, the
controls and the steps are ours, except `nologmean`, which is ``monopole=False`` of the published
code: they separate cosmology from what the cut itself leaks.
"""

import math
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from cosmolib.cuts.grammar import MASKS, OWN_WORDS, Cut, CutError
from cosmolib.cuts.noise import observe
from cosmolib.data.arrays import checked_maps, map_blocks, mode_numbers, one_per_map
from cosmolib.study.registry import CUTS, keywords_of, register

# A mask map is 1 where a pixel was kept and 10 where it was cut. Not 0 and 1: the published log
# scaling sends both of these to 0. The log10 of a mask map is the 0/1 mask itself.
MASK_KEPT, MASK_CUT = 1.0, 10.0

# A mode whose |k| equals an edge to this relative precision lies on the edge, whatever the
# rounding: on kmax it is cut, on kmin it is kept (Pylians' kmin <= k < kmax).
EDGE_TOLERANCE = 1e-6

GPU_BLOCK_PIXELS = 2**25  # worked on at once in Fourier cuts on a GPU


# --------------------------------------------------------------------------------------------------
# Registered cuts
# --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Registered:
    """The function of a cut, the names of its numbers, and its keyword-only arguments."""

    function: Callable
    numbers: tuple[str, ...]
    asked: tuple[str, ...]


def register_cut(name: str):
    """Add a function of maps to the grammar, as a decorator.

    ``@register_cut("smooth")`` over ``def smooth(maps, length, *, box_size)`` defines the cut
    ``smooth:LENGTH``, for `apply_cut`, profiles and everything else that takes a cut. Steps such as
    ``nomean:`` may precede it. It has no mask of pixels, hence no fills and no controls.

    Parameters
    ----------
    name : str
        Lower-case letters, digits and _.

    Returns
    -------
    callable
        Takes and returns a function of maps (b, N, N), a copy that it may change, and of the cut's
        numbers; it returns finite maps of the same shape. The result for a map must not depend on
        the other maps of its block. After ``*`` the function may have ``box_size`` [Mpc/h] and, to
        draw numbers, ``seed`` and ``indices`` (b,), the place of each map in its suite. Several
        threads may call it at once.

    Raises
    ------
    ValueError
        The name is malformed or taken (see `cosmolib.study.registry`), or the function has other
        arguments.
    """

    def decorate(function):
        (_, *numbers), asked = keywords_of(function, None, ("box_size", "seed", "indices"))
        value = _Registered(function, tuple(map(str.upper, numbers)), asked)
        register("cut", name, value, own=OWN_WORDS)
        return function

    return decorate


def _apply_registered(stack, cut, **offered):
    """Return maps (n, N, N) under a registered cut, block by block."""
    own = CUTS[cut.kind]
    out = np.empty(stack.shape, stack.dtype)
    for block in map_blocks(stack):
        pixels = np.array(stack[block], order="C")
        options = {key: offered[key] for key in own.asked}
        if "indices" in options:
            options["indices"] = options["indices"][block]
        found = np.asanyarray(own.function(pixels, *cut.values, **options))
        masked = "masked " * np.ma.isMaskedArray(found)
        if found.shape != pixels.shape or found.dtype.kind not in "fiu" or masked:
            raise CutError(
                f"cut {str(cut)!r}: its function returned {masked}{found.dtype} of shape "
                f"{found.shape}, expected maps of shape {pixels.shape}"
            )
        with np.errstate(over="ignore"):  # seen in the next line
            out[block] = found
        if bad := np.count_nonzero(~np.isfinite(out[block])):
            raise CutError(f"cut {str(cut)!r}: its function returned {bad} pixels not finite")
    return out


def apply_cut(
    maps,
    cut,
    *,
    box_size=25.0,
    seed=0,
    value_range=None,
    indices=None,
    backend="torch",
    device="cpu",
):
    """Apply a cut to maps of surface density and return new maps.

    Fourier cuts keep the modes kmin <= k < kmax **and always the mean of the map** (k = 0), as
    Pylians does: a ``kmin`` cut does not hide Omega_m's monopole. ``@log`` filters the log10 of the
    map and returns 10**(...), always positive. ``@delta`` filters Sigma/mean - 1 and returns
    mean * (1 + ...): the filter is linear, so this equals ``@linear`` to rounding and has the same
    negative pixels. A filter that keeps every mode of the grid returns an exact copy.

    Density cuts replace pixels strictly above or below the threshold. A ``mask`` map is 1 where a
    pixel was kept and 10 where it was cut, so that its log10 is the mask; a ``maskmean`` map is
    that times the mean of the map. ``moved`` replaces pixels where the periodic mask lies after a
    shift by half a box along both axes: holes of the same shapes that do not follow the matter.

    Steps before the cut (`cosmolib.cuts.noise.observe`) come first: the cut acts on the noisy map.
    The result of a cut of `register_cut` is what its function returns.

    Parameters
    ----------
    maps : array or tensor, shape (N, N), (n, N, N) or (n, 1, N, N), floating-point
        Surface density [(Msun/h)/(Mpc/h)^2]; may be a memory map. Worked on in blocks.
    cut : str or Cut
    box_size : float
        Side of the maps [Mpc/h].
    seed : int
        Of random fills, shuffles and noise. Each map has its own stream, so that the result for a
        map does not depend on the batch and index-matched twins share their random numbers.
    value_range : (float, float), optional
        Range of random fills; by default the extremes of the positive pixels of `maps`, as
        published. Give it (see `positive_range`) where maps are cut in parts.
    indices : (n,) ints, optional
        Place of each map in its suite, for the random streams; by default 0 ... n - 1.
    backend : {"torch", "pylians"}
        Of Fourier cuts: torch.fft in double precision, or the published call of Pylians in single
        precision. They agree to 1e-5 of the standard deviation of the field that is filtered; on
        maps with a pixel some 50 standard deviations high this is 3 units in its last place.
    device : str
        Where torch computes the transforms; input and output are arrays in memory.

    Returns
    -------
    array
        New, C-contiguous, same shape and dtype as `maps` (float32 for float16).

    Raises
    ------
    ValueError
        The cut is invalid, the maps, range or indices do not fit, a pixel is not finite, or the
        maps are masked (see `cosmolib.data.arrays.checked_maps`).
    """
    stack, shape = checked_maps(maps)
    out = cut_stack(stack, Cut.parse(cut), box_size, seed, value_range, indices, backend, device)
    return out.reshape(shape)


def cut_stack(stack, cut, box_size, seed, value_range, indices, backend="torch", device="cpu"):
    """Apply a parsed cut to maps (n, N, N) that were checked already; see `apply_cut`."""
    if backend not in ("torch", "pylians"):
        raise ValueError(f"unknown backend {backend!r}, expected 'torch' or 'pylians'")
    if cut.is_identity:
        return np.array(stack, order="C")
    if cut.fill == "random":
        low, high = positive_range(stack) if value_range is None else map(float, value_range)
        if not 0 < low <= high < math.inf:
            raise ValueError(f"random fills need a range 0 < low <= high, found ({low}, {high})")
        low, high = np.log10((low, high))
    indices = _stream_indices(indices, len(stack))
    stack = observe(stack, cut.before, seed, indices) if cut.before else stack
    if cut.kind == "none":
        return stack
    if cut.is_fourier:
        return _filter(stack, cut, box_size, backend, device)
    if cut.kind in CUTS:
        return _apply_registered(stack, cut, box_size=box_size, seed=seed, indices=indices)
    out = np.empty(stack.shape, stack.dtype)
    for block, pixels, mean, threshold, hidden in _hidden(stack, cut, seed, indices):
        if cut.control in MASKS:
            level = mean if cut.control == "maskmean" else np.ones_like(mean)
            pixels, fill = MASK_KEPT * level, MASK_CUT * level
        elif cut.fill == "clamp":
            fill = threshold
        elif cut.fill == "mean":
            fill = mean
        else:
            uniform = _uniform(seed, indices[block], pixels.shape[1:], stream=0)
            fill = (10 ** (low + (high - low) * uniform)).astype(stack.dtype)
        out[block] = np.where(hidden, fill, pixels)
    return out


def cut_mask(maps, cut, *, seed=0, indices=None):
    """Return which pixels a density cut replaces, a bool array of the shape of `maps`.

    With ``shuffle`` these are the random places (`seed` and `indices` as in `apply_cut`), with
    ``moved`` those of the shifted mask. All False
    for ``none``; ValueError for Fourier cuts and those of `register_cut`.
    """
    cut = Cut.parse(cut)
    stack, shape = checked_maps(maps)
    if cut.is_fourier or cut.kind in CUTS:
        raise ValueError(f"cut {str(cut)!r} has no mask of pixels: it is no density cut")
    hidden = np.zeros(stack.shape, bool)
    if cut.is_density:
        indices = _stream_indices(indices, len(stack))
        stack = observe(stack, cut.before, seed, indices) if cut.before else stack
        for block, *_, part in _hidden(stack, cut, seed, indices):
            hidden[block] = part
    return hidden.reshape(shape)


def fraction_cut(maps, cut):
    """Return the fraction of pixels that a density cut replaces, for each map: (n,) or a float."""
    hidden = cut_mask(maps, cut)
    return one_per_map(hidden.reshape(-1, *hidden.shape[-2:]).mean(axis=(1, 2)), hidden.shape)


def fraction_negative(maps):
    """Return the fraction of negative pixels of each map, (n,) or a float.

    A sharp filter of the linear map makes them; the published signed log sends them far away.
    """
    stack, shape = checked_maps(maps)
    return one_per_map((stack < 0).mean(axis=(1, 2)), shape)


def positive_range(maps):
    """Return the smallest and largest positive pixel, the published range of random fills."""
    stack, _ = checked_maps(maps)
    low, high = math.inf, -math.inf
    for block in map_blocks(stack):
        pixels = stack[block]
        low = min(low, float(np.min(pixels, where=pixels > 0, initial=math.inf)))
        high = max(high, float(np.max(pixels)))
    return low, high


def _filter(stack, cut, box_size, backend, device):
    """Apply a Fourier cut to maps (n, N, N), as `apply_cut` describes it."""
    if not 0 < box_size < math.inf:
        raise ValueError(f"box_size must be positive [Mpc/h], found {box_size}")
    kept = _modes_kept(stack.shape[-1], cut, box_size)
    if backend == "torch" and kept.all():
        return np.array(stack, order="C")
    if backend == "pylians":
        smooth = _pylians_filter(stack.shape[-1], cut, box_size)
    else:
        columns = int(np.flatnonzero(kept.any(0))[-1]) + 1  # none is kept beyond
        smooth = partial(_filter_torch, kept=torch.from_numpy(kept[:, :columns]).to(device))
    # Torch wants them writeable and in the machine's own byte order.
    dtype = stack.dtype.newbyteorder("=") if cut.field == "linear" else np.float64
    out = np.empty(stack.shape, stack.dtype)
    pixels = None if torch.device(device).type == "cpu" else GPU_BLOCK_PIXELS
    for block in map_blocks(stack, pixels):
        field = np.array(stack[block], dtype, order="C")
        if cut.field == "linear":
            out[block] = smooth(field)
            continue
        if cut.field == "log":
            if not (field > 0).all():
                raise ValueError(
                    f"cut {str(cut)!r} filters the log of the map, but "
                    f"{np.count_nonzero(~(field > 0))} pixels are not positive"
                )
            field = np.log10(field)
        mean = field.mean(axis=(1, 2), keepdims=True)
        if cut.field == "delta":
            if not (mean > 0).all():
                raise ValueError(f"cut {str(cut)!r} needs maps of positive mean")
            out[block] = mean * (1 + smooth(field / mean - 1))
        else:
            # The mean is kept in any case; without it single precision does better.
            out[block] = 10 ** (mean + smooth(field - mean))
    return out


def _edges(cut):
    """Edges of the modes kept [h/Mpc], lowered: a mode on an edge must not depend on rounding."""
    return tuple(edge * (1 - EDGE_TOLERANCE) for edge in cut.k_range)


def _modes_kept(grid, cut, box_size):
    """Which modes (N, N//2 + 1) of a real transform are kept."""
    k = 2 * np.pi / box_size * np.hypot(*mode_numbers(grid))  # [h/Mpc]
    kmin, kmax = _edges(cut)
    kept = (k >= kmin) & (k < kmax)
    kept[0, 0] = True
    return kept


def _filter_torch(field, kept):
    """Filter fields (B, N, N) in one batch, in double precision; the result has their own.

    Columns of modes beyond those of ``kept`` (N, columns) are dropped between the two axes.
    """
    field = torch.from_numpy(field).to(kept.device)
    modes = torch.fft.rfft(field.double())[..., : kept.shape[1]]
    modes = torch.fft.fft(modes, dim=1) * kept
    smooth = torch.fft.irfft(torch.fft.ifft(modes, dim=1), n=field.shape[-1])
    return smooth.to(field.dtype).cpu().numpy()


def _pylians_filter(grid, cut, box_size):
    """Return a function that filters (B, N, N) by the published call, in single precision."""
    from smoothing_library import FT_filter_2D, field_smoothing_2D

    kmin, kmax = _edges(cut)
    kmax = min(kmax, 2 * np.pi / box_size * grid)  # finite, beyond the corner of the grid
    window = FT_filter_2D(box_size, 0.0, grid, "Top-Hat-k", 1, kmin, kmax)
    return lambda field: np.stack(
        [field_smoothing_2D(one, window, 1) for one in field.astype(np.float32)]
    )


def _hidden(stack, cut, seed, indices):
    """Yield a density cut block by block: slice, pixels (B, N, N), means, thresholds, hidden.

    Means and thresholds are (B, 1, 1), in the precision of the maps. A pixel that equals the
    threshold is not hidden.
    """
    for block in map_blocks(stack):
        pixels = np.ascontiguousarray(stack[block])
        mean = pixels.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
        threshold = (1 + cut.threshold) * mean if cut.overdensity else 0 * mean + cut.threshold
        mean, threshold = mean.astype(pixels.dtype), threshold.astype(pixels.dtype)
        hidden = pixels > threshold if cut.kind == "above" else pixels < threshold
        if cut.control == "moved":
            half = hidden.shape[-1] // 2
            hidden = np.roll(hidden, (half, half), axis=(1, 2))
        if cut.control == "shuffle":
            # Draw a number per pixel and hide the smallest: a smaller cut is part of a larger one.
            draws = _uniform(seed, indices[block], pixels.shape[1:], stream=1)
            ordered = np.sort(draws.reshape(len(draws), -1), axis=1)
            ordered = np.append(ordered, np.ones((len(draws), 1)), axis=1)
            count = hidden.sum(axis=(1, 2))
            hidden = draws < np.take_along_axis(ordered, count[:, None], axis=1)[:, :, None]
        yield block, pixels, mean, threshold, hidden


def _uniform(seed, indices, shape, stream):
    """Uniform numbers (B, *shape) in [0, 1), of each map's own stream."""
    return np.stack(
        [np.random.default_rng([seed, index, stream]).random(shape) for index in indices]
    )


def _stream_indices(indices, count):
    """Check the places of the maps in their suite, or number them."""
    indices = np.arange(count) if indices is None else np.atleast_1d(indices)
    if indices.shape != (count,) or indices.dtype.kind not in "iu" or (indices < 0).any():
        raise ValueError(
            f"indices: found {reprlib.repr(indices)}, expected {count} integers from 0, one per map"
        )
    return indices
