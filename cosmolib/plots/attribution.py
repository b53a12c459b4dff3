"""Draw the figures of attribution: what a prediction depends on, and the sanity checks of it.

Maps show signed attribution. Sums are of absolute values, with 95 % intervals over simulations;
the expectation for attribution spread evenly over the pixels is shown for comparison.
"""

from itertools import pairwise

import numpy as np

from cosmolib.data.arrays import checked_maps
from cosmolib.data.cmd_format import BOX_SIZE, LABELS
from cosmolib.plots import style


def attribution_gallery(density, attributions, titles, box_size=BOX_SIZE):
    """Draw density maps next to the signed attribution of each method.

    Parameters
    ----------
    density : ndarray, shape (m, N, N)
        [(Msun/h)/(Mpc/h)^2].
    attributions : dict of str to ndarray, shape (m, N, N)
        Label to signed attribution; each map is scaled separately.
    titles : list of str
        One per map (row).
    """
    density, _ = checked_maps(density, "density")
    attributions = {label: checked_maps(one, label)[0] for label, one in attributions.items()}
    columns, rows = 1 + len(attributions), len(density)
    fig, axes = style.panels(columns, style.WIDTH / columns * rows + 0.5, rows, sharey=False)
    for row in range(rows):
        image = style.density_image(axes[row, 0], density[row], box_size)
        axes[row, 0].set_ylabel(titles[row], fontsize=8)
        for ax, values in zip(axes[row, 1:], attributions.values(), strict=True):
            limit = float(np.quantile(np.abs(values[row]), 0.99)) or 1.0
            signed = ax.imshow(values[row] / limit, **style.SIGNED)
            style.bare(ax)
    for ax, label in zip(axes[0], ("density", *attributions), strict=True):
        ax.set_title(label, fontsize=8)
    bar = {"location": "bottom", "extend": "both"}
    fig.colorbar(image, ax=axes[:, 0], label=r"$\Sigma$ [$(M_\odot/h)/(\mathrm{Mpc}/h)^2$]", **bar)
    label = "attribution / its 99 % quantile in the map (red: raises the prediction)"
    fig.colorbar(signed, ax=axes[:, 1:], aspect=40, label=label, **bar)
    return fig, axes


def by_value(edges, tables, fraction, xlabel, log=True):
    """Draw attribution by density or distance, per pixel and summed, with 95 % intervals.

    Parameters
    ----------
    edges : ndarray, shape (nb + 1,)
        Edges of the bins.
    tables : dict of str to dict of str to dict
        Parameter to {label: {"per_pixel": (nb, 3), "share": (nb, 3)}}, with value, low, high.
        ``per_pixel`` is in units of the mean over all pixels: 1 is chance.
    fraction : ndarray, shape (nb,)
        Share of the pixels in each bin.
    xlabel : str
    log : bool
        True for densities in units of the mean, which get logarithmic axes; false for distances.
    """
    middle = np.sqrt(edges[1:] * edges[:-1]) if log else (edges[1:] + edges[:-1]) / 2
    step = 0.03 * middle if log else 0.06 * np.diff(edges)
    fig, axes = _two_rows(tables, ("per_pixel", "share"), middle, step, lines=True)
    scale = "log" if log else "linear"
    for top, bottom in axes.T:
        top.axhline(1, **style.DOTTED)
        look = {"color": "0.85", "fill": True, "zorder": 0, "label": "share of the pixels"}
        bottom.stairs(fraction, edges, **look)
        top.set(xscale=scale, yscale=scale)
        bottom.set_xlabel(xlabel)
        for ax in (top, bottom) if log else ():
            ax.axvline(1, color=style.GREY, linewidth=0.6)
    return style.finish(fig, axes, ["|attribution| per pixel / mean", "share of |attribution|"], 4)


def _two_rows(tables, keys, places, step, **options):
    """Draw two quantities of each method in two rows of panels, with one column per parameter."""
    fig, axes = style.panels(len(tables), 4.8, rows=2, sharex=True)
    for column, (parameter, methods) in zip(axes.T, tables.items(), strict=True):
        for ax, key in zip(column, keys, strict=True):
            curves = {name: np.asarray(table[key], float) for name, table in methods.items()}
            style.series(ax, places, curves, step, **options)
        column[0].set_title(f"of {LABELS[parameter]}")
    return fig, axes


def attribution_by_class(names, tables, fraction):
    """Draw the share of the attribution in each web class, and its share of the pixels.

    Parameters
    ----------
    names : tuple of str, length c
        Web classes.
    tables : dict of str to dict of str to ndarray, shape (c, 3)
        Parameter to {method: share (value, low, high)}.
    fraction : ndarray, shape (c,)
        Share of the pixels.
    """
    fig, axes = style.estimates_by_name([*tables.values()], names, 0.2, 3.0)
    for ax in axes:
        ax.bar(np.arange(len(names)), fraction, color="0.85", label="share of the pixels")
    titles = style.labels(tables, "of {}")
    return style.finish(fig, axes, "share of |attribution|", 3, title=titles, ylim=(0, None))


