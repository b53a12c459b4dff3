"""Draw the figures of chapter 06: R2 by cut, cuts next to their controls, and generalisation."""

import numpy as np
from matplotlib.ticker import MaxNLocator

from cosmolib.cuts.grammar import Cut
from cosmolib.data.cmd_format import LABELS
from cosmolib.data.tables import FIDUCIAL
from cosmolib.plots import style


def r2_by_cut(rows, suites, parameters, *, key="r2"):
    """Draw R2 of each parameter for every cut and suite; the headline figure of the book.

    Open grey points are the summary-statistics baseline under the same cut.

    Parameters
    ----------
    rows : list of dict
        Rows of the results table: ``suite``, ``cut`` and, under ``key``, an estimate per parameter.
    suites, parameters : list of str
    key : {"r2", "difference", "best_difference"}
        R2, or a paired difference to the uncut maps.
    """
    cuts = list(dict.fromkeys(row["cut"] for row in rows))
    table = {(row["suite"], row["cut"]): row for row in rows}

    def tables(key, label):
        cells = {s: [table.get((s, cut), {}).get(key) for cut in cuts] for s in suites}
        return style.by_parameter({label(s): row for s, row in cells.items()}, parameters)

    network = "" if key == "best_difference" else "network, "
    networks = tables(key, lambda suite: network + style.suite_label(suite))
    baselines = tables("baseline", "summary statistics, {}".format)
    fig, axes = style.panels(len(parameters), 1.1 + 0.27 * len(cuts))
    for ax, curves, baseline in zip(axes, networks, baselines, strict=True):
        if key == "r2":
            look = {"mfc": "white", "color": "0.6", "elinewidth": 0.7, "ms": 4}
            style.series(ax, np.arange(len(cuts)), baseline, 0.3, horizontal=True, **look)
            for i, estimates in enumerate(curves.values()):
                for uncut in style.bars(estimates)[0][np.array(cuts) == "none"]:
                    ax.axvline(uncut, color=f"C{2 * i}", linewidth=0.7, alpha=0.6)
        style.series(ax, np.arange(len(cuts)), curves, 0.3, horizontal=True, colour_step=2)
        ax.axvline(0, **style.SOLID)
        value, (below, above) = style.bars(sum(curves.values(), []))
        # R2 far below zero is equally useless at any value; the axis ends at -1.
        low = min(max(np.nanmin([0, *(value - below)]), -1.0) - 0.05, -0.05)
        highest = max((value + above)[np.isfinite(value)], default=0)
        ax.set_xlim(low, 1.0 if key == "r2" else highest + 0.05)
        for place in range(0, len(cuts), 2):
            ax.axhspan(place - 0.5, place + 0.5, color="0.96", zorder=0, linewidth=0)
    labels = style.labels(parameters, style.R2_LABEL if key == "r2" else "$R^2$ minus uncut, {}")
    return style.finish(fig, axes, columns=2, rows=[*map(style.cut_label, cuts)], xlabel=labels)


def r2_against_kmax(rows, suites, parameters, nyquist):
    """Draw R2 against the largest wavenumber kept, with the uncut R2 as a band.

    Parameters
    ----------
    rows : list of dict
        Rows of the results table.
    suites, parameters : list of str
    nyquist : float
        Nyquist wavenumber of the maps [h/Mpc].
    """
    fig, axes = style.panels(len(parameters), 3.0)
    for ax, parameter in zip(axes, parameters, strict=True):
        for i, suite in enumerate(suites):
            colour, kept = f"C{2 * i}", {}
            for row in (row for row in rows if row["suite"] == suite):
                cut, estimate = Cut.parse(row["cut"]), row["r2"].get(parameter)
                if cut.is_identity:
                    (value,), lengths = style.bars([estimate])
                    ax.axhline(value, color=colour, linestyle="--", linewidth=1)
                    ax.axhspan(*(value + [-1, 1] * lengths[:, 0]), color=colour, alpha=0.12)
                if cut.kind == "kmax" and cut.field == "linear" and cut.is_plain:
                    kept[cut.values[0]] = estimate
            k = np.array(sorted(kept))
            look = {"fmt": style.MARKERS[i] + "-", "label": style.suite_label(suite)}
            places = k * 1.02 ** (2 * i - 1)
            style.points(ax, places, [kept[edge] for edge in k], color=colour, **look)
        ax.axvline(nyquist, **style.DOTTED)
        ax.axhline(0, **style.SOLID)
        ax.set(xscale="log", xlabel=r"$k_\mathrm{max}$ [$h$/Mpc]", title=LABELS[parameter])
        style.plain_ticks(ax.xaxis, (1, 2, 3, 4, 6, 8, 10, 20, 30, 50))
    return style.finish(fig, axes, "$R^2$ per map", 2)


