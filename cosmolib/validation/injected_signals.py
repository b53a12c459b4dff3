"""Injected signals: maps in which one parameter changes one known place and nothing else.

A fiducial map is drawn independently of the signal and then changed in one place: its pixels above
a density, its pixels below it, its modes in a band of wavenumbers, or its mean. A cut that hides
the place must remove all of the signal, and a cut that spares it must keep all of it; attribution
should point to it. For pixels the map is lognormal, skewed like the cosmic web. For the band and
the mean it is Gaussian with a small contrast: in a lognormal map the other modes are correlated
with those of the band.

The signal is passed as Omega_m, uniform over its range. sigma_8 is drawn as well but changes
nothing, so that any R2 of it is a false alarm.
"""

import numpy as np
import torch

from cosmolib.cuts.apply import EDGE_TOLERANCE
from cosmolib.cuts.noise import REFERENCE_DENSITY
from cosmolib.data.arrays import checked_maps
from cosmolib.data.cmd_format import BOX_SIZE
from cosmolib.data.scaling import Scaling
from cosmolib.data.tables import FIDUCIAL, parameter_ranges
from cosmolib.validation.gaussian_fields import gaussian_maps, lognormal_maps, theory_spectrum

# Density that separates dense from empty pixels: 1.5 fiducial means [(Msun/h)/(Mpc/h)^2]
THRESHOLD = np.float32(1.5 * REFERENCE_DENSITY)
BAND = (1.5, 3.0)  # [h/Mpc]
CONTRAST = 0.15  # standard deviation of the overdensity of Gaussian maps; all pixels stay positive
STRENGTH = {  # half the change of the place from the lower to the upper end of the Omega_m range
    "above": 0.3,  # of the exponent of the contrast with the threshold, 1 +- 0.3
    "below": 0.3,
    "band": 0.3,  # of the amplitude of the modes, 1 +- 0.3
    "mean": 0.15,  # of the mean, 1 +- 0.15
}
PLACES = tuple(STRENGTH)

# Cuts that hide all of a place, and cuts that keep all of it. Thresholds are surface densities: an
# overdensity relative to the mean of each map would move with the signal. Pixels are tested with
# density cuts, modes with Fourier cuts: a Fourier cut changes all pixels, a density cut all modes.
_ABOVE, _BELOW = (f"{kind}:{float(THRESHOLD):.9g}:clamp" for kind in ("above", "below"))
_LOW, _HIGH = (f"{edge:g}" for edge in BAND)
_BAND, _OUTSIDE = f"band:{_LOW},{_HIGH}", (f"kmax:{_LOW}", f"kmin:{_HIGH}")
HIDING = {"above": (_ABOVE,), "below": (_BELOW,), "band": _OUTSIDE, "mean": ("nomean:none",)}
SPARING = {"above": (_BELOW,), "below": (_ABOVE,), "band": (_BAND,), "mean": _OUTSIDE[:1]}


