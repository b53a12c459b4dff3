"""The look shared by all figures: colours, labels, ticks, legends, points with error bars.

The modules of `cosmolib.plots` follow the chapters of the book. Their functions take arrays or
plain tables and return ``(fig, axes)``; none reads a file or computes a number that prose quotes.
Every density map uses ``inferno`` on one logarithmic norm; signed quantities use a diverging map
centred on zero; references (chance, the ideal, a tolerance) are grey. Groups differ in marker or
line style as well as in colour.

An *estimate* is a dict ``{"value", "low", "high"}`` with 95 % limits, which may be None.
"""

from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter

from cosmolib.cuts.grammar import MASKS, Cut
from cosmolib.data.arrays import checked_map
from cosmolib.data.cmd_format import BOX_SIZE, LABELS

WIDTH = 7.2  # [inch] of the text column
DENSITY_RANGE = (2e10, 1e13)  # (Msun/h)/(Mpc/h)^2; about 1 % of Lite's pixels lie outside
DENSITY_LABEL = r"surface density $\Sigma$ [$(M_\odot/h)\,/\,(\mathrm{Mpc}/h)^2$]"
K_LABEL = r"$k$ [$h$/Mpc]"
K_TICKS = (0.3, 0.5, 1, 2, 4, 8, 16, 32)  # [h/Mpc]
FEEDBACK_TICKS = (0.25, 0.5, 1, 2, 4)

NOT_POSITIVE = "#2ec4b6"  # zero and negative pixels, which have no logarithm; not in inferno
GREY = "0.35"
BLUE, RED = "#3f90da", "#bd1f01"  # the first and the third colour of the cycle
PART_COLOURS = {"train": "#94a4a2", "valid": "#ffa90e", "test": RED}
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def use_style():
    """Apply ``book.mplstyle``; call once at the top of a notebook."""
    plt.style.use(Path(__file__).with_name("book.mplstyle"))


# --------------------------------------------------------------------------------------------------
# Labels
# --------------------------------------------------------------------------------------------------
def suite_label(name):
    """Name of a suite and the kind of its maps; Lite's feedback is always called a proxy.

    Examples
    --------
    >>> suite_label("Lite"), suite_label("Nbody_Lite"), suite_label("SIMBA")
    ('Lite (feedback proxy)', 'Nbody_Lite (gravity only)', 'SIMBA (hydrodynamic)')
    """
    if name.startswith("Nbody_"):
        return f"{name} (gravity only)"
    return f"{name} (feedback proxy)" if name == "Lite" else f"{name} (hydrodynamic)"


def cut_label(cut):
    """Readable name of a cut.

    Examples
    --------
    >>> cut_label("none"), cut_label("kmax:4"), cut_label("mask:below:delta=0")
    ('uncut', '$k$ < 4', 'mask of $\\\\delta$ < 0')
    """
    cut = Cut.parse(cut)
    if cut.before:
        words = {"white": "white noise {:g}", "shot": "shot noise {:g}", "nomean": "mean removed",
                 "nologmean": "log mean removed"}  # fmt: skip
        steps = [words[name].format(level) for name, level in cut.before]
        return ", ".join([*steps, cut_label(replace(cut, before=()))])
    if cut.kind == "none":
        return "uncut"
    if cut.is_fourier:
        names = {"kmax": "$k$ < {1:g}", "kmin": "$k$ ≥ {0:g}", "band": "{0:g} ≤ $k$ < {1:g}"}
        name = names[cut.kind].format(*cut.k_range)
        return name if cut.field == "linear" else f"{name} ({cut.field})"
    if not cut.is_density:  # user-defined
        return str(cut)
    sign = ">" if cut.kind == "above" else "<"
    if cut.overdensity:
        where = rf"$\delta$ {sign} {cut.threshold:g}"
    else:
        factor, power = f"{cut.threshold:.2e}".split("e")
        number = rf"{float(factor):g}\times10^{{{int(power)}}}".removeprefix(r"1\times")
        where = rf"$\Sigma$ {sign} ${number}$"
    if cut.control in MASKS:
        return f"mask of {where}" + ", and the mean" * (cut.control == "maskmean")
    fill = {"clamp": "clamped", "random": "random", "mean": "set to mean"}[cut.fill]
    control = {None: "", "moved": "moved ", "shuffle": "shuffled "}[cut.control]
    return f"{control}{where} {fill}"


def r2_label(parameter):
    """Axis label of a coefficient of determination per map."""
    return f"$R^2$ of {LABELS[parameter]} per map"


