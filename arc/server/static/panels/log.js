// The end of the log; follows the newest line unless the user has scrolled up.

import { get } from "../api.js";
import { byId, h, note, setText } from "../dom.js";
import { integer } from "../format.js";
import { poll } from "../poll.js";

const KEPT = 2000;

export function mountLog(app, tab) {
  const host = byId("log");
  const filter = h("input", { type: "search", placeholder: "Filter", "aria-label": "Filter the log", autocomplete: "off", "data-filter": "" });
  const count = h("span.hint");
  const box = h("ol.log", { tabindex: "0", "aria-label": "Log" });
  const newest = h("button.quiet", { type: "button", hidden: true, onclick: () => (box.scrollTop = box.scrollHeight) }, "↓ Newest");
  const state = h("div");
  host.append(h("div.toolbar", {}, h("h3", {}, "Log"), filter, count, newest), state, box);
  let last = 0;

  const atEnd = () => box.scrollHeight - box.scrollTop - box.clientHeight < 24;

  async function load() {
    let answer;
    try {
      answer = await get(`/log?since=${last}`);
    } catch (error) {
      state.replaceChildren(note(error.message, "bad"));
      throw error;
    }
    const fresh = answer.lines ?? [];
    const follow = atEnd();
    if (fresh.length) last = fresh.at(-1).n;
    box.append(...fresh.map(line));
    while (box.children.length > KEPT) box.firstChild.remove();
    if (fresh.length) narrow();
    if (follow) box.scrollTop = box.scrollHeight;
    state.replaceChildren(box.children.length ? "" : note("No log lines yet."));
  }

  function restart() {
    last = 0;
    box.replaceChildren();
  }

  function line({ time, level, text }) {
    const kind = String(level ?? "").toLowerCase();
    return h(`li${kind && `.${kind}`}`, {}, h("time", {}, time), h("span.level", {}, kind === "info" ? "" : level), h("span", {}, text));
  }

  function narrow() {
    const wanted = filter.value.trim().toLowerCase();
    let shown = 0;
    for (const each of box.children) {
      each.hidden = wanted !== "" && !each.textContent.toLowerCase().includes(wanted);
      shown += !each.hidden;
    }
    setText(count, wanted ? `${integer(shown)} of ${integer(box.children.length)} lines` : "");
  }

  box.addEventListener("scroll", () => (newest.hidden = atEnd()));
  filter.addEventListener("input", narrow);
  const now = poll(load, { every: () => 2000, active: () => tab.active && !app.lost });
  tab.shown.push(() => {
    now();
    box.scrollTop = box.scrollHeight;
  });
  app.on("connection", (up) => {
    if (!up) return;
    restart();
    now();
  });
}
