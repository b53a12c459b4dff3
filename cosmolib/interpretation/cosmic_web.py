"""Find the cosmic web of a map: classes, density peaks, voids, and distances to them.

All functions take maps (N, N), (n, N, N) or (n, 1, N, N) of surface density [(Msun/h)/(Mpc/h)^2] in
periodic boxes. The structures are those of a slab in projection and not of the 3-D web: a "void" is
an empty part of the slab.
"""

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

from cosmolib.data.arrays import checked_maps
from cosmolib.data.cmd_format import BOX_SIZE
from cosmolib.data.spectra import in_blocks, local_maxima

WEB_CLASSES = ("void", "filament", "halo")  # codes 0, 1, 2 of `web_classes`
SMOOTHING = 0.5  # [Mpc/h], applied to the density before classes and peaks are found
COLLAPSE = 0.4  # eigenvalue of the tidal tensor above which matter collapses along an axis
PEAK = 2.0  # overdensity that a peak exceeds
EMPTY = -0.5  # largest mean overdensity of the disc of a void
VOID_RADII = (5.0, 4.0, 3.0, 2.5, 2.0, 1.5, 1.0)  # [Mpc/h]


def web_classes(maps, box_size=BOX_SIZE, smoothing=SMOOTHING, threshold=COLLAPSE):
    """Classify each pixel by the tidal tensor of the projected density (a 2-D T-web).

    The overdensity of each map is smoothed with a Gaussian, and the Poisson equation
    laplacian(phi) = delta is solved on the periodic map. A pixel is a void, filament or halo if 0,
    1 or 2 eigenvalues of the Hessian of phi exceed `threshold`, which is the number of axes along
    which matter collapses (Hahn et al. 2007, arXiv:astro-ph/0610280; threshold above zero:
    Forero-Romero et al. 2009, arXiv:0809.4135). The eigenvalues add up to the smoothed delta.

    Parameters
    ----------
    maps : array, shape (N, N), (n, N, N) or (n, 1, N, N)
    box_size : float
        Side of the maps [Mpc/h].
    smoothing : float
        Standard deviation of the Gaussian [Mpc/h].
    threshold : float
        Threshold on the eigenvalues, which are overdensities.

    Returns
    -------
    uint8 array, shape of `maps`
        Index into `WEB_CLASSES`.
    """
    stack, shape = checked_maps(maps)
    k2, mixed = _wavenumbers(stack.shape[-1], box_size)
    kx2, ky2 = k2[:, :1].clone(), k2[:1].clone()
    smooth = torch.exp(-0.5 * k2 * smoothing**2)
    k2[0, 0] = 1.0
    classes = np.empty(stack.shape, np.uint8)
    for block in in_blocks(stack):
        modes = _overdensity_modes(stack[block]) * smooth / k2
        modes[:, 0, 0] = 0
        xx, yy, xy = (torch.fft.irfft2(modes * kk, s=stack.shape[1:]) for kk in (kx2, ky2, mixed))
        centre, radius = (xx + yy) / 2, torch.hypot((xx - yy) / 2, xy)
        count = (centre - radius > threshold).to(torch.uint8) + (centre + radius > threshold)
        classes[block] = count.numpy()
    return classes.reshape(shape)


def density_peaks(maps, box_size=BOX_SIZE, smoothing=SMOOTHING, minimum=PEAK):
    """Find the density peaks of each map, local maxima of the smoothed overdensity.

    Parameters
    ----------
    maps : array, shape (N, N), (n, N, N) or (n, 1, N, N)
    box_size : float
        Side of the maps [Mpc/h].
    smoothing : float
        Standard deviation of the Gaussian [Mpc/h].
    minimum : float
        Smallest smoothed overdensity of a peak.

    Returns
    -------
    bool array, shape of `maps`
        True at the pixel of each peak, which is denser than its eight neighbours.
    """
    stack, shape = checked_maps(maps)
    k2, _ = _wavenumbers(stack.shape[-1], box_size)
    smooth = _filtered(stack, torch.exp(-0.5 * k2 * smoothing**2))
    return (local_maxima(smooth) & (smooth > minimum)).reshape(shape)


