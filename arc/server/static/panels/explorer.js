// Pick any held-out grid, see what is said about it and what the receiver makes of it; edit the
// message symbol by symbol; hold one grid against another.

import { get } from "../api.js";
import { h, setText } from "../dom.js";
import { figure, integer } from "../format.js";
import { gridView } from "../grid.js";
import { cosine, messageEditor, messageView, vectorView } from "../message.js";
import { answer, outcome, verdict } from "../sample.js";

export function mountExplorer(app, tab) {
  const filter = h("input", { type: "search", placeholder: "puzzle id", "aria-label": "Filter held-out grids by puzzle id", autocomplete: "off", spellcheck: "false", "data-filter": "" });
  const list = h("select.mono", { size: 14, "aria-label": "Held-out grids" });
  const found = h("p.hint", { role: "status" });
  const compare = h("input", { type: "checkbox", id: "compare" });
  const mate = (card) => (compare.checked ? (card === first ? second : first) : null);
  const first = mountCard(app, "The grid", { changed: renew, mate });
  const second = mountCard(app, "Compared with", { changed: renew, mate });
  const between = h("div.between");
  let examples = [];
  let ran = null;
  let loading = false;

  const picker = h(
    "div.picker",
    {},
    h("label.stack", {}, h("span", {}, "Held-out grids ", h("kbd", {}, "/")), filter),
    list,
    found,
    h("label.inline", {}, compare, " put the next beside this one"),
  );
  const view = h("div.views", {}, first.element, second.element);
  const element = h("section.explorer", { "aria-label": "Explore a held-out grid" }, h("h3", {}, "Ask the agents"), h("div.split", {}, picker, h("div", {}, between, view)));
  second.element.hidden = true;

  async function loadList() {
    if (loading || (ran === app.status?.run_id && examples.length)) return;
    loading = true;
    await readList();
    loading = false;
  }

  async function readList() {
    ran = app.status?.run_id;
    try {
      examples = (await get("/examples")).examples ?? [];
    } catch (error) {
      examples = [];
      list.replaceChildren();
      setText(found, error.message);
      ran = null;
      return;
    }
    showList();
    if (!examples.length) return; // a run that is still being made has no model to ask
    if (!first.example) pick(examples[0]);
    else first.ask();
  }

  function showList() {
    const wanted = filter.value.trim().toLowerCase();
    const matching = wanted ? examples.filter((each) => each.toLowerCase().includes(wanted)) : examples;
    list.replaceChildren(...matching.map((each) => h("option", { value: each }, each)));
    setText(found, examples.length ? `${integer(matching.length)} of ${integer(examples.length)} grids` : "No held-out grids yet.");
    list.value = first.example ?? "";
  }

  function pick(example, sample = null) {
    const card = compare.checked ? second : first;
    card.open(example, sample);
  }

  /** Show what differs between the two, once both have answered. */
  function renew() {
    const [a, b] = [first.sample, second.sample];
    first.against(compare.checked ? b : null);
    second.against(compare.checked ? a : null);
    if (!compare.checked || !a || !b) between.replaceChildren();
    else between.replaceChildren(h("p", { role: "status" }, difference(a, b)));
  }

  filter.addEventListener("input", showList);
  filter.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== "ArrowDown") return;
    event.preventDefault();
    list.focus();
    if (!list.options.length) return;
    list.selectedIndex = Math.max(0, list.selectedIndex);
    pick(list.value);
  });
  list.addEventListener("change", () => pick(list.value));
  compare.addEventListener("change", () => {
    second.element.hidden = !compare.checked;
    if (compare.checked && !second.example) {
      const other = examples.find((each) => each !== first.example);
      if (other) second.open(other);
    } else if (compare.checked) second.ask();
    renew();
  });
  tab.shown.push(loadList);
  app.on("run", () => tab.active && loadList());
  app.on("status", ({ running, step }) => running && step && tab.active && loadList()); // the corpus loads after the start
  app.on("connection", (up) => up && tab.active && loadList());

  return {
    element,
    /** Ask anew, unless somebody is editing: the model has changed. */
    follow() {
      const cards = [first, ...(compare.checked ? [second] : [])];
      const busy = cards.some((card) => card.element.contains(document.activeElement));
      const own = cards.find((card) => card.unedited());
      if (own && !busy) own.ask();
    },
    open(example, sample = null) {
      pick(example, sample);
      list.value = example;
      element.scrollIntoView({ block: "nearest" });
    },
  };
}

function difference(a, b) {
  if (a.message && b.message) {
    const count = a.message.filter((symbol, i) => symbol !== b.message[i]).length;
    return count ? `${count} of ${a.message.length} symbols differ, marked with a dot and an outline.` : "Both grids get the same message: the receiver cannot tell them apart.";
  }
  if (a.vector && b.vector) return `Cosine between the two vectors: ${figure(cosine(a.vector, b.vector), 3)}. The other one is drawn as a line.`;
  return "";
}