def by_smoothing(scales, tables, fractions, names):
    """Draw the attribution share of each web class against the smoothing that defines the classes.

    Parameters
    ----------
    scales : list of float
        [Mpc/h]
    tables : dict of str to ndarray, shape (s, c, 3)
        Parameter to share (value, low, high) of each class.
    fractions : ndarray, shape (s, c)
        Share of the pixels, drawn without markers.
    names : tuple of str, length c
        Web classes.
    """
    fig, axes = style.panels(len(tables), 3.0)
    for ax, (parameter, shares) in zip(axes, tables.items(), strict=True):
        shares = np.moveaxis(np.asarray(shares, float), 1, 0)
        style.series(ax, np.asarray(scales), dict(zip(names, shares, strict=True)), 0, lines=True)
        for i, fraction in enumerate(np.transpose(fractions)):
            ax.plot(scales, fraction, linewidth=0.8, alpha=0.6, **style.line(i))
        ax.set(xlabel="smoothing [Mpc/$h$]", title=f"of {LABELS[parameter]}")
    axes[0].plot([], [], color=style.GREY, linewidth=0.8, label="share of the pixels")
    return style.finish(fig, axes, "share of |attribution|", 4, ylim=(0, None))


def by_band(edges, tables, fraction, field_share):
    """Draw the attribution's power by Fourier band, and its coherence with the log-density.

    Parameters
    ----------
    edges : ndarray, shape (nb + 1,)
        Edges of the bands in k [h/Mpc].
    tables : dict of str to dict of str to dict
        Parameter to {label: {"share": (nb, 3), "coherence": (nb, 3)}}, with value, low, high.
    fraction, field_share : ndarray, shape (nb,)
        Share of the modes, and of the power of the log-density, in each band.
    """
    places = np.arange(len(fraction))
    names = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    fig, axes = _two_rows(tables, ("share", "coherence"), places, 0.16)
    look = {"ms": 24, "color": style.GREY, "label": "share of the density's power"}
    for top, bottom in axes.T:
        top.bar(places, fraction, width=0.9, color="0.88", label="share of the modes")
        top.plot(places, field_share, "_", **look)
        bottom.axhline(0, **style.SOLID)
        style.name_columns(bottom, names, 30)
        bottom.set_xlabel(style.K_LABEL)
    return style.finish(fig, axes, ["share of the power", "coherence with the density"], 3)


def by_baseline(baselines, tables, chance):
    """Draw the attribution share of under-dense pixels under each baseline, for each method.

    Parameters
    ----------
    baselines : list of str
        Names on the axis.
    tables : dict of str to dict of str to list of estimate
        Parameter to {method: one estimate per baseline}.
    chance : float
        Share of the pixels that are under-dense.
    """
    look = {"rotation": 35, "colour_step": 2}
    fig, axes = style.estimates_by_name([*tables.values()], baselines, 0.2, 3.2, **look)
    for ax in axes:
        ax.axhline(chance, label="share of the pixels", **style.DOTTED)
    label = "under-dense share of |attribution|"
    return style.finish(fig, axes, label, 3, title=style.labels(tables, "of {}"), ylim=(0, 1))


def by_network(baselines, ledger):
    """Draw the ratio of over- to under-dense attribution per pixel, with one point per network.

    Parameters
    ----------
    baselines : list of str
        Names on the axis.
    ledger : dict
        Baseline to {"per_pixel": {parameter: {kind of network: one estimate per network}}}.
    """
    tables = [entry["per_pixel"] for entry in ledger.values()]
    fig, axes = style.panels(len(tables[0]), 3.0)
    for ax, parameter in zip(axes, tables[0], strict=True):
        for i, kind in enumerate(tables[0][parameter]):
            found = [(place, x) for place, t in enumerate(tables) for x in t[parameter][kind]]
            places = np.array([place for place, _ in found]) + style.offset(i, 3, 0.22)
            look = {"fmt": style.MARKERS[i], "color": f"C{i}", "label": kind}
            style.points(ax, places, [x for _, x in found], **look)
        ax.axhline(1, **style.DOTTED)
        style.name_columns(ax, baselines)
    options = {"title": style.labels(tables[0], "of {}"), "yscale": "log"}
    return style.finish(fig, axes, "over- / under-dense\n|attribution| per pixel", 3, **options)


