"""Draw the figures of chapter 01: parameters, maps, spectra and the checks of the data."""

import numpy as np
from matplotlib.colors import LogNorm

from cosmolib.data.arrays import checked_maps, checked_numbers
from cosmolib.data.cmd_format import BOX_SIZE, LABELS, PARAMETERS
from cosmolib.data.summary import quantile_groups
from cosmolib.plots import style

LATTICES = {"shipped": "as shipped", "finer": "finer", "shifted": "shifted by half a cell"}


def parameter_space(params, parts):
    """Draw the simulations in three planes of parameters, marked by part of the split.

    Parameters
    ----------
    params : ndarray, shape (n, 6)
        In the order of ``PARAMETERS``.
    parts : dict of str to ndarray of int
        "train", "valid" and "test" to simulation indices.
    """
    fig, axes = style.panels(3, 2.7, sharey=False)
    planes = (("Omega_m", "sigma_8"), ("A_SN1", "A_SN2"), ("A_AGN1", "A_AGN2"))
    for ax, (horizontal, vertical) in zip(axes, planes, strict=True):
        x, y = (params[:, PARAMETERS.index(name)] for name in (horizontal, vertical))
        for (part, rows), marker, size in zip(parts.items(), "osD", (5, 20, 20), strict=True):
            look = {"s": size, "color": style.PART_COLOURS[part], "marker": marker}
            ax.scatter(x[rows], y[rows], linewidth=0, label=f"{part} ({len(rows)})", **look)
        ax.set(xlabel=LABELS[horizontal], ylabel=LABELS[vertical])
        if horizontal.startswith("A_"):  # the hypercube is uniform in their logarithms
            ax.set(xscale="log", yscale="log")
            style.plain_ticks(ax.xaxis, style.FEEDBACK_TICKS)
            style.plain_ticks(ax.yaxis, style.FEEDBACK_TICKS)
    style.legend_above(axes, markerscale=1.2)
    return fig, axes


def twin_gallery(gravity, feedback, params, names, box_size=BOX_SIZE):
    """Draw index-matched maps: gravity only, with feedback, and the logarithm of their ratio.

    Parameters
    ----------
    gravity, feedback : ndarray, shape (m, N, N)
        Surface density [(Msun/h)/(Mpc/h)^2] of the same slabs in the two suites.
    params : ndarray, shape (m, 6)
        Parameters of each column's simulation; the first three are its title.
    names : tuple of str
        Suite names of ``gravity`` and ``feedback``.
    """
    gravity, feedback = (checked_maps(maps)[0] for maps in (gravity, feedback))
    fig, axes = style.panels(len(gravity), style.WIDTH * 2.72 / len(gravity), rows=3, sharey=False)
    difference = np.log10(feedback / gravity)
    limit = max(float(np.quantile(np.abs(difference), 0.995)), 1e-3)
    for column, (omega_m, sigma_8, a_sn1, *_) in enumerate(params):
        density = style.density_image(axes[0, column], gravity[column], box_size)
        style.density_image(axes[1, column], feedback[column], box_size)
        ratio = axes[2, column].imshow(difference[column], cmap="RdBu_r", vmin=-limit, vmax=limit)
        style.bare(axes[2, column])
        title = rf"$\Omega_m$ = {omega_m:.2f}, $\sigma_8$ = {sigma_8:.2f}"
        title += f"\n{LABELS['A_SN1']} = {a_sn1:.2f}"
        axes[0, column].set_title(title, fontsize=8)
    # Two lines: a long name would be taller than its map.
    rows = [style.suite_label(name).replace(" (", "\n(") for name in names] + ["their ratio\n"]
    for ax, row in zip(axes[:, 0], rows, strict=True):
        ax.set_ylabel(row, fontsize=8)
    style.scale_bar(axes[0, 0], box_size)
    fig.colorbar(density, ax=axes[:2], shrink=0.7, extend="both", label=style.DENSITY_LABEL)
    label = f"$\\log_{{10}}$ ({names[1]} / {names[0]})"
    fig.colorbar(ratio, ax=axes[2], extend="both", label=label)
    return fig, axes


