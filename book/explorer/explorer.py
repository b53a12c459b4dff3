"""Make interactive figures: HTML elements that need no kernel, network or other file.

An element contains maps and numbers computed by the functions that the chapters use;
``explorer.js`` draws them and handles the controls. Without scripts, and in print, a static picture
with an alternative text is shown.
"""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np

from cosmolib.cuts.apply import apply_cut, cut_mask, fraction_cut
from cosmolib.data.arrays import checked_map, checked_maps
from cosmolib.data.cmd_format import BOX_SIZE
from cosmolib.data.spectra import power_spectrum
from cosmolib.plots.style import BLUE, DENSITY_RANGE, NOT_POSITIVE, RED

MAX_SIDE = 64  # [pixels]; larger maps are averaged down to keep the page small
MIN_ALT = 40  # minimum length of an alternative text
SERIES = (BLUE, RED, "#832db6", "#ffa90e")  # of the suites, as in the figures
FOLDER = Path(__file__).parent


def attribution_explorer(density, entries, titles, box_size, limits, still, alt) -> str:
    """Return an interactive gallery of maps and their attributions.

    Parameters
    ----------
    density : ndarray, shape (m, N, N)
        Maps [(Msun/h)/(Mpc/h)^2].
    entries : dict of (str, str, str) to ndarray, shape (m, N, N)
        Signed attributions by parameter, method and baseline (labels of the menus).
    titles : list of str
        One per map.
    box_size : float
        [Mpc/h]
    limits : (float, float)
        Densities at the ends of the colour scale.
    still : matplotlib Figure
        Static picture for print and for readers without scripts.
    alt : str
        Alternative text of the static picture.

    Returns
    -------
    str
        HTML with about 4/3 N^2 bytes per map and entry, where N is at most `MAX_SIDE`.

    Raises
    ------
    ValueError
        If the shapes do not match or ``alt`` is too short.
    """
    density = _small(density, "density")
    tables = []
    for labels, values in entries.items():
        values = _small(values, labels[1])
        if values.shape != density.shape or len(titles) != len(density):
            raise ValueError(
                f"{labels[1]}: attributions of shape {values.shape} and {len(titles)} titles do "
                f"not match maps of shape {density.shape}"
            )
        scales = np.quantile(np.abs(values), 0.99, axis=(1, 2))
        scaled = values / np.where(scales > 0, scales, 1)[:, None, None]
        table = dict(zip(("parameter", "method", "baseline"), labels, strict=True))
        table["scales"] = [float(f"{scale:.3g}") for scale in scales]
        table["values"] = [_bytes((one + 1) / 2) for one in scaled]
        tables.append(table)
    data = {
        "kind": "attribution",
        "grid": density.shape[-1],
        "box": float(box_size),
        "low": float(np.log10(limits[0])),
        "high": float(np.log10(limits[1])),
        "titles": list(titles),
        "density": [_bytes(_relative(one, limits)) for one in density],
        "entries": tables,
        "lut": {"density": _colours("inferno"), "values": _colours("RdBu_r")},
    }
    controls = "".join(_select(key, key) for key in ("map", "parameter", "method", "baseline"))
    pictures = _map("density", "density, log scale", "densities", map(_power_of_ten, limits))
    pictures += _map("values", "attribution / its 99 % quantile", "signs", ("−1", "1"))
    hint = "Point at a pixel, or select one with the arrow keys."
    return _element(data, controls, pictures, hint, still, alt)


