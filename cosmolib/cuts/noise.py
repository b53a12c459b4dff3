"""Apply the steps before a cut: remove the mean of a map, or add noise.

Noise: the most informative regions of noiseless maps may be uninformative in observations, as
arXiv:2007.06529 found for voids in weak lensing. Mean: that of a 5 Mpc/h slab reveals Omega_m, and
no Fourier cut removes it. ``nomean`` divides by it. ``nologmean`` divides by the geometric mean,
which subtracts the mean of the log map, as ``monopole=False`` in the published code. Noise comes
last: dividing a noisy map by its mean would leave noise whose level reveals the mean.
"""

import numpy as np

from cosmolib.cuts.grammar import MEANS
from cosmolib.data.cmd_format import mean_surface_density
from cosmolib.data.tables import FIDUCIAL

# Noise levels are in units of the fiducial mean surface density [(Msun/h)/(Mpc/h)^2]: noise in
# units of the mean of each map would preserve the information in the mean.
REFERENCE_DENSITY = float(mean_surface_density(FIDUCIAL["Omega_m"]))
_STREAM = 2  # of the random numbers of a map; the cuts use 0 and 1


def observe(stack: np.ndarray, steps, seed: int, indices) -> np.ndarray:
    """Apply the steps before a cut to maps and return new maps.

    White noise of level s adds normal numbers with a standard deviation of s times the fiducial
    mean surface density; pixels may become negative. Shot noise of level n draws Poisson counts, n
    per pixel at the fiducial mean, and returns them as densities; pixels may become 0. The noise of
    a map depends only on `seed` and its index. All cuts of a map and its twin therefore share the
    noise; white noise of another level is the same, scaled.

    Parameters
    ----------
    stack : (n, N, N), floating-point
        Finite surface density [(Msun/h)/(Mpc/h)^2]; not changed.
    steps : sequence of (str, float or None)
        ``Cut.before``: names and levels.
    seed : int
    indices : (n,) ints
        Index of each map in its suite.

    Returns
    -------
    (n, N, N) of the same type

    Raises
    ------
    ValueError
        A map for shot noise has a negative pixel, or the mean to divide by is not positive.
    """
    out = np.array(stack, order="C")
    for name, level in steps:
        if name in MEANS:
            with np.errstate(divide="ignore", invalid="ignore"):  # refused below
                values = out if name == "nomean" else np.log(out, dtype=np.float64)
                mean = values.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
            mean = mean if name == "nomean" else np.exp(mean)
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
                counts = rng.poisson(one * (level / REFERENCE_DENSITY))
                one[...] = counts * (REFERENCE_DENSITY / level)
    return out
