// Tables of numbers with shaded cells.

import { h, setText } from "./dom.js";

/**
 * A table with a row for each position. `rows`: cells {text, csv, title, share}, where a `share` of 1
 * is the darkest shade. The title of the cell under the pointer is shown in `readout`. With `turned`
 * the names of the columns are written upwards.
 */
export function heatTable({ caption, columns, rows, readout, turned = false }) {
  const head = h("tr", {}, h("th", { scope: "col" }, "position"), columns.map((name) => h("th", { scope: "col" }, turned ? h("span.turned", {}, name) : name)));
  const body = rows.map((cells, i) => h("tr", {}, h("th", { scope: "row" }, i + 1), cells.map(cellView)));
  const table = h("table.heat", {}, h("caption.vh", {}, caption), h("thead", {}, head), h("tbody", {}, body));
  table.addEventListener("pointerover", (event) => setText(readout, event.target.title ?? ""));
  table.addEventListener("pointerleave", () => setText(readout, ""));
  return table;
}

function cellView({ text, csv, title, share }) {
  const cell = h("td", { title, "data-csv": csv }, text);
  cell.style.setProperty("--share", `${Math.round(100 * Math.min(1, share))}%`);
  if (share > 0.65) cell.className = "strong";
  return cell;
}
