"""Summarise maps by power spectra, pixel PDFs and other statistics.

All functions take maps (N, N), (n, N, N) or (n, 1, N, N) of surface density
[(Msun/h)/(Mpc/h)^2], also after a cut. `power_spectrum` gives the result of Pylians' ``Pk_plane``,
about a hundred times faster for many small maps; the tests compare the two.
"""

import numpy as np
import scipy.fft
import torch
from scipy.ndimage import maximum_filter

from cosmolib.data.arrays import checked_maps, map_blocks, mode_numbers, one_per_map
from cosmolib.data.cmd_format import BOX_SIZE
from cosmolib.data.scaling import signed_log

# Smallest power whose log is taken [(Mpc/h)^2]: far below the power of any map (1e-3 and more), far
# above the rounding errors in modes that a Fourier cut removed (1e-12 in single precision).
POWER_FLOOR = 1e-8
TAILS = (0.001, 0.003, 0.99, 0.995, 0.998, 0.999, 1.0)  # quantiles of voids and halos
SMOOTHING = (0.3, 0.6, 1.2)  # [Mpc/h] about 0.8, 1.5 and 3 pixels of Lite
_SCATTER_FLOOR = 1e-6  # [dex] rounding of single precision

_BLOCK_PIXELS = 2**20  # pixels processed at once


def power_spectrum(maps, box_size=BOX_SIZE, log=False):
    """Compute the power spectrum of each map, in bins one fundamental mode k_F wide.

    The field is the overdensity delta = Sigma / mean - 1 of each map or, with `log`, the published
    signed log10 of Sigma. As in Pylians, bin i contains the independent modes with
    ``i <= |k| / k_F < i + 1``, up to the corner of the grid, k is their mean ``|k|``, and the mass
    assignment window is not corrected.

    Parameters
    ----------
    maps : array, shape (N, N), (n, N, N) or (n, 1, N, N)
    box_size : float
        Side of the maps [Mpc/h].
    log : bool
        Use the log10 map instead of delta.

    Returns
    -------
    k : (nk,) float64
        [h/Mpc]
    power : (n, nk) or (nk,) float64
        [(Mpc/h)^2]

    Raises
    ------
    ValueError
        The maps are not square or not finite.
    """
    stack, shape = checked_maps(maps)
    grid = stack.shape[-1]
    k, weight, _ = _mode_average(grid, box_size)
    power = np.empty((len(stack), weight.shape[1]))
    for block in in_blocks(stack):
        field = stack[block].astype(np.float64, order="C")
        field = torch.from_numpy(signed_log(field) if log else field)
        if not log:
            mean = field.mean(dim=(1, 2), keepdim=True)
            field = field / torch.where(mean == 0, 1.0, mean) - 1
        modes = torch.fft.rfft2(field).flatten(1)
        power[block] = ((modes.real**2 + modes.imag**2) @ weight).numpy()
    power *= (box_size / grid**2) ** 2
    return k, one_per_map(power[:, 1:], shape)  # without the mean of the map


def cross_power(a, b, box_size=BOX_SIZE):
    """Sum the cross power of two fields in the bins of `power_spectrum`.

    Parameters
    ----------
    a, b : arrays, shape (n, N, N) or (n, 1, N, N)
        Any fields; their means have no effect.
    box_size : float
        [Mpc/h]

    Returns
    -------
    k : (nk,) float64
        [h/Mpc]
    power : (n, nk) float64
        Sum of Re(a_k b_k*) over the independent modes of a bin, in the normalisation of numpy's
        transform. The coherence of a and b is P_ab / sqrt(P_aa P_bb).
    modes : (nk,) int
        Number of independent modes per bin.
    """
    a, b = (checked_maps(field, "fields")[0] for field in (a, b))
    if a.shape != b.shape:
        raise ValueError(f"fields: found shapes {a.shape} and {b.shape}, expected equal ones")
    k, weight, count = _mode_average(a.shape[-1], box_size)
    power = np.empty((len(a), len(count)))
    for block in in_blocks(a):
        fields = (torch.from_numpy(field[block].astype(np.float64)) for field in (a, b))
        first, second = (torch.fft.rfft2(field).flatten(1) for field in fields)
        both = first.real * second.real + first.imag * second.imag
        power[block] = (both @ weight).numpy() * count
    return k, power[:, 1:], count[1:]


def pixel_pdf(maps, edges):
    """Compute the distribution of log10(Sigma) over the pixels of each map.

    Parameters
    ----------
    maps : array, shape (N, N), (n, N, N) or (n, 1, N, N)
    edges : (nbins + 1,) increasing floats
        Bin edges in log10 of the surface density.

    Returns
    -------
    (n, nbins) or (nbins,) float64
        Density per dex, relative to all pixels of the map. Pixels outside the edges, and pixels
        without a log (zero or negative after a Fourier cut), are missing from the integral.
    """
    stack, shape = checked_maps(maps)
    logs = (np.log10(pixels[pixels > 0], dtype=np.float64) for pixels in stack)
    density = np.stack([np.histogram(log, edges)[0] / stack[0].size for log in logs])
    return one_per_map(density / np.diff(edges), shape)


