"""Figures of the data, chapter 01, and the look that all figures of the book share.

Every function takes arrays and returns ``(fig, axes)``; none reads a file or computes a result that
prose quotes. Density is shown in ``inferno`` on one logarithmic norm, so that any two maps of the
book can be compared; signed quantities in a diverging map centred on zero. Groups differ in line
style or marker as well as in colour. The figures of the other chapters are in ``plots_cuts``,
``plots_results`` and ``plots_attribution``.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.ticker import FormatStrFormatter, NullFormatter

from cosmolib.data.arrays import checked_map, checked_maps, checked_numbers
from cosmolib.data.cmd_format import BOX_SIZE, LABELS, PARAMETERS

DENSITY_RANGE = (2e10, 1e13)  # (Msun/h)/(Mpc/h)^2; of Lite's pixels 1 % or so lie outside
DENSITY_LABEL = r"surface density $\Sigma$ [$(M_\odot/h)\,/\,(\mathrm{Mpc}/h)^2$]"
K_LABEL = r"$k$ [$h$/Mpc]"
K_TICKS = (0.3, 0.5, 1, 2, 4, 8, 16, 32)  # [h/Mpc]
FEEDBACK_TICKS = (0.25, 0.5, 1, 2, 4)
POWER_LABEL = r"$P(k)$ of $\delta$ [$(\mathrm{Mpc}/h)^2$]"
NOT_POSITIVE = "#2ec4b6"  # zero and negative pixels, which a logarithm cannot show; not in inferno

LATTICES = {"shipped": "as shipped", "finer": "finer", "shifted": "shifted by half a cell"}
PART_COLOURS = {"train": "#94a4a2", "valid": "#ffa90e", "test": "#bd1f01"}
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def use_style():
    """Apply ``book.mplstyle``; call once at the head of a notebook."""
    plt.style.use(Path(__file__).with_name("book.mplstyle"))


def suite_label(name):
    """Name of a suite with what its maps hold; Lite's feedback is always called a proxy.

    Examples
    --------
    >>> suite_label("Lite"), suite_label("Nbody_Lite"), suite_label("SIMBA")
    ('Lite (feedback proxy)', 'Nbody_Lite (gravity only)', 'SIMBA (hydrodynamic)')
    """
    if name.startswith("Nbody_"):
        return f"{name} (gravity only)"
    return f"{name} (feedback proxy)" if name == "Lite" else f"{name} (hydrodynamic)"


def quantile_groups(values, n_groups):
    """Split by quantile: indices of ``n_groups`` groups of (nearly) equal size, low to high.

    Parameters
    ----------
    values : array_like, shape (n,)
    n_groups : int
        Fewer are made if there are fewer values, so that no group is empty.

    Returns
    -------
    list of ndarray of int
    """
    order = np.argsort(np.asarray(values), kind="stable")
    return np.array_split(order, min(n_groups, len(order)))


def ordered_colours(n):
    """``n`` colours of rising lightness for ordered groups, dark enough for white paper."""
    return plt.get_cmap("viridis")(np.linspace(0.0, 0.82, n))


def density_image(ax, density, box_size=BOX_SIZE, limits=DENSITY_RANGE):
    """Draw one map (N, N) of surface density on the book's norm; zero or less in turquoise."""
    colours = mpl.colormaps["inferno"].with_extremes(bad=NOT_POSITIVE)
    density = np.ma.masked_less_equal(checked_map(density, "density"), 0)
    extent = (0, box_size, 0, box_size)
    # The first index of a CMD map runs upwards here; the box is isotropic.
    image = ax.imshow(density, norm=LogNorm(*limits), cmap=colours, extent=extent)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return image


def scale_bar(ax, box_size, length=5):
    """Mark ``length`` [Mpc/h] in the lower left corner of a map."""
    x, y = 0.05 * box_size, 0.06 * box_size
    ax.plot([x, x + length], [y, y], color="white", linewidth=2, solid_capstyle="butt")
    ax.text(x, y + 0.02 * box_size, f"{length} Mpc/$h$", color="white", va="bottom", fontsize=8)


def band(ax, x, curves, *, color, linestyle, label):
    """Median over simulations as a line and their central 68 % as a band; curves (n, nx)."""
    low, middle, high = np.nanquantile(curves, [0.16, 0.5, 0.84], axis=0)
    ax.fill_between(x, low, high, color=color, alpha=0.22, linewidth=0)
    ax.plot(x, middle, color=color, linestyle=linestyle, label=label)


def _range_text(values):
    return f"{np.min(values):.2f} to {np.max(values):.2f}"


