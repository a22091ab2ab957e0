// Charts as files: a menu with PNG, SVG and CSV.

import { csvText } from "./csv.js";
import { disable, h, s } from "./dom.js";

const STYLES = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "opacity", "font-size", "font-weight", "text-anchor", "paint-order"];
const FONT = "system-ui, sans-serif";
const SCALE = 2; // pixels of a PNG per pixel on the page
const PADDING = 8;
let menus = 0;

/** A button that opens three others. `prefix()` starts the file names; `fail` shows an error. */
export function downloadMenu(chart, { prefix, fail }) {
  const id = `download-${++menus}`;
  const toggle = h("button.plain", { type: "button", "aria-expanded": "false", "aria-controls": id, "aria-label": `Download ${chart.title}`, title: "Download" }, "⤓");
  const kinds = { PNG: pngFile, SVG: svgFile, CSV: csvFile };
  const items = Object.entries(kinds).map(([kind, make]) =>
    h("button.plain", { type: "button", "aria-label": `Download ${chart.title} as ${kind}`, onclick: () => choose(kind, make) }, kind),
  );
  const list = h("div.menu-items", { id, hidden: true }, items);
  const element = h("div.menu", {}, toggle, list);

  function open(on) {
    list.hidden = !on;
    toggle.setAttribute("aria-expanded", String(on));
  }

  async function choose(kind, make) {
    open(false);
    toggle.focus();
    try {
      const name = [prefix(), slug(chart.title)].filter(Boolean).join("_");
      save(await make(chart), `${name}.${kind.toLowerCase()}`);
    } catch (error) {
      fail(error);
    }
  }

  toggle.addEventListener("click", () => open(list.hidden));
  element.addEventListener("focusout", ({ relatedTarget }) => !element.contains(relatedTarget) && open(false));
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || list.hidden) return;
    event.stopPropagation();
    open(false);
    toggle.focus();
  });
  return { element, allow: (on) => disable(toggle, on ? null : "No data yet") };
}

const slug = (title) => title.toLowerCase().replace(/\W+/g, "_");

function save(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

/** The points of all lines of a chart by x, the values that are smoothed on the page as they are. */
export function chartRows({ lines, references, view }) {
  const points = lines.map((line) => new Map(Array.from({ length: line.n }, (_, i) => [line.x[i], line.y[i]])));
  const xs = [...new Set(points.flatMap((each) => [...each.keys()]))].sort((a, b) => a - b);
  const constants = references.map(({ value }) => value);
  const head = [view.byTime ? "seconds" : "step", ...[...lines, ...references].map(({ label }) => label)];
  return [head, ...xs.map((x) => [x, ...points.map((each) => each.get(x)), ...constants])];
}

const csvFile = (chart) => new Blob([csvText(chartRows(chart))], { type: "text/csv" });

const svgFile = (chart) => new Blob([new XMLSerializer().serializeToString(chartSvg(chart))], { type: "image/svg+xml" });

async function pngFile(chart) {
  const picture = new Image();
  picture.src = URL.createObjectURL(svgFile(chart));
  await picture.decode();
  const canvas = h("canvas", { width: Math.round(picture.width * SCALE), height: Math.round(picture.height * SCALE) });
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(picture.src);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** The chart as it is on the page, with title and legend, in a document of its own. */
function chartSvg(chart) {
  const box = chart.element.getBoundingClientRect();
  const bottom = chart.plot.getBoundingClientRect().bottom - box.top;
  const [width, height] = [box.width + 2 * PADDING, bottom + 2 * PADDING];
  const heading = chart.element.querySelector("h3");
  const swatches = [...chart.legend.children].map((item) => [place(painted(item.querySelector("svg")), item.querySelector("svg"), box), text(item, box, 22)]);
  const plot = place(painted(chart.svg), chart.svg, box);
  plot.querySelectorAll(".cross, .brush").forEach((each) => each.remove());
  const paper = getComputedStyle(document.body).backgroundColor;
  const root = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "font-family": FONT });
  root.append(s("rect", { width, height, fill: paper }), s("g", { transform: `translate(${PADDING} ${PADDING})` }, text(heading, box), swatches, plot));
  return root;
}

/** A copy of `element` that looks alike without the style sheet. */
function painted(element) {
  const copy = element.cloneNode(true);
  const parts = [...copy.querySelectorAll("*")];
  element.querySelectorAll("*").forEach((part, i) => {
    const style = getComputedStyle(part);
    for (const name of STYLES) parts[i].setAttribute(name, style.getPropertyValue(name));
  });
  return copy;
}

function place(copy, element, box) {
  const { left, top } = element.getBoundingClientRect();
  copy.setAttribute("x", left - box.left);
  copy.setAttribute("y", top - box.top);
  return copy;
}

/** The text of an HTML element where it is on the page, `indent` pixels to the right. */
function text(element, box, indent = 0) {
  const [{ left, top, height }, style] = [element.getBoundingClientRect(), getComputedStyle(element)];
  const size = parseFloat(style.fontSize);
  const attributes = { x: left - box.left + indent, y: top - box.top + height / 2 + size * 0.35, fill: style.color, "font-size": size, "font-weight": style.fontWeight };
  return s("text", attributes, element.textContent);
}
