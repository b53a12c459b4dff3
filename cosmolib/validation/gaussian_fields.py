"""Gaussian and lognormal mocks whose posterior is known analytically.

A network cannot do better than the exact posterior, and a Gaussian field has one in closed form:
all of its information is in the band powers. A lognormal map whose mean is fixed is the same field
seen through an exponential, which a logarithm undoes: its information is the same. So these maps
test whether a network, a cut or an attribution finds what is there. Their spectrum is that of a
5 Mpc/h slab of linear matter; they are not a model of the non-linear web.
"""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from cosmolib.cuts.apply import EDGE_TOLERANCE
from cosmolib.cuts.noise import REFERENCE_DENSITY
from cosmolib.data.arrays import checked_maps, map_blocks, mode_numbers
from cosmolib.data.cmd_format import BOX_SIZE, HUBBLE, SLAB_DEPTH, SPECTRAL_INDEX
from cosmolib.data.tables import parameter_ranges

TARGETS = ("Omega_m", "sigma_8")  # the two parameters of a Gaussian map

_LOBES = 40  # of the slab's window that the projection integrates over: the rest is below 1e-3
_BLOCK_POINTS = 2**21  # points of posteriors, worked on at once


def theory_spectrum(k, omega_m, sigma_8):
    """Power of the overdensity of linear matter projected through a slab.

    The 3-D spectrum is k^n_s T(k)^2 with the transfer function of Bardeen, Bond, Kaiser & Szalay
    (1986, eq. G3; shape Gamma = Omega_m h), scaled to `sigma_8` in a top-hat of 8 Mpc/h. A slab of
    depth D projects it: P(k) = int dk_z / (2 pi) P_3D(sqrt(k^2 + k_z^2)) sinc^2(k_z D / 2).

    Parameters
    ----------
    k : (nk,) floats
        [h/Mpc], positive.
    omega_m, sigma_8 : float or (n,) arrays
        Broadcast together.

    Returns
    -------
    (n, nk) or (nk,) float64
        [(Mpc/h)^2]
    """
    k = np.asarray(k, dtype=np.float64)
    omega_m, sigma_8 = np.broadcast_arrays(np.asarray(omega_m, float), np.asarray(sigma_8, float))
    # Gauss-Legendre nodes in each lobe of sinc^2, both signs of k_z at once.
    nodes, weights = np.polynomial.legendre.leggauss(8)
    k_z = 2 * np.pi / SLAB_DEPTH * (np.arange(_LOBES)[:, None] + (nodes + 1) / 2).ravel()
    weights = np.tile(weights, _LOBES) / SLAB_DEPTH
    window = weights * np.sinc(k_z * SLAB_DEPTH / (2 * np.pi)) ** 2  # np.sinc(x): sin(pi x)/(pi x)
    shape = omega_m[..., None, None]
    power = _bbks(np.hypot(k[:, None], k_z), shape) @ window
    return power * (sigma_8**2 / _top_hat_variance(omega_m))[..., None]


def _bbks(k, omega_m):
    """Unnormalised 3-D linear power at k [h/Mpc]."""
    q = k / (omega_m * HUBBLE)
    transfer = (
        np.log1p(2.34 * q)
        / (2.34 * q)
        * (1 + 3.89 * q + (16.1 * q) ** 2 + (5.46 * q) ** 3 + (6.71 * q) ** 4) ** -0.25
    )
    return k**SPECTRAL_INDEX * transfer**2


def _top_hat_variance(omega_m):
    """Variance of the unnormalised power in spheres of 8 Mpc/h."""
    ln_k = np.linspace(np.log(1e-4), np.log(50.0), 4001)
    k = np.exp(ln_k)
    x = 8 * k
    window = 3 * (np.sin(x) - x * np.cos(x)) / x**3
    density = k**3 / (2 * np.pi**2) * _bbks(k, omega_m[..., None]) * window**2
    return np.trapezoid(density, ln_k, axis=-1)


