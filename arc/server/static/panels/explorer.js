// Shows the message and the receiver's output for any validation grid; messages can be edited
// symbol by symbol, and two grids compared.

import { get } from "../api.js";
import { h, setText } from "../dom.js";
import { figure, integer } from "../format.js";
import { gridView } from "../grid.js";
import { cosine, messageEditor, messageView, vectorView } from "../message.js";
import { answer, outcome, verdict } from "../sample.js";

export function mountExplorer(app, tab) {
  const filter = h("input", { type: "search", placeholder: "puzzle ID", autocomplete: "off", spellcheck: "false", "data-filter": "" });
  const list = h("select.mono", { size: 14 });
  const [heading, caption] = [h("h3"), h("span")];
  const found = h("p.hint", { role: "status" });
  const compare = h("input", { type: "checkbox", id: "compare" });
  const other = (card) => (compare.checked ? (card === first ? second : first) : null);
  const first = mountCard(app, "Grid", { changed: compareCards, other });
  const second = mountCard(app, "Compared with", { changed: compareCards, other });
  const between = h("div.between");
  let examples = [];
  let listedRun = null;
  let shownRun = null; // whose output the cards show
  let split = null; // the set of the grids
  let loading = false;

  const picker = h(
    "div.picker",
    {},
    h("label.stack", {}, h("span", {}, caption, " ", h("kbd", {}, "/")), filter),
    list,
    found,
    h("label.inline", {}, compare, " compare with a second grid"),
  );
  const view = h("div.views", {}, first.element, second.element);
  const element = h("section.explorer", {}, heading, h("div.split", {}, picker, h("div", {}, between, view)));
  second.element.hidden = true;
  name("validation");

  /** Name the set of the grids: validation, or training or test without one. */
  function name(wanted) {
    if (!wanted || wanted === split) return;
    split = wanted;
    const grids = `${split} grids`;
    setText(heading, `Explore ${grids}`);
    element.setAttribute("aria-label", `Explore ${grids}`);
    setText(caption, grids[0].toUpperCase() + grids.slice(1));
    list.setAttribute("aria-label", caption.textContent);
    filter.setAttribute("aria-label", `Filter ${grids} by puzzle ID`);
  }

  async function loadList() {
    if (loading || (listedRun === app.status?.run_id && examples.length)) return;
    loading = true;
    await readList();
    loading = false;
  }

  async function readList() {
    listedRun = app.status?.run_id;
    if (listedRun !== shownRun) {
      for (const card of [first, second]) card.clear();
      compareCards();
    }
    shownRun = listedRun;
    try {
      examples = (await get("/examples")).examples ?? [];
    } catch (error) {
      examples = [];
      list.replaceChildren();
      setText(found, error.message);
      listedRun = null;
      return;
    }
    if (examples.length) show(); // otherwise the model is still being built
    showList();
  }

  /** Show the grids of the cards again, or others if the run does not have them. */
  function show() {
    const others = examples.filter((each) => each !== first.example);
    if (second.example && !examples.includes(second.example)) second.open(others[0] ?? examples[0]);
    if (examples.includes(first.example)) reload();
    else first.open(examples[0]);
  }

  function reload() {
    first.load();
    if (compare.checked) second.load();
  }

  function showList() {
    const wanted = filter.value.trim().toLowerCase();
    const matching = wanted ? examples.filter((each) => each.toLowerCase().includes(wanted)) : examples;
    list.replaceChildren(...matching.map((each) => h("option", { value: each }, each)));
    setText(found, examples.length ? `${integer(matching.length)} of ${integer(examples.length)} grids` : `No ${split} grids yet.`);
    list.value = first.example ?? "";
  }

  function pick(example, sample = null) {
    const card = compare.checked ? second : first;
    card.open(example, sample);
  }

  /** Show the difference between the two, once both are loaded. */
  function compareCards() {
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
    } else if (compare.checked) second.load();
    compareCards();
  });
  tab.shown.push(loadList);
  app.on("run", () => tab.active && loadList());
  app.on("status", ({ running, step }) => running && step && tab.active && loadList()); // the corpus is loaded after the start
  app.on("connection", (up) => {
    if (!up || !tab.active) return;
    reload();
    loadList();
  });

  return {
    element,
    name,
    /** Load again with the current model, unless the user is editing. */
    follow() {
      const cards = [first, ...(compare.checked ? [second] : [])];
      const busy = cards.some((card) => card.element.contains(document.activeElement));
      const own = cards.find((card) => card.unedited());
      if (own && !busy) own.load();
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
    return count ? `${count} of ${a.message.length} symbols differ, marked with a dot and an outline.` : "Both grids have the same message.";
  }
  if (a.vector && b.vector) return `Cosine similarity of the two vectors: ${figure(cosine(a.vector, b.vector), 3)}. The line shows the other vector.`;
  return "";
}

