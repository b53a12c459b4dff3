"""Compute the numbers that chapters 01 and 02 quote, under the keys used in their prose.

These are the mass, pixels and power of the maps, and the effect of feedback. The numbers that need
the three-dimensional simulations are stored with Lite (`lite.validate`).
"""

import numpy as np
import pandas as pd

from cosmolib.data.cmd_format import MAPS_PER_SIMULATION, PARAMETERS, mean_surface_density
from cosmolib.data.spectra import power_spectrum
from cosmolib.data.suites import Suite

MEANING = {
    "Omega_m": "matter density over the critical one",
    "sigma_8": "linear fluctuations within 8 Mpc/h",
    "A_SN1": "supernovae (Lite: amplitude of the proxy)",
    "A_AGN1": "black holes (Lite: amplitude, densest cells)",
    "A_SN2": "supernovae (Lite: range of the proxy)",
    "A_AGN2": "black holes (Lite: range, densest cells)",
}
K_LARGE = 0.5  # [h/Mpc]; feedback should have no effect below it


def per_simulation(values):
    """Average over the 15 maps of each simulation, (15 n, ...) -> (n, -1)."""
    return np.reshape(values, (len(values) // MAPS_PER_SIMULATION, MAPS_PER_SIMULATION, -1)).mean(1)


def quantile_groups(values, n_groups):
    """Divide values (n,) by quantile into groups of nearly equal size, from low to high.

    Returns at most ``n_groups`` arrays of indices, none of them empty.
    """
    order = np.argsort(np.asarray(values), kind="stable")
    return np.array_split(order, min(n_groups, len(order)))


def power_after_cuts(maps, cut_maps, box_size) -> tuple[np.ndarray, dict]:
    """Compute the power of cut maps, relative to the means of the uncut maps.

    Parameters
    ----------
    maps : (15 n, N, N)
        Uncut maps.
    cut_maps : iterable of (str, (15 n, N, N))
        Each cut and its maps; a generator keeps one of them in memory.

    Returns
    -------
    k : (nk,)
        [h/Mpc]
    power : dict of str to (n, nk)
        Mean over the maps of each simulation [(Mpc/h)^2].
    """
    power, mean = {}, maps.mean(axis=(1, 2), keepdims=True)
    for cut, after in cut_maps:
        shift = mean - after.mean(axis=(1, 2), keepdims=True)
        k, of_maps = power_spectrum(after + shift, box_size)
        power[cut] = per_simulation(of_maps)
    return k, power


def parameter_table(params) -> pd.DataFrame:
    """Tabulate the range and the meaning of the six parameters of a suite."""
    columns = {"smallest": params.min(axis=0), "largest": params.max(axis=0), "meaning": MEANING}
    return pd.DataFrame(columns, index=pd.Index(MEANING, name="parameter")).round(2)


def check_maps(suite: Suite) -> tuple[np.ndarray, np.ndarray, dict]:
    """Compare the mean of the maps with Omega_m, and count pixels that have no logarithm.

    Returns
    -------
    slabs : (n, 15) float64
        Mean surface density of each map over the value expected from Omega_m.
    boxes : (n, 3) float64
        The same for the five slabs of each axis together.
    row : dict
        Row of the chapter's table.
    """
    maps, n = suite.maps, suite.n_simulations
    means = maps.mean(axis=(1, 2), dtype=np.float64).reshape(n, MAPS_PER_SIMULATION)
    slabs = means / mean_surface_density(suite.params[:, 0], suite.box_size)[:, None]
    boxes = slabs.reshape(-1, 3, 5).mean(axis=2)
    row = {
        "simulations": n,
        "pixels": maps.size,
        "not finite": maps.size - np.count_nonzero(np.isfinite(maps)),
        "zero or negative": np.count_nonzero(maps <= 0),
        "smallest pixel": float(maps.min()),
        "largest pixel": float(maps.max()),
        "worst deviation of a box's mean": np.abs(boxes - 1).max(),
    }
    return slabs, boxes, row


def feedback_numbers(k, ratio, params) -> dict:
    """Summarise the ratio of the power with feedback to that with gravity only.

    Parameters
    ----------
    k : (nk,)
        [h/Mpc]
    ratio : (n, nk)
        One row per simulation.
    params : (n, 6)

    Returns
    -------
    dict
        The ratio on large scales and at 5 h/Mpc, and the slope of ln(1 - ratio) at 5 h/Mpc in
        ln A_SN1, from a linear fit in the logarithms of all six parameters.
    """
    at_5, sn1 = ratio[:, np.argmin(np.abs(k - 5.0))], PARAMETERS.index("A_SN1")
    large_scale = ratio[:, k < K_LARGE].mean(axis=1)
    low, median, high = np.quantile(at_5, [0.025, 0.5, 0.975])
    steps = np.diff([at_5[rows].mean() for rows in quantile_groups(params[:, sn1], 6)])
    design = np.column_stack([np.ones(len(params)), np.log(params)])
    suppression = np.log(np.clip(1 - at_5, 1e-4, None))
    exponents, *_ = np.linalg.lstsq(design, suppression, rcond=None)
    variance = (suppression - design @ exponents).var(ddof=design.shape[1])
    covariance = np.linalg.inv(design.T @ design) * variance
    return {
        "data-k-large": K_LARGE,
        "data-ratio-large": large_scale.mean(),
        "data-ratio-large-worst": 100 * np.abs(large_scale - 1).max(),
        "data-ratio-low": low,
        "data-ratio-high": high,
        "data-ratio-median": median,
        "data-ratio-exponent": exponents[1 + sn1],
        "data-ratio-exponent-error": np.sqrt(covariance[1 + sn1, 1 + sn1]),
        "data-ratio-steps": np.count_nonzero(steps < 0),
        "data-ratio-bins": len(steps),
    }