def scales_explorer(density, edges, still, alt, box_size=BOX_SIZE) -> str:
    """Return an interactive map under a sharp low-pass filter, with a slider for k_max.

    Parameters
    ----------
    density : ndarray, shape (N, N)
        Map [(Msun/h)/(Mpc/h)^2].
    edges : sequence of float
        Values of k_max [h/Mpc] on the slider, ascending.
    still, alt, box_size
        See `attribution_explorer`.

    Notes
    -----
    Each position shows ``apply_cut(density, "kmax:...")`` and its `power_spectrum`, relative to the
    mean of the map, which the filter does not change.
    """
    density = checked_map(density, "density")
    names = [f"kmax:{edge:.3g}" for edge in edges]
    cuts = np.stack([apply_cut(density, cut, box_size=box_size) for cut in names])
    k, before = power_spectrum(density, box_size)
    after = power_spectrum(cuts, box_size)[1]
    variance = cuts.var(axis=(1, 2), dtype=np.float64) / density.var(dtype=np.float64)
    texts = [
        f"Scales with k below {edge:.3g} h/Mpc: {share:.1%} of the map's variance remains, and "
        f"{negative:.1%} of its pixels are negative."
        for edge, share, negative in zip(edges, variance, (cuts < 0).mean((1, 2)), strict=True)
    ]
    data = {
        "kind": "scales",
        "grid": _small(cuts).shape[-1],
        "edges": [float(f"{edge:.3g}") for edge in edges],
        "names": names,
        "texts": texts,
        "frames": [_bytes(_relative(one, DENSITY_RANGE), marked=one <= 0) for one in _small(cuts)],
        "spectrum": {
            "k": _rounded(k),
            "before": _rounded(before.ravel()),
            "after": [_rounded(one) for one in after],
        },
        "colour": BLUE,
        "lut": _colours("inferno", marked=NOT_POSITIVE),
    }
    controls = _slider("largest wavenumber kept, k_max", len(names), len(names) // 2)
    pictures = _density_map("negative")
    pictures += _chart("spectrum", "power spectrum, before (dashed) and after")
    return _element(data, controls, pictures, "", still, alt)


def densities_explorer(density, edges, still, alt, box_size=BOX_SIZE) -> str:
    """Return an interactive map with a slider for a density threshold, and its pixel PDF.

    Parameters
    ----------
    density : ndarray, shape (N, N)
        Map [(Msun/h)/(Mpc/h)^2].
    edges : sequence of float
        log10(1 + delta) of the thresholds and of the bin edges of the PDF, ascending.
    still, alt, box_size
        See `attribution_explorer`.

    Notes
    -----
    The cut pixels are ``cut_mask(density, "above:delta=...")`` and the same with ``below``. If the
    map is averaged down, a pixel is shown as cut if most of its area is cut.
    """
    density = checked_map(density, "density")
    thresholds = [f"{10**edge - 1:.4g}" for edge in edges]
    edges = np.log10([1 + float(value) for value in thresholds])  # of the rounded thresholds
    mass = density.astype(np.float64) / density.sum(dtype=np.float64)
    masks = {
        side: np.stack([cut_mask(density, f"{side}:delta={value}") for value in thresholds])
        for side in ("above", "below")
    }
    relative = density / density.mean(dtype=np.float64)
    counts, _ = np.histogram(np.log10(np.maximum(relative, 1e-9)), edges)
    sides = []
    for side, sign in (("above", ">"), ("below", "<")):
        names = [f"{side}:delta={value}" for value in thresholds]
        texts = [
            f"Overdensity {sign} {value}: {float(fraction_cut(density, cut)):.1%} of the pixels "
            f"and {mass[mask].sum():.1%} of the mass are cut."
            for value, cut, mask in zip(thresholds, names, masks[side], strict=True)
        ]
        title = f"pixels {side} the threshold"
        sides.append({"title": title, "names": names, "texts": texts})
    shown = _small(density[None])[0]
    passed = np.round(_small(masks["above"]).clip(0, 1)).sum(axis=0)
    data = {
        "kind": "densities",
        "grid": shown.shape[-1],
        "levels": _bytes(_relative(shown, DENSITY_RANGE), marked=np.zeros(shown.shape, bool)),
        "passed": base64.b64encode(passed.astype(np.uint8).tobytes()).decode(),
        "edges": _rounded(edges),
        "pdf": counts.tolist(),
        "sides": sides,
        "colour": NOT_POSITIVE,
        "lut": _colours("inferno", marked=NOT_POSITIVE),
    }
    controls = _select("side", "cut") + _slider("threshold", len(edges), len(edges) // 2)
    pictures = _density_map("cut")
    pictures += _chart("pdf", "pixels by density; filled: cut")
    return _element(data, controls, pictures, "", still, alt)


def scores_explorer(rows, parameters, quantities, labels, still, alt) -> str:
    """Return an interactive chart of R2 for every cut and suite, with intervals.

    Parameters
    ----------
    rows : list of dict
        Rows of the results table: ``suite``, ``cut`` and, under each quantity, estimates by
        parameter.
    parameters : list of str
    quantities : dict of str to str
        Keys of the rows and their labels in the menu.
    labels : callable
        Returns the label of a suite.
    still, alt
        See `attribution_explorer`.
    """
    table = []
    for row in rows:
        kept = {"suite": labels(row["suite"]), "cut": row["cut"]}
        for key in quantities:
            found = {one: _limits((row.get(key) or {}).get(one)) for one in parameters}
            kept[key] = {one: limits for one, limits in found.items() if limits}
        table.append(kept)
    data = {
        "kind": "scores",
        "rows": table,
        "parameters": list(parameters),
        "quantities": [{"key": key, "label": label} for key, label in quantities.items()],
        "colours": SERIES,
    }
    controls = _select("quantity", "quantity") + _select("parameter", "parameter")
    pictures = _chart("chart", '<span data-key="legend"></span>', "whole")
    hint = "Hover over a point, or enter the chart with Tab and use the arrow keys."
    return _element(data, controls, pictures, hint, still, alt)


def _limits(estimate):
    """Return [value, low, high], [value] without limits, or None without an estimate."""
    if not estimate or estimate.get("value") is None:
        return None
    found = [estimate["value"], estimate.get("low"), estimate.get("high")]
    return [round(float(one), 4) for one in (found if None not in found else found[:1])]


# --------------------------------------------------------------------------------------------------
# Parts of an element
# --------------------------------------------------------------------------------------------------
def _element(data, controls, pictures, hint, still, alt):
    """Return the HTML element of a figure; a page has at most one of each kind."""
    if len(alt) < MIN_ALT:
        raise ValueError(f"alternative text {alt!r} has fewer than {MIN_ALT} characters")
    name = f"{data['kind']}-explorer"  # unique on its page
    text = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")  # cannot end the script
    script = (FOLDER / "explorer.js").read_text(encoding="utf-8")
    style = (FOLDER / "explorer.css").read_text(encoding="utf-8")
    return f"""
<div class="explorer" id="{name}">
<style>{style}</style>
<div class="still"><img src="{_picture(still)}" alt="{html.escape(alt)}"></div>
<div class="live">
<div class="controls">{controls}</div>
<div class="pictures">{pictures}</div>
<output aria-live="polite">{hint}</output>
</div>
<script type="application/json">{text}</script>
<script>
({script})(document.getElementById({json.dumps(name)}));
</script>
</div>
"""


def _select(key, label):
    return f'<label>{label}<select data-key="{key}"></select></label>'


def _slider(label, n, start):
    return (
        f'<label class="wide">{label}<input type="range" data-key="step" min="0" max="{n - 1}" '
        f'step="1" value="{start}"></label>'
    )


def _map(key, caption, bar, ends):
    low, high = ends
    focus = 'tabindex="0" ' if key in ("density", "values") else ""
    return (
        f'<figure><canvas data-key="{key}" role="img" {focus}aria-label="{key}"></canvas>'
        f'<figcaption>{caption} <span class="bar"><span>{low}</span><canvas data-key="{bar}" '
        f'aria-hidden="true"></canvas><span>{high}</span></span></figcaption></figure>'
    )


def _density_map(marked):
    caption = f"density, log scale; turquoise: {marked}"
    return _map("map", caption, "densities", map(_power_of_ten, DENSITY_RANGE))


def _chart(key, caption, kind="chart"):
    # A chart with focusable points is a group for screen readers, any other chart an image.
    role = "group" if kind == "whole" else "img"
    return (
        f'<figure class="{kind}"><svg data-key="{key}" role="{role}" aria-label="{key}"></svg>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _picture(figure):
    """Return a figure as a data URL with 256 colours, which halves its size."""
    from PIL import Image  # a dependency of matplotlib

    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", dpi=110)
    plt.close(figure)
    Image.open(full).convert("RGB").quantize(256).save(small, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(small.getvalue()).decode()


def _small(maps, name="maps"):
    """Average maps to at most `MAX_SIDE` x `MAX_SIDE` pixels, with the last row first."""
    maps = checked_maps(maps, name, "bf")[0].astype(np.float64)
    factor = -(-maps.shape[-1] // MAX_SIDE)
    side = maps.shape[-1] // factor
    maps = maps[:, : side * factor, : side * factor]
    # The first index runs upwards in the figures, but downwards in an HTML canvas.
    return maps.reshape(len(maps), side, factor, side, factor).mean((2, 4))[:, ::-1]


def _relative(density, limits):
    """Scale the logarithm of a density to 0 and 1 at the limits."""
    low, high = np.log10(limits)
    return (np.log10(np.maximum(density, limits[0])) - low) / (high - low)


def _bytes(values, marked=None):
    """Encode values from 0 to 1 as bytes in base64; with `marked`, 255 is that mask's value."""
    top = 255 if marked is None else 254
    levels = np.round(np.clip(values, 0, 1) * top).astype(np.uint8)
    if marked is not None:
        levels[marked] = 255
    return base64.b64encode(levels.tobytes()).decode()


def _rounded(values):
    return [float(f"{value:.4g}") for value in values]


def _power_of_ten(value):
    digits, exponent = f"{value:.0e}".split("e")
    return f"{digits} · 10<sup>{int(exponent)}</sup>"


def _colours(name, marked=None):
    table = matplotlib.colormaps[name](np.arange(256))[:, :3]
    if marked is not None:
        table[:255] = matplotlib.colormaps[name](np.linspace(0, 1, 255))[:, :3]
        table[255] = matplotlib.colors.to_rgb(marked)
    return _bytes(table)
