"""Observing: what happens to a map before it is cut: noise, and the removal of its mean.

The steps stand before a cut, with colons, in this order, and each at most once::

    white=0.3:above:delta=0:clamp     white noise, then the cut of the noisy map
    shot=10:none                      particle shot noise: 10 tracers a pixel in the mean
    nomean:kmax:4                     every map divided by its own mean

They are controls of ours. Noise, because what tells most in noiseless maps may tell nothing in
observed ones (arXiv:2007.06529 saw that of voids in weak lensing). The mean, because that of a
5 Mpc/h slab gives Omega_m away, and no Fourier cut removes it.
"""

from __future__ import annotations

import math

import numpy as np

from cosmolib.data.arrays import checked_maps
from cosmolib.data.cmd_format import mean_surface_density
from cosmolib.data.tables import FIDUCIAL

STEPS = ("white", "shot", "nomean")

# Noise must not scale with the map, or it would keep what it should hide: it is given in units of
# the mean surface density of the fiducial cosmology [(Msun/h)/(Mpc/h)^2].
REFERENCE_DENSITY = float(mean_surface_density(FIDUCIAL["Omega_m"]))
_STREAM = 2  # of a map's random numbers; the cuts use 0 and 1


def is_step(text: str) -> bool:
    """Whether a part of a cut's string is meant as one of these steps."""
    return text.partition("=")[0] in STEPS


def check_steps(steps) -> str | None:
    """Why steps (name, level) do not go together, or None. ``nomean`` has the level None."""
    names = [name for name, _ in steps]
    if len({"noise" if name in ("white", "shot") else name for name in names}) < len(names):
        return "noise and nomean go at most once each before a cut"
    if names != sorted(names, key=lambda name: name == "nomean"):
        return "noise comes before nomean"
    for name, level in steps:
        if name not in STEPS:
            return f"unknown step {name!r} before a cut"
        if (level is None) != (name == "nomean"):
            expected = "no level" if name == "nomean" else "a level, as in white=0.3"
            return f"{name!r} takes {expected}"
        if name == "white" and not 0 <= level < math.inf:
            return f"the level of white noise is 0 or more, found {level:g}"
        if name == "shot" and not 0 < level < math.inf:
            return f"shot noise needs a positive number of tracers a pixel, found {level:g}"
    return None


def observe(maps: np.ndarray, steps, seed: int, indices) -> np.ndarray:
    """Do the steps before a cut to maps.

    White noise of level s adds normal numbers of standard deviation s times the fiducial mean
    surface density: pixels may become negative. Shot noise of level n makes counts of a Poisson
    process, n a pixel in the mean of the fiducial cosmology, and gives them back as densities:
    pixels may become 0. The noise of a map hangs on `seed` and its index alone, so that all cuts of
    it, and its twin, share the noise (white noise of another level is the same, scaled).

    Parameters
    ----------
    maps : (N, N), (n, N, N) or (n, 1, N, N), floating-point
        Surface density [(Msun/h)/(Mpc/h)^2]; left as it is.
    steps : sequence of (str, float or None)
    seed : int
    indices : (n,) ints
        Place of each map in its suite.

    Returns
    -------
    array of the same shape and type, new

    Raises
    ------
    ValueError
        A map that shot noise is drawn from has a negative pixel, or one that is divided by its mean
        has none that is positive; a pixel is not finite or the maps are masked.
    """
    stack, shape = checked_maps(maps)
    return observed(stack, steps, seed, indices).reshape(shape)


def observed(stack, steps, seed, indices):
    """Do the steps to maps (n, N, N) that were checked already; see `observe`."""
    out = np.array(stack, order="C")
    for name, level in steps:
        if name == "nomean":
            mean = out.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
            if not (mean > 0).all():
                raise ValueError(f"nomean: found a map of mean {mean.min():g}, expected above 0")
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
