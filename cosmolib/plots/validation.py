"""Figures of chapter 07: maps with a known answer, injected signals, noise, and calibration."""

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

from cosmolib.data.cmd_format import LABELS
from cosmolib.plots import style


def known_answer(cuts, network, ceiling, parameters):
    """R2 of a network on maps with a known posterior against the Bayes-optimal R2, by cut.

    Parameters
    ----------
    cuts : list of str
    network, ceiling : list of dict
        One estimate per parameter for each case; ceiling is None where it is not known.
    parameters : list of str
    """
    curves = style.by_parameter({"exact ceiling": ceiling, "network": network}, parameters)
    ceiling_look = {"fmt": "_", "ms": 14, "color": style.GREY}
    look = {"looks": {"exact ceiling": ceiling_look}, "fmt": "o", "color": style.BLUE}
    names = [style.cut_label(cut) for cut in cuts]
    fig, axes = style.estimates_by_name(curves, names, 0.2, 3.1, rotation=40, zero=True, **look)
    panels = {"title": style.titles(parameters), "xlim": (-0.5, len(cuts) - 0.5)}
    return style.finished(fig, axes, "$R^2$ per map", 2, **panels)


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
    fig, axes = style.panels(len(parameters), 3.3, sharey=False)
    for ax, x, y, parameter in zip(axes, exact.T, predicted.T, parameters, strict=True):
        ax.plot(x, y, ".", ms=3, alpha=0.5, color=style.BLUE)
        line = np.array([0.95 * min(x.min(), y.min()), 1.05 * max(x.max(), y.max())])
        ax.plot(line, line, color=style.GREY, linewidth=1)
        within = (1 - tolerance) * line, (1 + tolerance) * line
        ax.fill_between(line, *within, color=style.GREY, alpha=0.15, linewidth=0)
        ax.set(xlim=line, ylim=line, aspect="equal", ylabel=r"predicted $\sigma$")
        ax.set_xlabel(rf"exact $\sigma$ of {LABELS[parameter]}")
    return fig, axes


def planted_r2(places, cases, parameters):
    """R2 with an injected signal left whole, hidden and spared by cuts.

    Parameters
    ----------
    places : list of str
        Name of each place.
    cases : list of list of dict
        For each place ``role`` ("whole", "hidden" or "spared"), ``cut`` and ``r2``, estimates by
        parameter.
    parameters : list of str
        The first carries the signal, the others carry none.
    """
    rows = [(i, case) for i, own in enumerate(cases) for case in own]
    looks = {"whole": ("o", "C0"), "spared": ("^", "C0"), "hidden": ("s", "C2")}
    curves = {
        f"signal {role}": [case["r2"] if case["role"] == role else None for _, case in rows]
        for role in looks
    }
    looks = {f"signal {role}": {"fmt": f, "color": c} for role, (f, c) in looks.items()}
    names = [f"{places[i]}: {style.cut_label(case['cut'])}" for i, case in rows]
    fig, axes = style.estimates_by_name(
        style.by_parameter(curves, parameters), names, 0, 1.1 + 0.27 * len(rows), looks=looks,
        places=np.arange(len(rows)) + 0.4 * np.array([i for i, _ in rows]), horizontal=True,
        zero=True,
    )  # fmt: skip
    for ax in axes:
        ax.axvline(1, color=style.GREY, linewidth=0.8)
    labels = [style.r2_label(parameter) for parameter in parameters]
    return style.finished(fig, axes, columns=3, xlabel=labels, xlim=(-0.2, 1.1))


def planted_attribution(places, shares, chance, ideal):
    """Share of each method's attribution that lies where the signal was injected.

    Parameters
    ----------
    places : list of str
    shares : dict of str to list of estimate
        Method to one estimate per place.
    chance : list of float
    ideal : list of float
        Share of an ideal estimator's Integrated Gradients.
    """
    fig, ax = plt.subplots(figsize=(6.2, 3.2))
    x = np.arange(len(places))
    ax.plot(x, chance, "_", ms=26, color=style.GREY, label="chance")
    ax.plot(x, ideal, "_", ms=26, color="black", label="ideal estimator")
    style.series(ax, x, shares, 0.12, colour_step=2)
    ax.set(xticks=x, xticklabels=places, ylim=(-0.03, 1.08))
    return style.finished(fig, ax, "share at the signal", 3)


def by_noise(levels, curves, parameters, ylabel, chance=None):
    """A quantity against the level of noise, one line per case, with no noise at the left end.

    Parameters
    ----------
    levels : list of float
        Ascending, the first 0.
    curves : dict of str to list of dict
        Label to one estimate per parameter for each level; None where it was not run.
    parameters : list of str
    ylabel : str
    chance : dict of str to float, optional
        Value of each curve by chance.
    """
    tables = style.by_parameter(curves, parameters)
    names = ["none", *(f"{x:g}" for x in levels[1:])]
    look = {"colour_step": 2, "lines": True, "zero": True}
    fig, axes = style.estimates_by_name(tables, names, 0.06, 3.0, **look)
    for ax in axes:
        for label, line in zip(curves if chance else (), style.LINE_STYLES, strict=False):
            look = {"color": style.GREY, "linewidth": 1, "linestyle": line}
            ax.axhline(chance[label], label=f"{label}, by chance", **look)
    panels = {"title": style.titles(parameters), "xlabel": "white noise a pixel [mean density]"}
    return style.finished(fig, axes, ylabel, 2 if chance else 3, **panels)


