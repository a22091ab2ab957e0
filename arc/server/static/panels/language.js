// Message statistics: measures over training, what positions and symbols stand for, how often each
// message is sent and for which grids, and symbol use by position.

import { get } from "../api.js";
import { tableHeading } from "../csv.js";
import { byId, h, note, scrollBox, setText } from "../dom.js";
import { integer, percent } from "../format.js";
import { heatTable } from "../heat.js";
import { messageView } from "../message.js";
import { poll } from "../poll.js";
import { conceptTables, thumbs } from "./dictionary.js";
import { measureCharts } from "./measures.js";

const FIRST = 40;
const DARKEST = 0.4; // share of a position's symbols

export function mountLanguage(app, tab, record) {
  const host = byId("language");
  const state = h("p.summary", { role: "status" });
  const readout = h("p.hint.readout");
  const [heat, table] = [scrollBox("Symbol use by position"), scrollBox("Messages")];
  const more = h("button.quiet", { type: "button", hidden: true, onclick: () => ((all = !all), render()) });
  const measures = measureCharts(app);
  const concepts = conceptTables(app, explore);
  host.append(state, measures.element, concepts.element, tableHeading(app, "Symbol use by position", heat), heat, readout, tableHeading(app, "Messages", table), table, more);
  let shown = null;
  let all = false;
  let latest = null;

  async function load() {
    await record.fetch();
    measures.update(record);
    if (!latest) show(note("Waiting for the model …"));
    const answer = await get("/language").catch((error) => {
      if (shown === null) show(note(error.message, error.status === 409 ? "" : "bad"));
      throw error;
    });
    const stamp = `${answer.run_id} ${answer.step}`;
    if (stamp !== shown || !latest) {
      shown = stamp;
      latest = answer;
      render();
    }
    await concepts.load();
  }

  function show(message) {
    setText(state, "");
    heat.replaceChildren(message);
    table.replaceChildren();
    setText(readout, "");
    more.hidden = true;
  }

  function render() {
    const { messages = [], positions = [], distinct, total, step } = latest;
    if (!messages.length) {
      show(note(app.sendsVector ? "Continuous bottleneck: no symbols to count." : "No messages yet."));
      return;
    }
    setText(state, `${integer(distinct)} distinct messages for ${integer(total)} validation grids, at step ${integer(step)}.`);
    heat.replaceChildren(symbolTable(positions));
    setText(readout, "");
    table.replaceChildren(messageTable(messages, total));
    more.hidden = messages.length <= FIRST;
    setText(more, all ? `Show the first ${FIRST}` : `Show all ${integer(messages.length)}`);
  }

  function symbolTable(positions) {
    const rows = positions.map((counts, position) => {
      const sum = counts.reduce((a, b) => a + b, 0) || 1;
      return counts.map((count, symbol) => ({
        text: count ? integer(count) : "·",
        csv: count,
        share: count / sum / DARKEST,
        title: `position ${position + 1}, symbol ${symbol}: ${integer(count)} times, ${percent((100 * count) / sum)} %`,
      }));
    });
    const columns = positions[0].map((_, symbol) => symbol);
    return heatTable({ caption: "Count of each symbol at each position", columns, rows, readout });
  }

  function messageTable(messages, total) {
    const rows = (all ? messages : messages.slice(0, FIRST)).map((each) => {
      const share = (100 * each.count) / (total || 1);
      return h(
        "tr",
        {},
        h("td", { "data-csv": each.message.join(" ") }, messageView(each.message)),
        h("td.number", { "data-csv": each.count }, integer(each.count)),
        h("td.number", { "data-csv": share }, percent(share)),
        thumbs(each.examples ?? [], explore),
      );
    });
    const titles = ["Message", "Count", "Share (%)", "Grids"].map((title, i) => h(`th${i && i < 3 ? ".number" : ""}`, { scope: "col" }, title));
    return h("table.rows", {}, h("caption.vh", {}, "Messages by frequency"), h("thead", {}, h("tr", {}, titles)), h("tbody", {}, rows));
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