def log_ticks(axis, ticks):
    """Label a logarithmic axis with plain numbers at ``ticks`` only."""
    axis.set_major_locator(mpl.ticker.FixedLocator(ticks))
    axis.set_major_formatter(FormatStrFormatter("%g"))
    axis.set_minor_formatter(NullFormatter())


# --------------------------------------------------------------------------------------------------
# Chapter 01: data
# --------------------------------------------------------------------------------------------------
def parameter_space(params, parts):
    """Where the simulations lie: the six parameters in three planes, marked by part of the split.

    Parameters
    ----------
    params : ndarray, shape (n, 6)
        In the order of ``PARAMETERS``.
    parts : dict of str to ndarray of int
        "train", "valid" and "test" to simulation indices.
    """
    fig, axes = plt.subplots(1, 3, figsize=(7.2, 2.7))
    sizes = {"train": 5, "valid": 20, "test": 20}
    planes = (("Omega_m", "sigma_8"), ("A_SN1", "A_SN2"), ("A_AGN1", "A_AGN2"))
    for ax, (horizontal, vertical) in zip(axes, planes, strict=True):
        x, y = (params[:, PARAMETERS.index(name)] for name in (horizontal, vertical))
        for (part, rows), marker in zip(parts.items(), "osD", strict=True):
            ax.scatter(
                x[rows],
                y[rows],
                s=sizes[part],
                color=PART_COLOURS[part],
                marker=marker,
                linewidth=0,
                label=f"{part} ({len(rows)})",
            )
        ax.set(xlabel=LABELS[horizontal], ylabel=LABELS[vertical])
        if horizontal.startswith("A_"):  # the hypercube is even in their logarithms
            ax.set(xscale="log", yscale="log")
            log_ticks(ax.xaxis, FEEDBACK_TICKS)
            log_ticks(ax.yaxis, FEEDBACK_TICKS)
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=3, markerscale=1.2)
    return fig, axes