def live_and_stored(live, stored, suite, parameters, names):
    """Draw R2 of the cuts that two studies share, next to each other.

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
    curves = {n: [table[cut] for cut in cuts] for n, table in zip(names, tables, strict=True)}
    return style.estimates_by_row([*map(style.cut_label, cuts)], parameters, curves, 0.24, 0.25)


def control_pairs(controls, parameters):
    """Draw R2 under each cut next to R2 under its control.

    Parameters
    ----------
    controls : list of dict
        ``cut``, ``control``, ``r2`` and ``control_r2`` ({parameter: estimate}).
    parameters : list of str
    """
    keys = {"the cut": "r2", "control": "control_r2"}
    curves = {label: [pair[key] for pair in controls] for label, key in keys.items()}
    names = ["\n".join(style.cut_label(pair[k]) for k in ("cut", "control")) for pair in controls]
    looks = {"control": {"mfc": "white"}}
    return style.estimates_by_row(names, parameters, curves, 0.28, 0.36, looks=looks)


# --------------------------------------------------------------------------------------------------
# Other suites and simulation sets
# --------------------------------------------------------------------------------------------------
def transfer_matrix(cross, parameters):
    """Draw R2 (left, from -1 up) and bias (right) for each pair of training and test suite.

    Parameters
    ----------
    cross : list of dict
        The entry ``cross`` of a results table.
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
            kind = "own" if pair[0] == pair[1] else entry["scaling"]
            shift, marker, colour, label = looks[kind]
            look = {"horizontal": True, "fmt": marker, "color": colour, "label": label}
            for ax, key in ((left, "r2"), (right, "bias_sigma")):
                style.points(ax, [pairs.index(pair) + shift], [entry[key].get(parameter)], **look)
                ax.xaxis.set_major_locator(MaxNLocator(5))
        # R2 far below zero is equally useless at any value; the axis ends at -1.
        low, high = left.get_xlim()
        left.set(xlim=(max(low, -1.05), min(high, 1.05)))
        right.axvline(0, zorder=0, **style.SOLID)
        left.set_xlabel(style.R2_LABEL.format(LABELS[parameter]))
        right.set_xlabel(rf"bias of {LABELS[parameter]} [predicted $\sigma$]")
    return style.finish(fig, axes, rows=[" → ".join(pair) for pair in pairs])


def cost_against_bias(rows, cross, trained, tested, parameters):
    """Draw the bias on other suites under each cut against the R2 that the cut costs.

    A cut protects an inference if it moves a point of uncut maps towards zero bias.

    Parameters
    ----------
    rows, cross : list of dict
        The entries of a results table.
    trained : str
        Suite of the networks, one per cut.
    tested : list of str
        Suites on which they are tested, one row of panels each.
    parameters : list of str
    """
    costs = {x["cut"]: x["best_difference"] for x in rows if x["suite"] == trained}
    fig, axes = style.panels(len(parameters), 1.2 + 2.3 * len(tested), rows=len(tested))
    for line, suite in zip(axes, tested, strict=True):
        keys = {"trained": trained, "tested": suite, "scaling": "trained"}
        found = {x["cut"]: x["bias_sigma"] for x in cross if keys.items() <= x.items()}
        for ax, parameter in zip(line, parameters, strict=True):
            ax.axhline(0, **style.SOLID)
            for i, cut in enumerate(cut for cut in costs if cut in found):
                (lost,), _ = style.bars([costs[cut].get(parameter)])
                look = {"fmt": style.MARKERS[i % 7], "color": f"C{i}" if cut != "none" else "k"}
                look |= {"label": style.cut_label(cut), "markersize": 8 if cut == "none" else 5}
                style.points(ax, [-lost], [found[cut].get(parameter)], **look)
            ax.set_xlabel(f"$R^2$ of {LABELS[parameter]} lost by the cut")
    labels = [rf"bias on {suite} [predicted $\sigma$]" for suite in tested]
    return style.finish(fig, axes, labels, 4)


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
    return style.finish(fig, axes, style.labels(parameters, "predicted {}"))


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
    labels = style.labels(parameters, r"prediction − truth of {} [predicted $\sigma$]")
    return style.estimates_by_row(names, parameters, curves, 0.2, 0.36, xlabel=labels)
