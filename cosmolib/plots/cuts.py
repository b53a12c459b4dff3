"""Figures of the cuts, chapter 02: maps, spectra, pixels and the side effects of a cut.

As in ``plots``: every function takes arrays and returns ``(fig, axes)``, and cuts differ in line
style or marker as well as in colour.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import Normalize

from cosmolib.data.arrays import checked_maps
from cosmolib.data.cmd_format import BOX_SIZE, LABELS
from cosmolib.plots.style import (
    DENSITY_LABEL,
    K_LABEL,
    K_TICKS,
    LINE_STYLES,
    MARKERS,
    band,
    density_image,
    log_ticks,
    quantile_groups,
    scale_bar,
)

CUT_COLOURS = ("#3f90da", "#ffa90e", "#bd1f01", "#832db6", "#717581", "#a96b59")


def cut_gallery(maps, names, box_size=BOX_SIZE, columns=4):
    """One map after every kind of cut, on one norm; zero and negative pixels in turquoise.

    Parameters
    ----------
    maps : ndarray, shape (m, N, N)
        [(Msun/h)/(Mpc/h)^2]; a ``mask:`` control is drawn in black (cut) and white.
    names : list of str
        Cut strings, used as titles.
    """
    maps, _ = checked_maps(maps)
    rows = -(-len(maps) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(7.2, 7.2 / columns * rows * 1.02 + 0.3))
    for ax, density, name in zip(axes.flat, maps, names, strict=False):
        if name.startswith("mask:"):
            ax.imshow(density, cmap="gray_r", norm=Normalize())
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(True)  # else its white would run into the page
        else:
            image = density_image(ax, density, box_size)
        ax.set_title(name, fontsize=8, family="monospace")
    for ax in axes.flat[len(maps) :]:
        ax.axis("off")
    scale_bar(axes.flat[0], box_size)
    fig.colorbar(
        image, ax=axes, location="bottom", aspect=50, shrink=0.8, extend="both", label=DENSITY_LABEL
    )
    return fig, axes


def _legend_above(ax, title):
    """Legend over a panel, its title in place of the panel's: nothing inside is covered."""
    legend = ax.legend(
        loc="lower left",
        bbox_to_anchor=(-0.03, 1),
        title=title,
        alignment="left",
        prop={"family": "monospace", "size": 8},
    )
    legend.get_title().set_family("sans-serif")


def cut_spectra(k, panels, limits=(1e-3, 1e5)):
    """Power that a cut leaves, relative to the uncut maps.

    Parameters
    ----------
    k : ndarray, shape (nk,)
        [h/Mpc].
    panels : dict of str to dict of str to ndarray, shape (n, nk)
        Title of the panel to {cut: P(cut) / P(uncut)}, a row a simulation.
    limits : tuple of float
        Range of the ratio; what a sharp filter removes lies below it.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=(7.2, 3.8), sharey=True, squeeze=False)
    for ax, (title, ratios) in zip(axes[0], panels.items(), strict=True):
        ax.axhline(1, color="0.35", linewidth=0.8)
        for i, (cut, ratio) in enumerate(ratios.items()):
            shown = np.clip(ratio, limits[0] / 10, None)
            band(ax, k, shown, color=CUT_COLOURS[i], linestyle=LINE_STYLES[i], label=cut)
        ax.set(xscale="log", yscale="log", ylim=limits, xlabel=K_LABEL)
        log_ticks(ax.xaxis, K_TICKS)
        _legend_above(ax, title)
    axes[0, 0].set_ylabel("$P$(after the cut) / $P$(before)")
    return fig, axes[0]


def cut_pdfs(log_density, uncut, panels):
    """Pixel PDF that a cut leaves (positive pixels only: the rest has no logarithm).

    Parameters
    ----------
    log_density : ndarray, shape (nb,)
        Bin centres, log10 of (Msun/h)/(Mpc/h)^2.
    uncut : ndarray, shape (nb,)
        PDF before the cut [1/dex], drawn as a grey area in each panel.
    panels : dict of str to dict of str to ndarray, shape (nb,)
        Title to {label of the cut: PDF}.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=(7.2, 3.8), sharey=True, squeeze=False)
    for ax, (title, pdfs) in zip(axes[0], panels.items(), strict=True):
        ax.fill_between(log_density, uncut, color="0.85", linewidth=0, label="none")
        for i, (label, pdf) in enumerate(pdfs.items()):
            ax.plot(log_density, pdf, color=CUT_COLOURS[i], linestyle=LINE_STYLES[i], label=label)
        ax.set_yscale("log")
        ax.set_xlabel(r"$\log_{10}$ of " + DENSITY_LABEL, fontsize=8)
        _legend_above(ax, title)
    axes[0, 0].set(ylabel="pixel PDF [1/dex]", ylim=(1e-3, None))  # last: the axes share it
    return fig, axes[0]


