// The test results of a finished run, with the rows that the terminal prints.

import { get } from "../api.js";
import { byId, h, note } from "../dom.js";
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
    const { table, rows } = ended === null ? {} : await get("/results").catch(() => ({}));
    if (ended !== shown) return;
    if (!table) {
      host.replaceChildren(note(MISSING));
      return;
    }
    if (watched === run) app.toast("The test results are under Results", "good");
    const notes = table.split("\n\n").slice(rows.length ? 1 : 0);
    host.replaceChildren(
      h("h3", {}, "Test results: accuracy in percent with its 95 % interval, next to baselines"),
      rows.length ? h("div.scroll", { tabindex: "0", "aria-label": "Test results" }, tableOf(rows)) : "",
      ...notes.map((text) => h("p.hint", {}, text)),
    );
  }

  host.append(note(MISSING));
  app.on("status", update);
}

function tableOf(rows) {
  const baselines = [...new Set(rows.flatMap((row) => Object.keys(row.baselines)))];
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
