"""Figures of attribution: where on a map a prediction comes from, and in which densities.

As in ``plots``: every function takes arrays or plain tables and returns ``(fig, axes)``. Signed
attribution is shown in a diverging map centred on zero; sums are of absolute values, with 95 %
intervals over simulations, beside what a spread at random over the pixels would give.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from cosmolib.data.arrays import checked_maps
from cosmolib.data.cmd_format import BOX_SIZE, LABELS
from cosmolib.plots.results import points
from cosmolib.plots.style import K_LABEL, LINE_STYLES, MARKERS, density_image

GREY = "0.35"  # references: chance, the ideal, a tolerance
METHOD_NAMES = {
    "saliency": "Saliency",
    "smooth_grad": "SmoothGrad",
    "integrated_gradients": "Integrated Gradients",
    "gradient_shap": "GradientSHAP",
}


def attribution_gallery(density, attributions, titles, box_size=BOX_SIZE):
    """Density maps and the signed attribution of each method beside them.

    Parameters
    ----------
    density : ndarray, shape (m, N, N)
        [(Msun/h)/(Mpc/h)^2].
    attributions : dict of str to ndarray, shape (m, N, N)
        Label to signed attribution; each map has a scale of its own.
    titles : list of str
        One a map (row).
    """
    density, _ = checked_maps(density, "density")
    attributions = {label: checked_maps(one, label)[0] for label, one in attributions.items()}
    columns = 1 + len(attributions)
    rows = len(density)
    fig, axes = plt.subplots(
        rows, columns, figsize=(7.2, 7.2 / columns * rows + 0.5), squeeze=False
    )
    for row in range(rows):
        image = density_image(axes[row, 0], density[row], box_size)
        axes[row, 0].set_ylabel(titles[row], fontsize=8)
        for ax, values in zip(axes[row, 1:], attributions.values(), strict=True):
            limit = float(np.quantile(np.abs(values[row]), 0.99)) or 1.0
            signed = ax.imshow(values[row] / limit, cmap="RdBu_r", vmin=-1, vmax=1)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
    for ax, label in zip(axes[0, 1:], attributions, strict=True):
        ax.set_title(label, fontsize=8)
    axes[0, 0].set_title("density", fontsize=8)
    fig.colorbar(
        image,
        ax=axes[:, 0],
        location="bottom",
        extend="both",
        label=r"$\Sigma$ [$(M_\odot/h)/(\mathrm{Mpc}/h)^2$]",
    )
    fig.colorbar(
        signed,
        ax=axes[:, 1:],
        location="bottom",
        extend="both",
        aspect=40,
        label="attribution / its 99 % quantile in the map (red: raises the prediction)",
    )
    return fig, axes


def by_value(edges, panels, fraction, xlabel, log=True):
    """Attribution by density or distance: per pixel and summed, with 95 % intervals.

    Parameters
    ----------
    edges : ndarray, shape (nb + 1,)
        Of the bins.
    panels : dict of str to dict of str to dict
        Parameter to {label: {"per_pixel": (nb, 3), "share": (nb, 3)}}: value, low, high. Per pixel
        in units of the mean over all pixels, so that 1 is chance.
    fraction : ndarray, shape (nb,)
        Share of the pixels in each bin.
    xlabel : str
    log : bool
        Densities, on a logarithmic axis with the mean marked; else distances.
    """
    middle = np.sqrt(edges[1:] * edges[:-1]) if log else (edges[1:] + edges[:-1]) / 2
    fig, axes = plt.subplots(
        2, len(panels), figsize=(7.2, 4.8), sharex=True, sharey="row", squeeze=False
    )
    for column, (parameter, methods) in enumerate(panels.items()):
        for i, (method, table) in enumerate(methods.items()):
            moved = i - (len(methods) - 1) / 2
            x = middle * 1.03**moved if log else middle + 0.06 * moved * np.diff(edges)
            for ax, key in zip(axes[:, column], ("per_pixel", "share"), strict=True):
                value, low, high = np.asarray(table[key], float).T
                style = {"color": f"C{i}", "marker": MARKERS[i], "linestyle": LINE_STYLES[i]}
                bars = (np.clip(value - low, 0, None), np.clip(high - value, 0, None))
                label = METHOD_NAMES.get(method, method)
                ax.errorbar(x, value, bars, label=label, **style)
        axes[0, column].axhline(1, color=GREY, linestyle=":", linewidth=1)
        axes[1, column].stairs(
            fraction, edges, color="0.85", fill=True, zorder=0, label="share of the pixels"
        )
        axes[0, column].set(xscale="log" if log else "linear", yscale="log" if log else "linear")
        axes[0, column].set_title(f"of {LABELS[parameter]}")
        axes[1, column].set_xlabel(xlabel)
        for ax in axes[:, column] if log else ():
            ax.axvline(1, color=GREY, linewidth=0.6)
    axes[0, 0].set_ylabel("|attribution| a pixel / mean")
    axes[1, 0].set_ylabel("share of |attribution|")
    _legend_above(fig, axes[1, 0], 4)
    return fig, axes


def attribution_by_class(names, panels, fraction):
    """Share of the attribution of each web class, beside its share of the pixels.

    Parameters
    ----------
    names : tuple of str
        The classes, shape (c,).
    panels : dict of str to dict of str to ndarray, shape (c, 3)
        Parameter to {method: share (value, low, high)}.
    fraction : ndarray, shape (c,)
        Share of the pixels.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=(7.2, 3.0), sharey=True, squeeze=False)
    x = np.arange(len(names))
    for ax, (parameter, methods) in zip(axes[0], panels.items(), strict=True):
        ax.bar(x, fraction, width=0.8, color="0.85", label="share of the pixels")
        for i, (method, share) in enumerate(methods.items()):
            value, low, high = np.asarray(share, float).T
            shift = (i - (len(methods) - 1) / 2) * 0.2
            bars = (np.clip(value - low, 0, None), np.clip(high - value, 0, None))
            label = METHOD_NAMES.get(method, method)
            ax.errorbar(x + shift, value, bars, fmt=MARKERS[i], color=f"C{i}", label=label)
        ax.set(xticks=x, xticklabels=names, title=f"of {LABELS[parameter]}", ylim=(0, None))
    axes[0, 0].set_ylabel("share of |attribution|")
    _legend_above(fig, axes[0, 0], 3)
    return fig, axes[0]