def twin_gallery(gravity, feedback, titles, names, box_size=BOX_SIZE):
    """Index-matched maps: gravity only, with feedback, and the logarithm of their ratio.

    Parameters
    ----------
    gravity, feedback : ndarray, shape (m, N, N)
        Surface density [(Msun/h)/(Mpc/h)^2] of the same slabs in the two suites.
    titles : list of str
        One a column.
    names : tuple of str
        Suite names of ``gravity`` and ``feedback``.
    """
    gravity, feedback = (checked_maps(maps)[0] for maps in (gravity, feedback))
    columns = len(gravity)
    fig, axes = plt.subplots(3, columns, figsize=(7.2, 7.2 * 2.72 / columns), squeeze=False)
    difference = np.log10(feedback / gravity)
    limit = max(float(np.quantile(np.abs(difference), 0.995)), 1e-3)
    for column in range(columns):
        first = density_image(axes[0, column], gravity[column], box_size)
        density_image(axes[1, column], feedback[column], box_size)
        last = axes[2, column].imshow(difference[column], cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes[2, column].set(xticks=[], yticks=[])
        axes[2, column].spines[:].set_visible(False)
        axes[0, column].set_title(titles[column], fontsize=8)
    # Two lines: a long name would be taller than its map.
    rows = [suite_label(name).replace(" (", "\n(") for name in names] + ["their ratio\n"]
    for ax, row in zip(axes[:, 0], rows, strict=True):
        ax.set_ylabel(row, fontsize=8)
    scale_bar(axes[0, 0], box_size)
    fig.colorbar(first, ax=axes[:2], shrink=0.7, extend="both", label=DENSITY_LABEL)
    fig.colorbar(last, ax=axes[2], extend="both", label=f"$\\log_{{10}}$ ({names[1]} / {names[0]})")
    return fig, axes


def mean_density(omega_m, slabs, boxes, name):
    """Mean of each slab, and of an axis' five slabs together, over what Omega_m demands.

    Parameters
    ----------
    omega_m : ndarray, shape (n,)
    slabs : ndarray, shape (n, 15)
        Measured / expected mean surface density of each map.
    boxes : ndarray, shape (n, 3)
        The same for the mean of the five slabs of each axis: the whole box.
    name : str
        Of the suite.
    """
    fig, ax = plt.subplots(figsize=(7.2, 2.8))
    for values, look in (
        (slabs, {"marker": "o", "ms": 2.5, "color": "#3f90da", "alpha": 0.35, "label": "one slab"}),
        (boxes, {"marker": "s", "ms": 2.5, "color": "#bd1f01", "label": "five slabs of an axis"}),
    ):
        x = np.broadcast_to(omega_m[:, None], values.shape)
        ax.plot(x.ravel(), values.ravel(), linestyle="none", mew=0, **look)
    ax.set(xlabel=LABELS["Omega_m"], ylabel="mean / expected mean", title=suite_label(name))
    fig.legend(loc="outside upper right", ncols=2, markerscale=2)
    return fig, ax


def by_cosmology(log_density, pdf, k, power, params, n_groups=3):
    """Pixel PDF and power spectrum of the simulations, grouped by Omega_m and by sigma_8.

    Parameters
    ----------
    log_density : ndarray, shape (nb,)
        Centres of the PDF's bins, log10 of (Msun/h)/(Mpc/h)^2.
    pdf : ndarray, shape (n, nb)
        Density of pixels in log10 of the surface density [1/dex], a row a simulation.
    k : ndarray, shape (nk,)
        [h/Mpc].
    power : ndarray, shape (n, nk)
        Of the overdensity [(Mpc/h)^2], a row a simulation.
    params : ndarray, shape (n, 6)
    n_groups : int
        Groups of equal size.
    """
    fig, axes = plt.subplots(2, 2, figsize=(7.2, 5.4), sharey="row", sharex="row")
    for column, name in enumerate(("Omega_m", "sigma_8")):
        values = params[:, PARAMETERS.index(name)]
        groups = quantile_groups(values, n_groups)
        for rows, colour, style in zip(
            groups, ordered_colours(len(groups)), LINE_STYLES, strict=False
        ):
            look = {"color": colour, "linestyle": style, "label": _range_text(values[rows])}
            band(axes[0, column], log_density, pdf[rows], **look)
            band(axes[1, column], k, power[rows], **look)
        axes[0, column].set(title=f"grouped by {LABELS[name]}")
        axes[0, column].set_xlabel(r"$\log_{10}$ of " + DENSITY_LABEL, fontsize=8)
        axes[0, column].legend(title=LABELS[name])
        axes[1, column].set(xscale="log", yscale="log", xlabel=K_LABEL)
    axes[0, 0].set(ylabel="pixel PDF [1/dex]", ylim=(0, None))
    axes[1, 0].set_ylabel(POWER_LABEL)
    log_ticks(axes[1, 0].xaxis, K_TICKS)
    return fig, axes


def power_3d(entries, boxes):
    """3-D power of simulated boxes against linear theory and HMcode2020.

    Parameters
    ----------
    entries : list of dict
        Keys ``omega_m``, ``sigma_8``, ``k`` [h/Mpc], ``measured``, ``linear``, ``hmcode``
        [(Mpc/h)^3]; one dict a cosmology, one box each.
    boxes : dict
        ``k`` and ``measured_over_hmcode`` with quantiles ``q16`` and ``q84`` over many boxes, drawn
        as a band.
    """
    fig, axes = plt.subplots(
        2,
        len(entries),
        figsize=(7.2, 4.2),
        sharex=True,
        sharey="row",
        height_ratios=(2, 1),
        squeeze=False,
    )
    for (top, bottom), entry in zip(axes.T, entries, strict=True):
        k, measured, linear, hmcode = (
            np.asarray(entry[key], float) for key in ("k", "measured", "linear", "hmcode")
        )
        top.plot(k, linear, color="#ffa90e", linestyle=":", label="linear theory")
        top.plot(k, hmcode, color="#3f90da", linestyle="--", label="HMcode2020")
        top.plot(k, measured, "o", color="0.15", ms=2.5, label="measured, gravity only")
        bottom.axhline(1, color="#3f90da", linestyle="--")
        quantiles = boxes["measured_over_hmcode"]
        area = bottom.fill_between(
            boxes["k"], quantiles["q16"], quantiles["q84"], color="0.85", linewidth=0
        )
        area.set_label("68 % of boxes")
        bottom.plot(k, measured / hmcode, "o", color="0.15", ms=2.5)
        bottom.plot(k, linear / hmcode, color="#ffa90e", linestyle=":")
        title = f"{LABELS['Omega_m']} = {entry['omega_m']:.2f}, {LABELS['sigma_8']} = "
        top.set(xscale="log", yscale="log", title=title + f"{entry['sigma_8']:.2f}")
        bottom.set(yscale="log", xlabel=K_LABEL, ylim=(0.1, 4))
    log_ticks(axes[0, 0].xaxis, K_TICKS)
    log_ticks(axes[1, 0].yaxis, (0.1, 0.3, 1, 3))
    axes[0, 0].set_ylabel(r"3-D $P(k)$ [$(\mathrm{Mpc}/h)^3$]")
    axes[1, 0].set_ylabel("ratio to HMcode")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend([*handles, area], [*labels, area.get_label()], loc="outside upper center", ncols=4)
    return fig, axes


def feedback_ratio(k, ratio, params, k_reference, names, n_groups=3, n_bins=6):
    """What the feedback does to the power: ratio to gravity only, by supernova amplitude.

    Parameters
    ----------
    k : ndarray, shape (nk,)
        [h/Mpc].
    ratio : ndarray, shape (n, nk)
        P(with feedback) / P(gravity only), a row a simulation.
    params : ndarray, shape (n, 6)
    k_reference : float
        Wavenumber of the right panel [h/Mpc]; the nearest bin is shown.
    names : tuple of str
        Suites of the numerator and the denominator.
    """
    a_sn1, a_sn2 = (params[:, PARAMETERS.index(name)] for name in ("A_SN1", "A_SN2"))
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.1), width_ratios=(1, 1.15))
    groups = quantile_groups(a_sn1, n_groups)
    for rows, colour, style in zip(groups, ordered_colours(len(groups)), LINE_STYLES, strict=False):
        band(left, k, ratio[rows], color=colour, linestyle=style, label=_range_text(a_sn1[rows]))
    left.axhline(1, color="0.35", linewidth=0.8)
    left.set(xscale="log", xlabel=K_LABEL, ylabel=f"$P$({names[0]}) / $P$({names[1]})")
    left.legend(title=LABELS["A_SN1"], loc="lower left")
    log_ticks(left.xaxis, K_TICKS)

    column = int(np.argmin(np.abs(k - k_reference)))
    value = ratio[:, column]
    points = right.scatter(a_sn1, value, c=a_sn2, s=8, norm=LogNorm(0.5, 2), cmap="cividis")
    bar = fig.colorbar(points, ax=right, label=f"{LABELS['A_SN2']} of a simulation")
    log_ticks(bar.ax.yaxis, FEEDBACK_TICKS)
    bins = quantile_groups(a_sn1, n_bins)
    error = [value[b].std(ddof=1) / np.sqrt(len(b)) if len(b) > 1 else np.nan for b in bins]
    right.errorbar(
        [a_sn1[b].mean() for b in bins],
        [value[b].mean() for b in bins],
        error,
        fmt="s-",
        color="#bd1f01",
        label="mean of a bin and its error",
    )
    right.set(xscale="log", xlabel=LABELS["A_SN1"])
    right.set_ylabel(f"ratio at $k$ = {k[column]:.1f} $h$/Mpc")
    log_ticks(right.xaxis, FEEDBACK_TICKS)
    right.set_ylim(bottom=value.min() - 0.15 * np.ptp(value))  # room for the legend
    right.legend(loc="lower left")
    return fig, (left, right)