def gaussian_maps(params, grid=64, box_size=BOX_SIZE, seed=0):
    """Gaussian overdensity maps with the spectrum of `theory_spectrum`, one a row of `params`.

    Parameters
    ----------
    params : (n, 2 or more) array
        Omega_m and sigma_8 in the first two columns.
    grid : int
        Pixels a side, N.
    box_size : float
        Side of the maps [Mpc/h].
    seed : int
        Map i has its own stream, so that it is the same in any number of maps.

    Returns
    -------
    (n, N, N) float32
        Overdensity, of zero mean. It may be below -1: scale it with ``fit_scaling(..., "linear")``.
    """
    params = np.asarray(params, dtype=np.float64)
    if params.ndim != 2 or params.shape[1] < 2 or not (0 < params[:, :2]).all():
        raise ValueError(
            f"params: found {params} of shape {params.shape}, expected (n, 2 or more), positive "
            "Omega_m and sigma_8"
        )
    k, shell, _ = _shells(grid, box_size)
    maps = np.empty((len(params), grid, grid), np.float32)
    spectrum = _spectra_by_omega(k, params[:, 0])
    for index, (omega_m, sigma_8) in enumerate(params[:, :2]):
        white = np.random.default_rng([seed, index]).standard_normal((grid, grid))
        amplitude = np.append(0, sigma_8 * np.sqrt(spectrum(omega_m)))[shell]  # 0 for k = 0
        modes = np.fft.rfft2(white) * amplitude  # (N, N//2 + 1)
        maps[index] = np.fft.irfft2(modes, s=(grid, grid)) * (grid / box_size)
    return maps


def lognormal_maps(params, grid=64, box_size=BOX_SIZE, seed=0):
    """Lognormal maps: the exponential of `gaussian_maps`, each divided by its own mean.

    Every map has the mean density of the fiducial cosmology, so that its mean tells nothing, and
    `underlying_gaussian` gives the Gaussian field back: nothing is lost or added.

    Parameters
    ----------
    params, grid, box_size, seed
        As for `gaussian_maps`.

    Returns
    -------
    (n, N, N) float32
        Surface density [(Msun/h)/(Mpc/h)^2], positive: scale it with ``fit_scaling(..., "log")``.
    """
    maps = gaussian_maps(params, grid, box_size, seed)
    for one in maps:
        density = np.exp(one.astype(np.float64))
        one[...] = density * (REFERENCE_DENSITY / density.mean())
    return maps


def underlying_gaussian(maps):
    """Invert `lognormal_maps`: the log of positive maps less its mean, (n, N, N) float32."""
    stack, _ = checked_maps(maps)
    if not stack.min() > 0:
        raise ValueError(f"maps: found a pixel of {stack.min():g}, expected positive ones")
    field = np.log(stack.astype(np.float64))
    return (field - field.mean(axis=(1, 2), keepdims=True)).astype(np.float32)


def _spectra_by_omega(k, omega_m):
    """Interpolator Omega_m -> P(k) at sigma_8 = 1, (n, nk): 1e-5 exact, and fast for many maps."""
    low, high = np.min(omega_m, initial=1.0), np.max(omega_m, initial=0.01)
    nodes = np.geomspace(0.99 * low, 1.01 * high, 25)
    coarse = np.geomspace(k[0], k[-1], 64)
    ln_power = CubicSpline(np.log(coarse), np.log(theory_spectrum(coarse, nodes, 1.0)), axis=1)
    spline = CubicSpline(np.log(nodes), ln_power(np.log(k)), axis=0)
    return lambda omega: np.exp(spline(np.log(omega)))


def shell_powers(maps, box_size=BOX_SIZE):
    """Band powers in shells of exactly equal |k|: a sufficient statistic of a Gaussian field.

    Parameters
    ----------
    maps : (n, N, N) array
        Overdensity.

    Returns
    -------
    k : (nk,) float64
        [h/Mpc], increasing, without k = 0.
    power : (n, nk) float64
        Mean of the squared modes of a shell [(Mpc/h)^2].
    count : (nk,) int
        Modes in the shell, those of both signs: the real degrees of freedom.
    """
    maps, _ = checked_maps(maps)
    grid = maps.shape[-1]
    k, shell, copies = _shells(grid, box_size)
    count = np.bincount(shell.ravel(), copies.ravel())[1:].astype(int)
    power = np.empty((len(maps), len(k)))
    for index, one in enumerate(maps):
        modes = np.fft.rfft2(one.astype(np.float64))
        squares = (modes.real**2 + modes.imag**2) * copies
        power[index] = np.bincount(shell.ravel(), squares.ravel())[1:] / count
    return k, power * (box_size / grid**2) ** 2, count


def _shells(grid, box_size):
    """Distinct |k| > 0 of a grid, shell of each mode (0 for k = 0), and its copies (1 or 2)."""
    i, j = mode_numbers(grid)
    squares = i**2 + j**2
    distinct, shell = np.unique(squares, return_inverse=True)
    copies = np.broadcast_to(np.where((j == 0) | (2 * j == grid), 1, 2), squares.shape)
    return 2 * np.pi / box_size * np.sqrt(distinct[1:]), shell.reshape(squares.shape), copies