def titles(parameters, word=""):
    """Titles of panels, one per parameter."""
    return [word + LABELS[parameter] for parameter in parameters]


# --------------------------------------------------------------------------------------------------
# Panels, legends, axes
# --------------------------------------------------------------------------------------------------
def panels(columns, height, rows=1, **options):
    """Figure as wide as the text with ``rows`` x ``columns`` panels; one row as a flat array."""
    options = {"figsize": (WIDTH, height), "sharey": "row"} | options
    fig, axes = plt.subplots(rows, columns, squeeze=False, **options)
    return fig, axes[0] if rows == 1 else axes


def legend_above(axes, columns=None, **options):
    """Put one legend above all panels, with each label of ``axes`` once."""
    handles = {}
    for ax in np.ravel(axes):
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        options = {"loc": "outside upper center", "ncols": columns or len(handles)} | options
        ax.figure.legend(handles.values(), handles.keys(), **options)


def finished(fig, axes, ylabel=None, columns=None, rows=None, **options):
    """Label the panels, add the legend, return figure and panels.

    Parameters
    ----------
    ylabel, rows
        Label of the vertical axis, and names of the rows, of the first panel.
    columns : int, optional
        Of the legend.
    options
        Of ``Axes.set`` for every panel; a list has one entry per panel.
    """
    for i, ax in enumerate(np.ravel(axes)):
        ax.set(**{key: x[i] if isinstance(x, list) else x for key, x in options.items()})
    first = np.ravel(axes)[0]
    if rows is not None:
        name_rows(first, rows)
    if ylabel:
        first.set_ylabel(ylabel)
    legend_above(axes, columns)
    return fig, axes


def log_ticks(axis, ticks):
    """Label a logarithmic axis with plain numbers at ``ticks`` only."""
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def integer_ticks(axis):
    """Put ticks at integers only."""
    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def name_rows(ax, names, places=None):
    """Label the rows of a panel, the first on top."""
    places = np.arange(len(names)) if places is None else places
    ax.set(yticks=places, yticklabels=names, ylim=(places[-1] + 0.5, -0.5))


def name_columns(ax, names, rotation=0):
    """Label places along the horizontal axis with names, which may be rotated."""
    place = {"rotation": rotation, "ha": "right" if rotation else "center"}
    ax.set_xticks(np.arange(len(names)), names, **place)


# --------------------------------------------------------------------------------------------------
# Maps, curves, points
# --------------------------------------------------------------------------------------------------
def bare(ax, frame=False):
    """Remove the ticks of an image, and its frame."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(frame)


def density_image(ax, density, box_size=BOX_SIZE):
    """Draw one map (N, N) of surface density on the book's norm; zero or less in turquoise."""
    colours = mpl.colormaps["inferno"].with_extremes(bad=NOT_POSITIVE)
    density = np.ma.masked_less_equal(checked_map(density, "density"), 0)
    extent = (0, box_size, 0, box_size)
    # The first index of a CMD map runs upwards here; the box is isotropic.
    image = ax.imshow(density, norm=LogNorm(*DENSITY_RANGE), cmap=colours, extent=extent)
    bare(ax)
    return image


def scale_bar(ax, box_size, length=5):
    """Mark ``length`` [Mpc/h] in the lower left corner of a map."""
    x, y = 0.05 * box_size, 0.06 * box_size
    ax.plot([x, x + length], [y, y], color="white", linewidth=2, solid_capstyle="butt")
    ax.text(x, y + 0.02 * box_size, f"{length} Mpc/$h$", color="white", va="bottom", fontsize=8)


def ordered_colours(n):
    """``n`` colours of rising lightness for ordered groups, dark enough for white paper."""
    return plt.get_cmap("viridis")(np.linspace(0.0, 0.82, n))


def line(i, colours=None):
    """Colour and line style of the i-th series."""
    colour = f"C{i}" if colours is None else colours[i]
    return {"color": colour, "linestyle": LINE_STYLES[i % len(LINE_STYLES)]}


def band(ax, x, curves, *, color, linestyle, label):
    """Median over simulations as a line and their central 68 % as a band; curves (n, nx)."""
    low, middle, high = np.nanquantile(curves, [0.16, 0.5, 0.84], axis=0)
    ax.fill_between(x, low, high, color=color, alpha=0.22, linewidth=0)
    ax.plot(x, middle, color=color, linestyle=linestyle, label=label)


