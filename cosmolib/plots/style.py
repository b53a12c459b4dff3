"""Define the shared look of all figures: colours, labels, axes, legends and error bars.

The other modules of `cosmolib.plots` follow the chapters of the book. Their functions take arrays
or plain tables and return ``(fig, axes)``; none of them reads a file or computes a number that the
text quotes. All density maps use ``inferno`` on the same logarithmic norm, signed quantities use a
diverging colour map centred on zero, and references (chance, the ideal, a tolerance) are grey.
Series differ in marker or line style as well as in colour.

An *estimate* is a dict ``{"value", "low", "high"}`` with 95 % limits, which may be None.
"""

from dataclasses import replace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.ticker import FixedLocator, NullFormatter

from cosmolib.cuts.grammar import MASKS, Cut
from cosmolib.data.arrays import checked_map
from cosmolib.data.cmd_format import BOX_SIZE, LABELS

WIDTH = 7.2  # [inch], the text column
DENSITY_RANGE = (2e10, 1e13)  # (Msun/h)/(Mpc/h)^2; about 1 % of Lite's pixels lie outside
DENSITY_LABEL = r"surface density $\Sigma$ [$(M_\odot/h)\,/\,(\mathrm{Mpc}/h)^2$]"
K_LABEL = r"$k$ [$h$/Mpc]"
R2_LABEL = "$R^2$ of {} per map"  # see `labels`
K_TICKS = (0.3, 0.5, 1, 2, 4, 8, 16, 32)  # [h/Mpc]
FEEDBACK_TICKS = (0.25, 0.5, 1, 2, 4)

NOT_POSITIVE = "#2ec4b6"  # zero and negative pixels, which have no logarithm; not in inferno
GREY = "0.35"
BLUE, RED = "#3f90da", "#bd1f01"  # first and third colour of the cycle
PART_COLOURS = {"train": "#94a4a2", "valid": "#ffa90e", "test": RED}
# Rising lightness for three ordered groups, dark enough on white paper.
ORDERED_COLOURS = mpl.colormaps["viridis"]([0.0, 0.41, 0.82])
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# Reference lines: zero or one, an ideal, and chance or a tolerance.
SOLID = {"color": GREY, "linewidth": 0.8}
DASHED = {"color": GREY, "linewidth": 1, "linestyle": "--"}
DOTTED = {"color": GREY, "linewidth": 1, "linestyle": ":"}
SIGNED = {"cmap": "RdBu_r", "vmin": -1, "vmax": 1}

STEPS = {"white": "white noise {:g}", "shot": "shot noise {:g}", "nomean": "mean removed",
         "nologmean": "log mean removed"}  # fmt: skip
METHOD_NAMES = {"saliency": "Saliency", "smooth_grad": "SmoothGrad",
                "integrated_gradients": "Integrated Gradients",
                "gradient_shap": "GradientSHAP"}  # fmt: skip
FOURIER = {"kmax": "$k$ < {1:g}", "kmin": "$k$ ≥ {0:g}", "band": "{0:g} ≤ $k$ < {1:g}"}
FILLS = {"clamp": "clamped", "random": "random", "mean": "set to mean"}
CONTROLS = {None: "", "moved": "moved ", "shuffle": "shuffled "}


def use_style():
    """Apply ``book.mplstyle``; call once at the top of a notebook."""
    plt.style.use("cosmolib.plots.book")


# --------------------------------------------------------------------------------------------------
# Labels
# --------------------------------------------------------------------------------------------------
def suite_label(name):
    """Return the name of a suite with its kind of simulation; the feedback of Lite is a proxy.

    Examples
    --------
    >>> suite_label("Lite"), suite_label("Nbody_Lite"), suite_label("SIMBA")
    ('Lite (feedback proxy)', 'Nbody_Lite (gravity only)', 'SIMBA (hydrodynamic)')
    """
    if name.startswith("Nbody_"):
        return f"{name} (gravity only)"
    kinds = {"Lite": "feedback proxy", "Lite_strong": "exaggerated feedback proxy"}
    return f"{name} ({kinds.get(name, 'hydrodynamic')})"


def cut_label(cut):
    """Return a readable name of a cut.

    Examples
    --------
    >>> cut_label("none"), cut_label("kmax:4"), cut_label("mask:below:delta=0")
    ('uncut', '$k$ < 4', 'mask of $\\\\delta$ < 0')
    """
    cut = Cut.parse(cut)
    if cut.before:
        steps = [STEPS[name].format(level) for name, level in cut.before]
        return ", ".join([*steps, cut_label(replace(cut, before=()))])
    if cut.is_fourier:
        field = "" if cut.field == "linear" else f" ({cut.field})"
        return FOURIER[cut.kind].format(*cut.k_range) + field
    if not cut.is_density:  # or user-defined
        return "uncut" if cut.kind == "none" else str(cut)
    sign = ">" if cut.kind == "above" else "<"
    where = rf"$\delta$ {sign} {cut.threshold:g}"
    if not cut.overdensity:
        factor, power = f"{cut.threshold:.2e}".split("e")
        number = rf"{float(factor):g}\times10^{{{int(power)}}}".removeprefix(r"1\times")
        where = rf"$\Sigma$ {sign} ${number}$"
    if cut.control in MASKS:
        return f"mask of {where}" + ", and the mean" * (cut.control == "maskmean")
    return f"{CONTROLS[cut.control]}{where} {FILLS[cut.fill]}"


