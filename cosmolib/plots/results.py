"""Draw the figures of chapter 06: R2 by cut, and cuts next to their controls."""

import numpy as np

from cosmolib.cuts.grammar import Cut
from cosmolib.data.cmd_format import LABELS
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
        look = {"horizontal": True, "colour_step": 2}
        style.series(ax, np.arange(len(cuts)), curves, 0.3, **look)
        ax.axvline(0, **style.SOLID)
        value, (below, above) = style.bars(sum(curves.values(), []))
        # R2 far below zero is equally useless at any value; the axis ends at -1.
        low = min(max(np.nanmin([0, *(value - below)]), -1.0) - 0.05, -0.05)
        highest = max((value + above)[np.isfinite(value)], default=0)
        ax.set_xlim(low, 1.0 if key == "r2" else highest + 0.05)
        for place in range(0, len(cuts), 2):
            ax.axhspan(place - 0.5, place + 0.5, color="0.96", zorder=0, linewidth=0)
    labels = [style.r2_label(name) for name in parameters]
    if key != "r2":
        labels = style.titles(parameters, "$R^2$ minus uncut, ")
    names = [style.cut_label(cut) for cut in cuts]
    return style.finish(fig, axes, columns=2, rows=names, xlabel=labels)


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
    rows = [style.cut_label(cut) for cut in cuts]
    return style.estimates_by_row(rows, parameters, curves, 0.24, 0.25)


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
