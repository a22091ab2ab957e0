// An SVG line chart: the raw range faint under a smoothed line, dashed reference lines with labels,
// a crosshair with values in the legend, zoom by dragging, keyboard support, download.

import { h, s, setText } from "./dom.js";
import { downloadMenu } from "./export.js";
import { figure } from "./format.js";
import { area, extent, lowerBound, path, smooth } from "./series.js";
import { spread, xLabel, xTicks, yScale } from "./scale.js";

const MARGIN = { left: 44, right: 10, top: 8, bottom: 20 };
const DOTS = 60; // lines of at most this many points also show them

export class Chart {
  static #made = 0; // charts of two tabs may have the same title

  /**
   * `view` is shared by all charts: {byTime, smoothing, range: [x0, x1], zoomed}; `on` has
   * hover(x or null), zoom(x0, x1 or null), and prefix() and fail(error) for downloads. `tools`:
   * extra controls for the header.
   */
  constructor({ title, unit, view, on, bounds = [-Infinity, Infinity], tools = [] }) {
    Object.assign(this, { title, unit, view, on, bounds, log: false, lines: [], references: [] });
    this.menu = downloadMenu(this, on);
    this.legend = h("ul.legend");
    this.where = h("span.where");
    this.summary = h("p.summary", { id: `chart-${++Chart.#made}` });
    this.svg = s("svg", { "aria-hidden": "true" });
    this.plot = h("div.plot", {
      tabindex: "0",
      role: "group",
      "aria-roledescription": "chart",
      "aria-label": `${title}. Left and right move the crosshair, plus and minus zoom, 0 shows all.`,
      "aria-describedby": this.summary.id,
    });
    this.plot.append(this.svg);
    this.spoken = h("p.vh", { "aria-live": "polite" });
    const head = h("div.chart-head", {}, h("h3", {}, title, unit && h("small", {}, ` ${unit}`)), this.where, ...tools, this.menu.element);
    this.element = h("figure.chart", {}, head, this.legend, this.plot, h("figcaption", {}, this.summary), this.spoken);
    this.grid = s("g", { class: "axes" });
    this.curves = s("svg", {}); // an inner svg clips to the plot
    this.marks = s("g", { class: "marks" });
    this.cross = s("g", { class: "cross" });
    this.brush = s("rect", { class: "brush", y: MARGIN.top, width: 0 });
    this.svg.append(this.grid, this.curves, this.marks, this.brush, this.cross);
    this.size = [0, 0]; // from ResizeObserver: reading it would force a layout for each chart
    new ResizeObserver(([{ contentRect }]) => this.#resize(contentRect)).observe(this.plot);
    this.#listen();
  }

  /**
   * `lines`: [{label, style, x, y, least, most, n, raw}], columns sorted by x; `raw` lines are
   * smoothed; with `band`, the range from least to most is filled. `references`: [{label, value}]. `empty`: the text without data.
   */
  update(lines, references, summary, empty) {
    this.lines = lines.filter((line) => line.n > 0);
    this.references = references;
    this.empty = empty;
    setText(this.summary, summary);
    this.menu.allow(this.lines.length > 0);
    this.draw();
  }

  draw() {
    const [width, height] = this.size;
    if (!width || !height) return;
    const [x0, x1] = this.view.range;
    const inner = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
    const scale = (inner.right - inner.left) / (x1 - x0 || 1);
    this.px = (x) => inner.left + (x - x0) * scale;
    this.inner = inner;
    this.#clip(inner);
    this.plot.classList.toggle("empty", !this.lines.length);
    this.plot.dataset.empty = this.empty ?? "";
    if (!this.lines.length) {
      for (const part of [this.grid, this.curves, this.marks]) part.replaceChildren();
      this.#legend(null);
      return;
    }
    const windows = this.lines.map((line) => [
      Math.max(0, lowerBound(line.x, line.n, x0) - 1),
      Math.min(line.n, lowerBound(line.x, line.n, x1) + 1),
    ]);
    const y = yScale(...this.#domain(windows), inner.top, inner.bottom, this.log);
    this.py = y.map;
    this.#axes(y.ticks, xTicks(x0, x1, (inner.right - inner.left) / 80, this.view.byTime));
    this.curves.replaceChildren(...this.lines.flatMap((line, i) => this.#curve(line, ...windows[i])));
    this.#names();
    this.hover(this.view.hover ?? null);
  }

  /** Put the crosshair at `x`; null removes it. */
  hover(x) {
    this.cross.replaceChildren();
    if (x !== null && this.lines.length && this.py) {
      const at = this.px(x);
      this.cross.append(s("line", { x1: at, x2: at, y1: this.inner.top, y2: this.inner.bottom }));
      for (const line of this.lines) {
        const i = nearest(line, x);
        const value = line.shown[i];
        if (value === value) {
          this.cross.append(s("circle", { class: line.style, cx: this.px(line.x[i]), cy: this.py(value), r: 3 }));
        }
      }
    }
    this.#legend(x);
  }

  #resize({ width, height }) {
    this.size = [width, height];
    this.svg.setAttribute("width", width);
    this.svg.setAttribute("height", height);
    this.draw();
  }

  #clip({ left, right, top, bottom }) {
    const box = { x: left - 3, y: top - 3, width: right - left + 6, height: bottom - top + 6 };
    for (const [name, value] of Object.entries(box)) this.curves.setAttribute(name, value);
    this.curves.setAttribute("viewBox", Object.values(box).join(" "));
  }

  #domain(windows) {
    const positive = this.log;
    let [low, high] = [Infinity, -Infinity];
    this.lines.forEach((line, k) => {
      const [a, b] = extent(line.least, line.most, ...windows[k], positive);
      if (a < low) low = a;
      if (b > high) high = b;
    });
    for (const { value } of this.references) {
      if (positive && value <= 0) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    if (low > high) return positive ? [0.1, 10] : [0, 1];
    if (positive) return low === high ? [low / 2, high * 2] : [low / 1.05, high * 1.05];
    const air = (high - low || Math.abs(high) || 1) * 0.06;
    return [Math.max(low - air, Math.min(low, this.bounds[0])), Math.min(high + air, Math.max(high, this.bounds[1]))];
  }

  #axes(yTicks, xTickValues) {
    const { left, right, top, bottom } = this.inner;
    const rows = yTicks.flatMap((tick) => {
      const y = Math.round(this.py(tick)) + 0.5;
      return [s("line", { x1: left, x2: right, y1: y, y2: y }), s("text", { x: left - 6, y: y + 3.5, class: "end" }, figure(tick))];
    });
    const columns = xTickValues.map((tick) => {
      const x = Math.min(this.px(tick), right);
      const anchor = x > right - 16 ? "end" : x < left + 12 ? "start" : "middle";
      return s("text", { x, y: bottom + 14, class: anchor }, xLabel(tick, this.view.byTime));
    });
    const base = s("line", { class: "base", x1: left, x2: right, y1: bottom + 0.5, y2: bottom + 0.5 });
    this.grid.replaceChildren(...rows, ...columns, base, s("line", { class: "edge", x1: left, x2: left, y1: top, y2: top }));
  }

  #curve(line, from, to) {
    const [x0, x1] = this.view.range;
    const smoothed = line.raw && this.view.smoothing > 0;
    line.shown = smoothed ? smooth(line.x, line.y, line.n, this.view.smoothing, x0, x1) : line.y;
    const parts = [];
    const add = (style, y, least, most) =>
      parts.push(s("path", { class: style, d: path(line.x, y, least, most, from, to, this.px, this.py) }));
    if (line.band) parts.push(s("path", { class: `${line.style} band`, d: area(line.x, line.least, line.most, from, to, this.px, this.py) }));
    if (smoothed) add(`${line.style} raw`, line.y, line.least, line.most);
    if (smoothed) add(line.style, line.shown, line.shown, line.shown);
    else if (line.band) add(line.style, line.y, line.y, line.y);
    else add(line.style, line.y, line.least, line.most);
    if (!line.raw && to - from <= DOTS) {
      for (let i = from; i < to; i++) {
        const inside = line.x[i] >= x0 && line.x[i] <= x1 && line.y[i] === line.y[i];
        if (inside) parts.push(s("circle", { class: line.style, cx: this.px(line.x[i]), cy: this.py(line.y[i]), r: 2 }));
      }
    }
    return parts;
  }