def labels(parameters, text="{}"):
    """Return one title or axis label per parameter, whose symbol replaces the braces in `text`."""
    return [text.format(LABELS[parameter]) for parameter in parameters]


# --------------------------------------------------------------------------------------------------
# Panels, legends, axes
# --------------------------------------------------------------------------------------------------
def panels(columns, height, rows=None, **options):
    """Make a figure as wide as the text; axes are (columns,) or, with ``rows``, (rows, columns)."""
    options = {"figsize": (WIDTH, height), "sharey": "row"} | options
    fig, axes = plt.subplots(rows or 1, columns, squeeze=False, **options)
    return fig, axes if rows else axes[0]


def grid(n, columns, height):
    """Make ``n`` panels in rows of ``columns``, each ``height`` [inch] high."""
    rows = -(-n // columns)
    fig, axes = panels(columns, 0.3 + height * rows, rows, sharey=False)
    for ax in axes.flat[n:]:
        ax.set_axis_off()
    return fig, axes.flat[:n]


def legend_above(axes, columns=None, **options):
    """Put one legend above all panels.

    A label that occurs in several of ``axes`` is shown once, and `METHOD_NAMES` replace the names
    of attribution methods.
    """
    handles = {}
    for ax in np.ravel(axes):
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(METHOD_NAMES.get(label, label), handle)
    if handles:
        options = {"loc": "outside upper center", "ncols": columns or len(handles)} | options
        ax.figure.legend(handles.values(), handles.keys(), **options)


def finish(fig, axes, ylabel=None, columns=None, rows=None, **options):
    """Label the panels, add the legend, and return ``(fig, axes)``.

    Parameters
    ----------
    ylabel : str or list of str, optional
        Label of the vertical axis; a list has one entry per row of panels.
    columns : int, optional
        Number of columns of the legend.
    rows : list of str, optional
        Names of the rows inside the first panel.
    options
        Arguments of ``Axes.set`` for every panel; a list has one entry per panel.
    """
    for i, ax in enumerate(np.ravel(axes)):
        ax.set(**{key: x[i] if isinstance(x, list) else x for key, x in options.items()})
    ylabel = [ylabel] if isinstance(ylabel, str) else ylabel or ()
    for ax, label in zip(np.atleast_2d(axes)[:, 0], ylabel, strict=False):
        ax.set_ylabel(label)
    if rows:
        name_rows(np.ravel(axes)[0], rows)
    legend_above(axes, columns)
    return fig, axes


def plain_ticks(axis, ticks):
    """Label an axis, which may be logarithmic, with plain numbers at ``ticks`` only."""
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def name_rows(ax, names):
    """Label the rows of a panel, from top to bottom."""
    n = len(names)
    ax.set(yticks=np.arange(n), yticklabels=names, ylim=(n - 0.5, -0.5))


def name_columns(ax, names, rotation=0):
    """Label the columns of a panel; ``rotation`` is in degrees."""
    ax.set_xticks(range(len(names)), names, rotation=rotation, ha="right" if rotation else "center")


# --------------------------------------------------------------------------------------------------
# Maps, curves, points
# --------------------------------------------------------------------------------------------------
def bare(ax, frame=False):
    """Remove the ticks of an image and, unless ``frame`` is true, its frame."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(frame)


def density_image(ax, density, box_size=BOX_SIZE):
    """Draw a map (N, N) of surface density; zero and negative pixels are turquoise."""
    colours = mpl.colormaps["inferno"].with_extremes(bad=NOT_POSITIVE)
    density = np.ma.masked_less_equal(checked_map(density, "density"), 0)
    extent = (0, box_size, 0, box_size)
    # The first index of a CMD map runs upwards here; the box is isotropic.
    image = ax.imshow(density, norm=LogNorm(*DENSITY_RANGE), cmap=colours, extent=extent)
    bare(ax)
    return image


def scale_bar(ax, box_size, length=5):
    """Draw a bar of ``length`` [Mpc/h] in the lower left corner of a map."""
    x, y = 0.05 * box_size, 0.06 * box_size
    ax.plot([x, x + length], [y, y], color="white", linewidth=2, solid_capstyle="butt")
    ax.text(x, y + 0.02 * box_size, f"{length} Mpc/$h$", color="white", va="bottom", fontsize=8)


def line(i, colours=None):
    """Return the colour and line style of the i-th series."""
    colour = f"C{i}" if colours is None else colours[i]
    return {"color": colour, "linestyle": LINE_STYLES[i % len(LINE_STYLES)]}


def band(ax, x, curves, *, color, linestyle, label):
    """Draw the median of ``curves`` (n, nx) over simulations, and their central 68 % as a band."""
    low, middle, high = np.nanquantile(curves, [0.16, 0.5, 0.84], axis=0)
    ax.fill_between(x, low, high, color=color, alpha=0.22, linewidth=0)
    ax.plot(x, middle, color=color, linestyle=linestyle, label=label)


def bars(estimates):
    """Return values (n,) and lengths of error bars (2, n) of estimates; NaN if there is none.

    ``estimates`` is a list of estimates or None, or an array (n, 3) of value, low, high.
    """
    if not isinstance(estimates, np.ndarray):
        keys = ("value", "low", "high")
        estimates = [[one.get(key) if one else None for key in keys] for one in estimates]
    value, low, high = np.reshape(np.array(estimates, float), (-1, 3)).T
    # A percentile interval may exclude its value; matplotlib accepts no negative length.
    return value, np.fmax([value - low, high - value], 0)


def points(ax, places, estimates, *, horizontal=False, **style):
    """Draw estimates (see `bars`) at ``places``; with ``horizontal``, values lie along x."""
    value, lengths = bars(estimates)
    # A missing entry of a list is left out; an empty bin of an array interrupts the line.
    known = np.isfinite(value) | isinstance(estimates, np.ndarray)
    if known.any():
        where = [np.asarray(places)[known], value[known]]
        lengths = {"xerr" if horizontal else "yerr": lengths[:, known]}
        ax.errorbar(*(where[::-1] if horizontal else where), **lengths, **style)


def offset(i, n, step):
    """Return the shift of the i-th of ``n`` series that are drawn ``step`` apart."""
    return step * (i - (n - 1) / 2)


def series(ax, places, curves, step, looks=None, *, colour_step=1, lines=False, **style):
    """Draw several labelled series of estimates next to each other, see `points`.

    Parameters
    ----------
    curves : dict of str to list of estimate
        Label to one estimate per place.
    step : float
        Distance between neighbouring series, so that they do not hide each other.
    looks : dict of str to dict, optional
        Label to plotting options of that series.
    colour_step : int
        2 takes every second colour of the cycle.
    lines : bool
        Connect the points of a series.
    """
    for i, (label, estimates) in enumerate(curves.items()):
        look = {"fmt": MARKERS[i % len(MARKERS)], "label": label} | (line(i) if lines else {})
        look |= {"color": f"C{colour_step * i}"} | style | (looks or {}).get(label, {})
        points(ax, places + offset(i, len(curves), step), estimates, **look)


def by_parameter(curves, parameters):
    """Convert {label: [{parameter: estimate} or None]} to one dict of series per parameter."""
    return [
        {label: [one and one.get(parameter) for one in table] for label, table in curves.items()}
        for parameter in parameters
    ]


def estimates_by_name(
    tables, names, step, height, *, rotation=0, horizontal=False, zero=False, sharey="row",
    **options,
):  # fmt: skip
    """Draw panels of estimates for named cases; the caller completes the figure with `finish`.

    Parameters
    ----------
    tables : list of dict of str to list of estimate
        One panel each, see `series`, which takes ``step`` and ``options``.
    names : list of str
        Labels of the columns or, with ``horizontal``, of the rows from top to bottom.
    height : float
        Height of the figure [inch].
    zero : bool
        Mark zero.
    """
    fig, axes = panels(len(tables), height, sharey=sharey)
    for ax, curves in zip(axes, tables, strict=True):
        series(ax, np.arange(len(names)), curves, step, horizontal=horizontal, **options)
        if not horizontal:
            name_columns(ax, names, rotation)
        if zero:
            (ax.axvline if horizontal else ax.axhline)(0, zorder=0, **SOLID)
    if horizontal:
        name_rows(axes[0], names)
    return fig, axes


def estimates_by_row(names, parameters, curves, step, height, *, xlabel=None, looks=None):
    """Draw estimates in named rows, with one panel per parameter and one series per label.

    Parameters
    ----------
    names, parameters : list of str
        Rows and panels.
    curves : dict of str to list of dict
        Label to {parameter: estimate}, one per row; missing estimates are left out.
    step : float
        Distance between neighbouring series.
    height : float
        Height of a row [inch].
    xlabel : list of str, optional
        One per panel; by default those of R2.
    looks : dict of str to dict, optional
        See `series`.
    """
    options = {"looks": looks, "colour_step": 2, "horizontal": True, "zero": True}
    tables, height = by_parameter(curves, parameters), 1.1 + height * len(names)
    fig, axes = estimates_by_name(tables, names, step, height, **options)
    return finish(fig, axes, columns=3, xlabel=xlabel or labels(parameters, R2_LABEL))
