"""Figures of trained networks: learning, predictions, tuning, results.

As in ``plots``: every function takes arrays or plain tables and returns ``(fig, axes)``. Each
measured point carries its uncertainty; a reference (chance, the ideal) is drawn in grey.
An *estimate* is a dict ``{"value", "low", "high"}`` with 95 % limits; limits may be None.
"""

from __future__ import annotations

from dataclasses import replace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from cosmolib.cuts.grammar import Cut
from cosmolib.data.arrays import checked_maps
from cosmolib.data.cmd_format import BOX_SIZE, LABELS
from cosmolib.plots.style import MARKERS, density_image, suite_label

GREY = "0.35"


def cut_label(cut):
    """Name of a cut as a reader would say it.

    Examples
    --------
    >>> cut_label("none"), cut_label("kmax:4"), cut_label("mask:below:delta=0")
    ('uncut', '$k$ < 4', 'mask of $\\\\delta$ < 0')
    """
    cut = Cut.parse(cut)
    if cut.before:
        words = {"white": "white noise {:g}", "shot": "shot noise {:g}", "nomean": "mean removed"}
        steps = [words[name].format(level) for name, level in cut.before]
        return ", ".join([*steps, cut_label(replace(cut, before=()))])
    if cut.kind == "none":
        return "uncut"
    if cut.is_fourier:
        field = "" if cut.field == "linear" else f" ({cut.field})"
        low, high = cut.k_range
        if cut.kind == "kmax":
            return f"$k$ < {high:g}{field}"
        return f"$k$ ≥ {low:g}{field}" if cut.kind == "kmin" else f"{low:g} ≤ $k$ < {high:g}{field}"
    if not cut.is_density:  # a user's own
        return str(cut)
    sign = ">" if cut.kind == "above" else "<"
    if cut.overdensity:
        where = rf"$\delta$ {sign} {cut.threshold:g}"
    else:
        power = int(np.floor(np.log10(cut.threshold)))
        factor = cut.threshold / 10**power
        number = rf"10^{{{power}}}" if factor == 1 else rf"{factor:.3g}\times10^{{{power}}}"
        where = rf"$\Sigma$ {sign} ${number}$"
    if cut.control == "mask":
        return f"mask of {where}"
    done = {"clamp": "clamped", "random": "random", "mean": "set to mean"}[cut.fill]
    return f"{'shuffled ' if cut.control else ''}{where} {done}"


def _limits(estimate):
    """Value and lengths of the error bars; no bar where there is no limit."""
    value = estimate["value"]
    low, high = (estimate.get(key) for key in ("low", "high"))
    # A percentile interval may lie beside its value; matplotlib takes no negative length.
    below = 0 if low is None else max(value - low, 0)
    above = 0 if high is None else max(high - value, 0)
    return value, below, above


def points(ax, positions, estimates, *, horizontal=True, **style):
    """Estimates with error bars at ``positions``; those without a value are left out."""
    pairs = zip(positions, estimates, strict=True)
    shown = [(p, *_limits(e)) for p, e in pairs if e and e["value"] is not None]
    if not shown:
        return
    position, value, below, above = np.array(shown, float).T
    if horizontal:
        ax.errorbar(value, position, xerr=(below, above), **style)
    else:
        ax.errorbar(position, value, yerr=(below, above), **style)


# --------------------------------------------------------------------------------------------------
# Chapter 03: training
# --------------------------------------------------------------------------------------------------
def augmented(maps, box_size=BOX_SIZE):
    """One map and its augmented versions, on the book's density norm.

    Parameters
    ----------
    maps : ndarray, shape (m, N, N)
        [(Msun/h)/(Mpc/h)^2]; the first is shown as it is.
    """
    maps, _ = checked_maps(maps)
    fig, axes = plt.subplots(1, len(maps), figsize=(7.2, 7.2 / len(maps) + 0.2), squeeze=False)
    for i, (ax, density) in enumerate(zip(axes[0], maps, strict=True)):
        density_image(ax, density, box_size)
        ax.set_title("as it is" if i == 0 else f"augmented, {i}", fontsize=8)
    return fig, axes[0]


def learning_curves(history):
    """Loss of training and validation maps and the learning rate, by epoch.

    Parameters
    ----------
    history : list of dict
        Keys ``epoch``, ``lr``, ``train_loss``, ``valid_loss``.
    """
    epoch, rate, train, valid = (
        np.array([row[key] for row in history], float)
        for key in ("epoch", "lr", "train_loss", "valid_loss")
    )
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.8), width_ratios=(2, 1))
    left.plot(epoch, train, "o-", color="#94a4a2", label="training maps")
    left.plot(epoch, valid, "s--", color="#bd1f01", label="validation maps")
    best = int(np.nanargmin(valid))
    left.axvline(epoch[best], color=GREY, linestyle=":", label="kept: best validation")
    left.set(xlabel="epoch", ylabel="moment loss")
    left.legend()
    right.plot(epoch, rate, "^-", color="#832db6")
    right.set(xlabel="epoch", ylabel="learning rate", yscale="log")
    for ax in (left, right):
        ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True, min_n_ticks=1))
    return fig, (left, right)


