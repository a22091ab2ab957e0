// The test results of a finished run, as the terminal prints them.

import { get } from "../api.js";
import { byId, h, note } from "../dom.js";

const MISSING = "The test results appear here when the run has finished.";

export function mountResults(app) {
  const host = byId("results");
  let [shown, watched] = [null, null]; // the run whose results are shown; the last one seen running

  async function update({ run_id: run, running, outcome }) {
    if (running) watched = run;
    const ended = running || !outcome ? null : run;
    if (ended === shown) return;
    shown = ended;
    const { table } = ended === null ? {} : await get("/results").catch(() => ({}));
    if (ended !== shown) return;
    if (!table) {
      host.replaceChildren(note(MISSING));
      return;
    }
    if (watched === run) app.toast("The test results are under Results", "good");
    const [metrics, ...notes] = table.split("\n\n");
    host.replaceChildren(
      h("h3", {}, "Test results: accuracy in percent, next to baselines"),
      h("pre.scroll", { tabindex: "0", "aria-label": "Test results" }, metrics),
      ...notes.map((text) => h("p.hint", {}, text)),
    );
  }

  host.append(note(MISSING));
  app.on("status", update);
}
