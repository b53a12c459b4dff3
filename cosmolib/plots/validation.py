"""Figures of chapter 07: the instrument on maps whose answer is known, noise, and error bars.

As in ``plots``: every function takes arrays or plain tables and returns ``(fig, axes)``; an
*estimate* is a dict ``{"value", "low", "high"}`` with 95 % limits. What is known exactly, chance
and the ideal are drawn in grey.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from cosmolib.data.cmd_format import LABELS
from cosmolib.plots.results import GREY, cut_label, points
from cosmolib.plots.style import LINE_STYLES, MARKERS


def known_answer(cuts, network, ceiling, parameters):
    """R2 of a network on maps with a known answer against the exact ceiling, by cut.

    Parameters
    ----------
    cuts : list of str
    network, ceiling : list of dict
        An estimate a parameter for each case; ceiling may be None where it is not known.
    parameters : list of str
    """
    fig, axes = plt.subplots(1, len(parameters), figsize=(7.2, 3.1), sharey=True, squeeze=False)
    places = np.arange(len(cuts))
    for ax, parameter in zip(axes[0], parameters, strict=True):
        points(
            ax,
            places - 0.1,
            [x and x[parameter] for x in ceiling],
            horizontal=False,
            fmt="_",
            ms=14,
            color=GREY,
            label="exact ceiling",
        )
        points(
            ax,
            places + 0.1,
            [x[parameter] for x in network],
            horizontal=False,
            fmt="o",
            color="#3f90da",
            label="network",
        )
        ax.set(xticks=places, title=LABELS[parameter], xlim=(-0.5, len(cuts) - 0.5))
        ax.set_xticklabels([cut_label(cut) for cut in cuts], rotation=40, ha="right", fontsize=8)
        ax.axhline(0, color=GREY, linewidth=0.8)
    axes[0, 0].set_ylabel("$R^2$, a map")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=2)
    return fig, axes[0]


def sigma_against_exact(predicted, exact, parameters, tolerance):
    """Predicted against exact standard deviation, map by map.

    Parameters
    ----------
    predicted, exact : (n, P)
        Standard deviations.
    parameters : list of str
    tolerance : float
        Relative, drawn as a band about equality.
    """
    fig, axes = plt.subplots(1, len(parameters), figsize=(7.2, 3.3), squeeze=False)
    for p, (ax, parameter) in enumerate(zip(axes[0], parameters, strict=True)):
        ax.plot(exact[:, p], predicted[:, p], ".", ms=3, alpha=0.5, color="#3f90da")
        low, high = np.min([exact[:, p], predicted[:, p]]), np.max([exact[:, p], predicted[:, p]])
        line = np.array([0.95 * low, 1.05 * high])
        ax.plot(line, line, color=GREY, linewidth=1)
        band = (1 - tolerance) * line, (1 + tolerance) * line
        ax.fill_between(line, *band, color=GREY, alpha=0.15, linewidth=0)
        ax.set(
            xlim=line, ylim=line, xlabel=rf"exact $\sigma$ of {LABELS[parameter]}",
            ylabel=r"predicted $\sigma$", aspect="equal",
        )  # fmt: skip
    return fig, axes[0]


def planted_r2(places, cases, parameters):
    """R2 with a planted signal left whole, hidden and spared by cuts.

    Parameters
    ----------
    places : list of str
        Name of each place.
    cases : list of list of dict
        For each place ``role`` ("whole", "hidden" or "spared"), ``cut`` and ``r2``, estimates by
        parameter.
    parameters : list of str
        The first holds the signal, the others hold none.
    """
    rows = [(place, case) for place, own in zip(places, cases, strict=True) for case in own]
    fig, axes = plt.subplots(
        1, len(parameters), figsize=(7.2, 1.1 + 0.27 * len(rows)), sharey=True, squeeze=False
    )
    roles = {"whole": ("o", "C0"), "spared": ("^", "C0"), "hidden": ("s", "C2")}
    y = np.arange(len(rows)) + 0.4 * np.array([places.index(row[0]) for row in rows])
    for ax, parameter in zip(axes[0], parameters, strict=True):
        for role, (marker, colour) in roles.items():
            chosen = [i for i, (_, case) in enumerate(rows) if case["role"] == role]
            points(
                ax, y[chosen], [rows[i][1]["r2"][parameter] for i in chosen],
                fmt=marker, color=colour, label=f"signal {role}",
            )  # fmt: skip
        for edge in (0, 1):
            ax.axvline(edge, color=GREY, linewidth=0.8)
        ax.set_xlabel(f"$R^2$ of {LABELS[parameter]}, a map")
        ax.set_xlim(-0.2, 1.1)
    axes[0, 0].set(yticks=y, ylim=(y[-1] + 0.6, -0.6))
    axes[0, 0].set_yticklabels(
        [f"{place}: {cut_label(case['cut'])}" for place, case in rows], fontsize=7
    )
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=3)
    return fig, axes[0]


def planted_attribution(places, shares, chance):
    """Share of each method's attribution that lies where the signal was planted.

    Parameters
    ----------
    places : list of str
    shares : dict of str to list of estimate
        Method to one estimate a place.
    chance : list of float
    """
    fig, ax = plt.subplots(figsize=(6.2, 3.2))
    x = np.arange(len(places))
    ax.plot(x, chance, "_", ms=26, color=GREY, label="chance")
    ax.axhline(1, color=GREY, linewidth=0.8, linestyle="--", label="perfect")
    for i, (method, estimates) in enumerate(shares.items()):
        points(
            ax, x + 0.12 * (i - (len(shares) - 1) / 2), estimates, horizontal=False,
            fmt=MARKERS[i], color=f"C{2 * i}", label=method,
        )  # fmt: skip
    ax.set(xticks=x, xticklabels=places, ylim=(-0.03, 1.08), ylabel="share at the signal")
    fig.legend(loc="outside upper center", ncols=3)
    return fig, ax


def by_noise(levels, curves, parameters, ylabel, chance=None):
    """A quantity against the level of noise, one line a case, no noise at the left end.

    Parameters
    ----------
    levels : list of float
        Ascending, the first 0.
    curves : dict of str to list of dict
        Label to an estimate a parameter for each level; None where it was not run.
    parameters : list of str
    ylabel : str
    chance : dict of str to float, optional
        What each curve would be by chance.
    """
    fig, axes = plt.subplots(1, len(parameters), figsize=(7.2, 3.0), sharey=True, squeeze=False)
    places = np.arange(len(levels))
    for ax, parameter in zip(axes[0], parameters, strict=True):
        for i, (label, entries) in enumerate(curves.items()):
            points(
                ax, places + 0.06 * (i - (len(curves) - 1) / 2),
                [entry and entry.get(parameter) for entry in entries], horizontal=False,
                fmt=MARKERS[i], linestyle=LINE_STYLES[i], color=f"C{2 * i}", label=label,
            )  # fmt: skip
        ax.set(xticks=places, xticklabels=["none", *(f"{x:g}" for x in levels[1:])])
        ax.set(title=LABELS[parameter], xlabel="white noise a pixel [mean density]")
        for i, label in enumerate(curves if chance else ()):
            ax.axhline(
                chance[label], color=GREY, linewidth=1, linestyle=LINE_STYLES[i],
                label=f"{label}, by chance",
            )  # fmt: skip
        ax.axhline(0, color=GREY, linewidth=0.8)
    axes[0, 0].set_ylabel(ylabel)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=2 if chance else 3)
    return fig, axes[0]


def coverage(nominal, tables, labels):
    """How often the truth lies within the predicted interval, against how often it should.

    Parameters
    ----------
    nominal : ndarray, shape (q,)
        Levels from 0 to 1.
    tables : dict of str to dict of str to ndarray, shape (q, 3)
        A panel each; in it a parameter's value, low, high.
    labels : dict of str to str
        Text of each parameter.
    """
    width = 3.6 * len(tables)
    fig, axes = plt.subplots(1, len(tables), figsize=(width, 3.7), sharey=True, squeeze=False)
    for ax, (title, measured) in zip(axes[0], tables.items(), strict=True):
        ax.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="calibrated")
        for i, (name, table) in enumerate(measured.items()):
            value, low, high = np.asarray(table, float).T
            style = {"linestyle": LINE_STYLES[i % len(LINE_STYLES)], "marker": MARKERS[i], "ms": 3}
            ax.fill_between(nominal, low, high, color=f"C{2 * i}", alpha=0.18, linewidth=0)
            ax.plot(nominal, value, color=f"C{2 * i}", label=labels.get(name, name), **style)
        ax.set(xlabel="nominal coverage", xlim=(0, 1), ylim=(0, 1), title=title, aspect="equal")
    axes[0, 0].set_ylabel("measured coverage")
    axes[0, 0].legend(loc="upper left")
    return fig, axes[0]


def corner(samples, mean, std, truth, parameters, titles):
    """Full posteriors of some maps beside the moment network's Gaussians.

    Parameters
    ----------
    samples : list of ndarray, shape (n, 2)
        A map each; 68 and 95 % of them lie in the filled regions.
    mean, std, truth : ndarray, shape (m, 2)
        Of the network; its Gaussian knows no correlation.
    parameters : list of str
        Two.
    titles : list of str
        One a map.
    """
    fig = plt.figure(figsize=(7.2, 3.2))
    top, bottom = fig.subfigures(2, 1, height_ratios=(0.08, 1))
    panels = []
    labels = [LABELS[name] for name in parameters]
    limits = [
        (min(s[:, p].min() for s in samples), max(s[:, p].max() for s in samples)) for p in range(2)
    ]
    for i, part in enumerate(np.atleast_1d(bottom.subfigures(1, len(samples)))):
        axes = part.subplots(2, 2, gridspec_kw={"wspace": 0.08, "hspace": 0.08})
        axes[0, 1].remove()
        joint = axes[1, 0]
        _credible(joint, samples[i], limits)
        angle = np.linspace(0, 2 * np.pi, 100)
        for radius in (1.515, 2.448):  # of a round Gaussian's 68 and 95 %
            joint.plot(
                mean[i, 0] + radius * std[i, 0] * np.cos(angle),
                mean[i, 1] + radius * std[i, 1] * np.sin(angle),
                color="#bd1f01", linestyle="--", linewidth=1,
            )  # fmt: skip
        joint.plot(*truth[i], "+", color="black", ms=9, mew=1.5)
        joint.set(xlim=limits[0], ylim=limits[1], xlabel=labels[0])
        if i == 0:
            joint.set_ylabel(labels[1])
        else:
            joint.set_yticklabels([])
        for p, ax in ((0, axes[0, 0]), (1, axes[1, 1])):
            x = np.linspace(*limits[p], 200)
            ax.hist(samples[i][:, p], 30, range=limits[p], density=True, color="#3f90da", alpha=0.5)
            gauss = np.exp(-0.5 * ((x - mean[i, p]) / std[i, p]) ** 2) / std[i, p]
            ax.plot(x, gauss / np.sqrt(2 * np.pi), color="#bd1f01", linestyle="--", linewidth=1)
            ax.axvline(truth[i, p], color="black", linewidth=1)
            ax.set(yticks=[], xlim=limits[p])
        axes[0, 0].set_xticklabels([])
        axes[0, 0].set_title(titles[i], fontsize=8)
        axes[1, 1].set_xlabel(labels[1])
        for ax in (axes[0, 0], joint, axes[1, 1]):
            ax.tick_params(labelsize=7)
        panels.append(axes)
    handles = [
        plt.Rectangle((0, 0), 1, 1, color="#3f90da", alpha=0.6),
        plt.Line2D([], [], color="#bd1f01", linestyle="--", linewidth=1),
        plt.Line2D([], [], color="black", marker="+", linestyle="none", ms=9, mew=1.5),
    ]
    names = ["full posterior: 68, 95 %", "moment network's Gaussian", "truth"]
    top.legend(handles, names, loc="center", ncols=3)
    return fig, panels


def _credible(ax, samples, limits):
    """Fill the regions of highest density that hold 68 and 95 % of two-dimensional samples."""
    from scipy.ndimage import gaussian_filter

    count, x, y = np.histogram2d(*samples.T, bins=50, range=limits)
    density = gaussian_filter(count, 1.5)
    ordered = np.sort(density.ravel())[::-1]
    held = np.cumsum(ordered) / ordered.sum()
    levels = [ordered[np.searchsorted(held, share)] for share in (0.95, 0.68)]
    middle = [(edges[1:] + edges[:-1]) / 2 for edges in (x, y)]
    ax.contourf(
        *middle, density.T, levels=[*levels, ordered[0] * 1.01], colors=["#b9d9f2", "#3f90da"]
    )


def control_r2(entries, parameters):
    """R2 of a few named cases beside each other, zero marked.

    Parameters
    ----------
    entries : dict of str to dict
        Label to an estimate a parameter.
    parameters : list of str
    """
    fig, axes = plt.subplots(
        1, len(parameters), figsize=(7.2, 0.9 + 0.36 * len(entries)), sharey=True, squeeze=False
    )
    places = np.arange(len(entries))
    for ax, parameter in zip(axes[0], parameters, strict=True):
        for i, (place, entry) in enumerate(zip(places, entries.values(), strict=True)):
            points(ax, [place], [entry[parameter]], fmt=MARKERS[i], color=f"C{2 * i}")
        ax.axvline(0, color=GREY, linewidth=0.8)
        ax.set_xlabel(f"$R^2$ of {LABELS[parameter]}, a map")
    axes[0, 0].set(yticks=places, yticklabels=list(entries), ylim=(len(entries) - 0.5, -0.5))
    return fig, axes[0]