/** What the receiver made, at the same step, of the message that was sent. */
function asSent(sample) {
  const before = { ...sample, ...sample.as_sent };
  return [" heard as sent: ", verdict(before.correct) ?? "", " ", outcome(before)];
}

/** One grid with its message and the receiver's answer; `mate(card)`: the one it is held against. */
function mountCard(app, title, { changed, mate }) {
  const card = { example: null, sample: null };
  const [name, state] = [h("code"), h("p.hint", { role: "status" })];
  const show = { all: false, toggle: () => ((show.all = !show.all), render()) };
  const reset = h("button.quiet", { type: "button", onclick: () => send(null) }, "Reset to what was sent");
  const again = h("button.quiet", { type: "button", onclick: () => card.ask() }, "Ask again");
  // The places stand still while their contents change: an editor that moved would lose its focus.
  const [seen, caption, chips, beside, right, answered] = [h("figure"), h("p.caption"), h("div"), h("div.stack"), h("span"), h("div")];
  const top = h("div.asked-top", {}, seen, h("div.stack", {}, caption, chips, beside));
  const body = h("div.stack", { hidden: true }, top, h("h5", {}, "the receiver answers ", right), answered);
  card.element = h("article.asked", {}, h("header", {}, h("h4", {}, `${title} `, name), again), state, body);
  let [edited, other, editor, vocabulary] = [null, null, null, 0];
  let [busy, due] = [false, false];

  card.open = (example, sample) => {
    [card.example, edited] = [example, null];
    setText(name, example);
    editor = card.sample = null;
    render();
    if (sample) take(sample);
    return card.ask();
  };

  card.against = (sample) => {
    if (other === sample) return;
    other = sample;
    render();
  };

  /** Ask for the current message; while one question is open, only the newest next one is kept. */
  card.ask = async () => {
    if (!card.example) return;
    if (busy) {
      due = true;
      return;
    }
    busy = true;
    if (!card.sample) setText(state, "asking between two steps …");
    card.element.setAttribute("aria-busy", "true");
    const example = card.example;
    const other = mate(card)?.unedited() ?? null; // asked with this one: the model changes meanwhile
    const query = new URLSearchParams({ example, ...(edited ? { message: edited.join(",") } : {}), ...(other ? { beside: other } : {}) });
    try {
      const { beside, ...sample } = await get(`/probe?${query}`);
      if (example === card.example && !due) take(sample);
      if (beside && mate(card)?.unedited() === beside.example) mate(card).take({ step: sample.step, ...beside });
    } catch (error) {
      setText(state, error.message);
      state.classList.add("bad");
    }
    busy = false;
    card.element.removeAttribute("aria-busy");
    if (due) {
      due = false;
      card.ask();
    }
  };

  function send(message) {
    edited = message;
    card.ask();
  }

  /** The example whose own message is shown, if any. */
  card.unedited = () => (edited ? null : card.example);

  card.take = take;

  function take(sample) {
    card.sample = sample;
    state.classList.remove("bad");
    const when = sample.step ? `asked at step ${integer(sample.step)}` : "";
    setText(state, [sample.edited ? "the receiver hears an edited message" : "as the sender said it", when].filter(Boolean).join(", "));
    render();
    changed();
  }

  function render() {
    const { sample } = card;
    body.hidden = !sample;
    if (!sample) return;
    seen.replaceChildren(h("figcaption", {}, "the sender sees"), gridView(sample.grid, { size: 200, role: "Sent grid" }));
    right.replaceChildren(verdict(sample.correct) ?? "");
    show.distractors = app.status?.num_distractors;
    answered.replaceChildren(answer(sample, show));
    if (sample.message) showMessage(sample);
    else showVector(sample);
  }

  function showVector({ vector }) {
    editor = null;
    setText(caption, vector ? "the vector" : "nothing was sent");
    chips.replaceChildren(vector ? vectorView(vector, other?.vector) : "");
    beside.replaceChildren();
  }

  function showMessage(sample) {
    const { message, length, sent = message } = sample;
    const size = Math.max(app.status?.vocab_size ?? 0, ...message.map((symbol) => symbol + 1));
    if (!editor || size !== vocabulary) {
      vocabulary = size;
      editor = messageEditor(size, send);
      chips.replaceChildren(editor.element);
    }
    editor.set(edited ?? message, length, sent);
    setText(caption, `the message: ${message.length} of ${vocabulary} symbols; change them and see`);
    const lines = [
      sample.edited && h("p", {}, "sent: ", messageView(sent, { other: message }), ...asSent(sample)),
      other?.message && h("p", {}, "the other grid's: ", messageView(other.message, { other: message, length: other.length })),
      sample.edited && reset,
    ];
    beside.replaceChildren(...lines.filter(Boolean));
  }

  return card;
}
