"""A gallery to explore: one HTML element that shows any map, parameter, method and baseline.

It needs no kernel, no network and no other file: the maps are in it as bytes and are drawn by a few
lines of script. Without a script its text points to the figures.
"""

from __future__ import annotations

import base64
import html
import json
from string import Template

import matplotlib
import numpy as np

MAX_SIDE = 64  # pixels: larger maps are averaged down, so that the page stays light

_PAGE = Template("""
<div class="attribution-explorer" id="$name">
<style>
#$name { margin: 1rem 0; }
#$name .controls { display: flex; flex-wrap: wrap; gap: .5rem 1rem; margin-bottom: .75rem; }
#$name label { display: flex; flex-direction: column; font-size: .85rem; max-width: 100%; }
#$name select { font: inherit; padding: .2rem; max-width: 100%; color: inherit;
  background: transparent; border: 1px solid currentColor; border-radius: .2rem; }
#$name option { color: #111; background: #fff; }
#$name .maps { display: flex; flex-wrap: wrap; gap: 1rem; }
#$name figure { margin: 0; flex: 1 1 15rem; max-width: 22rem; }
#$name canvas { width: 100%; aspect-ratio: 1; image-rendering: pixelated; cursor: crosshair; }
#$name figcaption, #$name output { font-size: .85rem; display: block; }
#$name .bar { display: flex; align-items: center; gap: .4rem; }
#$name .bar span { white-space: nowrap; }
#$name .bar canvas { height: .7rem; aspect-ratio: auto; flex: 1 1 0; min-width: 0; width: 0; }
</style>
<noscript><p>This gallery needs a script; the figures of this chapter show some of its maps.</p>
</noscript>
<div class="controls">
<label>map<select data-key="map"></select></label>
<label>parameter<select data-key="parameter"></select></label>
<label>method<select data-key="method"></select></label>
<label>baseline<select data-key="baseline"></select></label>
</div>
<div class="maps">
<figure><canvas data-key="density" role="img" tabindex="0" aria-label="density map"></canvas>
<figcaption>density, log scale
<span class="bar"><span>$low</span><canvas data-key="densities" aria-hidden="true"></canvas>
<span>$high</span></span></figcaption></figure>
<figure><canvas data-key="values" role="img" tabindex="0" aria-label="attribution map"></canvas>
<figcaption>attribution / its 99 % quantile
<span class="bar"><span>−1</span><canvas data-key="signs" aria-hidden="true"></canvas>
<span>1</span></span></figcaption></figure>
</div>
<output aria-live="polite">Point at a pixel, or move over a map with the arrow keys.</output>
<script type="application/json">$data</script>
<script>
(function () {
  "use strict";
  const root = document.getElementById("$name");
  const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  const get = (key) => root.querySelector("[data-key='" + key + "']");
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const n = data.grid, luts = { density: bytes(data.lut.density), values: bytes(data.lut.values) };
  let place = [n >> 1, n >> 1], shown = {};
  function paint(canvas, pixels, lut, width, height) {
    canvas.width = width; canvas.height = height;
    const context = canvas.getContext("2d"), image = context.createImageData(width, height);
    pixels.forEach((p, i) => {
      image.data.set([lut[3 * p], lut[3 * p + 1], lut[3 * p + 2], 255], 4 * i);
    });
    context.putImageData(image, 0, 0);
  }
  function fill(key, names) {
    const select = get(key), old = select.value;
    select.replaceChildren(...names.map((name) => new Option(name, name)));
    if (names.includes(old)) select.value = old;
    select.disabled = names.length < 2;
  }
  function unique(names) { return [...new Set(names)]; }
  function read() {
    const [row, column] = place, i = row * n + column;
    const step = data.box / n, up = n - 1 - row, sign = (shown.values[i] - 127.5) / 127.5;
    const log = data.low + (data.high - data.low) * shown.density[i] / 255;
    root.querySelector("output").textContent = "At (" + (column * step).toFixed(1) + ", " +
      (up * step).toFixed(1) + ") Mpc/h: density 10^" + log.toFixed(1) + ", attribution " +
      sign.toFixed(2) + " (1 = " + shown.scale.toPrecision(2) + " of the parameter's range)";
  }
  function draw() {
    const parameter = get("parameter").value;
    fill("method", unique(data.entries.filter((e) => e.parameter === parameter)
      .map((e) => e.method)));
    const method = get("method").value;
    fill("baseline", data.entries.filter((e) => e.parameter === parameter && e.method === method)
      .map((e) => e.baseline));
    const baseline = get("baseline").value;
    const entry = data.entries.find((e) => e.parameter === parameter && e.method === method &&
      e.baseline === baseline);
    const index = get("map").selectedIndex;
    shown = { density: bytes(data.density[index]), values: bytes(entry.values[index]),
      scale: entry.scales[index] };
    paint(get("density"), shown.density, luts.density, n, n);
    paint(get("values"), shown.values, luts.values, n, n);
    get("density").setAttribute("aria-label", "density of " + get("map").value);
    get("values").setAttribute("aria-label", method + " of " + parameter + ", baseline " +
      baseline + ", on " + get("map").value);
  }
  fill("map", data.titles);
  fill("parameter", unique(data.entries.map((e) => e.parameter)));
  const ramp = Uint8Array.from({ length: 256 }, (_, i) => i);
  paint(get("densities"), ramp, luts.density, 256, 1);
  paint(get("signs"), ramp, luts.values, 256, 1);
  root.querySelectorAll("select").forEach((s) => s.addEventListener("change", () => {
    draw(); read();
  }));
  ["density", "values"].forEach((key) => {
    const canvas = get(key);
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect(), clip = (v) => Math.min(n - 1, Math.max(0, v));
      place = [clip(Math.floor((event.clientY - box.top) / box.height * n)),
        clip(Math.floor((event.clientX - box.left) / box.width * n))];
      read();
    });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      if (!(event.key in step)) return;
      event.preventDefault();
      place = place.map((p, axis) => (p + step[event.key][axis] + n) % n);
      read();
    });
  });
  draw();
})();
</script>
</div>
""")


