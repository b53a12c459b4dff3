"""Draw the figures on other suites and sets: generalisation, cosmic variance and response."""

import numpy as np
from matplotlib.ticker import MaxNLocator

from cosmolib.data.cmd_format import LABELS
from cosmolib.data.tables import FIDUCIAL
from cosmolib.plots import style


def transfer_matrix(cross, parameters):
    """Draw R2 (left, from -1 up) and bias (right) for each pair of training and test suite.

    Parameters
    ----------
    cross : list of dict
        Entries of a results table; older tables have neither ``scaling`` nor ``bias_sigma``.
    parameters : list of str
    """
    pairs = list(dict.fromkeys((x["trained"], x["tested"]) for x in cross))
    height = 1.0 + len(parameters) * (0.55 + 0.26 * len(pairs))
    fig, axes = style.panels(2, height, rows=len(parameters), sharey=True)
    looks = {  # shift, marker, colour, label
        "own": (0, "o", "0.15", "trained on the tested suite"),
        "trained": (-0.16, "D", style.RED, "other suite, the network's scaling"),
        "tested": (0.16, "s", style.BLUE, "other suite, scaled by itself"),
    }
    for (left, right), parameter in zip(axes, parameters, strict=True):
        for entry in cross:
            pair = entry["trained"], entry["tested"]
            kind = "own" if pair[0] == pair[1] else entry.get("scaling", "trained")
            shift, marker, colour, label = looks[kind]
            look = {"horizontal": True, "fmt": marker, "color": colour, "label": label}
            for ax, key in ((left, "r2"), (right, "bias_sigma")):
                found = [entry.get(key, {}).get(parameter)]
                style.points(ax, [pairs.index(pair) + shift], found, **look)
                ax.xaxis.set_major_locator(MaxNLocator(5))
        # R2 far below zero is equally useless at any value; the axis ends at -1.
        low, high = left.get_xlim()
        left.set(xlim=(max(low, -1.05), min(high, 1.05)), xlabel=style.r2_label(parameter))
        right.axvline(0, zorder=0, **style.SOLID)
        right.set_xlabel(rf"bias of {LABELS[parameter]} [predicted $\sigma$]")
    return style.finish(fig, axes, rows=[" → ".join(pair) for pair in pairs])


def cosmic_variance(tables, parameters):
    """Draw the predictions for the boxes of a CV set, which share one cosmology, by suite.

    Parameters
    ----------
    tables : list of dict
        ``results_table(...)["sets"]["CV"]``.
    parameters : list of str
        Two parameters, for the horizontal and the vertical axis.
    """
    fig, axes = style.panels(len(tables), 3.4, sharex=True)
    for ax, table in zip(axes, tables, strict=True):
        columns = [table["targets"].index(name) for name in parameters]
        x, y = np.asarray(table["mean"])[:, columns].T
        sigma = [table["sigma"][name]["value"] for name in parameters]
        truth = np.asarray(table["truth"])[columns]
        ax.plot(x, y, "o", markersize=4, color="C0", label="one box: mean of its 15 maps")
        ax.axvline(truth[0], zorder=0, **style.SOLID)
        ax.axhline(truth[1], label="true cosmology", zorder=0, **style.SOLID)
        label = r"mean, with the $\sigma$ predicted for one map"
        ax.errorbar(x.mean(), y.mean(), *sigma[::-1], fmt="D", color="C1", label=label)
        ax.set(xlabel=f"predicted {LABELS[parameters[0]]}", title=style.suite_label(table["suite"]))
    return style.finish(fig, axes, f"predicted {LABELS[parameters[1]]}", 3)


def response(curves, parameters):
    """Draw the predicted parameters against the one that a 1P set varies, by suite.

    Parameters
    ----------
    curves : list of dict
        ``results_table(...)["sets"]["1P"]``.
    parameters : list of str
        Rows of the figure.
    """
    varied = list(dict.fromkeys(curve["varied"] for curve in curves))
    suites = list(dict.fromkeys(curve["suite"] for curve in curves))
    rows = len(parameters)
    fig, axes = style.panels(len(varied), 1.6 * rows + 0.9, rows=rows, sharex="col")
    reference = {**style.SOLID, "linestyle": "--", "zorder": 0}
    for row, parameter in zip(axes, parameters, strict=True):
        for ax, name in zip(row, varied, strict=True):
            feedback = name.startswith("A_")
            for curve in (c for c in curves if c["varied"] == name):
                i, place = suites.index(curve["suite"]), curve["targets"].index(parameter)
                mean, error = (np.asarray(curve[key])[:, place] for key in ("mean", "error"))
                values = np.asarray(curve["values"])
                # Shifted, because twins with equal predictions would hide each other.
                shift = style.offset(i, len(suites), 0.03)
                places = values * 2 ** (4 * shift) if feedback else values + np.ptp(values) * shift
                look = style.line(i) | {"marker": style.MARKERS[i], "color": f"C{2 * i}", "ms": 3}
                ax.errorbar(places, mean, error, label=style.suite_label(curve["suite"]), **look)
            if name == parameter:
                ax.plot(values, values, **reference)
            else:
                ax.axhline(FIDUCIAL[parameter], **reference)
            ax.set_xscale("log" if feedback else "linear")
            style.plain_ticks(ax.xaxis, values[[0, len(values) // 2, -1]])
            axes[-1, varied.index(name)].set_xlabel(LABELS[name])
    return style.finish(fig, axes, style.titles(parameters, "predicted "))


def extremes(rows, parameters):
    """Draw prediction minus truth, in units of the predicted sigma, for the EX set.

    Parameters
    ----------
    rows : list of dict
        ``results_table(...)["sets"]["EX"]``.
    parameters : list of str
    """
    names = list(dict.fromkeys(row["what"] for row in rows))
    pulls = {(row["suite"], row["what"]): row["pull"] for row in rows}
    curves = {
        style.suite_label(suite): [pulls.get((suite, name)) for name in names]
        for suite in dict.fromkeys(row["suite"] for row in rows)
    }
    for name, label in LABELS.items():
        names = [text.replace(name, label) for text in names]

    def xlabel(name):
        return rf"prediction − truth of {LABELS[name]} [predicted $\sigma$]"

    return style.estimates_by_row(names, parameters, curves, 0.2, 0.36, xlabel=xlabel)
