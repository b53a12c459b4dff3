"""Steps before a cut: noise is added to a map, or its mean is removed.

Noise (ours): the most informative regions of noiseless maps may be uninformative in observed ones,
as arXiv:2007.06529 found for voids in weak lensing. The mean: that of a 5 Mpc/h slab reveals
Omega_m, and no Fourier cut removes it. ``nomean`` (ours) divides it out; ``nologmean`` divides by
the geometric mean, which subtracts the mean of the log map: ``monopole=False`` of the published
code.
"""

from __future__ import annotations

import numpy as np

from cosmolib.cuts.grammar import MEANS
from cosmolib.data.cmd_format import mean_surface_density
from cosmolib.data.tables import FIDUCIAL

# Noise must not scale with the map, or it would keep what it should hide: it is given in units of
# the mean surface density of the fiducial cosmology [(Msun/h)/(Mpc/h)^2].
REFERENCE_DENSITY = float(mean_surface_density(FIDUCIAL["Omega_m"]))
_STREAM = 2  # of a map's random numbers; the cuts use 0 and 1


def observe(stack: np.ndarray, steps, seed: int, indices) -> np.ndarray:
    """Apply the steps before a cut to maps.

    White noise of level s adds normal numbers of standard deviation s times the fiducial mean
    surface density: pixels may become negative. Shot noise of level n draws Poisson counts, n per
    pixel in the mean of the fiducial cosmology, and returns them as densities: pixels may become 0.
    The noise of a map depends only on `seed` and its index, so that all cuts of it, and its twin,
    share the noise (white noise of another level is the same, scaled).

    Parameters
    ----------
    stack : (n, N, N), floating-point
        Finite surface density [(Msun/h)/(Mpc/h)^2]; not changed.
    steps : sequence of (str, float or None)
        ``Cut.before``: names and levels.
    seed : int
    indices : (n,) ints
        Place of each map in its suite.

    Returns
    -------
    array of the same shape and type, new

    Raises
    ------
    ValueError
        Shot noise of a map with a negative pixel, ``nomean`` of a map whose mean is not positive,
        or ``nologmean`` of a map with a pixel that is not.
    """
    out = np.array(stack, order="C")
    for name, level in steps:
        if name in MEANS:
            if name == "nomean":
                mean = out.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
            else:
                with np.errstate(divide="ignore", invalid="ignore"):  # refused in the next lines
                    mean = np.exp(np.log(out, dtype=np.float64).mean((1, 2), keepdims=True))
            if not (mean > 0).all():
                raise ValueError(f"{name}: found a map of mean {mean.min():g}, expected above 0")
            out = (out * (REFERENCE_DENSITY / mean)).astype(out.dtype)
            continue
        if name == "shot" and not (out >= 0).all():
            raise ValueError(f"shot noise: found a pixel of {out.min():g}, expected none below 0")
        for one, index in zip(out, indices, strict=True):
            rng = np.random.default_rng([seed, index, _STREAM])
            if name == "white":
                one += level * REFERENCE_DENSITY * rng.standard_normal(one.shape)
            else:
                one[...] = rng.poisson(one * (level / REFERENCE_DENSITY)) * (
                    REFERENCE_DENSITY / level
                )
    return out