def fraction_against_omega_m(omega_m, panels, n_bins=8):
    """Share of pixels that a threshold cuts, against Omega_m.

    Parameters
    ----------
    omega_m : ndarray, shape (n,)
    panels : dict of str to dict of str to ndarray, shape (n,)
        Title to {label of the threshold: fraction of pixels cut}, one value a simulation.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=(7.2, 4.0), sharey=True, squeeze=False)
    for ax, (title, fractions) in zip(axes[0], panels.items(), strict=True):
        for i, (label, fraction) in enumerate(fractions.items()):
            ax.plot(omega_m, fraction, MARKERS[i], color=CUT_COLOURS[i], ms=2.5, mew=0, alpha=0.35)
            bins = quantile_groups(omega_m, n_bins)
            ax.errorbar(
                [omega_m[b].mean() for b in bins],
                [fraction[b].mean() for b in bins],
                [fraction[b].std() for b in bins],
                fmt=MARKERS[i],
                linestyle=LINE_STYLES[i],
                color=CUT_COLOURS[i],
                mec="white",
                mew=0.5,
                label=label,
            )
        ax.set(xlabel=LABELS["Omega_m"], ylim=(0, None))
        _legend_above(ax, title)
    axes[0, 0].set_ylabel("fraction of pixels cut")
    return fig, axes[0]


def negative_fraction(k_max, fractions, corner, published=None):
    """Share of pixels that a sharp low-pass filter makes negative, against its k_max.

    Parameters
    ----------
    k_max : ndarray, shape (m,)
        [h/Mpc].
    fractions : dict of str to ndarray, shape (n, m)
        Label to the fraction of negative pixels, a row a simulation.
    corner : float
        Largest wavenumber of the map, sqrt(2) of its Nyquist [h/Mpc]: from there on nothing is cut.
    published : tuple of (str, ndarray, ndarray), optional
        Label, k_max and fraction of another data set, drawn as open squares.
    """
    fig, ax = plt.subplots(figsize=(7.2, 3.0))
    for i, (label, values) in enumerate(fractions.items()):
        band(ax, k_max, 100 * values, color=CUT_COLOURS[i], linestyle=LINE_STYLES[i], label=label)
        ax.plot(k_max, 100 * np.median(values, axis=0), MARKERS[i], color=CUT_COLOURS[i])
    if published is not None:
        label, x, y = published
        ax.plot(x, 100 * np.asarray(y), "s", mfc="none", color="0.15", label=label)
    ax.axvline(corner, color="0.35", linestyle="--", linewidth=1)
    ax.annotate(
        "corner of the Fourier plane",
        (corner, 0.97),
        xycoords=("data", "axes fraction"),
        xytext=(3, 0),
        textcoords="offset points",
        rotation=90,
        ha="left",
        va="top",
        fontsize=8,
    )
    ax.set(xscale="log", xlabel=r"$k_\mathrm{max}$ [$h$/Mpc]", ylabel="negative pixels [%]")
    ax.set_ylim(-0.5, None)
    log_ticks(ax.xaxis, K_TICKS)
    ax.legend()
    return fig, ax
