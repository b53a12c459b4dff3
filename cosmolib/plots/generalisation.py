"""Figures of networks on other suites and sets (chapter 06): transfer, cosmic variance, response.

As in ``plots_results``: plain tables in, ``(fig, axes)`` out, an uncertainty on every point.
"""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from cosmolib.data.cmd_format import LABELS
from cosmolib.data.tables import FIDUCIAL
from cosmolib.plots.results import GREY, points
from cosmolib.plots.style import LINE_STYLES, MARKERS, suite_label


def transfer_matrix(cross, parameters):
    """R2 (left, from -1 up) and bias (right) by the suites of training and test.

    Parameters
    ----------
    cross : list of dict
        Of a results table; entries of older tables hold neither ``scaling`` nor ``bias_sigma``.
    parameters : list of str
    """
    pairs = list(dict.fromkeys((x["trained"], x["tested"]) for x in cross))
    shown = [(p, key) for p in parameters for key in ("r2", "bias_sigma")]
    fig, axes = plt.subplots(
        len(parameters), 2, figsize=(7.2, 1.0 + len(parameters) * (0.55 + 0.26 * len(pairs))),
        sharey=True, squeeze=False,
    )  # fmt: skip
    styles = {
        "own": ("o", "0.15", "trained on the tested suite"),
        "trained": ("D", "#bd1f01", "other suite, the network's scaling"),
        "tested": ("s", "#3f90da", "other suite, scaled by itself"),
    }
    for ax, (parameter, key) in zip(axes.flat, shown, strict=True):
        for entry in cross:
            own = entry["trained"] == entry["tested"]
            scaling = entry.get("scaling", "trained")
            marker, colour, label = styles["own" if own else scaling]
            shift = 0 if own else {"trained": -0.16, "tested": 0.16}[scaling]
            place = pairs.index((entry["trained"], entry["tested"])) + shift
            points(
                ax, [place], [entry.get(key, {}).get(parameter)], fmt=marker, color=colour,
                label=label,
            )  # fmt: skip
        if key == "r2":
            # Far below zero the number says nothing but "worse than the mean".
            low, high = ax.get_xlim()
            ax.set_xlim(max(low, -1.05), min(high, 1.05))
            ax.set_xlabel(f"$R^2$ of {LABELS[parameter]}, a map")
        else:
            ax.axvline(0, color=GREY, linewidth=0.8, zorder=0)
            ax.set_xlabel(rf"bias of {LABELS[parameter]} [predicted $\sigma$]")
        ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5))
        ax.set(yticks=range(len(pairs)), ylim=(len(pairs) - 0.5, -0.5))
    for ax in axes[:, 0]:
        ax.set_yticklabels([f"{trained} → {tested}" for trained, tested in pairs])
    _legend(fig, axes[0, 0])
    return fig, axes


def cosmic_variance(tables, parameters):
    """Predictions for the boxes of a CV set, which share one cosmology, by suite.

    Parameters
    ----------
    tables : list of dict
        ``results_table(...)["sets"]["CV"]``.
    parameters : list of str
        Two of them.
    """
    fig, axes = plt.subplots(
        1, len(tables), figsize=(3.6 * len(tables), 3.4), sharex=True, sharey=True, squeeze=False
    )
    for ax, table in zip(axes[0], tables, strict=True):
        columns = [table["targets"].index(name) for name in parameters]
        x, y = np.asarray(table["mean"])[:, columns].T
        sigma = [table["sigma"][name]["value"] for name in parameters]
        truth = np.asarray(table["truth"])[columns]
        ax.plot(x, y, "o", markersize=4, color="C0", label="a box: mean of its 15 maps")
        ax.axvline(truth[0], color=GREY, linewidth=0.8, zorder=0)
        ax.axhline(truth[1], color=GREY, linewidth=0.8, zorder=0, label="true cosmology")
        ax.errorbar(
            x.mean(), y.mean(), *sigma[::-1], fmt="D", color="C1", capsize=3, markersize=5,
            label=r"mean, with the $\sigma$ predicted for a map",
        )  # fmt: skip
        ax.set(xlabel=f"predicted {LABELS[parameters[0]]}", title=suite_label(table["suite"]))
    axes[0, 0].set_ylabel(f"predicted {LABELS[parameters[1]]}")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return fig, axes[0]


