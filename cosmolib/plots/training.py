"""Draw the figures of chapters 03 and 04: training, predictions and tuning."""

import numpy as np
from matplotlib.ticker import MaxNLocator

from cosmolib.data.arrays import checked_maps
from cosmolib.data.cmd_format import BOX_SIZE, LABELS
from cosmolib.plots import style


# --------------------------------------------------------------------------------------------------
# Chapter 03: training
# --------------------------------------------------------------------------------------------------
def augmented(maps, box_size=BOX_SIZE):
    """Draw one map and its augmented versions.

    Parameters
    ----------
    maps : ndarray, shape (m, N, N)
        [(Msun/h)/(Mpc/h)^2]; the first is the original.
    """
    maps, _ = checked_maps(maps)
    fig, axes = style.panels(len(maps), style.WIDTH / len(maps) + 0.2, sharey=False)
    for i, (ax, density) in enumerate(zip(axes, maps, strict=True)):
        style.density_image(ax, density, box_size)
        ax.set_title(f"augmented, {i}" if i else "original", fontsize=8)
    return fig, axes


def learning_curves(history):
    """Draw the loss of training and validation maps and the learning rate, by epoch.

    Parameters
    ----------
    history : list of dict
        ``epoch``, ``lr``, ``train_loss`` and ``valid_loss``.
    """
    keys = ("epoch", "lr", "train_loss", "valid_loss")
    epoch, rate, train, valid = np.array([[row[key] for key in keys] for row in history], float).T
    fig, (left, right) = style.panels(2, 2.8, sharey=False, width_ratios=(2, 1))
    left.plot(epoch, train, "o-", color=style.PART_COLOURS["train"], label="training maps")
    left.plot(epoch, valid, "s--", color=style.RED, label="validation maps")
    best = epoch[np.nanargmin(valid)]
    left.axvline(best, color=style.GREY, linestyle=":", label="kept: best validation")
    left.set(xlabel="epoch", ylabel="moment loss")
    left.legend()
    right.plot(epoch, rate, "^-", color="#832db6")
    right.set(xlabel="epoch", ylabel="learning rate", yscale="log")
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return fig, (left, right)


def predicted_against_true(truth, mean, std, simulation, parameters, texts):
    """Draw predictions with their predicted errors against the truth, and means per simulation.

    Parameters
    ----------
    truth, mean, std : ndarray, shape (n, p)
        Physical units.
    simulation : ndarray of int, shape (n,)
    parameters : list of str
    texts : list of str
        One line per parameter, written into its panel (R2, chi2).
    """
    columns = min(len(parameters), 3)
    fig, axes = style.grid(len(parameters), columns, 3.7 if columns < 3 else 2.7)
    groups = [simulation == number for number in np.unique(simulation)]
    for i, (ax, name) in enumerate(zip(axes, parameters, strict=True)):
        look = {"fmt": "o", "ms": 2.5, "mew": 0, "color": style.BLUE, "ecolor": f"{style.BLUE}55"}
        look |= {"elinewidth": 0.7, "capsize": 0, "label": "one map, predicted $\\sigma$"}
        ax.errorbar(truth[:, i], mean[:, i], std[:, i], **look)
        means = [[values[group, i].mean() for group in groups] for values in (truth, mean)]
        look = {"color": style.RED, "mec": "white", "mew": 0.5, "zorder": 4}
        ax.plot(*means, "D", label="mean over the maps of a simulation", **look)
        low, high = truth[:, i].min(), truth[:, i].max()
        pad = 0.05 * ((high - low) or 0.1)
        ends = [low - pad, high + pad]
        ax.plot(ends, ends, label="ideal", **style.DASHED)
        ax.set(xlabel=f"true {LABELS[name]}", ylabel=f"predicted {LABELS[name]}")
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.text(0.03, 0.97, texts[i], transform=ax.transAxes, va="top", fontsize=8)
    return style.finish(fig, axes)


# --------------------------------------------------------------------------------------------------
# Chapter 04: tuning
# --------------------------------------------------------------------------------------------------
def _trials(ax, x, values, pruned):
    """Draw complete and pruned trials; return the mask of the complete ones."""
    complete = ~pruned & np.isfinite(values)
    ax.plot(x[complete], values[complete], "o", color=style.BLUE, label="complete")
    ax.plot(x[pruned], values[pruned], "x", color="#94a4a2", label="pruned")
    return complete


def study_history(numbers, values, pruned, reference=None):
    """Draw the validation loss of every trial in order, and the best so far.

    Parameters
    ----------
    numbers : ndarray of int, shape (t,)
    values : ndarray, shape (t,)
        Validation loss; for a pruned trial the last one reported. NaN is not drawn.
    pruned : ndarray of bool, shape (t,)
    reference : (str, float), optional
        Label and loss of a trial with the settings of the profile.
    """
    fig, (ax,) = style.panels(1, 2.8)
    complete = _trials(ax, numbers, values, pruned)
    if complete.any():
        best = np.fmin.accumulate(np.where(complete, values, np.nan))
        ax.step(numbers, best, where="post", color=style.RED, label="best so far")
    if reference is not None:
        ax.axhline(reference[1], label=reference[0], **style.DASHED)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return style.finish(fig, ax, "validation loss", 4, xlabel="trial")


def study_slices(parameters, values, pruned, bounds, logarithmic, flagged):
    """Draw the validation loss against each hyper-parameter, and the range that was searched.

    Parameters
    ----------
    parameters : dict of str to ndarray, shape (t,)
    values : ndarray, shape (t,)
    pruned : ndarray of bool, shape (t,)
    bounds : dict of str to (float, float)
    logarithmic : dict of str to bool
    flagged : set of str
        Hyper-parameters whose optimum lies at the edge of its range.
    """
    fig, axes = style.panels(len(parameters), 2.7)
    for ax, (name, x) in zip(axes, parameters.items(), strict=True):
        complete = _trials(ax, x, values, pruned)
        if complete.any():
            best = np.argmin(np.where(complete, values, np.inf))
            ax.plot(x[best], values[best], "*", color=style.RED, ms=11, mec="white", label="best")
        if logarithmic[name]:
            ax.set_xscale("log")
        for edge in bounds[name]:
            ax.axvline(edge, **style.DOTTED)
        ax.set_title("optimum at the edge" if name in flagged else "", color=style.RED, fontsize=8)
        ax.set_xlabel(name.replace("_", " "))
    return style.finish(fig, axes, "validation loss", 3)


def importances(values):
    """Draw the share of the loss's variance that each hyper-parameter explains.

    Parameters
    ----------
    values : dict of str to float
    """
    fig, (ax,) = style.panels(1, 0.8 + 0.3 * len(values))
    names = sorted(values, key=values.get)
    labels = [name.replace("_", " ") for name in names]
    ax.barh(labels, [values[name] for name in names], color=style.BLUE)
    ax.set(xlabel="importance (they sum to 1)", xlim=(0, 1))
    return fig, ax
