"""Figures of chapter 02: maps, spectra, pixels and the side effects of a cut."""

import matplotlib.pyplot as plt
import numpy as np

from cosmolib.data.arrays import checked_maps
from cosmolib.data.cmd_format import BOX_SIZE, LABELS
from cosmolib.data.summary import quantile_groups
from cosmolib.plots import style

CUT_COLOURS = ("#3f90da", "#ffa90e", "#bd1f01", "#832db6")


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
    size = (style.WIDTH, style.WIDTH / columns * rows * 1.02 + 0.3)
    fig, axes = plt.subplots(rows, columns, figsize=size)
    for ax, density, name in zip(axes.flat, maps, names, strict=False):
        if name.startswith("mask:"):
            ax.imshow(density, cmap="gray_r")
            style.bare(ax, frame=True)  # its white would otherwise run into the page
        else:
            image = style.density_image(ax, density, box_size)
        ax.set_title(name, fontsize=8, family="monospace")
    for ax in axes.flat[len(maps) :]:
        ax.axis("off")
    style.scale_bar(axes.flat[0], box_size)
    place = {"ax": axes, "location": "bottom", "aspect": 50, "shrink": 0.8}
    fig.colorbar(image, extend="both", label=style.DENSITY_LABEL, **place)
    return fig, axes


def _title_and_legend(ax, title):
    """Put the legend, with the panel's title, above the panel, where it covers nothing."""
    place = {"loc": "lower left", "bbox_to_anchor": (-0.03, 1), "alignment": "left"}
    legend = ax.legend(title=title, prop={"family": "monospace", "size": 8}, **place)
    legend.get_title().set_family("sans-serif")


def cut_spectra(k, curves, limits=(1e-3, 1e5)):
    """Power after a cut, relative to the uncut maps.

    Parameters
    ----------
    k : ndarray, shape (nk,)
        [h/Mpc].
    curves : dict of str to dict of str to ndarray, shape (n, nk)
        Title of the panel to {cut: P(cut) / P(uncut)}, one row per simulation.
    limits : tuple of float
        Range of the ratio; power removed by a sharp filter lies below it.
    """
    fig, axes = style.panels(len(curves), 3.8)
    for ax, (title, ratios) in zip(axes, curves.items(), strict=True):
        ax.axhline(1, color=style.GREY, linewidth=0.8)
        for i, (cut, ratio) in enumerate(ratios.items()):
            shown = np.clip(ratio, limits[0] / 10, None)
            style.band(ax, k, shown, label=cut, **style.line(i, CUT_COLOURS))
        ax.set(xscale="log", yscale="log", ylim=limits, xlabel=style.K_LABEL)
        style.log_ticks(ax.xaxis, style.K_TICKS)
        _title_and_legend(ax, title)
    axes[0].set_ylabel("$P$(after the cut) / $P$(before)")
    return fig, axes


def cut_pdfs(log_density, uncut, curves):
    """Pixel PDF after a cut, of positive pixels only: the others have no logarithm.

    Parameters
    ----------
    log_density : ndarray, shape (nb,)
        Bin centres, log10 of (Msun/h)/(Mpc/h)^2.
    uncut : ndarray, shape (nb,)
        PDF before the cut [1/dex], drawn as a grey area in each panel.
    curves : dict of str to dict of str to ndarray, shape (nb,)
        Title of the panel to {label of the cut: PDF}.
    """
    fig, axes = style.panels(len(curves), 3.8)
    for ax, (title, pdfs) in zip(axes, curves.items(), strict=True):
        ax.fill_between(log_density, uncut, color="0.85", linewidth=0, label="none")
        for i, (label, pdf) in enumerate(pdfs.items()):
            ax.plot(log_density, pdf, label=label, **style.line(i, CUT_COLOURS))
        ax.set_yscale("log")
        ax.set_xlabel(r"$\log_{10}$ of " + style.DENSITY_LABEL, fontsize=8)
        _title_and_legend(ax, title)
    axes[0].set(ylabel="pixel PDF [1/dex]", ylim=(1e-3, None))  # last: the axes share it
    return fig, axes


def fraction_against_omega_m(omega_m, curves):
    """Share of pixels cut by a threshold, against Omega_m.

    Parameters
    ----------
    omega_m : ndarray, shape (n,)
    curves : dict of str to dict of str to ndarray, shape (n,)
        Title of the panel to {label of the threshold: fraction of pixels cut in each simulation}.
    """
    fig, axes = style.panels(len(curves), 4.0)
    bins = quantile_groups(omega_m, 8)
    for ax, (title, fractions) in zip(axes, curves.items(), strict=True):
        for i, (label, fraction) in enumerate(fractions.items()):
            look = {"marker": style.MARKERS[i], "color": CUT_COLOURS[i]}
            ax.plot(omega_m, fraction, linestyle="none", ms=2.5, mew=0, alpha=0.35, **look)
            means = [[values[b].mean() for b in bins] for values in (omega_m, fraction)]
            spread = [fraction[b].std() for b in bins]
            look |= {"linestyle": style.LINE_STYLES[i], "mec": "white", "mew": 0.5, "label": label}
            ax.errorbar(*means, spread, **look)
        ax.set(xlabel=LABELS["Omega_m"], ylim=(0, None))
        _title_and_legend(ax, title)
    axes[0].set_ylabel("fraction of pixels cut")
    return fig, axes


def negative_fraction(k_max, fractions, corner, published):
    """Share of pixels made negative by a sharp low-pass filter, against its k_max.

    Parameters
    ----------
    k_max : ndarray, shape (m,)
        [h/Mpc].
    fractions : dict of str to ndarray, shape (n, m)
        Label to the fraction of negative pixels, one row per simulation.
    corner : float
        Largest wavenumber of the map, sqrt(2) of its Nyquist frequency [h/Mpc]; beyond it nothing
        is cut.
    published : tuple of (str, ndarray, ndarray)
        Label, k_max and fraction of another data set, drawn as open squares.
    """
    fig, ax = plt.subplots(figsize=(style.WIDTH, 3.0))
    for i, (label, values) in enumerate(fractions.items()):
        style.band(ax, k_max, 100 * values, label=label, **style.line(i, CUT_COLOURS))
        ax.plot(k_max, 100 * np.median(values, axis=0), style.MARKERS[i], color=CUT_COLOURS[i])
    label, x, y = published
    ax.plot(x, 100 * np.asarray(y), "s", mfc="none", color="0.15", label=label)
    ax.axvline(corner, color=style.GREY, linestyle="--", linewidth=1)
    ax.annotate(
        "corner of the Fourier plane", (corner, 0.97), (3, 0), rotation=90, va="top", fontsize=8,
        xycoords=("data", "axes fraction"), textcoords="offset points",
    )  # fmt: skip
    ax.set(xscale="log", xlabel=r"$k_\mathrm{max}$ [$h$/Mpc]")
    ax.set(ylabel="negative pixels [%]", ylim=(-0.5, None))
    style.log_ticks(ax.xaxis, style.K_TICKS)
    ax.legend()
    return fig, ax