def response(curves, parameters):
    """Predicted parameters against the one that a 1P set varies, by suite.

    Parameters
    ----------
    curves : list of dict
        ``results_table(...)["sets"]["1P"]``.
    parameters : list of str
        Rows of the figure.
    """
    varied = list(dict.fromkeys(curve["varied"] for curve in curves))
    suites = list(dict.fromkeys(curve["suite"] for curve in curves))
    shape = len(parameters), len(varied)
    size = max(7.2, 1.05 * shape[1] + 0.9), 1.6 * shape[0] + 0.9
    fig, axes = plt.subplots(*shape, figsize=size, sharex="col", sharey="row", squeeze=False)
    for row, parameter in enumerate(parameters):
        for column, name in enumerate(varied):
            ax = axes[row, column]
            for curve in (c for c in curves if c["varied"] == name):
                i, place = suites.index(curve["suite"]), curve["targets"].index(parameter)
                mean, error = (np.asarray(curve[key])[:, place] for key in ("mean", "error"))
                values = np.asarray(curve["values"])
                # Side by side: twins that answer alike would hide each other.
                aside = 0.03 * (i - (len(suites) - 1) / 2)
                feedback = name.startswith("A_")
                places = values * 2 ** (4 * aside) if feedback else values + np.ptp(values) * aside
                ax.errorbar(
                    places, mean, error, marker=MARKERS[i], linestyle=LINE_STYLES[i],
                    markersize=3, linewidth=1, capsize=1.5, color=f"C{2 * i}",
                    label=suite_label(curve["suite"]),
                )  # fmt: skip
                if name == parameter:
                    ax.plot(values, values, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
                elif i == 0:
                    ax.axhline(
                        FIDUCIAL[parameter], color=GREY, linewidth=0.8, linestyle="--", zorder=0
                    )
            if name.startswith("A_"):
                ax.set_xscale("log", base=2)
                ax.xaxis.set_major_locator(mpl.ticker.FixedLocator([0.25, 0.5, 1, 2, 4]))
                ax.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(_power_of_two))
            else:
                ax.set_xticks(values[[0, len(values) // 2, -1]])
                ax.xaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
        axes[row, 0].set_ylabel(f"predicted {LABELS[parameter]}")
    for ax, name in zip(axes[-1], varied, strict=True):
        ax.set_xlabel(LABELS[name])
    _legend(fig, axes[0, 0])
    return fig, axes


def extremes(rows, parameters):
    """Prediction minus truth, in predicted sigma, for the simulations of an EX set.

    Parameters
    ----------
    rows : list of dict
        ``results_table(...)["sets"]["EX"]``.
    parameters : list of str
    """
    names = list(dict.fromkeys(row["what"] for row in rows))
    suites = list(dict.fromkeys(row["suite"] for row in rows))
    fig, axes = plt.subplots(
        1, len(parameters), figsize=(7.2, 1.1 + 0.36 * len(names)), sharey=True, squeeze=False
    )
    for ax, parameter in zip(axes[0], parameters, strict=True):
        for i, suite in enumerate(suites):
            own = [row for row in rows if row["suite"] == suite]
            places = [names.index(row["what"]) + 0.2 * (i - (len(suites) - 1) / 2) for row in own]
            points(
                ax, places, [row["pull"].get(parameter) for row in own], fmt=MARKERS[i],
                color=f"C{2 * i}", label=suite_label(suite),
            )  # fmt: skip
        ax.axvline(0, color=GREY, linewidth=0.8, zorder=0)
        ax.set_xlabel(rf"prediction − truth of {LABELS[parameter]} [predicted $\sigma$]")
    labels = [_typeset(name) for name in names]
    axes[0, 0].set(yticks=range(len(names)), yticklabels=labels, ylim=(len(names) - 0.5, -0.5))
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return fig, axes[0]


def _legend(fig, ax):
    """Legend over the panels, each label once."""
    handles = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    fig.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles))


def _power_of_two(value, _):
    return {0.25: "¼", 0.5: "½"}.get(value, f"{value:g}")


def _typeset(text):
    for name, label in LABELS.items():
        text = text.replace(name, label)
    return text
