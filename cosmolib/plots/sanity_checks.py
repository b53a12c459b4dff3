"""Draw the sanity checks of attribution: randomisation, agreement, transformations, deletion."""

import numpy as np

from cosmolib.plots import style
from cosmolib.plots.attribution import METHOD_NAMES, by_name


def cascade(stages, curves, ylabels):
    """Draw the similarity to the trained network's attribution under cascading randomisation.

    Parameters
    ----------
    stages : list of str
        The last stage randomised, from the output to the input, then other networks.
    curves : list of dict of str to list of estimate
        One panel each: method to one estimate per stage.
    ylabels : list of str
        One per panel.
    """
    look = {"lines": True, "linewidth": 0.8, "rotation": 40, "zero": True, "sharey": False}
    fig, axes = style.estimates_by_name([*map(by_name, curves)], stages, 0.08, 3.4, **look)
    for ax, ylabel in zip(axes, ylabels, strict=True):
        ax.set_ylabel(ylabel)
    return style.finish(fig, axes, columns=4, ylim=(-1.02, 1.02))


def agreement(names, matrices, titles):
    """Draw matrices of mean rank correlations between attributions, with their numbers.

    Parameters
    ----------
    names : list of str
        Rows and columns.
    matrices : list of ndarray, shape (m, m)
    titles : list of str
        One per matrix.
    """
    fig, axes = style.panels(len(matrices), 3.9)
    for ax, matrix, title in zip(axes, matrices, titles, strict=True):
        image = ax.imshow(matrix, origin="upper", **style.SIGNED)
        for (row, column), value in np.ndenumerate(matrix):
            colour = "white" if abs(value) > 0.6 else "black"
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8)
        style.name_columns(ax, names, 40)
        ax.set_yticks(range(len(names)), names)
        ax.set_title(title)
    fig.colorbar(image, ax=axes, location="right", shrink=0.7, label="rank correlation")
    return fig, axes


def transformations(names, curves, xlabel, chance):
    """Draw one estimate per transformation of the maps, with one panel per quantity.

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
            ax.axvline(by_chance, **style.DOTTED)
    return style.finish(fig, axes, columns=4, xlabel=xlabel)


def replacement(fractions, deletion, insertion, unit):
    """Draw deletion and insertion curves: distance from the prediction for the whole map.

    Parameters
    ----------
    fractions : ndarray, shape (f,)
        Fraction of the pixels that is hidden or shown.
    deletion, insertion : dict of str to ndarray, shape (f,)
        Mean distance for each order of the pixels; both have the same orders.
    unit : str
        Label of the distance.
    """
    fig, axes = style.panels(2, 3.2)
    for ax, curves, word in zip(axes, (deletion, insertion), ("hidden", "shown"), strict=True):
        for i, (order, values) in enumerate(curves.items()):
            ax.plot(fractions, values, label=METHOD_NAMES.get(order, order), **style.line(i))
        ax.set_xlabel(f"share of the pixels {word}")
    return style.finish(fig, axes, unit, 3, ylim=(0, None))
