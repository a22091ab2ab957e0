// The test results of a finished run, with the rows that the terminal prints.

import { get } from "../api.js";
import { tableHeading } from "../csv.js";
import { byId, h, note, scrollBox } from "../dom.js";
import { integer, percent } from "../format.js";

const MISSING = "The test results appear here when the run has finished.";

export function mountResults(app) {
  const host = byId("results");
  let [shown, watched] = [null, null]; // the run whose results are shown; the last one seen running

  async function update({ run_id: run, running, outcome }) {
    if (running) watched = run;
    const ended = running || !outcome ? null : run;
    if (ended === shown) return;
    shown = ended;
    const answer = ended === null ? {} : await get("/results").catch(() => null);
    if (ended !== shown) return;
    if (!answer) shown = null; // the next status asks again
    const { table, rows } = answer ?? {};
    if (!table) {
      host.replaceChildren(note(MISSING));
      return;
    }
    if (watched === run) app.toast("The test results are under Results", "good");
    const notes = table.split("\n\n").slice(rows.length ? 1 : 0);
    const box = scrollBox("Test results");
    if (rows.length) box.append(tableOf(rows));
    host.replaceChildren(
      tableHeading(app, "Test results", box, { more: [h("span.hint", {}, "accuracy in percent with its 95 % interval, next to baselines")], rows: () => csvRows(rows) }),
      rows.length ? box : "",
      ...notes.map((text) => h("p.hint", {}, text)),
    );
  }

  host.append(note(MISSING));
  app.on("status", update);
}

const baselinesOf = (rows) => [...new Set(rows.flatMap((row) => Object.keys(row.baselines)))];

/** The table with the ends of the interval in columns of their own. */
function csvRows(rows) {
  const baselines = baselinesOf(rows);
  const cells = (row) => [row.set, row.metric, row.accuracy, ...(row.interval ?? [null, null]), row.targets, ...baselines.map((name) => row.baselines[name])];
  return [["set", "metric", "accuracy", "low", "high", "targets", ...baselines], ...rows.map(cells)];
}

function tableOf(rows) {
  const baselines = baselinesOf(rows);
  const titles = ["set", "metric", "accuracy", "targets", ...baselines];
  const head = titles.map((title, i) => h(`th${i > 1 ? ".number" : ""}`, { scope: "col" }, title));
  const body = rows.map((row) =>
    h(
      "tr",
      {},
      h("td", {}, row.set),
      h("td", {}, row.metric),
      h("td.number", {}, percent(row.accuracy), row.interval && h("small", {}, row.interval.map((end) => percent(end)).join("–"))),
      h("td.number", {}, integer(row.targets)),
      baselines.map((name) => h("td.number", {}, percent(row.baselines[name]))),
    ),
  );
  return h("table.rows", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, body));
}
