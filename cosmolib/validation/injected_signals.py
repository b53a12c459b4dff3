"""Injected signals: maps in which one parameter changes one known place, and nothing else.

A fiducial map, drawn whatever the number, is changed in one place: its pixels above a density,
those below it, its modes in a band of wavenumbers, or its mean. A cut that hides the place must
take all of the number away, and a cut that spares it none; attribution should point to it. For
pixels the map is lognormal, skewed like the cosmic web. For the band and the mean it is Gaussian,
of small contrast: in a lognormal map the other modes tell how strong those of the band should be.

The number is passed as Omega_m, uniform over its range. sigma_8 is drawn as well and changes
nothing: any R2 on it is a false alarm.
"""

from __future__ import annotations

import numpy as np
import torch

from cosmolib.cuts.apply import EDGE_TOLERANCE
from cosmolib.cuts.noise import REFERENCE_DENSITY
from cosmolib.data.arrays import checked_maps
from cosmolib.data.cmd_format import BOX_SIZE
from cosmolib.data.scaling import Scaling
from cosmolib.data.tables import FIDUCIAL, parameter_ranges
from cosmolib.validation.gaussian_fields import gaussian_maps, lognormal_maps, theory_spectrum

# Density that parts dense from empty pixels, 1.5 times the fiducial mean [(Msun/h)/(Mpc/h)^2]
THRESHOLD = np.float32(1.5 * REFERENCE_DENSITY)
BAND = (1.5, 3.0)  # [h/Mpc]
CONTRAST = 0.15  # standard deviation of the overdensity of Gaussian maps: no pixel is below 0
STRENGTH = {  # how far the number moves its place, from the lower to the upper end of its range
    "above": 0.3,  # exponent of the contrast with the threshold, 1 +- 0.3
    "below": 0.3,
    "band": 0.3,  # amplitude of the modes, 1 +- 0.3
    "mean": 0.15,  # of the mean, 1 +- 0.15
}
PLACES = tuple(STRENGTH)


# Cuts that hide all of a place, and cuts that leave all of it. Thresholds are surface densities:
# one in overdensity of each map's own mean would move with the signal. Each place is tested with
# cuts of its kind: a Fourier cut acts on all pixels, and a density cut on all modes.
_ABOVE, _BELOW = (f"{kind}:{float(THRESHOLD):.9g}:clamp" for kind in ("above", "below"))
_LOW, _HIGH = (f"{edge:g}" for edge in BAND)
HIDING = {
    "above": (_ABOVE,),
    "below": (_BELOW,),
    "band": (f"kmax:{_LOW}", f"kmin:{_HIGH}"),
    "mean": ("nomean:none",),
}
SPARING = {
    "above": (_BELOW,),
    "below": (_ABOVE,),
    "band": (f"band:{_LOW},{_HIGH}",),
    "mean": (f"kmax:{_LOW}",),
}


