// Charts of the language measures over training, each beside its floors.

import { Chart } from "../chart.js";
import { chartGroup } from "../chart_group.js";
import { h, memory, note } from "../dom.js";
import { figure } from "../format.js";
import { label } from "../labels.js";
import { validationLine } from "./chart_views.js";

const FLOORS = { shuffled: "validation", random: "more0" }; // and the style of the line
const MAIN = ["topsim_hamming", "posdis", "bosdis", "context_independence_positions", "concept_information", "semantic_consistency_adjusted"];
const EXPLANATION =
  "Next to each measure: the same messages shuffled among the grids, and random messages with the same symbols at each position. If a measure relates messages to grids, a value close to these is not evidence of a learned language.";

/** Returns {element, update(record)}; `record` is a RunHistory. */
export function measureCharts(app) {
  const charts = new Map(); // by measure
  const group = chartGroup({ charts: () => charts.values(), draw, prefix: () => app.status?.run_name, fail: app.fail });
  const { view, on } = group;
  const box = h("div.charts");
  const every = h("button.toggle", { type: "button", "aria-pressed": String(memory.get("measures", false)), hidden: true }, "all measures");
  const element = h("section", {}, h("div.toolbar", {}, h("h3", {}, "Measures over training"), every, group.button), h("p.hint", {}, EXPLANATION), box);
  let record = null;
  let run = null;

  every.addEventListener("click", () => {
    const pressed = every.getAttribute("aria-pressed") !== "true";
    every.setAttribute("aria-pressed", String(pressed));
    memory.set("measures", pressed);
    draw();
  });

  function draw() {
    const { validations } = record;
    const rows = validations.filter((each) => measuresOf(each).length);
    if (!rows.length) {
      every.hidden = true;
      box.replaceChildren(note(missing(validations, app.sendsVector)));
      return;
    }
    const [low, high] = view.zoomed ?? [rows[0].batch_num, rows.at(-1).batch_num];
    view.range = low === high ? [low - 1, high + 1] : [low, high];
    const shown = choose(measuresOf(rows.at(-1)));
    for (const name of shown) if (!charts.has(name)) charts.set(name, new Chart({ title: label(name), view, on }));
    const elements = shown.map((name) => charts.get(name).element);
    if (elements.length !== box.children.length || elements.some((each, i) => each !== box.children[i])) box.replaceChildren(...elements);
    for (const name of shown) {
      const { lines, summary } = measureView(rows, name);
      charts.get(name).update(lines, [], summary, "");
    }
  }

  /** The main measures, or all of them, main ones first. */
  function choose(measures) {
    const main = MAIN.filter((name) => measures.includes(name));
    every.hidden = main.length === 0 || main.length === measures.length;
    const all = every.getAttribute("aria-pressed") === "true" || !main.length;
    return all ? [...main, ...measures.filter((name) => !main.includes(name))] : main;
  }

  function update(latest) {
    record = latest;
    if (record.run !== run) {
      run = record.run;
      group.reset();
    }
    draw();
  }

  return { element, update };
}

/** The language metrics of a validation that have floors. */
function measuresOf({ language }) {
  return Object.keys(language ?? {}).filter((name) => `${name}_shuffled` in language);
}

function missing(validations, vector) {
  if (!validations.length) return "No validation yet.";
  if (!validations.some(({ targets }) => targets)) return "No validation set: set data.validation_fraction above 0.";
  if (vector) return "Continuous bottleneck: no symbols to measure.";
  return "This run does not record language measures: the metric “language” is not selected.";
}

/** The lines of a measure; a floor that always equals the value is left out. */
function measureView(validations, name) {
  const data = { validations, byTime: false };
  const latest = validations.at(-1).language;
  const line = (label, style, key) => validationLine(data, label, style, (each) => each.language?.[key]);
  const floors = Object.entries(FLOORS).map(([floor, style]) => [floor, `${name}_${floor}`, style]);
  const differing = floors.filter(([, key]) => validations.some(({ language }) => language?.[key] !== language?.[name]));
  const lines = [line("value", "train", name), ...differing.map(([floor, key, style]) => line(floor, style, key))];
  const beside = differing.map(([floor, key]) => `${floor} messages ${figure(latest[key], 3)}`);
  return { lines, summary: `${[`Now ${figure(latest[name], 3)}`, ...beside].join(", ")}.` };
}
