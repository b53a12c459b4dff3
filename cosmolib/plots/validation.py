"""Draw the figures of chapter 07: analytic posteriors, injected signals, noise, calibration."""

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

from cosmolib.data.cmd_format import LABELS
from cosmolib.plots import style


def known_answer(cuts, network, ceiling, parameters):
    """Draw R2 of a network and the Bayes-optimal R2 on maps with an analytic posterior, by cut.

    Parameters
    ----------
    cuts : list of str
    network, ceiling : list of dict
        {parameter: estimate} for each cut; the Bayes-optimal R2 (ceiling) may be None.
    parameters : list of str
    """
    curves = style.by_parameter({"Bayes-optimal": ceiling, "network": network}, parameters)
    looks = {"Bayes-optimal": {"fmt": "_", "ms": 14, "color": style.GREY}}
    look = {"looks": looks, "fmt": "o", "color": style.BLUE}
    names = [style.cut_label(cut) for cut in cuts]
    fig, axes = style.estimates_by_name(curves, names, 0.2, 3.1, rotation=40, zero=True, **look)
    panels = {"title": style.labels(parameters), "xlim": (-0.5, len(cuts) - 0.5)}
    return style.finish(fig, axes, "$R^2$ per map", 2, **panels)


def sigma_against_exact(predicted, exact, parameters, tolerance):
    """Draw the predicted against the exact standard deviation of each map.

    Parameters
    ----------
    predicted, exact : ndarray, shape (n, p)
        Standard deviations.
    parameters : list of str
    tolerance : float
        Relative tolerance, drawn as a band around equality.
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
    """Draw R2 with an injected signal that cuts leave whole, hide or spare.

    Parameters
    ----------
    places : list of str
        Where each signal was injected.
    cases : list of list of dict
        For each place ``role`` ("whole", "hidden" or "spared"), ``cut`` and ``r2``, estimates by
        parameter.
    parameters : list of str
        The first carries the signal, the others carry none.
    """
    rows = [(place, case) for place, own in zip(places, cases, strict=True) for case in own]
    names = [f"{place}: {style.cut_label(case['cut'])}" for place, case in rows]
    curves = {
        f"signal {role}": [case["r2"] if case["role"] == role else None for _, case in rows]
        for role in ("whole", "hidden", "spared")
    }
    fig, axes = style.estimates_by_row(names, parameters, curves, 0, 0.3)
    for ax in axes:
        ax.axvline(1, **style.SOLID)
        ax.set_xlim(-0.2, 1.1)
    return fig, axes


def planted_attribution(places, shares, chance, ideal):
    """Draw the share of each method's attribution that lies where the signal was injected.

    Parameters
    ----------
    places : list of str
    shares : dict of str to list of estimate
        Method to one estimate per place.
    chance, ideal : list of float
        Share of the pixels, and share of an ideal estimator's Integrated Gradients.
    """
    fig, axes = style.estimates_by_name([shares], places, 0.12, 3.2, colour_step=2)
    axes[0].plot(chance, "_", ms=26, color=style.GREY, label="chance")
    axes[0].plot(ideal, "_", ms=26, color="black", label="ideal estimator")
    return style.finish(fig, axes, "share at the signal", 3, ylim=(-0.03, 1.08))


def by_noise(levels, curves, parameters, ylabel, chance=None):
    """Draw a quantity against the level of white noise, with one line per case.

    Parameters
    ----------
    levels : list of float
        Ascending, starting with 0, in units of the mean density.
    curves : dict of str to list of dict
        Label to {parameter: estimate} for each level, or None.
    parameters : list of str
    ylabel : str
    chance : dict of str to float, optional
        Value of each curve that is expected by chance.
    """
    tables = style.by_parameter(curves, parameters)
    names = ["none", *(f"{x:g}" for x in levels[1:])]
    look = {"colour_step": 2, "lines": True, "zero": True}
    fig, axes = style.estimates_by_name(tables, names, 0.06, 3.0, **look)
    for i, label in enumerate(curves if chance else ()):
        look = style.line(i) | {"color": style.GREY, "linewidth": 1, "label": f"{label}, by chance"}
        for ax in axes:
            ax.axhline(chance[label], **look)
    panels = {"title": style.labels(parameters), "xlabel": "white noise per pixel [mean density]"}
    return style.finish(fig, axes, ylabel, 2 if chance else 3, **panels)


def coverage(nominal, tables, labels):
    """Draw the measured against the nominal coverage of the predicted intervals.

    Parameters
    ----------
    nominal : ndarray, shape (q,)
        Levels from 0 to 1.
    tables : dict of str to dict of str to ndarray, shape (q, 3)
        Title of the panel to {parameter: value, low, high}.
    labels : dict of str to str
        Displayed name of each parameter.
    """
    fig, axes = style.panels(len(tables), 3.7)
    for ax, (title, measured) in zip(axes, tables.items(), strict=True):
        ax.plot([0, 1], [0, 1], label="calibrated", **style.DASHED)
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
    """Draw full posteriors of some maps, and the Gaussians of the moment network.

    Parameters
    ----------
    samples : list of ndarray, shape (n, 2)
        Posterior samples of each map; the filled regions contain 68 and 95 % of them.
    mean, std, truth : ndarray, shape (m, 2)
        Predictions of the network, whose Gaussians have no correlation, and true values.
    parameters : list of str
        Two.
    titles : list of str
        One per map.
    """
    fig, grid = style.panels(2 * len(samples), 3.2, rows=2, sharey=False)
    labels, limits = style.labels(parameters), [(x.min(), x.max()) for x in np.vstack(samples).T]
    dashed = {"color": style.RED, "linestyle": "--", "linewidth": 1}
    angle = np.linspace(0, 2 * np.pi, 100)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    groups = np.split(grid, len(samples), axis=1)
    for i, axes in enumerate(groups):
        axes[0, 1].set_axis_off()
        joint = axes[1, 0]
        _credible(joint, samples[i], limits)
        for radius in (1.515, 2.448):  # contain 68 and 95 % of a 2-D Gaussian
            ellipse = mean[i][:, None] + radius * std[i][:, None] * circle
            joint.plot(*ellipse, label="moment network's Gaussian", **dashed)
        joint.plot(*truth[i], "+", color="black", ms=9, mew=1.5, label="truth")
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
    style.legend_above(grid[1, 0])
    return fig, groups


def _credible(ax, samples, limits):
    """Fill the regions of highest density that contain 68 and 95 % of samples (n, 2)."""
    count, x, y = np.histogram2d(*samples.T, bins=50, range=limits)
    density = gaussian_filter(count, 1.5)
    ordered = np.sort(density.ravel())[::-1]
    places = np.searchsorted(np.cumsum(ordered) / ordered.sum(), [0.95, 0.68])
    levels = [*ordered[places], ordered[0] * 1.01]
    middle = [(edges[1:] + edges[:-1]) / 2 for edges in (x, y)]
    ax.contourf(*middle, density.T, levels=levels, colors=["#b9d9f2", style.BLUE])
    ax.fill_between([], [], color=style.BLUE, alpha=0.6, label="full posterior: 68, 95 %")


def control_r2(entries, parameters):
    """Draw R2 of named cases in rows, with zero marked.

    Parameters
    ----------
    entries : dict of str to dict
        Label to {parameter: estimate}.
    parameters : list of str
    """
    return style.estimates_by_row(list(entries), parameters, {"": [*entries.values()]}, 0, 0.36)
