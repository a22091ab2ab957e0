// The charts of the run's history, drawn with one x axis.

import { Chart } from "../chart.js";
import { chartGroup } from "../chart_group.js";
import { byId, h, memory, setText } from "../dom.js";
import { integer } from "../format.js";
import { poll } from "../poll.js";
import { accuracyView, entropyView, gradientView, lossView, rateView, useView } from "./chart_views.js";

export function mountCharts(app, tab, record) {
  const host = byId("charts");
  const history = record.steps;
  let run = null;
  let frame = 0;
  const group = chartGroup({
    charts: () => charts.map(([chart]) => chart),
    draw: redraw,
    prefix: () => app.status?.run_name,
    fail: app.fail,
    byTime: memory.get("byTime", false),
    smoothing: memory.get("smoothing", 0.6),
  });
  const { view, on } = group;

  const toggle = (name, label, pressed, act) => {
    const button = h("button.toggle", { type: "button", "aria-pressed": String(pressed) }, label);
    button.addEventListener("click", () => {
      const next = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(next));
      memory.set(name, next);
      act(next);
    });
    return button;
  };
  const options = { log: memory.get("log", false), baselines: memory.get("baselines", true) };
  const log = toggle("log", "log", options.log, (now) => redraw({ log: now }));
  const baselines = toggle("baselines", "baselines", options.baselines, (now) => redraw({ baselines: now }));
  const charts = [
    [new Chart({ title: "Loss", view, on, tools: [log] }), lossView],
    [new Chart({ title: "Accuracy", unit: "%", view, on, bounds: [0, 100], tools: [baselines] }), accuracyView],
    [new Chart({ title: "Message entropy", unit: "bits, validation", view, on, bounds: [0, Infinity] }), entropyView],
    [new Chart({ title: "Symbol use", unit: "%, validation", view, on, bounds: [0, 100] }), useView],
    [new Chart({ title: "Gradient norm", view, on, bounds: [0, Infinity] }), gradientView],
    [new Chart({ title: "Learning rate", view, on, bounds: [0, Infinity] }), rateView],
  ];
  const count = h("span.hint");
  host.append(toolbar(), h("div.charts", {}, charts.map(([chart]) => chart.element)));

  function toolbar() {
    const slider = h("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: view.smoothing, id: "smoothing" });
    const shown = h("output", { for: "smoothing" }, view.smoothing.toFixed(2));
    slider.addEventListener("input", () => {
      view.smoothing = slider.valueAsNumber;
      setText(shown, view.smoothing.toFixed(2));
      memory.set("smoothing", view.smoothing);
      redraw();
    });
    const axis = h("select", { "aria-label": "Horizontal axis" }, h("option", { value: "step" }, "by step"), h("option", { value: "time" }, "by time"));
    axis.value = view.byTime ? "time" : "step";
    axis.addEventListener("change", () => {
      view.byTime = axis.value === "time";
      memory.set("byTime", view.byTime);
      group.zoom(null);
    });
    return h("div.toolbar", {}, axis, h("label.inline", {}, "smoothing ", slider, shown), group.button, count);
  }

  function redraw(changes = {}) {
    Object.assign(options, changes);
    frame ||= requestAnimationFrame(draw);
  }

  /** Update all charts; the duration is stored in a data attribute for tests. */
  function draw() {
    frame = 0;
    const began = performance.now();
    view.range = view.zoomed ? clamp(view.zoomed) : whole();
    charts[0][0].log = options.log;
    const { validations } = record;
    const data = { history, validations, x: view.byTime ? history.data.seconds : history.data.batch_num, options, byTime: view.byTime, range: view.range, status: app.status };
    for (const [chart, make] of charts) {
      const { lines, references, summary, empty } = make(data);
      chart.update(lines, references, summary, empty);
    }
    const rows = history.length ? `${integer(history.last("batch_num"))} steps, ${integer(history.length)} points` : "";
    setText(count, rows);
    host.dataset.updateMs = (performance.now() - began).toFixed(1);
    host.dataset.points = history.length;
  }

  function whole() {
    const { validations } = record;
    const name = view.byTime ? "seconds" : "batch_num";
    const ends = validations.length ? [validations[0][name], validations.at(-1)[name]] : [];
    if (history.length) ends.push(history.data[name][0], history.last(name));
    if (!ends.length) return [0, 1];
    const [low, high] = [Math.min(...ends), Math.max(...ends)];
    return low === high ? [low - 1, high + 1] : [low, high];
  }

  function clamp([from, to]) {
    const [low, high] = whole();
    const [a, b] = [Math.max(from, low), Math.min(to, high)];
    return b > a ? [a, b] : [low, high];
  }

  async function fetchMore() {
    await record.fetch();
    if (record.run !== run) {
      run = record.run;
      group.reset();
    }
    redraw();
  }

  const now = poll(fetchMore, {
    every: () => (app.running ? 2000 : 8000),
    active: () => tab.active && !app.lost,
  });
  tab.shown.push(now);
  app.on("run", now);
  app.on("connection", (up) => up && now());
  redraw();
}
