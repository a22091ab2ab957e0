// The runs of the folder: a table, curves of the chosen ones, and how their configurations differ.

import { get } from "../api.js";
import { Chart } from "../chart.js";
import { chartGroup } from "../chart_group.js";
import { tableHeading } from "../csv.js";
import { byId, h, memory, note, refill, s, scrollBox, setText } from "../dom.js";
import { DASH, figure, integer, plain } from "../format.js";
import { label } from "../labels.js";
import { poll } from "../poll.js";

const STYLES = 8; // with a colour and a dash pattern each; further lines repeat them, thinner
const FIRST = 8; // chosen at first
const STEP_CURVES = { loss: "Training loss", accuracy: "Training accuracy", learning_rate: "Learning rate", grad_norm: "Gradient norm" };
const MARKS = { finished: "✓", running: "●", failed: "✗", interrupted: "■" };
const KEYS_SHOWN = 6; // columns of the table; the rest is in the differences

const curveTitle = (name) => STEP_CURVES[name] ?? (name.startsWith("val.") ? `${label(name.slice(4))}, validation` : label(name));

export function mountRuns(app, tab) {
  const host = byId("runs");
  const charts = new Map(); // by name of the curve
  const group = chartGroup({ charts: () => charts.values(), draw, prefix: () => "runs", fail: app.fail });
  const { view, on } = group;
  const state = h("p.summary", { role: "status" });
  const [table, differences] = [scrollBox("Runs"), scrollBox("Differences of configuration")];
  const faults = h("ul.faults");
  const plots = h("div.charts.two");
  const select = h("select", { "aria-label": "Curve" });
  const grouped = h("button.toggle", { type: "button", "aria-pressed": String(memory.get("seeds", true)) }, "group seeds");
  const all = h("button.quiet", { type: "button", onclick: () => choose(() => true) }, "All");
  const none = h("button.quiet", { type: "button", onclick: () => choose(() => false) }, "None");
  host.append(
    h("div.toolbar", {}, h("h3", {}, "Curves"), select, group.button),
    plots,
    tableHeading(app, "Runs", table, { more: [grouped, all, none, state] }),
    table,
    faults,
    tableHeading(app, "Differences of configuration", differences),
    differences,
  );
  let answer = null;
  let shown = ""; // the last answer, and the last curves, as text
  let drawn = "";
  let chosen = new Map(); // id -> number of its style
  let isOwnChoice = false;
  let curves = {}; // name -> id -> curve

  const isGrouped = () => grouped.getAttribute("aria-pressed") === "true";
  const isRunning = (row) => Boolean(isGrouped() ? row.states.running : row.state === "running");
  const rows = () => [...(isGrouped() ? answer.groups : answer.runs)].sort((a, b) => isRunning(b) - isRunning(a));
  const members = (row) => (isGrouped() ? answer.runs.filter(({ id }) => row.runs.includes(id)) : [row]);

  grouped.addEventListener("click", () => {
    grouped.setAttribute("aria-pressed", String(!isGrouped()));
    memory.set("seeds", isGrouped());
    isOwnChoice = false;
    render();
    now();
  });
  select.addEventListener("change", () => {
    memory.set("curve", select.value);
    now();
  });

  async function load() {
    const found = await get("/runs").catch((error) => {
      setText(state, error.message);
      shown = "";
      throw error;
    });
    const text = JSON.stringify(found);
    answer = found;
    if (text !== shown) {
      shown = text;
      render();
    }
    await loadCurves();
  }

  async function loadCurves() {
    const names = [select.value, "loss"].filter((name, i, list) => answer.curves.includes(name) && list.indexOf(name) === i);
    const ids = [...chosen.keys()];
    const wanted = JSON.stringify([names, ids, shown]);
    if (wanted === drawn) return;
    const of = encodeURIComponent(ids.join(","));
    const found = {};
    for (const name of names) { // one after the other, since the server answers one at a time
      const rows = ids.length ? (await get(`/run_curves?name=${encodeURIComponent(name)}&of=${of}`)).curves : [];
      found[name] = new Map(rows.map((each) => [each.id, each]));
    }
    curves = found;
    drawn = wanted;
    draw();
  }

  function choose(isChosen) {
    isOwnChoice = true;
    pick(isChosen);
    render();
    now();
  }

  /** Choose rows; those that were chosen keep their style, others take the lowest free number. */
  function pick(isChosen) {
    const picked = rows().filter(isChosen).map(({ id }) => id);
    const kept = new Map(picked.filter((id) => chosen.has(id)).map((id) => [id, chosen.get(id)]));
    const used = new Set(kept.values());
    let free = 0;
    chosen = new Map(
      picked.map((id) => {
        if (kept.has(id)) return [id, kept.get(id)];
        while (used.has(free)) free++;
        used.add(free);
        return [id, free];
      }),
    );
  }

  /** The ids chosen at first: of running rows, then of the newest; a run without steps has no curve. */
  function firstIds() {
    const time = ({ state, updated }) => (state === "running" ? Number.MAX_VALUE : updated);
    const dated = rows().map((row) => [Math.max(0, ...members(row).filter(({ step }) => step > 0).map(time)), row.id]);
    return dated.filter(([newest]) => newest).sort(([a], [b]) => b - a).slice(0, FIRST).map(([, id]) => id);
  }

  function render() {
    if (!answer) return;
    const { groups, runs, folders, warnings, varied, curves: names } = answer;
    const kept = isOwnChoice ? [...chosen.keys()] : firstIds();
    pick(({ id }) => kept.includes(id));
    const wanted = select.value || memory.get("curve", "val_acc");
    select.replaceChildren(...names.map((name) => h("option", { value: name }, curveTitle(name))));
    select.value = names.includes(wanted) ? wanted : (names[0] ?? "");
    select.hidden = !names.length;
    const where = `in ${folders.join(", ")}`;
    setText(state, runs.length ? `${integer(runs.length)} ${runs.length === 1 ? "run" : "runs"}, ${integer(groups.length)} ${groups.length === 1 ? "setting" : "settings"}, ${where}` : "");
    refill(table, runs.length ? runTable(varied.slice(0, KEYS_SHOWN)) : note(`No runs ${where} yet.`));
    faults.replaceChildren(...faultItems(runs), ...warnings.map((text) => h("li", {}, `⚠ ${text}`)));
    differences.replaceChildren(differenceView());
    draw();
  }

  function runTable(keys) {
    const byGroup = isGrouped();
    const metrics = new Set(answer.groups.map(({ metric }) => metric).filter(Boolean));
    const metric = metrics.size === 1 ? [...metrics][0] : "result";
    const columns = [
      { title: "Show", skip: true, cell: checkbox },
      { title: byGroup ? "Runs" : "Run", kind: "filename", text: runText },
      ...keys.map((key) => ({ title: key, text: (row) => plain(row.setting[key]) })),
      !byGroup && { title: "seed", text: (row) => plain(row.seed) },
      { title: "State", text: stateText },
      byGroup && { title: "n", number: true, text: (row) => integer(row.n) },
      { title: byGroup ? `mean of ${metric}` : metric, number: true, text: (row) => figure(byGroup ? row.mean : row.value), csv: (row) => (byGroup ? row.mean : row.value) },
      byGroup && { title: "95 %", text: (row) => row.interval?.map((end) => figure(end)).join("–") ?? DASH },
      metrics.size > 1 && { title: "metric", text: (row) => row.metric ?? DASH },
      { title: "Best checkpoint", kind: "filename", text: (row) => row.best ?? DASH },
    ].filter(Boolean);
    const css = ({ number, kind }) => (number ? ".number" : kind ? `.${kind}` : "");
    const head = columns.map((each) => h(`th${each.number ? ".number" : ""}`, { scope: "col", "data-csv-skip": each.skip }, each.title));
    const body = rows().map((row) =>
      h("tr", {}, columns.map((each) => h(`td${css(each)}`, { "data-label": each.title, "data-csv": each.csv?.(row) }, each.cell?.(row) ?? each.text(row)))),
    );
    return h("table.rows.stacking", {}, h("caption.vh", {}, "Runs"), h("thead", {}, h("tr", {}, head)), h("tbody", {}, body));
  }

  function checkbox(row) {
    const number = chosen.get(row.id);
    const box = h("input", { type: "checkbox", checked: number !== undefined, "data-key": row.id, "aria-label": `Show ${row.label}` });
    box.addEventListener("change", () => choose(({ id }) => (id === row.id ? box.checked : chosen.has(id))));
    return h("span.row", {}, box, number !== undefined && swatch(number));
  }

  function runText(row) {
    const [first, ...others] = members(row);
    return others.length ? `${others.length + 1} runs` : first.name;
  }

  function stateText(row) {
    const runs = members(row);
    return Object.keys(MARKS)
      .map((name) => [name, runs.filter(({ state }) => state === name)])
      .filter(([, found]) => found.length)
      .map(([name, found]) => {
        const steps = name === "running" ? ` (step ${found.map(({ step }) => integer(step)).join(", ")})` : "";
        return `${MARKS[name]} ${runs.length > 1 ? `${found.length} ` : ""}${name}${steps}`;
      })
      .join(", ");
  }

  const faultItems = (runs) =>
    runs.filter(({ error }) => error).map(({ name, folder, state, error }) => h(`li${state === "failed" ? ".bad" : ""}`, {}, `${MARKS[state]} ${state}: ${folder}${folder.endsWith(`/${name}`) ? "" : ` (${name})`}: ${error}`));

  /** A table with a column for each chosen row: the keys whose values differ. */
  function differenceView() {
    const picked = rows().filter(({ id }) => chosen.has(id));
    if (picked.length < 2) return note("Choose two or more rows to see how their configurations differ.");
    const settings = picked.map((row) => (isGrouped() ? row.setting : { seed: row.seed, ...row.setting }));
    const keys = Object.keys(settings[0]).filter((key) => new Set(settings.map((each) => plain(each[key]))).size > 1);
    if (!keys.length) return note("The configurations of the chosen rows are identical.");
    const head = picked.map((row) => h("th", { scope: "col" }, swatch(chosen.get(row.id)), h("span.vh", {}, row.label)));
    const body = keys.map((key) => h("tr", {}, h("th", { scope: "row" }, key), settings.map((each) => h("td", {}, plain(each[key])))));
    return h("table.rows.narrow", {}, h("caption.vh", {}, "Differences of configuration"), h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "key"), head)), h("tbody", {}, body));
  }

  function draw() {
    const names = Object.keys(curves);
    for (const name of names) {
      if (!charts.has(name)) charts.set(name, new Chart({ title: curveTitle(name), view, on }));
    }
    const elements = names.map((name) => charts.get(name).element);
    if (elements.length !== plots.children.length || elements.some((each, i) => each !== plots.children[i])) plots.replaceChildren(...elements);
    const lines = names.map((name) => linesOf(curves[name]));
    const ends = lines.flat().flatMap(({ x, n }) => [x[0], x[n - 1]]);
    const [low, high] = view.zoomed ?? (ends.length ? [Math.min(...ends), Math.max(...ends)] : [0, 1]);
    view.range = low === high ? [low - 1, high + 1] : [low, high];
    names.forEach((name, i) => charts.get(name).update(lines[i], [], summary(lines[i]), chosen.size ? "The chosen runs have no such curve" : "No run is chosen"));
  }

  function linesOf(found) {
    return rows()
      .filter(({ id }) => chosen.has(id) && found.has(id))
      .map((row) => {
        const { steps, mean, low, high, runs } = found.get(row.id);
        const [x, y] = [Float64Array.from(steps), Float64Array.from(mean)];
        const [least, most] = [low ? Float64Array.from(low) : y, high ? Float64Array.from(high) : y];
        const count = runs > 1 ? ` (mean of ${runs})` : "";
        return { label: `${row.label}${count}`, style: styleOf(chosen.get(row.id)), x, y, least, most, n: x.length, raw: false, band: runs > 1 };
      });
  }

  function summary(lines) {
    if (!lines.length) return "";
    const last = lines.map(({ label: name, y, n }) => `${name} ${figure(y[n - 1], 3)}`);
    const rest = lines.length > 3 ? `, and ${lines.length - 3} more` : "";
    const bands = lines.some(({ band }) => band) ? " Bands go from the lowest to the highest seed." : "";
    return `At the end: ${last.slice(0, 3).join("; ")}${rest}.${bands}`;
  }

  const isActive = () => answer?.runs.some((run) => run.state === "running");
  const now = poll(load, { every: () => (isActive() ? 5000 : 15000), active: () => tab.active && !app.lost });
  tab.shown.push(now);
  app.on("connection", (up) => up && now());
}

const styleOf = (number) => `run${number % STYLES}${number >= STYLES ? " again" : ""}`;

/** The style of a line, as in the legend of a chart. */
function swatch(number) {
  const line = s("path", { class: styleOf(number), d: "M1 4H17" });
  return h("span.chart.swatch-line", {}, s("svg", { width: 18, height: 8, "aria-hidden": "true" }, line));
}