def predicted_against_true(truth, mean, std, simulation, parameters, texts):
    """Predictions with their own error bars against the truth, and those averaged a simulation.

    Parameters
    ----------
    truth, mean, std : ndarray, shape (n, p)
        Physical units.
    simulation : ndarray of int, shape (n,)
    parameters : list of str
    texts : list of str
        A line a parameter, written into the panel (R2, chi2).
    """
    columns = min(len(parameters), 3)
    rows = -(-len(parameters) // columns)
    height = 3.7 if columns < 3 else 2.7
    fig, axes = plt.subplots(rows, columns, figsize=(7.2, 0.3 + height * rows), squeeze=False)
    for ax in axes.flat[len(parameters) :]:
        ax.set_axis_off()
    for i, (ax, name) in enumerate(zip(axes.flat, parameters, strict=False)):
        ax.errorbar(
            truth[:, i],
            mean[:, i],
            std[:, i],
            fmt="o",
            ms=2.5,
            mew=0,
            color="#3f90da",
            ecolor="#3f90da55",
            elinewidth=0.7,
            capsize=0,
            label="a map, predicted $\\sigma$",
        )
        numbers = np.unique(simulation)
        groups = [simulation == number for number in numbers]
        ax.plot(
            [truth[group, i][0] for group in groups],
            [mean[group, i].mean() for group in groups],
            "D",
            color="#bd1f01",
            mec="white",
            mew=0.5,
            zorder=4,
            label="mean of a simulation's maps",
        )
        ends = np.array([truth[:, i].min(), truth[:, i].max()])
        pad = 0.05 * (np.ptp(ends) or 0.1)
        ends = ends + [-pad, pad]
        ax.plot(ends, ends, color=GREY, linestyle="--", linewidth=1, label="ideal")
        ax.set(xlabel=f"true {LABELS[name]}", ylabel=f"predicted {LABELS[name]}")
        ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5))
        ax.text(0.03, 0.97, texts[i], transform=ax.transAxes, va="top", fontsize=8)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=3)
    return fig, axes.flat[: len(parameters)]


# --------------------------------------------------------------------------------------------------
# Chapter 04: tuning
# --------------------------------------------------------------------------------------------------
def study_history(numbers, values, pruned, reference=None):
    """Validation loss of every trial in order, and the best so far.

    Parameters
    ----------
    numbers : ndarray of int, shape (t,)
    values : ndarray, shape (t,)
        Validation loss; of a pruned trial the last one that it reported. NaN is left out.
    pruned : ndarray of bool, shape (t,)
    reference : (str, float), optional
        Label and loss of a trial that uses the profile's own settings.
    """
    fig, ax = plt.subplots(figsize=(7.2, 2.8))
    done = ~pruned & np.isfinite(values)
    ax.plot(numbers[done], values[done], "o", color="#3f90da", label="complete")
    ax.plot(numbers[pruned], values[pruned], "x", color="#94a4a2", label="pruned")
    if done.any():
        best = np.fmin.accumulate(np.where(done, values, np.nan))
        ax.step(numbers, best, where="post", color="#bd1f01", label="best so far")
    if reference is not None:
        ax.axhline(reference[1], color=GREY, linestyle="--", linewidth=1, label=reference[0])
    ax.set(xlabel="trial", ylabel="validation loss")
    ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True, min_n_ticks=1))
    fig.legend(loc="outside upper center", ncols=4)
    return fig, ax