def mean_density(omega_m, slabs, boxes, name):
    """Draw the measured over the expected mean density, per slab and per box, against Omega_m.

    Parameters
    ----------
    omega_m : ndarray, shape (n,)
    slabs : ndarray, shape (n, 15)
        Measured / expected mean surface density of each map.
    boxes : ndarray, shape (n, 3)
        The same for the mean of the five slabs of each axis, which fill the box.
    name : str
        Name of the suite.
    """
    fig, (ax,) = style.panels(1, 2.8)
    ax.plot(omega_m, slabs, "o", ms=2.5, mew=0, color=style.BLUE, alpha=0.35, label="one slab")
    ax.plot(omega_m, boxes, "s", ms=2.5, mew=0, color=style.RED, label="five slabs of an axis")
    ax.set(xlabel=LABELS["Omega_m"], ylabel="mean / expected mean", title=style.suite_label(name))
    style.legend_above(ax, loc="outside upper right", markerscale=2)
    return fig, ax


def _by_thirds(ax, x, curves, values):
    """Draw curves (n, nx) in three groups of equal size, ordered by ``values`` (n,)."""
    for i, rows in enumerate(quantile_groups(values, 3)):
        label = f"{values[rows].min():.2f} to {values[rows].max():.2f}"
        style.band(ax, x, curves[rows], label=label, **style.line(i, style.ORDERED_COLOURS))


def by_cosmology(log_density, pdf, k, power, params):
    """Draw pixel PDF and power spectrum of the simulations, grouped by Omega_m and by sigma_8.

    Parameters
    ----------
    log_density : ndarray, shape (nb,)
        Centres of the PDF's bins, log10 of (Msun/h)/(Mpc/h)^2.
    pdf : ndarray, shape (n, nb)
        Density of pixels in log10 of the surface density [1/dex], one row per simulation.
    k : ndarray, shape (nk,)
        [h/Mpc]
    power : ndarray, shape (n, nk)
        Power of the overdensity [(Mpc/h)^2], one row per simulation.
    params : ndarray, shape (n, 6)
    """
    fig, axes = style.panels(2, 5.4, rows=2, sharex="row")
    for (top, bottom), name in zip(axes.T, ("Omega_m", "sigma_8"), strict=True):
        values = params[:, PARAMETERS.index(name)]
        _by_thirds(top, log_density, pdf, values)
        _by_thirds(bottom, k, power, values)
        top.set(title=f"grouped by {LABELS[name]}")
        top.set_xlabel(r"$\log_{10}$ of " + style.DENSITY_LABEL, fontsize=8)
        top.legend(title=LABELS[name])
        bottom.set(xscale="log", yscale="log", xlabel=style.K_LABEL)
    axes[0, 0].set(ylabel="pixel PDF [1/dex]", ylim=(0, None))
    axes[1, 0].set_ylabel(r"$P(k)$ of $\delta$ [$(\mathrm{Mpc}/h)^2$]")
    style.plain_ticks(axes[1, 0].xaxis, style.K_TICKS)
    return fig, axes


def power_3d(entries, boxes):
    """Draw the 3-D power of simulated boxes, linear theory and HMcode2020, and their ratios.

    Parameters
    ----------
    entries : list of dict
        ``omega_m``, ``sigma_8``, ``k`` [h/Mpc], ``measured``, ``linear`` and ``hmcode``
        [(Mpc/h)^3]; one dict per cosmology, with one box each.
    boxes : dict
        ``k`` and ``measured_over_hmcode`` with quantiles ``q16`` and ``q84`` over many boxes.
    """
    fig, axes = style.panels(len(entries), 4.2, rows=2, sharex=True, height_ratios=(2, 1))
    quantiles = boxes["measured_over_hmcode"]
    looks = {
        "linear": {"fmt": ":", "color": "#ffa90e", "label": "linear theory"},
        "hmcode": {"fmt": "--", "color": style.BLUE, "label": "HMcode2020"},
        "measured": {"fmt": "o", "color": "0.15", "ms": 2.5, "label": "measured, gravity only"},
    }
    for (top, bottom), entry in zip(axes.T, entries, strict=True):
        look = {"color": "0.85", "linewidth": 0, "label": "68 % of boxes"}
        bottom.fill_between(boxes["k"], quantiles["q16"], quantiles["q84"], **look)
        for name, look in looks.items():
            top.errorbar(entry["k"], entry[name], **look)
            bottom.errorbar(entry["k"], np.divide(entry[name], entry["hmcode"]), **look)
        title = f"{LABELS['Omega_m']} = {entry['omega_m']:.2f}, {LABELS['sigma_8']} = "
        top.set(xscale="log", yscale="log", title=title + f"{entry['sigma_8']:.2f}")
        bottom.set(yscale="log", xlabel=style.K_LABEL, ylim=(0.1, 4))
    style.plain_ticks(axes[0, 0].xaxis, style.K_TICKS)
    style.plain_ticks(axes[1, 0].yaxis, (0.1, 0.3, 1, 3))
    return style.finish(fig, axes, [r"3-D $P(k)$ [$(\mathrm{Mpc}/h)^3$]", "ratio to HMcode"])