  #names() {
    const { left, right, top, bottom } = this.inner;
    const shown = this.references.filter(({ value }) => !this.log || value > 0);
    const rules = shown.map(({ value }) => s("line", { x1: left, x2: right, y1: this.py(value), y2: this.py(value) }));
    const beside = (y) => (y - 3 < top + 8 ? y + 10 : y - 3); // above its line, or below one at the top
    const labels = spread(shown.map((each) => ({ ...each, y: beside(this.py(each.value)) })), 13, top + 8, bottom - 2);
    const texts = labels.map(({ label, value, y }) => s("text", { x: right - 3, y, class: "end" }, `${label} ${figure(value, 3)}`));
    this.marks.replaceChildren(...rules, ...texts);
  }

  #legend(x) {
    const items = this.lines.map((line) => {
      const i = x === null ? lastFinite(line) : nearest(line, x);
      const value = figure(i < 0 ? NaN : line.shown?.[i] ?? line.y[i]);
      const swatch = s("svg", { width: 18, height: 8, "aria-hidden": "true" }, s("path", { class: line.style, d: "M1 4H17" }));
      const smoothed = line.raw && this.view.smoothing > 0;
      return h("li", {}, swatch, `${line.label}${smoothed ? " (smoothed)" : ""} `, h("b", {}, value));
    });
    const where = x === null ? "" : `${this.view.byTime ? "at" : "step"} ${xLabel(x, this.view.byTime)}`;
    this.legend.replaceChildren(...items);
    setText(this.where, where);
    return items.map((item) => item.textContent).join(", ") + (where && `, ${where}`);
  }

  #listen() {
    const toX = (event) => {
      const box = this.plot.getBoundingClientRect();
      const { left, right } = this.inner;
      const share = (event.clientX - box.left - left) / (right - left);
      const [x0, x1] = this.view.range;
      return x0 + Math.min(1, Math.max(0, share)) * (x1 - x0);
    };
    let start = null;
    this.plot.addEventListener("pointermove", (event) => {
      if (!this.lines.length) return;
      const x = toX(event);
      this.on.hover(x);
      if (start === null) return;
      const [a, b] = [this.px(Math.min(start, x)), this.px(Math.max(start, x))];
      this.#brush(a, b - a);
    });
    this.plot.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "mouse" && event.button === 0 && this.lines.length) start = toX(event);
      else if (this.lines.length) this.on.hover(toX(event));
    });
    const finish = (event) => {
      if (start === null) return;
      const [a, b] = [start, toX(event)].sort((p, q) => p - q);
      start = null;
      this.#brush(0, 0);
      if (this.px(b) - this.px(a) > 6) this.on.zoom([a, b]);
    };
    window.addEventListener("pointerup", finish);
    this.plot.addEventListener("pointerleave", () => this.on.hover(null));
    this.plot.addEventListener("blur", () => this.on.hover(null));
    this.plot.addEventListener("dblclick", () => this.on.zoom(null));
    this.plot.addEventListener("keydown", (event) => this.#key(event));
  }

  #brush(x, width) {
    this.brush.setAttribute("x", x);
    this.brush.setAttribute("width", width);
    this.brush.setAttribute("height", this.inner.bottom - this.inner.top);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.lines.length) return;
    const [x0, x1] = this.view.range;
    const at = this.view.hover ?? x1;
    const stride = ((x1 - x0) / 100) * (event.shiftKey ? 10 : 1);
    const half = { "+": 0.25, "=": 0.25, "-": 1 }[event.key];
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      const x = Math.min(x1, Math.max(x0, at + (event.key === "ArrowLeft" ? -stride : stride)));
      this.on.hover(x);
      setText(this.spoken, this.#legend(x));
    } else if (half) this.on.zoom([at - half * (x1 - x0), at + half * (x1 - x0)]);
    else if (event.key === "0") this.on.zoom(null);
    else if (event.key === "Escape") this.on.hover(null);
    else return;
    event.preventDefault();
  }
}

/** The row nearest to `x` in a line. */
function nearest(line, x) {
  const i = lowerBound(line.x, line.n, x);
  if (i === 0) return 0;
  return i < line.n && line.x[i] - x < x - line.x[i - 1] ? i : i - 1;
}

function lastFinite(line) {
  let i = line.n - 1;
  while (i >= 0 && line.y[i] !== line.y[i]) i--;
  return i;
}