def ratios(tables, edges, names):
    """Draw ratios of attribution per pixel by density, distance and web class; 1: no difference.

    Parameters
    ----------
    tables : dict of str to dict
        Label to {parameter: {"density", "distance", "class": one estimate per bin}}.
    edges : dict of str to ndarray
        Edges of the bins of "density" (of 1 + delta) and "distance" [Mpc/h].
    names : tuple of str
        Web classes.
    """
    parameters = list(next(iter(tables.values())))
    fig, axes = style.panels(3, 4.6, rows=len(parameters), sharex="col")
    density, distance = edges["density"], edges["distance"]
    places = {
        "density": (np.sqrt(density[1:] * density[:-1]), 0.04),
        "distance": ((distance[1:] + distance[:-1]) / 2, 0.12),
        "class": (np.arange(len(names)), 0.18),
    }
    for row, parameter in zip(axes, parameters, strict=True):
        for ax, (quantity, (middle, step)) in zip(row, places.items(), strict=True):
            step = step * middle if quantity == "density" else step
            curves = {label: table[parameter][quantity] for label, table in tables.items()}
            style.series(ax, middle, curves, step, lines=quantity != "class", linewidth=0.8)
            ax.axhline(1, zorder=0, **style.SOLID)
            ax.set_yscale("log")
            style.plain_ticks(ax.yaxis, (0.25, 0.5, 0.75, 1, 1.5, 2, 4))
    axes[-1, 0].set(xscale="log", xlabel=r"$1 + \delta$")
    axes[-1, 1].set_xlabel("distance to the nearest peak [Mpc/$h$]")
    style.name_columns(axes[-1, 2], names)
    return style.finish(fig, axes, style.labels(parameters, "ratio of |attribution|\nof {}"), 2)


def completeness(errors, tolerance=0.01):
    """Draw the cumulative distribution of the completeness error of path methods.

    Parameters
    ----------
    errors : dict of str to ndarray
        Label to ``|sum of attribution - (f(x) - f(baseline))| / |f(x) - f(baseline)|`` of each map.
    tolerance : float
        Marked by a line.
    """
    fig, (ax,) = style.panels(1, 2.6)
    for i, (label, values) in enumerate(errors.items()):
        values = np.sort(np.maximum(np.asarray(values, float), 1e-7))
        share = np.arange(1, len(values) + 1) / len(values)
        ax.step(values, share, where="post", label=label, **style.line(i))
    ax.axvline(tolerance, **style.DOTTED)
    ax.set(xscale="log", xlabel="relative completeness error", ylim=(0, 1.02))
    return style.finish(fig, ax, "share of the maps below", 2)


# --------------------------------------------------------------------------------------------------
# Sanity checks
# --------------------------------------------------------------------------------------------------
def cascade(stages, curves, ylabels):
    """Draw the similarity to the trained network's attribution under cascading randomisation.

    Parameters
    ----------
    stages : list of str
        The last stage randomised, from the output to the input, then other networks.
    curves : list of dict of str to list of estimate
        One panel each: method to one estimate per stage.
    ylabels : list of str
        One per panel.
    """
    look = {"lines": True, "linewidth": 0.8, "rotation": 40, "zero": True, "sharey": False}
    fig, axes = style.estimates_by_name(curves, stages, 0.08, 3.4, **look)
    for ax, ylabel in zip(axes, ylabels, strict=True):
        ax.set_ylabel(ylabel)
    return style.finish(fig, axes, columns=4, ylim=(-1.02, 1.02))


def agreement(names, matrices, titles):
    """Draw matrices of mean rank correlations between attributions, with their numbers.

    Parameters
    ----------
    names : list of str
        Rows and columns.
    matrices : list of ndarray, shape (m, m)
    titles : list of str
        One per matrix.
    """
    fig, axes = style.panels(len(matrices), 3.9)
    for ax, matrix in zip(axes, matrices, strict=True):
        image = ax.imshow(matrix, origin="upper", **style.SIGNED)
        for (row, column), value in np.ndenumerate(matrix):
            colour = "white" if abs(value) > 0.6 else "black"
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8)
        style.name_columns(ax, names, 40)
        ax.set_yticks(range(len(names)), names)
    fig.colorbar(image, ax=axes, location="right", shrink=0.7, label="rank correlation")
    return style.finish(fig, axes, title=titles)


def transformations(names, curves, xlabel, chance):
    """Draw one estimate per transformation of the maps, with one panel per quantity.

    Parameters
    ----------
    names : list of str
    curves : list of dict of str to list of estimate
        Label to one estimate per transformation.
    xlabel : list of str
        One per panel.
    chance : list of float or None
        Value of a reference line in each panel.
    """
    fig, axes = style.estimates_by_name(curves, names, 0.18, 3.8, horizontal=True)
    for ax, by_chance in zip(axes, chance, strict=True):
        if by_chance is not None:
            ax.axvline(by_chance, **style.DOTTED)
    return style.finish(fig, axes, columns=4, xlabel=xlabel)


def replacement(fractions, deletion, insertion, unit):
    """Draw deletion and insertion curves: distance from the prediction for the whole map.

    Parameters
    ----------
    fractions : ndarray, shape (f,)
        Fraction of the pixels that is hidden or shown.
    deletion, insertion : dict of str to ndarray, shape (f,)
        Mean distance for each order of the pixels; both have the same orders.
    unit : str
        Label of the distance.
    """
    fig, axes = style.panels(2, 3.2)
    for ax, curves, word in zip(axes, (deletion, insertion), ("hidden", "shown"), strict=True):
        for i, (order, values) in enumerate(curves.items()):
            ax.plot(fractions, values, label=order, **style.line(i))
        ax.set_xlabel(f"share of the pixels {word}")
    return style.finish(fig, axes, unit, 3, ylim=(0, None))