def coverage(nominal, tables, labels):
    """Measured against nominal coverage of the predicted intervals.

    Parameters
    ----------
    nominal : ndarray, shape (q,)
        Levels from 0 to 1.
    tables : dict of str to dict of str to ndarray, shape (q, 3)
        One panel each, with value, low, high of each parameter.
    labels : dict of str to str
        Text of each parameter.
    """
    fig, axes = style.panels(len(tables), 0, figsize=(3.6 * len(tables), 3.7))
    for ax, (title, measured) in zip(axes, tables.items(), strict=True):
        ax.plot([0, 1], [0, 1], color=style.GREY, linestyle="--", linewidth=1, label="calibrated")
        for i, (name, table) in enumerate(measured.items()):
            value, low, high = np.asarray(table, float).T
            ax.fill_between(nominal, low, high, color=f"C{2 * i}", alpha=0.18, linewidth=0)
            look = style.line(i) | {"color": f"C{2 * i}", "marker": style.MARKERS[i], "ms": 3}
            ax.plot(nominal, value, label=labels.get(name, name), **look)
        ax.set(xlabel="nominal coverage", xlim=(0, 1), ylim=(0, 1), title=title, aspect="equal")
    axes[0].set_ylabel("measured coverage")
    axes[0].legend(loc="upper left")
    return fig, axes


def corner(samples, mean, std, truth, parameters, titles):
    """Full posteriors of some maps next to the moment network's Gaussians.

    Parameters
    ----------
    samples : list of ndarray, shape (n, 2)
        One per map; the filled regions contain 68 and 95 % of them.
    mean, std, truth : ndarray, shape (m, 2)
        Of the network, whose Gaussian has no correlation.
    parameters : list of str
        Two.
    titles : list of str
        One per map.
    """
    fig = plt.figure(figsize=(style.WIDTH, 3.2))
    top, bottom = fig.subfigures(2, 1, height_ratios=(0.08, 1))
    labels, grids = style.titles(parameters), []
    limits = [(x.min(), x.max()) for x in np.concatenate(samples).T]
    dashed = {"color": style.RED, "linestyle": "--", "linewidth": 1}
    angle = np.linspace(0, 2 * np.pi, 100)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    for i, part in enumerate(np.atleast_1d(bottom.subfigures(1, len(samples)))):
        axes = part.subplots(2, 2, gridspec_kw={"wspace": 0.08, "hspace": 0.08})
        axes[0, 1].remove()
        joint = axes[1, 0]
        _credible(joint, samples[i], limits)
        for radius in (1.515, 2.448):  # of 68 and 95 % of a round Gaussian
            joint.plot(*(mean[i][:, None] + radius * std[i][:, None] * circle), **dashed)
        joint.plot(*truth[i], "+", color="black", ms=9, mew=1.5)
        joint.set(xlim=limits[0], ylim=limits[1], xlabel=labels[0])
        joint.set(**({"yticklabels": []} if i else {"ylabel": labels[1]}))
        for p, ax in enumerate(axes.diagonal()):
            x = np.linspace(*limits[p], 200)
            look = {"density": True, "color": style.BLUE, "alpha": 0.5}
            ax.hist(samples[i][:, p], 30, range=limits[p], **look)
            ax.plot(x, norm.pdf(x, mean[i, p], std[i, p]), **dashed)
            ax.axvline(truth[i, p], color="black", linewidth=1)
            ax.set(yticks=[], xlim=limits[p])
        axes[0, 0].set(xticklabels=[])
        axes[0, 0].set_title(titles[i], fontsize=8)
        axes[1, 1].set_xlabel(labels[1])
        grids.append(axes)
    region = plt.Rectangle((0, 0), 1, 1, color=style.BLUE, alpha=0.6)
    names = ["full posterior: 68, 95 %", "moment network's Gaussian", "truth"]
    top.legend([region, joint.lines[0], joint.lines[-1]], names, loc="center", ncols=3)
    return fig, grids


def _credible(ax, samples, limits):
    """Fill the regions of highest density that contain 68 and 95 % of two-dimensional samples."""
    count, x, y = np.histogram2d(*samples.T, bins=50, range=limits)
    density = gaussian_filter(count, 1.5)
    ordered = np.sort(density.ravel())[::-1]
    places = np.searchsorted(np.cumsum(ordered) / ordered.sum(), [0.95, 0.68])
    levels = [*ordered[places], ordered[0] * 1.01]
    middle = [(edges[1:] + edges[:-1]) / 2 for edges in (x, y)]
    ax.contourf(*middle, density.T, levels=levels, colors=["#b9d9f2", style.BLUE])


def control_r2(entries, parameters):
    """R2 of a few named cases next to each other, with zero marked.

    Parameters
    ----------
    entries : dict of str to dict
        Label to one estimate per parameter.
    parameters : list of str
    """
    curves = {label: [entry if label == row else None for row in entries]
              for label, entry in entries.items()}  # fmt: skip
    fig, axes = style.estimates_by_name(
        style.by_parameter(curves, parameters), list(entries), 0, 0.9 + 0.36 * len(entries),
        colour_step=2, horizontal=True, zero=True,
    )  # fmt: skip
    for ax, parameter in zip(axes, parameters, strict=True):
        ax.set_xlabel(style.r2_label(parameter))
    return fig, axes