def feedback_ratio(k, ratio, params, k_reference, names):
    """Draw the power with feedback over that with gravity only, by supernova amplitude.

    Parameters
    ----------
    k : ndarray, shape (nk,)
        [h/Mpc]
    ratio : ndarray, shape (n, nk)
        P(with feedback) / P(gravity only), one row per simulation.
    params : ndarray, shape (n, 6)
    k_reference : float
        Wavenumber of the right panel [h/Mpc]; the nearest bin is shown.
    names : tuple of str
        Suites of the numerator and the denominator.
    """
    a_sn1, a_sn2 = (params[:, PARAMETERS.index(name)] for name in ("A_SN1", "A_SN2"))
    fig, (left, right) = style.panels(2, 3.1, sharey=False, width_ratios=(1, 1.15))
    _by_thirds(left, k, ratio, a_sn1)
    left.axhline(1, **style.SOLID)
    left.set(xscale="log", xlabel=style.K_LABEL, ylabel=f"$P$({names[0]}) / $P$({names[1]})")
    left.legend(title=LABELS["A_SN1"], loc="lower left")
    style.plain_ticks(left.xaxis, style.K_TICKS)

    column = int(np.argmin(np.abs(k - k_reference)))
    value = ratio[:, column]
    dots = right.scatter(a_sn1, value, c=a_sn2, s=8, norm=LogNorm(0.5, 2), cmap="cividis")
    bar = fig.colorbar(dots, ax=right, label=f"{LABELS['A_SN2']} of a simulation")
    style.plain_ticks(bar.ax.yaxis, style.FEEDBACK_TICKS)
    bins = quantile_groups(a_sn1, 6)
    error = [value[b].std(ddof=1) / np.sqrt(len(b)) if len(b) > 1 else np.nan for b in bins]
    means = [[values[b].mean() for b in bins] for values in (a_sn1, value)]
    right.errorbar(*means, error, fmt="s-", color=style.RED, label="mean per bin, with its error")
    right.set(xscale="log", xlabel=LABELS["A_SN1"])
    right.set_ylabel(f"ratio at $k$ = {k[column]:.1f} $h$/Mpc")
    style.plain_ticks(right.xaxis, style.FEEDBACK_TICKS)
    right.set_ylim(bottom=value.min() - 0.15 * np.ptp(value))  # room for the legend
    right.legend(loc="lower left")
    return fig, (left, right)


def lattice_check(r2):
    """Draw R2 of the summary-statistics baseline on maps made with other particle lattices.

    Parameters
    ----------
    r2 : dict of str to dict
        Variant to {parameter: (R2, low, high)} with 95 % limits; the shipped variant first.
    """
    parameters, rows = list(next(iter(r2.values()))), [LATTICES.get(name, name) for name in r2]
    tables = [{"": np.array([table[name] for table in r2.values()])} for name in parameters]
    look = {"horizontal": True, "fmt": "o", "color": "0.15"}
    fig, axes = style.estimates_by_name(tables, rows, 0, 1.1 + 0.35 * len(r2), **look)
    for ax, table in zip(axes, tables, strict=True):
        shipped, *limits = table[""][0]
        ax.axvspan(*limits, color=style.BLUE, alpha=0.15, linewidth=0)
        ax.axvline(shipped, color=style.BLUE, linestyle="--", linewidth=1)
    return style.finish(fig, axes, xlabel=style.labels(parameters, style.R2_LABEL))


def scaled_pixels(values):
    """Draw the distribution of the network's input after each scaling, on a logarithmic axis.

    Parameters
    ----------
    values : dict of str to ndarray
        Name of the scaling to its scaled pixels (any shape).
    """
    fig, axes = style.panels(len(values), 2.6, sharey=False)
    for ax, (name, pixels) in zip(axes, values.items(), strict=True):
        pixels = checked_numbers(pixels, name).ravel()
        ax.hist(pixels, bins=80, density=True, color=style.BLUE)
        ax.set(yscale="log", title=name, xlabel="scaled pixel")
    return style.finish(fig, axes, "density of pixels")