def planted_maps(name: str, omega_m, grid: int = 64, seed: int = 0):
    """Maps that depend on Omega_m in one place only.

    Parameters
    ----------
    name : {"above", "below", "band", "mean"}
        The place: with the number x from -1 to 1 over the range of Omega_m and the strength s,
        pixels Sigma above (below) the threshold T become T (Sigma / T)^(1 + s x): they stay on
        their side of it; modes in `BAND` are multiplied by 1 + s x; or the whole map is.
    omega_m : (n,) array
    grid : int
        Pixels a side, N.
    seed : int
        Map i has its own stream.

    Returns
    -------
    (n, N, N) float32
        Surface density [(Msun/h)/(Mpc/h)^2], positive.

    Raises
    ------
    ValueError
        An Omega_m beyond its range.
    """
    strength = STRENGTH[name]
    low, high = parameter_ranges("Lite")[0]
    x = (np.asarray(omega_m, np.float64) - low) / (high - low) * 2 - 1
    if not (np.abs(x) <= 1 + 1e-9).all():
        raise ValueError(f"Omega_m: found values beyond {low:g} to {high:g}, expected none")
    factor = 1 + strength * x
    fiducial = np.tile([FIDUCIAL["Omega_m"], FIDUCIAL["sigma_8"]], (len(x), 1))
    if name in ("above", "below"):
        maps = lognormal_maps(fiducial, grid, seed=seed)
        inside = planted_pixels(name, maps)
        change = factor.astype(np.float32).repeat(inside.sum((1, 2)))  # one per pixel inside
        maps[inside] = THRESHOLD * (maps[inside] / THRESHOLD) ** change
        return maps
    maps = gaussian_maps(fiducial, grid, seed=seed)
    maps *= CONTRAST / _fiducial_scatter(grid)  # not its own: it would tell of the band
    for one, change in zip(maps, factor, strict=True):
        if name == "mean":
            one[...] = change * (1 + one)
        else:
            modes = np.fft.rfft2(one.astype(np.float64))
            modes[_in_band(grid)[:, : grid // 2 + 1]] *= change
            one[...] = 1 + np.fft.irfft2(modes, s=one.shape)
    return maps * np.float32(REFERENCE_DENSITY)


def planted_share(name: str, values, maps):
    """How much of an attribution lies where the signal is, and how much would by chance.

    For "above" and "below" the share of absolute attribution in those pixels, against their
    fraction; for "band" the share of the power of the attribution map (without its mean) in the
    band, against the fraction of the modes; for "mean" the share of its power that is in its mean,
    against one mode of all. `IdealEstimator` gives what can be reached.

    Parameters
    ----------
    name : {"above", "below", "band", "mean"}
    values : (B, N, N)
        Attributions.
    maps : (B, N, N)
        As `planted_maps` gives them.

    Returns
    -------
    share, chance : (B,)
    """
    values = checked_maps(values, "attributions")[0].astype(np.float64)
    if name in ("above", "below"):
        inside, size = planted_pixels(name, maps), np.abs(values)
        return (size * inside).sum((1, 2)) / size.sum((1, 2)), inside.mean((1, 2))
    power = np.abs(np.fft.fft2(values)) ** 2  # (B, N, N)
    if name == "mean":
        return power[:, 0, 0] / power.sum((1, 2)), np.full(len(values), 1 / values[0].size)
    band = _in_band(values.shape[-1])
    power[:, 0, 0] = 0
    chance = band.sum() / (band.size - 1)
    return power[:, band].sum(1) / power.sum((1, 2)), np.full(len(values), chance)


class IdealEstimator(torch.nn.Module):
    """An estimator that uses the place of the signal and nothing else, as a network to explain.

    What an attribution finds of it is what the method can find. It is less than 1 for a band or the
    mean, since the estimate is no linear function of the scaled map, and for the empty pixels,
    since a path from the baseline leads dense ones through low densities.

    Parameters
    ----------
    name : {"above", "below", "band", "mean"}
    scaling : Scaling
        Of its input; "log" or "linear".
    """

    def __init__(self, name: str, scaling: Scaling):
        super().__init__()
        self.name, self.scaling, self.n_parameters = name, scaling, 1
        self.unit = torch.nn.Parameter(torch.ones(1))  # a network has a weight, on its device

    def forward(self, x):
        """Return the estimate twice, as mean and std (B, 1), of scaled maps x (B, 1, N, N)."""
        maps = x[:, 0].double() * self.scaling.std + self.scaling.mean
        maps = 10**maps if self.scaling.kind == "log" else maps
        if self.name == "mean":
            found = maps.mean((1, 2))
        elif self.name == "band":
            band = torch.from_numpy(_in_band(maps.shape[-1])).to(x.device)
            found = (torch.fft.fft2(maps).abs().square() * band).sum((1, 2)).sqrt()
        else:
            sign = 1 if self.name == "above" else -1
            contrast = torch.log(maps.clamp(min=1e-30) / float(THRESHOLD))
            found = torch.relu(sign * contrast).mean((1, 2))
        found = self.unit * found[:, None].to(x.dtype)
        return found, found


def planted_pixels(name: str, maps) -> np.ndarray:
    """Which pixels hold the signal of "above" or "below", (B, N, N) booleans."""
    return {"above": np.greater, "below": np.less}[name](checked_maps(maps)[0], THRESHOLD)


def _fiducial_scatter(grid):
    """Standard deviation of the Gaussian maps, from their spectrum."""
    k = _wavenumbers(grid).ravel()[1:]
    power = theory_spectrum(k, FIDUCIAL["Omega_m"], FIDUCIAL["sigma_8"])
    return np.sqrt(power.sum()) / BOX_SIZE


def _in_band(grid):
    """Which modes lie in `BAND`, (N, N)."""
    k, (low, high) = _wavenumbers(grid), (edge * (1 - EDGE_TOLERANCE) for edge in BAND)
    return (k >= low) & (k < high)


def _wavenumbers(grid):
    """Wavenumber of each mode, (N, N) [h/Mpc]."""
    return 2 * np.pi / BOX_SIZE * np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(grid, 1 / grid)]))
