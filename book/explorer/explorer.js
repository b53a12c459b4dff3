// Draw the interactive figures of book/explorer/explorer.py, with one function per kind of figure.
// The argument is the element, which contains the data as JSON; without this script its static
// picture is shown. All maps, masks, spectra and shares are computed in Python.
function explore(root) {
  "use strict";
  const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  const get = (key) => root.querySelector("[data-key='" + key + "']");
  const output = root.querySelector("output");
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const unique = (names) => [...new Set(names)];

  function paint(canvas, pixels, lut, width, height) {
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d"), image = context.createImageData(width, height);
    pixels.forEach((p, i) => {
      image.data.set([lut[3 * p], lut[3 * p + 1], lut[3 * p + 2], 255], 4 * i);
    });
    context.putImageData(image, 0, 0);
  }

  function ramp(key, lut) {
    paint(get(key), Uint8Array.from({ length: 255 }, (_, i) => i), lut, 255, 1);
  }

  function fill(key, names) {
    const select = get(key), old = select.value;
    select.replaceChildren(...names.map((name) => new Option(name, name)));
    if (names.includes(old)) select.value = old;
    select.disabled = names.length < 2;
  }

  function shape(parent, name, attributes, text) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  }

  // Draw empty axes that fill the figure; return functions that convert data to pixels.
  function chart(svg, height, x, y, margin) {
    const width = Math.max(svg.parentElement.clientWidth, 200);
    svg.replaceChildren();
    svg.setAttribute("viewBox", "0 0 " + width + " " + height);
    const scale = (axis, from, to) => (v) =>
      from + (axis.map(v) - axis.map(axis.low)) / (axis.map(axis.high) - axis.map(axis.low)) *
      (to - from);
    const px = scale(x, margin.left, width - margin.right);
    const py = scale(y, height - margin.bottom, margin.top);
    const line = { stroke: "currentColor", "stroke-width": 0.8, fill: "none" };
    const base = height - margin.bottom;
    shape(svg, "path", { ...line, d: "M" + margin.left + " " + margin.top + "V" + base +
      "H" + (width - margin.right) });
    for (const v of x.ticks) {
      shape(svg, "path", { ...line, d: "M" + px(v) + " " + base + "v4" });
      shape(svg, "text", { x: px(v), y: base + 16, "text-anchor": "middle" }, String(v));
    }
    for (const v of y.ticks || []) {
      shape(svg, "path", { ...line, d: "M" + margin.left + " " + py(v) + "h-4" });
      shape(svg, "text", { x: margin.left - 6, y: py(v) + 4, "text-anchor": "end" }, y.format(v));
    }
    shape(svg, "text", { x: (margin.left + width - margin.right) / 2, y: height - 4,
      "text-anchor": "middle" }, x.label);
    return { px, py, width, base };
  }

  const log = Math.log10, same = (v) => v;
  const power = (e) => "10" + [...String(e)].map((c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)])
    .join("");
  const path = (points) => points.map(([a, b], i) => (i ? "L" : "M") + a.toFixed(1) + " " +
    b.toFixed(1)).join("");

  // Draw a curve, with values clipped to the floor of the axis.
  function curve(svg, at, k, values, floor, style) {
    shape(svg, "path", { fill: "none", "stroke-width": 2, ...style,
      d: path(k.map((v, i) => [at.px(v), at.py(Math.max(values[i], floor))])) });
  }

  function redrawn(draw) {
    draw();
    let width = root.clientWidth;
    new ResizeObserver(() => {
      if (root.clientWidth !== width) { width = root.clientWidth; draw(); }
    }).observe(root);
  }

  const kinds = {};

  // Density and attribution of a map, by parameter, method and baseline.
  kinds.attribution = function () {
    const n = data.grid, luts = { density: bytes(data.lut.density), values: bytes(data.lut.values) };
    let place = [n >> 1, n >> 1], shown = {};
    function read() {
      const [row, column] = place, i = row * n + column;
      const step = data.box / n, up = n - 1 - row, sign = (shown.values[i] - 127.5) / 127.5;
      const level = data.low + (data.high - data.low) * shown.density[i] / 255;
      output.textContent = "At (" + (column * step).toFixed(1) + ", " +
        (up * step).toFixed(1) + ") Mpc/h: density 10^" + level.toFixed(1) + ", attribution " +
        sign.toFixed(2) + " (1 = " + shown.scale.toPrecision(2) + " of the parameter's range)";
    }
    function draw() {
      const parameter = get("parameter").value;
      fill("method", unique(data.entries.filter((e) => e.parameter === parameter)
        .map((e) => e.method)));
      const method = get("method").value;
      fill("baseline", data.entries.filter((e) => e.parameter === parameter &&
        e.method === method).map((e) => e.baseline));
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
    ramp("densities", luts.density);
    ramp("signs", luts.values);
    root.querySelectorAll("select").forEach((s) => s.addEventListener("change", () => {
      draw();
      read();
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
        const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1],
          ArrowRight: [0, 1] };
        if (!(event.key in step)) return;
        event.preventDefault();
        place = place.map((p, axis) => (p + step[event.key][axis] + n) % n);
        read();
      });
    });
    draw();
  };

  // A map under a sharp low-pass filter, and its spectrum.
  kinds.scales = function () {
    const slider = get("step"), lut = bytes(data.lut), n = data.grid, s = data.spectrum;
    const floor = Math.min(...s.before) / 30;
    const x = { low: s.k[0], high: s.k[s.k.length - 1], map: log, label: "k [h/Mpc]",
      ticks: [0.3, 0.5, 1, 2, 4, 8, 16, 32].filter((v) => v >= s.k[0] && v <= s.k[s.k.length - 1]) };
    const y = { low: floor, high: Math.max(...s.before) * 2, map: log, ticks: [],
      format: (v) => power(Math.round(log(v))) };
    for (let e = Math.ceil(log(y.low)); e <= log(y.high); e++) y.ticks.push(10 ** e);
    function draw() {
      const step = slider.valueAsNumber, svg = get("spectrum");
      paint(get("map"), bytes(data.frames[step]), lut, n, n);
      const at = chart(svg, 260, x, y, { left: 44, right: 8, top: 8, bottom: 36 });
      curve(svg, at, s.k, s.before, floor, { stroke: "currentColor", "stroke-dasharray": "5 3" });
      curve(svg, at, s.k, s.after[step], floor, { stroke: data.colour });
      const edge = Math.min(data.edges[step], x.high);
      shape(svg, "path", { stroke: "currentColor", "stroke-width": 0.8, d: "M" + at.px(edge) +
        " " + 8 + "V" + at.base });
      get("map").setAttribute("aria-label", "map with " + data.names[step]);
      svg.setAttribute("aria-label", "power spectrum before and after " + data.names[step]);
      slider.setAttribute("aria-valuetext", data.names[step]);
      output.textContent = data.texts[step];
    }
    ramp("densities", lut);
    slider.addEventListener("input", draw);
    redrawn(draw);
  };

  // The pixels of a map above or below a threshold, on the map and in its PDF.
  kinds.densities = function () {
    const slider = get("step"), lut = bytes(data.lut), n = data.grid;
    const levels = bytes(data.levels), passed = bytes(data.passed), e = data.edges;
    const x = { low: e[0], high: e[e.length - 1], map: same, label: "log₁₀(1 + overdensity)",
      ticks: [-2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 2.5].filter((v) => v >= e[0] &&
        v <= e[e.length - 1]) };
    const y = { low: 0, high: Math.max(...data.pdf) * 1.05, map: same };
    function draw() {
      const step = slider.valueAsNumber, above = get("side").selectedIndex === 0;
      const side = data.sides[above ? 0 : 1], svg = get("pdf");
      // passed[i] is the number of thresholds that pixel i exceeds.
      const pixels = levels.map((v, i) => (above === passed[i] > step ? 255 : v));
      paint(get("map"), pixels, lut, n, n);
      const at = chart(svg, 260, x, y, { left: 8, right: 8, top: 8, bottom: 36 });
      data.pdf.forEach((value, i) => {
        const cut = above ? i >= step : i < step;
        shape(svg, "rect", { x: at.px(e[i]), width: at.px(e[i + 1]) - at.px(e[i]),
          y: at.py(value), height: at.base - at.py(value), stroke: "currentColor",
          "stroke-width": 0.4, fill: cut ? data.colour : "none" });
      });
      shape(svg, "path", { stroke: "currentColor", "stroke-width": 1.6, d: "M" + at.px(e[step]) +
        " " + 8 + "V" + at.base });
      get("map").setAttribute("aria-label", "map with the pixels cut by " + side.names[step]);
      svg.setAttribute("aria-label", "pixel distribution, cut by " + side.names[step]);
      slider.setAttribute("aria-valuetext", side.names[step]);
      output.textContent = side.texts[step];
    }
    fill("side", data.sides.map((side) => side.title));
    ramp("densities", lut);
    slider.addEventListener("input", draw);
    get("side").addEventListener("change", draw);
    redrawn(draw);
  };

  // R2, or a difference in R2, for every cut and suite, with intervals.
  kinds.scores = function () {
    const svg = get("chart"), cuts = unique(data.rows.map((row) => row.cut));
    const suites = unique(data.rows.map((row) => row.suite)), height = 22 * cuts.length + 60;
    let current = 0;
    function draw() {
      const quantity = data.quantities[get("quantity").selectedIndex];
      const parameter = get("parameter").value;
      const rows = data.rows.filter((row) => row[quantity.key][parameter]);
      const values = rows.flatMap((row) => row[quantity.key][parameter]);
      const low = Math.max(-1, Math.min(0, ...values)), high = Math.max(0.2, ...values);
      const step = high - low > 1 ? 0.5 : high - low > 0.5 ? 0.2 : 0.1, ticks = [];
      for (let i = Math.ceil(low / step); i <= high / step; i++) ticks.push(+(i * step).toFixed(1));
      const left = 8 + 6.6 * Math.max(...cuts.map((cut) => cut.length));
      const x = { low, high, map: same, label: quantity.label + " of " + parameter, ticks };
      const y = { low: cuts.length - 0.4, high: -0.6, map: same, format: (i) => cuts[i],
        ticks: cuts.map((_, i) => i) };
      const at = chart(svg, height, x, y, { left, right: 12, top: 4, bottom: 36 });
      shape(svg, "path", { stroke: "currentColor", "stroke-width": 0.5, "stroke-dasharray": "2 3",
        d: "M" + at.px(0) + " 4V" + at.base });
      const points = rows.map((row) => {
        const [value, lower, upper] = row[quantity.key][parameter];
        const series = suites.indexOf(row.suite), clip = (v) => at.px(Math.max(low, v));
        const py = at.py(cuts.indexOf(row.cut)) + 7 * (series - (suites.length - 1) / 2);
        const text = row.suite + ", " + row.cut + ": " + quantity.label + " of " + parameter +
          " = " + value.toFixed(2) + (lower === undefined ? "" :
          " [" + lower.toFixed(2) + ", " + upper.toFixed(2) + "]");
        const point = shape(svg, "g", { role: "img", tabindex: -1, "aria-label": text });
        const colour = data.colours[series % data.colours.length];
        if (lower !== undefined)
          shape(point, "path", { stroke: colour, "stroke-width": 1.6, d: "M" + clip(lower) + " " +
            py + "H" + clip(upper) });
        if (series % 2) shape(point, "rect", { x: clip(value) - 3.5, y: py - 3.5, width: 7,
          height: 7, fill: colour });
        else shape(point, "circle", { cx: clip(value), cy: py, r: 4, fill: colour });
        shape(point, "rect", { x: clip(lower ?? value) - 8, y: py - 4, height: 8, fill: "transparent",
          width: Math.max(16, clip(upper ?? value) - clip(lower ?? value) + 16) });
        point.addEventListener("pointerenter", () => { output.textContent = text; });
        point.addEventListener("focus", () => { output.textContent = text; });
        return point;
      });
      // Tab enters the chart; the arrow keys move from point to point.
      current = Math.min(current, points.length - 1);
      points[current]?.setAttribute("tabindex", 0);
      points.forEach((point, i) => point.addEventListener("keydown", (event) => {
        const by = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
        if (!by) return;
        event.preventDefault();
        point.setAttribute("tabindex", -1);
        current = (i + by + points.length) % points.length;
        points[current].setAttribute("tabindex", 0);
        points[current].focus();
      }));
    }
    fill("quantity", data.quantities.map((quantity) => quantity.label));
    fill("parameter", data.parameters);
    get("legend").replaceChildren(...suites.flatMap((suite, i) => {
      const mark = document.createElement("span");
      mark.style.color = data.colours[i % data.colours.length];
      mark.textContent = i % 2 ? "■ " : "● ";
      mark.setAttribute("aria-hidden", "true");
      return [mark, suite + "  "];
    }));
    svg.setAttribute("aria-label", "points with intervals, one row per cut; enter with Tab, move with the arrow keys");
    root.querySelectorAll("select").forEach((s) => s.addEventListener("change", () => {
      draw();
      output.textContent = "";
    }));
    redrawn(draw);
  };

  root.classList.add("on"); // first, because a hidden figure has no width
  try {
    kinds[data.kind]();
  } catch (error) {
    root.classList.remove("on");
    throw error;
  }
}