def explorer(density, entries, titles, box_size, limits, name="attribution-explorer") -> str:
    """Return the gallery as HTML.

    Parameters
    ----------
    density : (m, N, N)
        Maps [(Msun/h)/(Mpc/h)^2].
    entries : dict of (str, str, str) to (m, N, N)
        Signed attributions by parameter, method and baseline, as the menus name them.
    titles : list of str
        One a map.
    box_size : float
        [Mpc/h]
    limits : (float, float)
        Densities at the ends of the colours.
    name : str
        Of the element, unique on its page.

    Returns
    -------
    str
        About N^2 bytes a map and a third, for each entry; N is at most `MAX_SIDE`.

    Raises
    ------
    ValueError
        Shapes that do not fit.
    """
    density = _small(density)
    low, high = np.log10(limits)
    dense = (np.log10(np.maximum(density, limits[0])) - low) / (high - low)
    tables = []
    for (parameter, method, baseline), values in entries.items():
        values = _small(values)
        if values.shape != density.shape or len(titles) != len(density):
            raise ValueError(
                f"{method}: found {values.shape} attributions and {len(titles)} titles, "
                f"expected those of maps {density.shape}"
            )
        scales = np.quantile(np.abs(values), 0.99, axis=(1, 2))
        scaled = values / np.where(scales > 0, scales, 1)[:, None, None]
        tables.append(
            {
                "parameter": parameter,
                "method": method,
                "baseline": baseline,
                "scales": [float(f"{scale:.3g}") for scale in scales],
                "values": [_bytes(one) for one in (scaled + 1) / 2],
            }
        )
    data = {
        "grid": density.shape[-1],
        "box": float(box_size),
        "low": float(low),
        "high": float(high),
        "titles": list(titles),
        "density": [_bytes(one) for one in dense],
        "entries": tables,
        "lut": {"density": _colours("inferno"), "values": _colours("RdBu_r")},
    }
    text = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")  # may not end the script
    ends = {key: _power_of_ten(limit) for key, limit in zip(("low", "high"), limits, strict=True)}
    return _PAGE.substitute(name=html.escape(name), data=text, **ends)


def _small(maps):
    """Average maps down to `MAX_SIDE` pixels a side, the last row first."""
    maps = np.asarray(maps, np.float64)
    if maps.ndim != 3 or maps.shape[1] != maps.shape[2]:
        raise ValueError(f"maps: found shape {maps.shape}, expected (m, N, N)")
    factor = -(-maps.shape[-1] // MAX_SIDE)
    side = maps.shape[-1] // factor
    maps = maps[:, : side * factor, : side * factor]
    # As in the figures, the first index runs upwards; the bytes of an image run down.
    return maps.reshape(len(maps), side, factor, side, factor).mean((2, 4))[:, ::-1]


def _bytes(values):
    """0 to 1 as base64 of one byte a pixel."""
    levels = np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return base64.b64encode(levels.tobytes()).decode()


def _power_of_ten(value):
    digits, exponent = f"{value:.0e}".split("e")
    return f"{digits} · 10<sup>{int(exponent)}</sup>"


def _colours(name):
    return _bytes(matplotlib.colormaps[name](np.arange(256))[:, :3])