/** The receiver's output, at the same step, for the original message. */
function originalOutcome(sample) {
  const before = { ...sample, ...sample.as_sent };
  return [" receiver output: ", verdict(before.correct) ?? "", " ", outcome(before)];
}

/** A grid with its message and the receiver's output; `other(card)`: the card to compare with. */
function mountCard(app, title, { changed, other }) {
  const card = { example: null, sample: null };
  const [name, state] = [h("code"), h("p.hint", { role: "status" })];
  const show = { all: false, toggle: () => ((show.all = !show.all), render()) };
  const reset = h("button.quiet", { type: "button", onclick: () => send(null) }, "Reset message");
  const again = h("button.quiet", { type: "button", onclick: () => card.load() }, "Refresh");
  // These elements stay in place while their contents change, so that the editor keeps its focus.
  const [input, caption, chips, extra, mark, output] = [h("figure"), h("p.caption"), h("div"), h("div.stack"), h("span"), h("div")];
  const top = h("div.probe-top", {}, input, h("div.stack", {}, caption, chips, extra));
  const body = h("div.stack", { hidden: true }, top, h("h5", {}, "Receiver output ", mark), output);
  card.element = h("article.probe", {}, h("header", {}, h("h4", {}, `${title} `, name), again), state, body);
  let [edited, reference, editor, vocabulary] = [null, null, null, 0];
  let [busy, due] = [false, false];
  let run = 0; // counts the runs: outputs of an earlier one are not shown

  /** Forget what belongs to an earlier run. */
  card.clear = () => {
    run += 1;
    edited = editor = card.sample = null;
    setText(state, "");
    render();
  };

  card.open = (example, sample) => {
    [card.example, edited] = [example, null];
    setText(name, example);
    editor = card.sample = null;
    render();
    if (sample) take(sample);
    return card.load();
  };

  card.against = (sample) => {
    if (reference === sample) return;
    reference = sample;
    render();
  };

  /** Request the current message; during a request, only the newest next one is queued. */
  card.load = async () => {
    if (!card.example) return;
    if (busy) {
      due = true;
      return;
    }
    busy = true;
    if (!card.sample) setText(state, "Waiting for the model …");
    card.element.setAttribute("aria-busy", "true");
    const [example, own] = [card.example, run];
    const second = other(card)?.unedited() ?? null; // in the same request, so that both use one model
    const query = new URLSearchParams({ example, ...(edited ? { message: edited.join(",") } : {}), ...(second ? { beside: second } : {}) });
    try {
      const { beside, ...sample } = await get(`/probe?${query}`);
      if (example === card.example && own === run && !due) take(sample);
      if (beside && own === run && other(card)?.unedited() === beside.example) other(card).take({ step: sample.step, ...beside });
    } catch (error) {
      if (own === run) setText(state, error.message);
      state.classList.toggle("bad", own === run);
    }
    busy = false;
    card.element.removeAttribute("aria-busy");
    if (due) {
      due = false;
      card.load();
    }
  };

  function send(message) {
    edited = message;
    card.load();
  }

  /** The example whose original message is shown, if any. */
  card.unedited = () => (edited ? null : card.example);

  card.take = take;

  function take(sample) {
    card.sample = sample;
    state.classList.remove("bad");
    const when = sample.step ? `step ${integer(sample.step)}` : "";
    setText(state, [sample.edited ? "Edited message" : "Original message", when].filter(Boolean).join(", "));
    render();
    changed();
  }

  function render() {
    const { sample } = card;
    body.hidden = !sample;
    if (!sample) return;
    input.replaceChildren(h("figcaption", {}, "Sender input"), gridView(sample.grid, { size: 200, role: "Sender input" }));
    mark.replaceChildren(verdict(sample.correct) ?? "");
    show.distractors = app.status?.num_distractors;
    output.replaceChildren(answer(sample, show));
    if (sample.message) showMessage(sample);
    else showVector(sample);
  }

  function showVector({ vector }) {
    editor = null;
    setText(caption, vector ? "Vector" : "No message");
    chips.replaceChildren(vector ? vectorView(vector, reference?.vector) : "");
    extra.replaceChildren();
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
    setText(caption, `Message: ${message.length} symbols, vocabulary of ${vocabulary}; edit to see the receiver's output`);
    const lines = [
      sample.edited && h("p", {}, "original: ", messageView(sent, { other: message }), ...originalOutcome(sample)),
      reference?.message && h("p", {}, "other grid: ", messageView(reference.message, { other: message, length: reference.length })),
      sample.edited && reset,
    ];
    extra.replaceChildren(...lines.filter(Boolean));
  }

  return card;
}
