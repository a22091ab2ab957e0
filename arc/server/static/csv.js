// Tables as comma-separated values: the rows of a table on the page, and buttons that copy them.

import { actionButton, copyText, h } from "./dom.js";

/** CSV of rows of cells; null, undefined and NaN become empty cells. */
export const csvText = (rows) => rows.map((row) => `${row.map(quoted).join(",")}\n`).join("");

function quoted(value) {
  const text = value === null || value === undefined || Number.isNaN(value) ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * The cells of a table as strings, the header first. `data-csv` replaces the text of a cell that is
 * rounded or holds pictures; columns whose header has `data-csv-skip` are left out.
 */
export function tableRows(table) {
  const skipped = [...table.rows[0].cells].map((cell) => cell.dataset.csvSkip !== undefined);
  const text = (cell) => [(cell.dataset.csv ?? cell.textContent).trim(), ...new Array(cell.colSpan - 1).fill("")];
  return [...table.rows].map((row) => [...row.cells].flatMap(text).filter((_, i) => !skipped[i]));
}

/** A heading for `box` with a button that copies the table in it, while there is one. */
export function tableHeading(app, title, box, { level = "h3", rows = tableRows, more = [] } = {}) {
  const button = actionButton(
    "plain",
    "Copy CSV",
    async () => {
      const table = rows(box.querySelector("table"));
      await copyText(csvText(table));
      app.toast(`Copied ${table.length - 1} ${table.length === 2 ? "row" : "rows"} of ${title}`, "good");
    },
    app.fail,
  );
  button.setAttribute("aria-label", `Copy CSV of ${title}`);
  const show = () => (button.hidden = !box.querySelector("table"));
  new MutationObserver(show).observe(box, { childList: true });
  show();
  return h("div.toolbar", {}, h(level, {}, title), more, button);
}
