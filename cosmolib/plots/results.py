"""Figures of chapter 06: R2 by cut, and cuts next to their controls."""

import numpy as np

from cosmolib.cuts.grammar import Cut
from cosmolib.data.cmd_format import LABELS
from cosmolib.plots import style


def r2_by_cut(rows, suites, parameters, *, key="r2"):
    """R2 of each parameter for every cut, one marker per suite; the headline figure of the book.

    The summary-statistics baseline of the same cut is grey and open.

    Parameters
    ----------
    rows : list of dict
        Of the results table: ``suite``, ``cut`` and, under ``key``, one estimate per parameter.
    suites, parameters : list of str
    key : {"r2", "difference", "best_difference"}
        The R2 itself, or a paired difference to uncut maps.
    """
    cuts = list(dict.fromkeys(row["cut"] for row in rows))
    table = {(row["suite"], row["cut"]): row for row in rows}
    fig, axes = style.panels(len(parameters), 1.1 + 0.27 * len(cuts))
    for ax, parameter in zip(axes, parameters, strict=True):
        for i, suite in enumerate(suites):
            places = np.arange(len(cuts)) + style.aside(i, len(suites), 0.3)
            found = [table.get((suite, cut), {}) for cut in cuts]
            own, ridge = (
                [row.get(name, {}).get(parameter) for row in found] for name in (key, "baseline")
            )
            look = {"horizontal": True, "fmt": style.MARKERS[i]}
            if key == "r2":
                for uncut in style.bars(own)[0][[cut == "none" for cut in cuts]]:
                    ax.axvline(uncut, color=f"C{2 * i}", linewidth=0.7, alpha=0.6)
                open_look = {"mfc": "white", "color": "0.6", "elinewidth": 0.7, "ms": 4}
                label = f"summary statistics, {suite}"
                style.points(ax, places, ridge, label=label, **look, **open_look)
            label = "" if key == "best_difference" else "network, "
            label += style.suite_label(suite)
            style.points(ax, places, own, color=f"C{2 * i}", label=label, **look)
        ax.axvline(0, color=style.GREY, linewidth=0.8)
        value, (below, above) = style.bars([row.get(key, {}).get(parameter) for row in rows])
        # Far below zero the number only says "worse than the mean": keep the rest readable.
        low = min(max(np.nanmin([0, *(value - below)]), -1.0) - 0.05, -0.05)
        highest = max((value + above)[np.isfinite(value)], default=0)
        ax.set_xlim(low, 1.0 if key == "r2" else highest + 0.05)
        for place in range(0, len(cuts), 2):
            ax.axhspan(place - 0.5, place + 0.5, color="0.96", zorder=0, linewidth=0)
    labels = [style.r2_label(name) for name in parameters]
    if key != "r2":
        labels = style.titles(parameters, "$R^2$ minus uncut, ")
    names = [style.cut_label(cut) for cut in cuts]
    return style.finished(fig, axes, columns=2, rows=names, xlabel=labels)


def r2_against_kmax(rows, suites, parameters, nyquist):
    """R2 against the largest wavenumber kept, with the uncut value as a band.

    Parameters
    ----------
    rows : list of dict
        Of the results table.
    suites, parameters : list of str
    nyquist : float
        Of the maps [h/Mpc].
    """
    fig, axes = style.panels(len(parameters), 3.0)
    for ax, parameter in zip(axes, parameters, strict=True):
        for i, suite in enumerate(suites):
            colour, kept = f"C{2 * i}", {}
            own = ((Cut.parse(row["cut"]), row["r2"]) for row in rows if row["suite"] == suite)
            for cut, r2 in own:
                (value,), lengths = style.bars([r2.get(parameter)])
                if cut.is_identity:
                    ax.axhline(value, color=colour, linestyle="--", linewidth=1)
                    ax.axhspan(*(value + [-1, 1] * lengths[:, 0]), color=colour, alpha=0.12)
                if cut.kind == "kmax" and cut.field == "linear" and cut.is_plain:
                    kept[cut.values[0]] = r2.get(parameter)
            k = np.array(sorted(kept))
            look = {"color": colour, "label": style.suite_label(suite)}
            look |= {"fmt": style.MARKERS[i] + "-"}
            style.points(ax, k * 1.02 ** (2 * i - 1), [kept[edge] for edge in k], **look)
        ax.axvline(nyquist, color=style.GREY, linestyle=":", linewidth=1)
        ax.axhline(0, color=style.GREY, linewidth=0.8)
        ax.set(xscale="log", xlabel=r"$k_\mathrm{max}$ [$h$/Mpc]", title=LABELS[parameter])
        style.log_ticks(ax.xaxis, (1, 2, 3, 4, 6, 8, 10, 20, 30, 50))
    return style.finished(fig, axes, "$R^2$ of a map", 2)


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
    curves = {n: [table[cut] for cut in cuts] for n, table in zip(names, tables, strict=True)}
    rows = [style.cut_label(cut) for cut in cuts]
    return style.estimates_by_row(rows, parameters, curves, 0.24, 0.25)


def control_pairs(controls, parameters):
    """R2 under a cut and under its control, pair by pair.

    Parameters
    ----------
    controls : list of dict
        ``cut``, ``control``, ``r2`` and ``control_r2`` ({parameter: estimate}).
    parameters : list of str
    """
    keys = {"the cut": "r2", "control": "control_r2"}
    curves = {label: [pair[key] for pair in controls] for label, key in keys.items()}
    names = [[style.cut_label(pair[key]) for key in ("cut", "control")] for pair in controls]
    names = ["\n".join(pair) for pair in names]
    return style.estimates_by_row(names, parameters, curves, 0.28, 0.36, hollow="control")
