// Message statistics: how often each message is sent, for which grids, and symbol use by position.

import { get } from "../api.js";
import { byId, h, note, setText } from "../dom.js";
import { integer, percent } from "../format.js";
import { gridView } from "../grid.js";
import { messageView } from "../message.js";
import { poll } from "../poll.js";

const FIRST = 40;

export function mountLanguage(app, tab) {
  const host = byId("language");
  const state = h("p.summary", { role: "status" });
  const readout = h("p.hint.readout");
  const [heat, table] = [h("div.scroll"), h("div.scroll")];
  host.append(state, h("h3", {}, "Symbol use by position"), heat, readout, h("h3", {}, "Messages"), table);
  let shown = null;
  let all = false;
  let latest = null;

  async function load() {
    if (!latest) show(note("Waiting for the model …"));
    const answer = await get("/language").catch((error) => {
      if (shown === null) show(note(error.message, error.status === 409 ? "" : "bad"));
      throw error;
    });
    const stamp = `${answer.run_id} ${answer.step}`;
    if (stamp === shown && latest) return;
    shown = stamp;
    latest = answer;
    render();
  }

  function show(message) {
    setText(state, "");
    heat.replaceChildren(message);
    table.replaceChildren();
    setText(readout, "");
  }

  function render() {
    const { messages = [], positions = [], distinct, total, step } = latest;
    if (!messages.length) {
      const vector = app.status?.running && (app.status.vocab_size ?? null) === null;
      show(note(vector ? "Continuous bottleneck: no symbols to count." : "No messages yet."));
      return;
    }
    setText(state, `${integer(distinct)} distinct messages for ${integer(total)} validation grids, at step ${integer(step)}.`);
    heat.replaceChildren(heatTable(positions));
    setText(readout, "");
    table.replaceChildren(messageTable(messages, total));
  }

  function heatTable(positions) {
    const columns = positions[0]?.length ?? 0;
    const head = h("tr", {}, h("th", { scope: "col" }, "position"), Array.from({ length: columns }, (_, symbol) => h("th", { scope: "col" }, symbol)));
    const rows = positions.map((counts, position) => {
      const sum = counts.reduce((a, b) => a + b, 0) || 1;
      const cells = counts.map((count, symbol) => {
        const share = count / sum;
        const text = `position ${position + 1}, symbol ${symbol}: ${integer(count)} times, ${percent(100 * share)} %`;
        const cell = h("td", { title: text }, count ? integer(count) : "·");
        cell.style.setProperty("--share", `${Math.round(100 * Math.min(1, share * 2.5))}%`);
        if (share > 0.22) cell.className = "strong";
        return cell;
      });
      return h("tr", {}, h("th", { scope: "row" }, position + 1), cells);
    });
    const whole = h("table.heat", {}, h("caption.vh", {}, "Count of each symbol at each position"), h("thead", {}, head), h("tbody", {}, rows));
    whole.addEventListener("pointerover", (event) => setText(readout, event.target.title ?? ""));
    whole.addEventListener("pointerleave", () => setText(readout, ""));
    return whole;
  }

  function messageTable(messages, total) {
    const shownRows = all ? messages : messages.slice(0, FIRST);
    const rows = shownRows.map((each) => {
      const grids = (each.examples ?? []).map(({ example, grid }) =>
        h(
          "button.thumb",
          { type: "button", title: `${example}: open in Examples`, onclick: () => explore(example) },
          gridView(grid, { size: 44, role: example }),
        ),
      );
      return h(
        "tr",
        {},
        h("td", {}, messageView(each.message)),
        h("td.number", {}, integer(each.count)),
        h("td.number", {}, percent((100 * each.count) / (total || 1))),
        h("td.thumbs", {}, grids),
      );
    });
    const titles = ["Message", "Count", "Share (%)", "Grids"].map((title, i) => h(`th${i && i < 3 ? ".number" : ""}`, { scope: "col" }, title));
    const more =
      messages.length > FIRST &&
      h("button.quiet", { type: "button", onclick: () => ((all = !all), render()) }, all ? `Show the first ${FIRST}` : `Show all ${integer(messages.length)}`);
    return h("div", {}, h("table.rows", {}, h("thead", {}, h("tr", {}, titles)), h("tbody", {}, rows)), more);
  }

  function explore(example) {
    app.emit("tab", "examples");
    app.emit("explore", example);
  }

  const now = poll(load, { every: () => (app.running ? 5000 : 15000), active: () => tab.active && !app.lost });
  tab.shown.push(now);
  app.on("run", () => {
    shown = null;
    now();
  });
  app.on("connection", (up) => up && now());
}
