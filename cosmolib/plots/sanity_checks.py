"""Figures of the sanity checks of attribution, and of what retraining says beside it.

As in ``plots``: every function takes plain tables of estimates and returns ``(fig, axes)``.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from cosmolib.data.cmd_format import LABELS
from cosmolib.plots.attribution import GREY, METHOD_NAMES
from cosmolib.plots.results import cut_label, points
from cosmolib.plots.style import LINE_STYLES, MARKERS


def cascade(stages, curves, ylabels):
    """Likeness to the trained network's attribution as its stages are randomised from the top.

    Parameters
    ----------
    stages : list of str
        What was randomised last, from the answer to the input; then any other networks.
    curves : list of dict of str to list of estimate
        One panel each: method to one estimate a stage.
    ylabels : list of str
        One a panel.
    """
    fig, axes = plt.subplots(1, len(curves), figsize=(7.2, 3.4), squeeze=False)
    places = np.arange(len(stages))
    for ax, methods, ylabel in zip(axes[0], curves, ylabels, strict=True):
        for i, (method, estimates) in enumerate(methods.items()):
            points(
                ax, places + 0.08 * (i - (len(methods) - 1) / 2), estimates, horizontal=False,
                fmt=MARKERS[i % len(MARKERS)], color=f"C{i}", linewidth=0.8,
                linestyle=LINE_STYLES[i % len(LINE_STYLES)],
                label=METHOD_NAMES.get(method, method),
            )  # fmt: skip
        ax.axhline(0, color=GREY, linewidth=0.8)
        ax.set_xticks(places, stages, rotation=40, ha="right")
        ax.set(ylabel=ylabel, ylim=(-1.02, 1.02))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=4)
    return fig, axes[0]


def agreement(names, matrices, titles):
    """Mean rank correlation of attributions, each pair of a list, as numbers on colours.

    Parameters
    ----------
    names : list of str
    matrices : list of ndarray, shape (m, m)
    titles : list of str
        One a matrix.
    """
    fig, axes = plt.subplots(1, len(matrices), figsize=(7.2, 3.9), sharey=True, squeeze=False)
    for ax, matrix, title in zip(axes[0], matrices, titles, strict=True):
        image = ax.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, origin="upper")
        for (row, column), value in np.ndenumerate(matrix):
            colour = "white" if abs(value) > 0.6 else "black"
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8)
        ax.set_xticks(range(len(names)), names, rotation=40, ha="right")
        ax.set_yticks(range(len(names)), names)
        ax.set_title(title)
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
    fig.colorbar(image, ax=axes, location="right", shrink=0.7, label="rank correlation")
    return fig, axes[0]


def transformations(names, panels, xlabel, chance=None):
    """One number for each transformation of the maps, a panel for each of several numbers.

    Parameters
    ----------
    names : list of str
    panels : list of dict of str to list of estimate
        Label to one estimate a transformation.
    xlabel : list of str
        One a panel.
    chance : list of float, optional
        A line a panel; None for none.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=(7.2, 3.8), sharey=True, squeeze=False)
    places = np.arange(len(names))
    for k, (ax, tables) in enumerate(zip(axes[0], panels, strict=True)):
        for i, (label, estimates) in enumerate(tables.items()):
            points(
                ax, places + 0.18 * (i - (len(tables) - 1) / 2), estimates,
                fmt=MARKERS[i], color=f"C{i}", label=METHOD_NAMES.get(label, label),
            )  # fmt: skip
        if chance and chance[k] is not None:
            ax.axvline(chance[k], color=GREY, linestyle=":", linewidth=1)
        ax.set(xlabel=xlabel[k])
    axes[0, 0].set(yticks=places, yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=4)
    return fig, axes[0]


def replacement(fractions, deletion, insertion, unit):
    """Deletion and insertion curves: how far the prediction is from that of the whole map.

    Parameters
    ----------
    fractions : ndarray, shape (f,)
        Of the pixels.
    deletion, insertion : dict of str to ndarray, shape (f,)
        Order to the mean distance; the same orders.
    unit : str
        Of the distance.
    """
    fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.2), sharey=True)
    for ax, curves, word in zip(
        axes, (deletion, insertion), ("pixels hidden", "pixels shown"), strict=True
    ):
        for i, (order, values) in enumerate(curves.items()):
            ax.plot(
                fractions, values, color=f"C{i}", linestyle=LINE_STYLES[i % len(LINE_STYLES)],
                label=METHOD_NAMES.get(order, order),
            )  # fmt: skip
        ax.set(xlabel=f"share of the {word}", ylim=(0, None))
    axes[0].set_ylabel(unit)
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=3)
    return fig, axes


def attribution_against_retraining(rows, parameters):
    """Attribution share of the pixels that a cut hides, against the R2 that retraining loses.

    Parameters
    ----------
    rows : list of dict
        ``suite``, ``cut``, ``chance``, and estimates by parameter in ``share`` and ``lost``.
    parameters : list of str
    """
    cuts = list(dict.fromkeys(row["cut"] for row in rows))
    suites = list(dict.fromkeys(row["suite"] for row in rows))
    fig, axes = plt.subplots(1, len(parameters), figsize=(7.2, 3.8), sharey=True, squeeze=False)
    for ax, parameter in zip(axes[0], parameters, strict=True):
        for row in rows:
            i, hollow = cuts.index(row["cut"]), suites.index(row["suite"]) > 0
            share, lost = row["share"][parameter], row["lost"][parameter]
            bars = [
                [[max(e["value"] - e["low"], 0)], [max(e["high"] - e["value"], 0)]]
                if e["low"] is not None
                else None
                for e in (share, lost)
            ]
            ax.errorbar(
                share["value"], lost["value"], xerr=bars[0], yerr=bars[1], fmt=MARKERS[i],
                color=f"C{i}", markerfacecolor="white" if hollow else f"C{i}",
                label=None if hollow else cut_label(row["cut"]),
            )  # fmt: skip
            ax.plot(row["chance"], lost["value"], "|", color="0.6", ms=9, zorder=0)
        ax.axhline(0, color=GREY, linewidth=0.8)
        ax.set(xlim=(0, 1), title=LABELS[parameter], xlabel="share of |attribution| hidden")
    axes[0, 0].set_ylabel("$R^2$ lost after retraining")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=3)
    return fig, axes[0]
