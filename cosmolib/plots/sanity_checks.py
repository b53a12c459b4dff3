"""Figures of the sanity checks of attribution, and of attribution against retraining."""

import numpy as np

from cosmolib.plots import style
from cosmolib.plots.attribution import METHOD_NAMES, by_name


def cascade(stages, curves, ylabels):
    """Similarity to the trained network's attribution under cascading randomisation.

    Parameters
    ----------
    stages : list of str
        The stage randomised last, from the output to the input; then any other networks.
    curves : list of dict of str to list of estimate
        One panel each: method to one estimate per stage.
    ylabels : list of str
        One per panel.
    """
    look = {"lines": True, "linewidth": 0.8, "rotation": 40, "zero": True, "sharey": False}
    fig, axes = style.estimates_by_name([*map(by_name, curves)], stages, 0.08, 3.4, **look)
    for ax, ylabel in zip(axes, ylabels, strict=True):
        ax.set_ylabel(ylabel)
    return style.finished(fig, axes, columns=4, ylim=(-1.02, 1.02))


def agreement(names, matrices, titles):
    """Mean rank correlation of attributions for each pair of a list, as numbers on colours.

    Parameters
    ----------
    names : list of str
    matrices : list of ndarray, shape (m, m)
    titles : list of str
        One per matrix.
    """
    fig, axes = style.panels(len(matrices), 3.9)
    for ax, matrix, title in zip(axes, matrices, titles, strict=True):
        image = ax.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, origin="upper")
        for (row, column), value in np.ndenumerate(matrix):
            colour = "white" if abs(value) > 0.6 else "black"
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8)
        style.name_columns(ax, names, 40)
        ax.set_yticks(range(len(names)), names)
        ax.set_title(title)
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
    fig.colorbar(image, ax=axes, location="right", shrink=0.7, label="rank correlation")
    return fig, axes


def transformations(names, curves, xlabel, chance):
    """One number for each transformation of the maps, with one panel per kind of number.

    Parameters
    ----------
    names : list of str
    curves : list of dict of str to list of estimate
        Label to one estimate per transformation.
    xlabel : list of str
        One per panel.
    chance : list of float or None
        Value of a reference line in each panel.
    """
    tables = [*map(by_name, curves)]
    fig, axes = style.estimates_by_name(tables, names, 0.18, 3.8, horizontal=True)
    for ax, by_chance in zip(axes, chance, strict=True):
        if by_chance is not None:
            ax.axvline(by_chance, color=style.GREY, linestyle=":", linewidth=1)
    return style.finished(fig, axes, columns=4, xlabel=xlabel)


def replacement(fractions, deletion, insertion, unit):
    """Deletion and insertion curves: distance of the prediction from that of the whole map.

    Parameters
    ----------
    fractions : ndarray, shape (f,)
        Of the pixels.
    deletion, insertion : dict of str to ndarray, shape (f,)
        Order to the mean distance; the same orders.
    unit : str
        Of the distance.
    """
    fig, axes = style.panels(2, 3.2)
    for ax, curves, word in zip(axes, (deletion, insertion), ("hidden", "shown"), strict=True):
        for i, (order, values) in enumerate(curves.items()):
            ax.plot(fractions, values, label=METHOD_NAMES.get(order, order), **style.line(i))
        ax.set(xlabel=f"share of the pixels {word}", ylim=(0, None))
    return style.finished(fig, axes, unit, 3)