def bars(estimates):
    """Values (n,) of estimates, NaN where there is none, and lengths (2, n) of their error bars.

    ``estimates`` is a list of estimates or None, or an array (n, 3) of value, low, high.
    """
    if not isinstance(estimates, np.ndarray):
        keys = ("value", "low", "high")
        estimates = [[one.get(key) if one else None for key in keys] for one in estimates]
    value, low, high = np.reshape(np.array(estimates, float), (-1, 3)).T
    # A percentile interval may exclude its value; matplotlib accepts no negative length.
    return value, np.fmax([value - low, high - value], 0)


def points(ax, places, estimates, *, horizontal=False, **style):
    """Draw estimates (see `bars`) at ``places``; those of a list without a value are left out.

    With ``horizontal``, values lie along the horizontal axis.
    """
    value, lengths = bars(estimates)
    # An empty bin of an array interrupts a line; a case of a list that was not run does not.
    known = np.isfinite(value) | isinstance(estimates, np.ndarray)
    if known.any():
        where = [np.asarray(places)[known], value[known]]
        lengths = {"xerr" if horizontal else "yerr": lengths[:, known]}
        ax.errorbar(*(where[::-1] if horizontal else where), **lengths, **style)


def aside(i, n, step):
    """Shift of the i-th of ``n`` series drawn side by side, ``step`` apart."""
    return step * (i - (n - 1) / 2)


def series(ax, places, curves, step, looks=None, *, colour_step=1, lines=False, **style):
    """Draw estimates of several labelled series side by side, see `points`.

    Parameters
    ----------
    curves : dict of str to list of estimate
        Label to one estimate per place.
    step : float
        Distance between neighbouring series, so that they do not hide each other.
    looks : dict of str to dict, optional
        Label to options of its series only.
    colour_step : int
        2 takes every second colour of the cycle, as for suites.
    lines : bool
        Connect the points of a series.
    """
    for i, (label, estimates) in enumerate(curves.items()):
        look = {"fmt": MARKERS[i % len(MARKERS)], "label": label} | (line(i) if lines else {})
        look |= {"color": f"C{colour_step * i}"} | style | (looks or {}).get(label, {})
        points(ax, places + aside(i, len(curves), step), estimates, **look)


def by_parameter(curves, parameters):
    """Panels of `estimates_by_name` from {label: [{parameter: estimate} or None]}."""
    return [
        {label: [one and one.get(parameter) for one in table] for label, table in curves.items()}
        for parameter in parameters
    ]


def estimates_by_name(
    tables, names, step, height, *, places=None, rotation=0, horizontal=False, zero=False,
    sharey="row", **options,
):  # fmt: skip
    """Draw panels of estimates for named cases, one series per label; `finished` completes it.

    Parameters
    ----------
    tables : list of dict of str to list of estimate
        One panel each, see `series`, which takes ``step`` and ``options``.
    names : list of str
        Of the cases: columns, or rows with ``horizontal``, the first on top.
    height : float
        Of the figure [inch].
    places : ndarray, shape (n,), optional
        Of the cases on their axis.
    zero : bool
        Mark zero.
    """
    places = np.arange(len(names)) if places is None else places
    fig, axes = panels(len(tables), height, sharey=sharey)
    for ax, curves in zip(axes, tables, strict=True):
        series(ax, places, curves, step, horizontal=horizontal, **options)
        if not horizontal:
            name_columns(ax, names, rotation)
        if zero:
            mark = ax.axvline if horizontal else ax.axhline
            mark(0, color=GREY, linewidth=0.8, zorder=0)
    if horizontal:
        name_rows(axes[0], names, places)
    return fig, axes


def estimates_by_row(names, parameters, curves, step, height, xlabel=r2_label, hollow=None):
    """Estimates in named rows, one panel per parameter and one series per label.

    Parameters
    ----------
    names, parameters : list of str
        Rows and panels.
    curves : dict of str to list of dict
        Label to {parameter: estimate}, one per row; what is missing is left out.
    step : float
        Distance between neighbouring series.
    height : float
        Of a row [inch].
    xlabel : callable
        Parameter to the label of its panel.
    hollow : str, optional
        Label of a series with open markers.
    """
    tables, height = by_parameter(curves, parameters), 1.1 + height * len(names)
    look = {"looks": {hollow: {"mfc": "white"}}, "colour_step": 2, "horizontal": True, "zero": True}
    fig, axes = estimates_by_name(tables, names, step, height, **look)
    return finished(fig, axes, columns=2, xlabel=[xlabel(name) for name in parameters])