def void_centres(maps, box_size=BOX_SIZE, radii=VOID_RADII, threshold=EMPTY):
    """Find the circular voids of each map and return their radii at their centres.

    This is the spherical-overdensity finder of Banerjee & Dalal (arXiv:1606.06167) in two
    dimensions. The overdensity is averaged over discs, the largest radius first. Pixels below the
    threshold become centres, the emptiest first, if their disc does not overlap an earlier one.

    Parameters
    ----------
    maps : array, shape (N, N), (n, N, N) or (n, 1, N, N)
    box_size : float
        Side of the maps [Mpc/h].
    radii : sequence of float
        Radii of the discs [Mpc/h].
    threshold : float
        Largest mean overdensity of the disc of a void.

    Returns
    -------
    float32 array, shape of `maps`
        Radius [Mpc/h] at the centre of each void, 0 elsewhere.
    """
    stack, shape = checked_maps(maps)
    grid = stack.shape[-1]
    side = np.minimum(np.arange(grid), grid - np.arange(grid)) * box_size / grid
    distance = np.hypot(side[:, None], side)  # from the first pixel, periodic
    found = np.zeros(stack.shape, np.float32)
    free = np.full(stack.shape, np.inf)  # distance to the edge of the nearest void
    for radius in sorted(radii, reverse=True):
        disc = distance <= radius
        window = torch.fft.rfft2(torch.from_numpy(disc / disc.sum()))
        for one, values in enumerate(_filtered(stack, window).reshape(len(stack), -1)):
            centres = np.flatnonzero(values < threshold)
            for flat in centres[np.argsort(values[centres], kind="stable")]:
                place = divmod(int(flat), grid)
                if free[one][place] >= radius:
                    found[one][place] = radius
                    free[one] = np.minimum(free[one], np.roll(distance, place, (0, 1)) - radius)
    return found.reshape(shape)


def distance_to(places, box_size=BOX_SIZE):
    """Compute the distance of each pixel to the nearest of some pixels of its periodic map.

    Parameters
    ----------
    places : bool array, shape (N, N), (n, N, N) or (n, 1, N, N)
    box_size : float
        [Mpc/h]

    Returns
    -------
    float64 array, shape of `places`
        [Mpc/h]; infinite on a map without such pixels.
    """
    stack, shape = checked_maps(places, "places", "b")
    grid = stack.shape[-1]
    pad = (grid + 1) // 2  # no distance along an axis is larger than half a box
    out = np.full(stack.shape, np.inf)
    for one, mask in enumerate(stack):
        if mask.any():
            out[one] = distance_transform_edt(~np.pad(mask, pad, mode="wrap"))[pad:-pad, pad:-pad]
    return (out * box_size / grid).reshape(shape)


def _wavenumbers(grid, box_size):
    """Return |k|^2 and k_x k_y of the modes of a real transform, (N, N//2 + 1) [(h/Mpc)^2]."""
    kx = torch.from_numpy(2 * np.pi * np.fft.fftfreq(grid, box_size / grid))[:, None]
    ky = torch.from_numpy(2 * np.pi * np.fft.rfftfreq(grid, box_size / grid))[None]
    # The sign of k is not defined on the Nyquist lines of an even grid: no mixed derivative there.
    defined = (kx.abs() < kx.abs().max()) & (ky < ky.max()) | (grid % 2 == 1)
    return kx**2 + ky**2, torch.where(defined, kx * ky, 0)


def _overdensity_modes(stack):
    """Return the Fourier transform of the overdensity of maps (n, N, N)."""
    field = torch.from_numpy(stack.astype(np.float64, order="C"))
    mean = field.mean(dim=(1, 2), keepdim=True)
    return torch.fft.rfft2(field / torch.where(mean == 0, 1.0, mean) - 1)


def _filtered(stack, window):
    """Return the overdensity of maps (n, N, N) filtered by a window of their modes, in float64."""
    out = np.empty(stack.shape)
    for block in in_blocks(stack):
        modes = _overdensity_modes(stack[block]) * window
        out[block] = torch.fft.irfft2(modes, s=stack.shape[1:]).numpy()
    return out
