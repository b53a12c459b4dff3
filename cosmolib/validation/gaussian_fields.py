"""Gaussian and lognormal mocks whose posterior is known analytically.

No network can beat the exact posterior, and a Gaussian field has one in closed form, because all of
its information is in the band powers. A lognormal map with a fixed mean is the exponential of the
same field and contains the same information. These maps therefore test whether a network, a cut or
an attribution finds the information that is there. Their spectrum is that of a 5 Mpc/h slab of
linear matter; they are not a model of the non-linear web.
"""

import numpy as np
from scipy.interpolate import CubicSpline

from cosmolib.cuts.apply import EDGE_TOLERANCE
from cosmolib.cuts.noise import REFERENCE_DENSITY
from cosmolib.data.arrays import bad_input, checked_maps, map_blocks, mode_numbers
from cosmolib.data.cmd_format import BOX_SIZE, HUBBLE, SLAB_DEPTH, SPECTRAL_INDEX
from cosmolib.data.tables import parameter_ranges

TARGETS = ("Omega_m", "sigma_8")  # the two parameters of a Gaussian map
RANGES_OF = "Lite"  # the prior of mocks is that of Lite and of IllustrisTNG's LH set

_LOBES = 40  # of the window of the slab in the projection integral; the others add less than 1e-3
_BLOCK_POINTS = 2**21  # grid points of posteriors that are computed at once


def theory_spectrum(k, omega_m, sigma_8):
    """Compute the power spectrum of linear matter overdensity projected through a slab.

    The 3-D spectrum is k^n_s T(k)^2 with the transfer function of Bardeen, Bond, Kaiser & Szalay
    (1986, eq. G3; shape Gamma = Omega_m h), scaled to `sigma_8` in a top-hat of 8 Mpc/h. Projected
    through depth D it is P(k) = int dk_z / (2 pi) P_3D(sqrt(k^2 + k_z^2)) sinc^2(k_z D / 2).

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
    # Gauss-Legendre nodes in each lobe of sinc^2; both signs of k_z are counted at once.
    nodes, weights = np.polynomial.legendre.leggauss(8)
    k_z = 2 * np.pi / SLAB_DEPTH * (np.arange(_LOBES)[:, None] + (nodes + 1) / 2).ravel()
    weights = np.tile(weights, _LOBES) / SLAB_DEPTH
    window = weights * np.sinc(k_z * SLAB_DEPTH / (2 * np.pi)) ** 2  # np.sinc(x): sin(pi x)/(pi x)
    power = _bbks(np.hypot(k[:, None], k_z), omega_m[..., None, None]) @ window
    return power * (sigma_8**2 / _top_hat_variance(omega_m))[..., None]


def _bbks(k, omega_m):
    """Return the unnormalised 3-D linear power at k [h/Mpc]."""
    q = k / (omega_m * HUBBLE)
    polynomial = 1 + 3.89 * q + (16.1 * q) ** 2 + (5.46 * q) ** 3 + (6.71 * q) ** 4
    transfer = np.log1p(2.34 * q) / (2.34 * q) * polynomial**-0.25
    return k**SPECTRAL_INDEX * transfer**2


def _top_hat_variance(omega_m):
    """Return the variance of the unnormalised power in spheres of 8 Mpc/h."""
    ln_k = np.linspace(np.log(1e-4), np.log(50.0), 4001)
    k = np.exp(ln_k)
    x = 8 * k
    window = 3 * (np.sin(x) - x * np.cos(x)) / x**3
    density = k**3 / (2 * np.pi**2) * _bbks(k, omega_m[..., None]) * window**2
    return np.trapezoid(density, ln_k, axis=-1)


def gaussian_maps(params, grid=64, box_size=BOX_SIZE, seed=0):
    """Draw Gaussian overdensity maps with the spectrum of `theory_spectrum`.

    Parameters
    ----------
    params : (n, 2 or more) array
        One row per map, with Omega_m and sigma_8 in the first two columns.
    grid : int
        Pixels along a side, N.
    box_size : float
        Side of the maps [Mpc/h].
    seed : int
        Each map has its own random stream, independent of the number of maps.

    Returns
    -------
    (n, N, N) float32
        Overdensity, of zero mean. It may be below -1: scale it with ``fit_scaling(..., "linear")``.
    """
    params = np.asarray(params, dtype=np.float64)
    if params.ndim != 2 or params.shape[1] < 2 or not (0 < params[:, :2]).all():
        expected = "positive Omega_m and sigma_8 in the first columns of (n, 2 or more)"
        raise bad_input("params", f"{params} of shape {params.shape}", expected)
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
    """Draw lognormal maps, the exponential of `gaussian_maps`, each divided by its own mean.

    Every map has the mean density of the fiducial cosmology, so that its mean contains no
    information, and `underlying_gaussian` recovers the Gaussian field.

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
    """Invert `lognormal_maps`: the log of positive maps minus its mean, (n, N, N) float32."""
    stack, _ = checked_maps(maps)
    if not stack.min() > 0:
        raise bad_input("maps", f"a pixel of {stack.min():g}", "positive pixels")
    field = np.log(stack.astype(np.float64))
    return (field - field.mean(axis=(1, 2), keepdims=True)).astype(np.float32)