def injected_maps(name: str, omega_m, grid: int = 64, seed: int = 0):
    """Draw maps that depend on Omega_m in one place only.

    Parameters
    ----------
    name : {"above", "below", "band", "mean"}
        The place. Let x run from -1 to 1 over the range of Omega_m, and let s be the strength.
        Pixels Sigma above (below) the threshold T become T (Sigma / T)^(1 + s x), so that they stay
        on their side of it; modes in `BAND`, or the whole map, are multiplied by 1 + s x.
    omega_m : (n,) array
    grid : int
        Pixels along a side, N.
    seed : int
        Each map has its own random stream.

    Returns
    -------
    (n, N, N) float32
        Surface density [(Msun/h)/(Mpc/h)^2], positive.

    Raises
    ------
    ValueError
        A value of Omega_m lies outside its range.
    """
    low, high = parameter_ranges("Lite")[0]
    x = (np.asarray(omega_m, np.float64) - low) / (high - low) * 2 - 1
    if not (np.abs(x) <= 1 + 1e-9).all():
        raise ValueError(f"Omega_m: found values outside {low:g} to {high:g}")
    factor = 1 + STRENGTH[name] * x
    fiducial = np.tile([FIDUCIAL["Omega_m"], FIDUCIAL["sigma_8"]], (len(x), 1))
    if name in ("above", "below"):
        maps = lognormal_maps(fiducial, grid, seed=seed)
        inside = injected_pixels(name, maps)
        change = factor.astype(np.float32).repeat(inside.sum((1, 2)))  # one per pixel inside
        maps[inside] = THRESHOLD * (maps[inside] / THRESHOLD) ** change
        return maps
    maps = gaussian_maps(fiducial, grid, seed=seed)
    # The same factor for all maps: the standard deviation of each map depends on the band.
    k = _wavenumbers(grid).ravel()[1:]
    power = theory_spectrum(k, FIDUCIAL["Omega_m"], FIDUCIAL["sigma_8"])
    maps *= CONTRAST / (np.sqrt(power.sum()) / BOX_SIZE)
    for one, change in zip(maps, factor, strict=True):
        if name == "mean":
            one[...] = change * (1 + one)
        else:
            modes = np.fft.rfft2(one.astype(np.float64))
            modes[_in_band(grid)[:, : grid // 2 + 1]] *= change
            one[...] = 1 + np.fft.irfft2(modes, s=one.shape)
    return maps * np.float32(REFERENCE_DENSITY)


def injected_share(name: str, values, maps):
    """Compute the share of an attribution that lies where the signal is, and its chance level.

    For "above" and "below" it is the share of the absolute attribution in these pixels, compared
    with their fraction of all pixels. For "band" it is the share of the power of the attribution
    map (without its mean) in the band, compared with the fraction of the modes. For "mean" it is
    the share of its power in its mean, compared with one of all modes. `IdealEstimator` shows which
    share can be reached.

    Parameters
    ----------
    name : {"above", "below", "band", "mean"}
    values : (B, N, N)
        Attributions.
    maps : (B, N, N)
        From `injected_maps`.

    Returns
    -------
    share, chance : (B,)
    """
    values = checked_maps(values, "attributions")[0].astype(np.float64)
    if name in ("above", "below"):
        inside, size = injected_pixels(name, maps), np.abs(values)
        return (size * inside).sum((1, 2)) / size.sum((1, 2)), inside.mean((1, 2))
    power = np.abs(np.fft.fft2(values)) ** 2  # (B, N, N)
    if name == "mean":
        return power[:, 0, 0] / power.sum((1, 2)), np.full(len(values), 1 / values[0].size)
    band = _in_band(values.shape[-1])
    power[:, 0, 0] = 0
    chance = band.sum() / (band.size - 1)
    return power[:, band].sum(1) / power.sum((1, 2)), np.full(len(values), chance)


class IdealEstimator(torch.nn.Module):
    """An estimator that uses only the place of the signal, to be explained like a network.

    Its attribution shows the best share that a method can reach. The share is below 1 for a band or
    the mean, because the estimate is not a linear function of the scaled map, and for empty pixels,
    because the path from the baseline takes dense pixels through low densities.

    Parameters
    ----------
    name : {"above", "below", "band", "mean"}
    scaling : Scaling
        Scaling of its input; "log" or "linear".
    """

    def __init__(self, name: str, scaling: Scaling):
        super().__init__()
        self.name, self.scaling, self.n_parameters = name, scaling, 1
        self.unit = torch.nn.Parameter(torch.ones(1))  # a weight, on a device, as a network has

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
            contrast = torch.log(maps.clamp(min=1e-30) / float(THRESHOLD))
            found = torch.relu(contrast if self.name == "above" else -contrast).mean((1, 2))
        found = self.unit * found[:, None].to(x.dtype)
        return found, found


def injected_pixels(name: str, maps) -> np.ndarray:
    """Return which pixels contain the signal of "above" or "below", (B, N, N) booleans."""
    return {"above": np.greater, "below": np.less}[name](checked_maps(maps)[0], THRESHOLD)


def _in_band(grid):
    """Return which modes lie in `BAND`, (N, N) booleans."""
    k, (low, high) = _wavenumbers(grid), (edge * (1 - EDGE_TOLERANCE) for edge in BAND)
    return (k >= low) & (k < high)


def _wavenumbers(grid):
    """Return the wavenumber of each mode, (N, N) [h/Mpc]."""
    return 2 * np.pi / BOX_SIZE * np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(grid, 1 / grid)]))
