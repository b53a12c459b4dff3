"""Draw the figures of chapter 02: maps, spectra, pixels and the side effects of a cut."""

import numpy as np

from cosmolib.data.arrays import checked_maps
from cosmolib.data.cmd_format import BOX_SIZE, LABELS
from cosmolib.data.summary import quantile_groups
from cosmolib.plots import style

CUT_COLOURS = ("#3f90da", "#ffa90e", "#bd1f01", "#832db6")
RATIOS = (1e-3, 1e5)  # axis of P(cut) / P(uncut); lower values are drawn at its edge


def cut_gallery(maps, names, box_size=BOX_SIZE):
    """Draw one map after every kind of cut; zero and negative pixels are turquoise.

    Parameters
    ----------
    maps : ndarray, shape (m, N, N)
        [(Msun/h)/(Mpc/h)^2]; the map of a ``mask:`` control is drawn in black (cut) and white.
    names : list of str
        Cut strings, used as titles.
    """
    maps, _ = checked_maps(maps)
    fig, axes = style.grid(len(maps), 4, 1.02 * style.WIDTH / 4)
    for ax, density, name in zip(axes, maps, names, strict=True):
        if name.startswith("mask:"):
            ax.imshow(density, cmap="gray_r")
            style.bare(ax, frame=True)  # separates its white from the page
        else:
            image = style.density_image(ax, density, box_size)
        ax.set_title(name, fontsize=8, family="monospace")
    style.scale_bar(axes[0], box_size)
    place = {"ax": fig.axes, "location": "bottom", "aspect": 50, "shrink": 0.8}
    fig.colorbar(image, extend="both", label=style.DENSITY_LABEL, **place)
    return fig, axes


def _titled_series(curves, height, ylabel, draw):
    """Draw one panel per title with ``draw(ax, i, label, values)``, its legend above it.

    ``curves`` is {title: {label: values}}.
    """
    fig, axes = style.panels(len(curves), height)
    place = {"loc": "lower left", "bbox_to_anchor": (-0.03, 1), "alignment": "left"}
    for ax, (title, series) in zip(axes, curves.items(), strict=True):
        for i, (label, values) in enumerate(series.items()):
            draw(ax, i, label, values)
        ax.legend(title=title, prop={"family": "monospace", "size": 8}, **place)
    axes[0].set_ylabel(ylabel)
    return fig, axes


def cut_spectra(k, curves):
    """Draw the power after a cut, relative to the uncut maps.

    Parameters
    ----------
    k : ndarray, shape (nk,)
        [h/Mpc]
    curves : dict of str to dict of str to ndarray, shape (n, nk)
        Title of the panel to {cut: P(cut) / P(uncut)}, one row per simulation.
    """

    def draw(ax, i, cut, ratio):
        shown = np.clip(ratio, RATIOS[0] / 10, None)
        style.band(ax, k, shown, label=cut, **style.line(i, CUT_COLOURS))

    fig, axes = _titled_series(curves, 3.8, "$P$(after the cut) / $P$(before)", draw)
    for ax in axes:
        ax.axhline(1, zorder=0, **style.SOLID)
        ax.set(xscale="log", yscale="log", ylim=RATIOS, xlabel=style.K_LABEL)
        style.plain_ticks(ax.xaxis, style.K_TICKS)
    return fig, axes


def cut_pdfs(log_density, uncut, curves):
    """Draw the PDF of the positive pixels after a cut.

    Parameters
    ----------
    log_density : ndarray, shape (nb,)
        Bin centres, log10 of (Msun/h)/(Mpc/h)^2.
    uncut : ndarray, shape (nb,)
        PDF before the cut [1/dex], drawn as a grey area in each panel.
    curves : dict of str to dict of str to ndarray, shape (nb,)
        Title of the panel to {label of the cut: PDF}.
    """

    def draw(ax, i, label, pdf):
        if i == 0:
            ax.fill_between(log_density, uncut, color="0.85", linewidth=0, label="none")
        ax.plot(log_density, pdf, label=label, **style.line(i, CUT_COLOURS))

    fig, axes = _titled_series(curves, 3.8, "pixel PDF [1/dex]", draw)
    for ax in axes:
        ax.set(yscale="log", ylim=(1e-3, None))
        ax.set_xlabel(r"$\log_{10}$ of " + style.DENSITY_LABEL, fontsize=8)
    return fig, axes


def fraction_against_omega_m(omega_m, curves):
    """Draw the fraction of pixels cut by a threshold against Omega_m.

    Parameters
    ----------
    omega_m : ndarray, shape (n,)
    curves : dict of str to dict of str to ndarray, shape (n,)
        Title of the panel to {label of the threshold: fraction of pixels cut in each simulation}.
    """
    bins = quantile_groups(omega_m, 8)

    def draw(ax, i, label, fraction):
        look = {"marker": style.MARKERS[i], "color": CUT_COLOURS[i]}
        ax.plot(omega_m, fraction, linestyle="none", ms=2.5, mew=0, alpha=0.35, **look)
        means = [[values[b].mean() for b in bins] for values in (omega_m, fraction)]
        look |= {"linestyle": style.LINE_STYLES[i], "mec": "white", "mew": 0.5, "label": label}
        ax.errorbar(*means, [fraction[b].std() for b in bins], **look)

    fig, axes = _titled_series(curves, 4.0, "fraction of pixels cut", draw)
    for ax in axes:
        ax.set(xlabel=LABELS["Omega_m"], ylim=(0, None))
    return fig, axes


def negative_fraction(k_max, fractions, corner, published):
    """Draw the fraction of pixels that a sharp low-pass filter makes negative, against its k_max.

    Parameters
    ----------
    k_max : ndarray, shape (m,)
        [h/Mpc]
    fractions : dict of str to ndarray, shape (n, m)
        Label to the fraction of negative pixels, one row per simulation.
    corner : float
        Largest wavenumber of the map [h/Mpc], sqrt(2) of its Nyquist frequency; larger values of
        k_max cut nothing.
    published : tuple of (str, ndarray, ndarray)
        Label, k_max and fraction of another data set, drawn as open squares.
    """
    fig, (ax,) = style.panels(1, 3.0)
    for i, (label, values) in enumerate(fractions.items()):
        style.band(ax, k_max, 100 * values, label=label, **style.line(i, CUT_COLOURS))
        ax.plot(k_max, 100 * np.median(values, axis=0), style.MARKERS[i], color=CUT_COLOURS[i])
    label, x, y = published
    ax.plot(x, 100 * np.asarray(y), "s", mfc="none", color="0.15", label=label)
    ax.axvline(corner, label="corner of the Fourier plane", **style.DASHED)
    ax.set(xscale="log", xlabel=r"$k_\mathrm{max}$ [$h$/Mpc]", ylim=(-0.5, None))
    ax.set_ylabel("negative pixels [%]")
    style.plain_ticks(ax.xaxis, style.K_TICKS)
    ax.legend()
    return fig, ax