def _spectra_by_omega(k, omega_m):
    """Return a fast interpolator Omega_m -> P(k), (n, nk), at sigma_8 = 1, accurate to 1e-5."""
    low, high = np.min(omega_m, initial=1.0), np.max(omega_m, initial=0.01)
    nodes = np.geomspace(0.99 * low, 1.01 * high, 25)
    coarse = np.geomspace(k[0], k[-1], 64)
    ln_power = CubicSpline(np.log(coarse), np.log(theory_spectrum(coarse, nodes, 1.0)), axis=1)
    spline = CubicSpline(np.log(nodes), ln_power(np.log(k)), axis=0)
    return lambda omega: np.exp(spline(np.log(omega)))


def shell_powers(maps, box_size=BOX_SIZE):
    """Compute band powers in shells of equal ``|k|``, a sufficient statistic of a Gaussian field.

    Parameters
    ----------
    maps : (n, N, N) array
        Overdensity.

    Returns
    -------
    k : (nk,) float64
        [h/Mpc], increasing, without k = 0.
    power : (n, nk) float64
        Mean square of the modes in each shell [(Mpc/h)^2].
    count : (nk,) int
        Number of modes in each shell, counting both signs: the real degrees of freedom.
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
    """Return the distinct wavenumbers of a grid, the shell of each mode (0: k = 0), its copies."""
    i, j = mode_numbers(grid)
    squares = i**2 + j**2
    distinct, shell = np.unique(squares, return_inverse=True)
    copies = np.broadcast_to(np.where((j == 0) | (2 * j == grid), 1, 2), squares.shape)
    return 2 * np.pi / box_size * np.sqrt(distinct[1:]), shell.reshape(squares.shape), copies


def exact_posterior(maps, truth, kmin=0.0, kmax=np.inf, box_size=BOX_SIZE, points=201) -> dict:
    """Compute the exact posterior of the two parameters of Gaussian maps.

    The log-likelihood of a map is ``-1/2 sum over its modes of (|delta_k|^2 / P(k) + ln P(k))``. It
    is evaluated in `points` x `points` cells of the prior, which is flat over the LH ranges of
    Lite.

    Parameters
    ----------
    maps : (n, N, N) array
        Overdensity, from `gaussian_maps`.
    truth : (n, 2)
        Parameters of the maps, for ``bits``.
    kmin, kmax : float
        Only modes kmin <= k < kmax [h/Mpc] are used, as after the cuts ``kmax:...``, ``kmin:...``
        and ``band:...``, with the same treatment of modes on an edge.
    box_size : float
        Side of the maps [Mpc/h].
    points : int
        Grid points per parameter. With 201, 0.002 apart, means are accurate to 1 % of the width of
        the posterior and widths to 2 %, for the narrowest of 300 maps of 64 x 64 pixels.

    Returns
    -------
    dict
        ``mean`` and ``std`` (n, 2), the first two moments, which a moment network should predict;
        ``bits`` (n, 3), log2 of posterior over prior at the truth, for each parameter and for both:
        the mean over maps is the mutual information.

    Raises
    ------
    ValueError
        No mode of the grid is used.
    """
    k, power, count = shell_powers(maps, box_size)
    known = (k >= kmin * (1 - EDGE_TOLERANCE)) & (k < kmax * (1 - EDGE_TOLERANCE))
    if not known.any():
        raise ValueError(
            f"no mode from kmin={kmin:g} to below kmax={kmax:g} h/Mpc: the modes of the grid range "
            f"from {k[0]:.3f} to {k[-1]:.3f} h/Mpc"
        )
    k, power, count = k[known], power[:, known], count[known]
    cells = (np.arange(points) + 0.5) / points  # centres of equal cells of the prior
    low, high = parameter_ranges(RANGES_OF)[:2].T
    omega_m, sigma_8 = low[:, None] + (high - low)[:, None] * cells
    # P(k) = sigma_8^2 P(k; sigma_8 = 1), so that sums over modes are needed only per Omega_m.
    model = _spectra_by_omega(k, omega_m)(omega_m)  # (points, nk)
    chi2 = power @ (count / model).T  # (n, points), at sigma_8 = 1
    constant = (np.log(model) @ count)[:, None] + count.sum() * np.log(sigma_8**2)  # (points,) * 2
    cell = ((np.asarray(truth) - low) / (high - low) * points).astype(int).clip(max=points - 1)
    mean, std, ratio = (np.empty((len(power), columns)) for columns in (2, 2, 3))
    for block in map_blocks((len(power), points, points), _BLOCK_POINTS):
        log_like = -0.5 * (chi2[block, :, None] / sigma_8**2 + constant)  # (B, points, points)
        weight = np.exp(log_like - log_like.max(axis=(1, 2), keepdims=True))
        weight /= weight.sum(axis=(1, 2), keepdims=True)
        each, at = np.arange(len(weight)), cell[block].T
        for column, theta in enumerate((omega_m, sigma_8)):
            marginal = weight.sum(axis=2 - column)  # (B, points)
            mean[block, column] = marginal @ theta
            offset = theta - mean[block, column, None]  # about the mean, to avoid cancellation
            std[block, column] = np.sqrt((marginal * offset**2).sum(axis=1))
            ratio[block, column] = marginal[each, at[column]] * points
        ratio[block, 2] = weight[each, *at] * points**2
    with np.errstate(divide="ignore"):  # minus infinity where the posterior excludes the truth
        return {"mean": mean, "std": std, "bits": np.log2(ratio)}