def study_slices(parameters, values, pruned, bounds, logarithmic, flagged):
    """Validation loss against each hyper-parameter, its range marked.

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
    fig, axes = plt.subplots(1, len(parameters), figsize=(7.2, 2.7), sharey=True, squeeze=False)
    complete = ~pruned & np.isfinite(values)
    best = int(np.flatnonzero(complete)[np.argmin(values[complete])]) if complete.any() else None
    for ax, (name, x) in zip(axes[0], parameters.items(), strict=True):
        ax.plot(x[complete], values[complete], "o", color="#3f90da", label="complete")
        ax.plot(x[pruned], values[pruned], "x", color="#94a4a2", label="pruned")
        if best is not None:
            ax.plot(x[best], values[best], "*", color="#bd1f01", ms=11, mec="white", label="best")
        if logarithmic[name]:
            ax.set_xscale("log")
        for edge in bounds[name]:
            ax.axvline(edge, color=GREY, linestyle=":", linewidth=1)
        title = "optimum at the edge" if name in flagged else ""
        ax.set_title(title, color="#bd1f01", fontsize=8)
        ax.set_xlabel(name.replace("_", " "))
    axes[0, 0].set_ylabel("validation loss")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=3)
    return fig, axes[0]


def importances(values):
    """Share of the loss' variance that each hyper-parameter explains.

    Parameters
    ----------
    values : dict of str to float
    """
    fig, ax = plt.subplots(figsize=(7.2, 0.8 + 0.3 * len(values)))
    names = sorted(values, key=values.get)
    ax.barh([name.replace("_", " ") for name in names], [values[n] for n in names], color="#3f90da")
    ax.set(xlabel="importance (they sum to 1)", xlim=(0, 1))
    return fig, ax


# --------------------------------------------------------------------------------------------------
# Chapter 06: results
# --------------------------------------------------------------------------------------------------
def r2_by_cut(rows, suites, parameters, *, key="r2", baseline=True, figsize=None):
    """R2 of each parameter for every cut, a marker a suite; the headline figure of the book.

    Parameters
    ----------
    rows : list of dict
        Of the results table: ``suite``, ``cut`` and, under ``key``, an estimate a parameter.
    suites, parameters : list of str
    key : {"r2", "difference"}
        The R2 itself, or its paired difference to the uncut network.
    baseline : bool
        Also draw the summary-statistics baseline of the same cut (grey, open).
    """
    cuts = list(dict.fromkeys(row["cut"] for row in rows))
    table = {(row["suite"], row["cut"]): row for row in rows}
    height = 1.1 + 0.27 * len(cuts)
    fig, axes = plt.subplots(
        1, len(parameters), figsize=figsize or (7.2, height), sharey=True, squeeze=False
    )
    places = np.arange(len(cuts))
    for ax, parameter in zip(axes[0], parameters, strict=True):
        for i, suite in enumerate(suites):
            shift = (i - (len(suites) - 1) / 2) * 0.3
            chosen = [table.get((suite, cut), {}) for cut in cuts]
            estimates = [row.get(key, {}).get(parameter) for row in chosen]
            style = {"color": f"C{2 * i}", "label": f"network, {suite_label(suite)}"}
            uncut = estimates[cuts.index("none")] if "none" in cuts else None
            if key == "r2" and uncut and uncut["value"] is not None:
                ax.axvline(uncut["value"], color=style["color"], linewidth=0.7, alpha=0.6)
            if baseline and key == "r2":
                ridge = [row.get("baseline", {}).get(parameter) for row in chosen]
                points(
                    ax,
                    places + shift,
                    ridge,
                    fmt=MARKERS[i],
                    mfc="white",
                    color="0.6",
                    elinewidth=0.7,
                    ms=4,
                    label=f"summary statistics, {suite}",
                )
            points(ax, places + shift, estimates, fmt=MARKERS[i], **style)
        ax.axvline(0, color=GREY, linewidth=0.8)
        shown = [row.get(key, {}).get(parameter) for row in rows]
        ends = [np.subtract(*_limits(e)[:2]) for e in shown if e and e["value"] is not None]
        tops = [_limits(e)[0] + _limits(e)[2] for e in shown if e and e["value"] is not None]
        # Far below zero the number says nothing but "worse than the mean": keep the rest readable.
        low = min(max(min(ends, default=0), -1.0) - 0.05, -0.05)
        ax.set_xlim(low, 1.0 if key == "r2" else max(tops, default=0) + 0.05)
        what = f"$R^2$ of {LABELS[parameter]}, a map"
        ax.set_xlabel(what if key == "r2" else f"$R^2$ minus uncut, {LABELS[parameter]}")
        for place in places[::2]:
            ax.axhspan(place - 0.5, place + 0.5, color="0.96", zorder=0, linewidth=0)
    axes[0, 0].set(
        yticks=places, yticklabels=[cut_label(cut) for cut in cuts], ylim=(len(cuts) - 0.5, -0.5)
    )
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=2)
    return fig, axes[0]


def r2_against_kmax(rows, suites, parameters, nyquist):
    """R2 against the largest wavenumber that is kept, with the uncut value as a band.

    Parameters
    ----------
    rows : list of dict
        Of the results table.
    suites, parameters : list of str
    nyquist : float
        Of the maps [h/Mpc].
    """
    fig, axes = plt.subplots(1, len(parameters), figsize=(7.2, 3.0), sharey=True, squeeze=False)
    for ax, parameter in zip(axes[0], parameters, strict=True):
        for i, suite in enumerate(suites):
            own = [(Cut.parse(row["cut"]), row) for row in rows if row["suite"] == suite]
            colour = f"C{2 * i}"
            for cut, row in own:
                if cut.is_identity:
                    uncut = row["r2"][parameter]
                    if uncut["low"] is not None:
                        ax.axhspan(uncut["low"], uncut["high"], color=colour, alpha=0.12)
                    if uncut["value"] is not None:
                        ax.axhline(uncut["value"], color=colour, linestyle="--", linewidth=1)
            kept = (
                sorted(
                    (cut.values[0], row["r2"][parameter])
                    for cut, row in own
                    if cut.kind == "kmax" and cut.field == "linear" and cut.is_plain
                )
                if own
                else []
            )
            if kept:
                k, estimates = zip(*kept, strict=True)
                points(
                    ax,
                    np.array(k) * 1.02 ** (2 * i - 1),
                    estimates,
                    horizontal=False,
                    fmt=MARKERS[i] + "-",
                    color=colour,
                    label=suite_label(suite),
                )
        ax.axvline(nyquist, color=GREY, linestyle=":", linewidth=1)
        ax.axhline(0, color=GREY, linewidth=0.8)
        ax.set(xscale="log", xlabel=r"$k_\mathrm{max}$ [$h$/Mpc]", title=LABELS[parameter])
        ax.xaxis.set_major_locator(mpl.ticker.FixedLocator([1, 2, 3, 4, 6, 8, 10, 20, 30, 50]))
        ax.xaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
        ax.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    axes[0, 0].set_ylabel("$R^2$ of a map")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if handles:
        fig.legend(handles, labels, loc="outside upper center", ncols=2)
    return fig, axes[0]


def live_and_stored(live, stored, suite, parameters, names):
    """R2 of the cuts that two studies share, side by side.

    Parameters
    ----------
    live, stored : list of dict
        Rows of two results tables.
    suite : str
    parameters : list of str
    names : (str, str)
        Labels of the two studies.
    """
    tables = [{r["cut"]: r["r2"] for r in rows if r["suite"] == suite} for rows in (live, stored)]
    cuts = [cut for cut in tables[0] if cut in tables[1]]
    fig, axes = plt.subplots(
        1, len(parameters), figsize=(7.2, 1.1 + 0.25 * len(cuts)), sharey=True, squeeze=False
    )
    places = np.arange(len(cuts))
    for ax, parameter in zip(axes[0], parameters, strict=True):
        for i, (table, name) in enumerate(zip(tables, names, strict=True)):
            estimates = [table[cut].get(parameter) for cut in cuts]
            points(
                ax,
                places + 0.24 * (i - 0.5),
                estimates,
                fmt=MARKERS[i],
                color=f"C{2 * i}",
                label=name,
            )
        ax.axvline(0, color=GREY, linewidth=0.8)
        ax.set_xlabel(f"$R^2$ of {LABELS[parameter]}, a map")
    axes[0, 0].set(
        yticks=places, yticklabels=[cut_label(cut) for cut in cuts], ylim=(len(cuts) - 0.5, -0.5)
    )
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=2)
    return fig, axes[0]


def control_pairs(controls, parameters):
    """R2 under a cut beside that of its control, pair by pair.

    Parameters
    ----------
    controls : list of dict
        ``cut``, ``control``, ``r2`` and ``control_r2`` ({parameter: estimate}).
    parameters : list of str
    """
    fig, axes = plt.subplots(
        1, len(parameters), figsize=(7.2, 1.1 + 0.36 * len(controls)), sharey=True, squeeze=False
    )
    places = np.arange(len(controls))
    for ax, parameter in zip(axes[0], parameters, strict=True):
        for key, shift, style in (
            ("r2", -0.14, {"fmt": "o", "color": "C0", "label": "the cut"}),
            ("control_r2", 0.14, {"fmt": "s", "color": "C2", "mfc": "white", "label": "control"}),
        ):
            points(ax, places + shift, [x[key].get(parameter) for x in controls], **style)
        ax.axvline(0, color=GREY, linewidth=0.8)
        ax.set_xlabel(f"$R^2$ of {LABELS[parameter]}, a map")
    names = [f"{cut_label(x['cut'])}\n{cut_label(x['control'])}" for x in controls]
    axes[0, 0].set(yticks=places, ylim=(len(controls) - 0.5, -0.5))
    axes[0, 0].set_yticklabels(names, fontsize=7)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=2)
    return fig, axes[0]
