// What a finished run came to on the test set, as the terminal shows it.

import { get } from "../api.js";
import { byId, h } from "../dom.js";

export function mountResults(app) {
  const host = byId("results");
  let shown = null;

  async function update({ run_id: run, running, outcome }) {
    if (run !== shown) host.hidden = true;
    if (running || outcome !== "finished" || run === shown) return;
    shown = run;
    const { table } = await get("/results").catch(() => ({}));
    if (!table) return;
    const [figures, ...notes] = table.split("\n\n");
    host.replaceChildren(
      h("h3", {}, "Tested: accuracies in percent, beside what knows less"),
      h("pre.scroll", { tabindex: "0", "aria-label": "Test figures" }, figures),
      ...notes.map((text) => h("p.hint", {}, text)),
    );
    host.hidden = false;
  }

  app.on("status", update);
}
