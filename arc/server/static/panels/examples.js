// The latest validation examples of the run as cards; a card opens in the explorer below.

import { get } from "../api.js";
import { byId, h, note, refill, setText } from "../dom.js";
import { integer } from "../format.js";
import { gridView, setDigits, showsDigits } from "../grid.js";
import { messageView } from "../message.js";
import { poll } from "../poll.js";
import { outcome, verdict } from "../sample.js";
import { mountExplorer } from "./explorer.js";

export function mountExamples(app, tab) {
  const host = byId("examples");
  const step = h("span.hint");
  const digits = h("input", { type: "checkbox", id: "digits", checked: showsDigits() });
  digits.addEventListener("change", () => setDigits(digits.checked));
  const cards = h("div.cards", { tabindex: "0", role: "region", "aria-label": "Latest examples" });
  const explorer = mountExplorer(app, tab);
  host.append(
    h("div.toolbar", {}, h("h3", {}, "Latest examples"), step, h("label.inline", {}, digits, " show digits")),
    cards,
    explorer.element,
  );
  let shown = null;

  async function load() {
    const answer = await get("/samples").catch((error) => {
      if (shown === null) cards.replaceChildren(note(error.message, error.status === 409 ? "" : "bad"));
      throw error;
    });
    const stamp = `${answer.run_id} ${answer.step}`;
    if (stamp === shown) return;
    shown = stamp;
    setText(step, answer.samples?.length ? `at step ${integer(answer.step)}` : "");
    if (!answer.samples?.length) cards.replaceChildren(note("No examples yet."));
    else refill(cards, ...answer.samples.map(card));
    explorer.name(answer.split);
    if (app.running && answer.samples?.length && answer.run_id === app.status.run_id) explorer.follow();
  }

  function card(sample) {
    const mark = verdict(sample.correct);
    const open = () => explorer.open(sample.example, sample);
    const message = sample.message
      ? messageView(sample.message, { length: sample.length })
      : h("span.hint", {}, sample.vector ? `vector of ${sample.vector.length}` : "");
    return h(
      "button.card",
      { type: "button", onclick: open, "data-key": sample.example, title: `${sample.example}: open below` },
      gridView(sample.grid, { size: 96, role: `Sender input ${sample.example}` }),
      h("span.id", {}, sample.puzzle),
      message,
      h("span.outcome", {}, mark, mark && " ", outcome(sample)),
    );
  }

  const now = poll(load, { every: () => (app.running ? 3000 : 10000), active: () => tab.active && !app.lost });
  tab.shown.push(now);
  app.on("run", () => {
    shown = null;
    now();
  });
  app.on("explore", (example) => explorer.open(example));
  app.on("connection", (up) => up && now());
}