@dataclass(frozen=True)
class Posterior:
    """Exact posterior of (Omega_m, sigma_8) for n maps, flat over the LH ranges.

    Attributes
    ----------
    mean, std : (n, 2) float64
        Its first two moments: what a moment network should predict.
    bits : (n, 3) float64 or None
        log2 of posterior over prior at the truth: of each parameter, and of both. Their mean over
        maps is the mutual information.
    """

    mean: np.ndarray
    std: np.ndarray
    bits: np.ndarray | None = None


def exact_posterior(
    maps, box_size=BOX_SIZE, kmax=None, points=201, suite="Lite", kmin=None, truth=None
):
    """Exact posterior of the two parameters of Gaussian maps.

    The log-likelihood of a map is -1/2 sum over its modes of (|delta_k|^2 / P(k) + ln P(k)), summed
    up on a grid of `points` x `points` cells of the prior, flat over the LH ranges of `suite`.

    Parameters
    ----------
    maps : (n, N, N) array
        Overdensity, as `gaussian_maps` makes it.
    box_size : float
        Side of the maps [Mpc/h].
    kmax, kmin : float, optional
        Only modes kmin <= k < kmax [h/Mpc] are known, as after the cuts ``kmax:...``, ``kmin:...``
        and ``band:...``; a mode on an edge is taken as the cuts take it.
    points : int
        Grid points for each parameter. With 201, 0.002 apart, means are exact to 1 % of the width
        of the posterior and widths to 2 %, in the narrowest of 300 maps of 64 x 64 pixels.
    truth : (n, 2), optional
        Parameters of the maps, for ``bits``.

    Returns
    -------
    Posterior

    Raises
    ------
    ValueError
        If no mode of the grid is known.
    """
    k, power, count = shell_powers(maps, box_size)
    low, high = 0.0 if kmin is None else kmin, np.inf if kmax is None else kmax
    known = (k >= low * (1 - EDGE_TOLERANCE)) & (k < high * (1 - EDGE_TOLERANCE))
    if not known.any():
        raise ValueError(
            f"no mode from kmin={low:g} to below kmax={high:g} h/Mpc: those of the grid go from "
            f"{k[0]:.3f} to {k[-1]:.3f} h/Mpc"
        )
    k, power, count = k[known], power[:, known], count[known]
    cells = (np.arange(points) + 0.5) / points  # centres of equal cells of the prior
    omega_m, sigma_8 = (low + (high - low) * cells for low, high in parameter_ranges(suite)[:2])
    # P(k) = sigma_8^2 P(k; sigma_8 = 1): sums over the modes are needed for each Omega_m only.
    model = _spectra_by_omega(k, omega_m)(omega_m)  # (points, nk)
    chi2 = power @ (count / model).T  # (n, points), at sigma_8 = 1
    constant = (np.log(model) @ count)[:, None] + count.sum() * np.log(sigma_8**2)  # (points,) * 2
    mean, std = np.empty((len(power), 2)), np.empty((len(power), 2))
    if truth is not None:
        low, high = parameter_ranges(suite)[:2].T
        place = ((np.asarray(truth) - low) / (high - low) * points).astype(int)  # cells (n, 2)
        place, bits = np.minimum(place, points - 1), np.empty((len(power), 3))
    for block in map_blocks((len(power), points, points), _BLOCK_POINTS):
        log_like = -0.5 * (chi2[block, :, None] / sigma_8**2 + constant)  # (B, points, points)
        weight = np.exp(log_like - log_like.max(axis=(1, 2), keepdims=True))
        weight /= weight.sum(axis=(1, 2), keepdims=True)
        for column, (theta, other) in enumerate(((omega_m, 2), (sigma_8, 1))):
            marginal = weight.sum(axis=other)  # (B, points)
            mean[block, column] = marginal @ theta
            offset = theta - mean[block, column, None]  # about the mean: no cancellation
            std[block, column] = np.sqrt((marginal * offset**2).sum(axis=1))
            if truth is not None:
                at_truth = np.take_along_axis(marginal, place[block, column, None], 1)[:, 0]
                bits[block, column] = np.log2(at_truth * points)
        if truth is not None:
            rows, (first, second) = np.arange(len(weight)), place[block].T
            bits[block, 2] = np.log2(weight[rows, first, second] * points**2)
    return Posterior(mean, std, None if truth is None else bits)