def by_smoothing(scales, panels, fractions, names):
    """Share of the attribution of each web class against the smoothing that defines the classes.

    Parameters
    ----------
    scales : list of float
        [Mpc/h]
    panels : dict of str to ndarray, shape (s, c, 3)
        Parameter to share (value, low, high) of each class.
    fractions : ndarray, shape (s, c)
        Share of the pixels, drawn without markers.
    names : tuple of str
        The classes.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=(7.2, 3.0), sharey=True, squeeze=False)
    for ax, (parameter, shares) in zip(axes[0], panels.items(), strict=True):
        for i, name in enumerate(names):
            value, low, high = np.moveaxis(np.asarray(shares, float)[:, i], -1, 0)
            bars = (np.clip(value - low, 0, None), np.clip(high - value, 0, None))
            style = {"color": f"C{i}", "linestyle": LINE_STYLES[i]}
            ax.errorbar(scales, value, bars, marker=MARKERS[i], label=name, **style)
            ax.plot(scales, np.asarray(fractions)[:, i], linewidth=0.8, alpha=0.6, **style)
        ax.set(xlabel="smoothing [Mpc/$h$]", title=f"of {LABELS[parameter]}", ylim=(0, None))
    axes[0, 0].set_ylabel("share of |attribution|")
    axes[0, 0].plot([], [], color=GREY, linewidth=0.8, label="share of the pixels")
    _legend_above(fig, axes[0, 0], 4)
    return fig, axes[0]


def by_band(edges, panels, fraction, field_share):
    """Power of the attribution by Fourier band, and its coherence with the log-density.

    Parameters
    ----------
    edges : ndarray, shape (nb + 1,)
        Of k [h/Mpc].
    panels : dict of str to dict of str to dict
        Parameter to {label: {"share": (nb, 3), "coherence": (nb, 3)}}: value, low, high.
    fraction, field_share : ndarray, shape (nb,)
        Share of the modes, and of the power of the log-density, in each band.
    """
    fig, axes = plt.subplots(
        2, len(panels), figsize=(7.2, 4.8), sharex=True, sharey="row", squeeze=False
    )
    places = np.arange(len(edges) - 1)
    for column, (parameter, tables) in enumerate(panels.items()):
        top, bottom = axes[:, column]
        top.bar(places, fraction, width=0.9, color="0.88", label="share of the modes")
        top.plot(places, field_share, "_", ms=24, color=GREY, label="share of the density's power")
        for i, (label, table) in enumerate(tables.items()):
            x = places + 0.16 * (i - (len(tables) - 1) / 2)
            for ax, key in ((top, "share"), (bottom, "coherence")):
                value, low, high = np.asarray(table[key], float).T
                bars = (np.clip(value - low, 0, None), np.clip(high - value, 0, None))
                name = METHOD_NAMES.get(label, label)
                ax.errorbar(x, value, bars, fmt=MARKERS[i], color=f"C{i}", label=name)
        bottom.axhline(0, color=GREY, linewidth=0.8)
        names = [f"{low:g} to {high:g}" for low, high in zip(edges[:-1], edges[1:], strict=True)]
        bottom.set_xticks(places, names, rotation=30, ha="right")
        bottom.set_xlabel(K_LABEL)
        top.set_title(f"of {LABELS[parameter]}")
    axes[0, 0].set_ylabel("share of the power")
    axes[1, 0].set_ylabel("coherence with the density")
    _legend_above(fig, axes[0, 0], 3)
    return fig, axes


def by_baseline(baselines, panels, chance, ylabel="under-dense share of |attribution|"):
    """One summary under each baseline, for each method, beside chance.

    Parameters
    ----------
    baselines : list of str
        As they are named on the axis.
    panels : dict of str to dict of str to list of estimate
        Parameter to {method: one estimate a baseline}.
    chance : float
    """
    fig, axes = plt.subplots(1, len(panels), figsize=(7.2, 3.2), sharey=True, squeeze=False)
    places = np.arange(len(baselines))
    for ax, (parameter, methods) in zip(axes[0], panels.items(), strict=True):
        for i, (method, estimates) in enumerate(methods.items()):
            points(
                ax, places + 0.2 * (i - (len(methods) - 1) / 2), estimates, horizontal=False,
                fmt=MARKERS[i], color=f"C{2 * i}", label=METHOD_NAMES.get(method, method),
            )  # fmt: skip
        ax.axhline(chance, color=GREY, linestyle=":", linewidth=1, label="share of the pixels")
        ax.set_xticks(places, baselines, rotation=35, ha="right")
        ax.set(title=f"of {LABELS[parameter]}", ylim=(0, 1))
    axes[0, 0].set_ylabel(ylabel)
    _legend_above(fig, axes[0, 0], 3)
    return fig, axes[0]


def _legend_above(fig, ax, columns):
    handles, labels = ax.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=columns)


def completeness(errors, tolerance=0.01):
    """Distribution of the completeness error of path methods, one step line a method.

    Parameters
    ----------
    errors : dict of str to ndarray
        Label to |sum of attribution - (f(x) - f(baseline))| / |f(x) - f(baseline)|, a map each.
    """
    fig, ax = plt.subplots(figsize=(7.2, 2.6))
    for i, (label, values) in enumerate(errors.items()):
        values = np.sort(np.maximum(np.asarray(values, float), 1e-7))
        share = np.arange(1, len(values) + 1) / len(values)
        ax.step(values, share, where="post", color=f"C{i}", linestyle=LINE_STYLES[i], label=label)
    ax.axvline(tolerance, color=GREY, linestyle=":", linewidth=1)
    ax.set(
        xscale="log",
        ylim=(0, 1.02),
        xlabel="relative completeness error",
        ylabel="share of the maps below",
    )
    fig.legend(loc="outside upper center", ncols=2)
    return fig, ax