def summary_statistics(maps, box_size=BOX_SIZE, n_bands=12, n_quantiles=16):
    """Compute the summary statistics of each map that the baseline without a network uses.

    These are log10 of the mean; log10 of the band powers of delta and of the log map, in `n_bands`
    bands of equal width in log k; log10 of `n_quantiles` pixel quantiles and of the quantiles
    `TAILS`; and the statistics of the smoothed log map (see `_morphology`). The log of pixels is
    the published signed log, and powers below `POWER_FLOOR` are raised to it, so that all are
    finite for any cut.

    Returns
    -------
    features : (n, m) float64
        82 columns for maps of 64^2; the number of bands that contain a mode depends on the grid.
    names : list of str
    """
    stack, _ = checked_maps(maps)
    k, power = power_spectrum(stack, box_size)
    edges = np.geomspace(k[0] * (1 - 1e-9), k[-1] * (1 + 1e-9), n_bands + 1)
    band = np.unique(np.searchsorted(edges, k), return_inverse=True)[1]
    average = (band[:, None] == np.arange(band.max() + 1)) / np.bincount(band)  # (nk, nb)
    centres = k @ average
    found = {"mean": signed_log(stack.mean(axis=(1, 2), dtype=np.float64))}
    for field, values in (("delta", power), ("log", power_spectrum(stack, box_size, log=True)[1])):
        bands = np.log10(np.maximum(values @ average, POWER_FLOOR))
        found |= {f"P_{field}(k={centre:.2f})": bands[:, i] for i, centre in enumerate(centres)}
    at, size = [*(np.arange(n_quantiles) + 0.5) / n_quantiles, *TAILS], stack[0].size
    places = np.minimum((np.array(at) * size).astype(int), size - 1)
    pixels = [np.sort(stack[b].reshape(-1, size), axis=1)[:, places] for b in in_blocks(stack)]
    quantiles = signed_log(np.concatenate(pixels).astype(np.float64))
    found |= {f"quantile {fraction:.3f}": quantiles[:, i] for i, fraction in enumerate(at)}
    parts = [_morphology(stack[b], box_size) for b in in_blocks(stack)]
    found |= {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return np.stack(list(found.values()), axis=1, dtype=np.float64), list(found)


def _morphology(maps, box_size):
    """Compute statistics of the log of maps (n, N, N), smoothed by each scale of `SMOOTHING`.

    Per scale: log10 of the standard deviation, skewness, kurtosis, and the fraction of pixels that
    are peaks or minima of their 3 x 3 neighbourhood, in total, beyond 1 and beyond 2 standard
    deviations. Per pair of scales, as in a scattering transform (Cheng et al. 2020,
    arXiv:2006.08561): log10 of the mean modulus of the band between two scales, and of the scatter
    of this modulus at the same and at every coarser scale.
    """
    n = maps.shape[-1]
    i, j = mode_numbers(n)
    k2 = (2 * np.pi / box_size) ** 2 * (i**2 + j**2)
    windows = [np.exp(-k2 * scale**2 / 2) for scale in SMOOTHING]

    def smooth(field):  # by every scale
        modes = scipy.fft.rfft2(field)
        return [scipy.fft.irfft2(modes * window, s=(n, n)) for window in windows]

    def log_of(value):
        return np.log10(np.maximum(value, _SCATTER_FLOOR))

    found = {}
    log = signed_log(maps.astype(np.float64))
    log -= log.mean((1, 2), keepdims=True)
    levels = [log, *smooth(log)]
    for scale, field in zip(SMOOTHING, levels[1:], strict=True):
        std = field.std((1, 2), keepdims=True)
        found[f"std R={scale:g}"] = log_of(std[:, 0, 0])
        field = field / np.maximum(std, _SCATTER_FLOOR)
        square = field**2  # a higher power takes ten times longer
        found[f"skewness R={scale:g}"] = (square * field).mean((1, 2))
        found[f"kurtosis R={scale:g}"] = (square**2).mean((1, 2))
        for name, side in (("peaks", field), ("minima", -field)):
            # Rounding errors in flat parts of cut maps must not count as extrema.
            peak = local_maxima(np.round(side, 6))
            for height in (-np.inf, 1, 2):
                fraction = (peak & (side > height)).mean((1, 2))
                found[f"{name} above {height:g} R={scale:g}"] = fraction
    for first, modulus in enumerate(np.abs(np.diff(levels, axis=0))):
        smoothed = [*smooth(modulus), 0]  # there is no coarser scale than the last
        found[f"modulus {first}"] = log_of(modulus.mean((1, 2)))
        found[f"modulus {first} at {first}"] = log_of(smoothed[first].std((1, 2)))
        for second in range(first + 1, len(SMOOTHING)):
            band = smoothed[second] - smoothed[second + 1]
            found[f"modulus {first} at {second}"] = log_of(band.std((1, 2)))
    return found


def local_maxima(fields):
    """Return whether each pixel of periodic fields (n, N, N) exceeds its eight neighbours."""
    neighbours = np.ones((1, 3, 3), bool)
    neighbours[0, 1, 1] = False
    return fields > maximum_filter(fields, footprint=neighbours, mode="wrap")


def _mode_average(grid, box_size):
    """Return the mean k [h/Mpc] of each bin, the matrix that averages modes, and their number.

    Matrix and numbers contain the mean of the map as their first bin, k does not.

    A real map has two copies of the modes in column 0 and, on an even grid, in column N/2; one of
    each pair is independent.
    """
    i, j = mode_numbers(grid)
    k = np.sqrt(i**2 + j**2)  # (N, N//2 + 1)
    doubled = (j == 0) | (2 * j == grid)
    bins, independent = k.astype(int), ~(doubled & (i < 0))
    count = np.bincount(bins[independent])
    k_mean = np.bincount(bins[independent], k[independent]) / count
    weight = np.zeros((k.size, len(count)))
    weight[np.arange(k.size), bins.ravel()] = (independent / count[bins]).ravel()
    return k_mean[1:] * 2 * np.pi / box_size, torch.from_numpy(weight), count


def in_blocks(stack):
    """Return the slices of the blocks in which maps (n, N, N) are processed."""
    return map_blocks(stack, _BLOCK_PIXELS)