def lattice_check(r2):
    """R2 of the summary-statistics baseline on maps made with other particle lattices.

    Parameters
    ----------
    r2 : dict of str to dict
        Variant to {parameter: (R2, low, high)} with 95 % limits; the first one is what is shipped.
    """
    parameters = list(next(iter(r2.values())))
    fig, axes = plt.subplots(
        1, len(parameters), figsize=(7.2, 1.1 + 0.35 * len(r2)), sharey=True, squeeze=False
    )
    rows = np.arange(len(r2))
    for ax, parameter in zip(axes[0], parameters, strict=True):
        value, low, high = np.array([entry[parameter] for entry in r2.values()], float).T
        ax.axvspan(low[0], high[0], color="#3f90da", alpha=0.15, linewidth=0)
        ax.axvline(value[0], color="#3f90da", linestyle="--", linewidth=1)
        ax.errorbar(value, rows, xerr=(value - low, high - value), fmt="o", color="0.15")
        ax.set(xlabel=f"$R^2$ of {LABELS[parameter]}, a map", yticks=rows)
        ax.set_yticklabels([LATTICES.get(name, name) for name in r2])
        ax.set_ylim(len(r2) - 0.5, -0.5)
    return fig, axes[0]


def scaled_pixels(values, n_bins=80):
    """Distribution of the network's input after each scaling, on linear and logarithmic axes.

    Parameters
    ----------
    values : dict of str to ndarray
        Name of the scaling to its scaled pixels (any shape).
    """
    fig, axes = plt.subplots(1, len(values), figsize=(7.2, 2.6), squeeze=False)
    for ax, (name, pixels) in zip(axes[0], values.items(), strict=True):
        pixels = checked_numbers(pixels, name).ravel()
        ax.hist(pixels, bins=n_bins, density=True, color="#3f90da")
        ax.set(yscale="log", title=name, xlabel="scaled pixel")
    axes[0, 0].set_ylabel("density of pixels")
    return fig, axes[0]
