// The dashboard: mounts the panels, and holds what belongs to the page as a whole.

import { onTokenWanted } from "./api.js";
import { App } from "./app.js";
import { prompt, show } from "./dialog.js";
import { byId, h, memory } from "./dom.js";
import { mountCharts } from "./panels/charts.js";
import { mountCheckpoints } from "./panels/checkpoints.js";
import { mountConfig } from "./panels/config.js";
import { mountControls } from "./panels/controls.js";
import { mountExamples } from "./panels/examples.js";
import { mountLanguage } from "./panels/language.js";
import { mountLog } from "./panels/log.js";
import { mountResults } from "./panels/results.js";
import { mountRuns } from "./panels/runs.js";
import { mountSettings } from "./panels/settings.js";
import { mountStatus } from "./panels/status.js";
import { RunHistory } from "./run_history.js";
import { mountTabs } from "./tabs.js";
import { mountTheme } from "./theme_button.js";

const KEYS = {
  s: "save a checkpoint (under the name next to Save, or a default name)",
  l: "show the log; press again to return to the previous tab",
  "/": "filter the list in view",
  "?": "this help",
};
const CHART_KEYS = {
  "← →": "on a chart: move the crosshair (Shift: faster)",
  "+ −": "on a chart: zoom in and out; or drag across it",
  0: "on a chart: show all and follow; or double-click",
};

const app = new App();
onTokenWanted((wrong) =>
  prompt("A token is required", wrong ? "That token was not accepted." : "Enter the value of server.token.", { label: "Token", type: "password", ok: "Continue" }),
);
const { tabs, select, current, previous } = mountTabs(app);
const settings = mountSettings(app);
const controls = mountControls(app, settings);
const record = new RunHistory();
mountCharts(app, tabs.charts, record);
mountResults(app);
mountExamples(app, tabs.examples);
mountLanguage(app, tabs.language, record);
mountCheckpoints(app, tabs.checkpoints);
mountRuns(app, tabs.runs);
mountConfig(app, tabs.config);
mountLog(app, tabs.log);
select(memory.get("tab", "charts"));
if (!current()) select("charts");
mountStatus(app);
app.on("run", () => document.querySelectorAll("#toasts .bad").forEach((toast) => toast.remove()));

mountTheme();
mountKeys();

function mountKeys() {
  const acts = {
    s: () => controls.save(),
    l: () => select(current() === "log" ? previous() : "log", true),
    "/": focusFilter,
    "?": help,
  };
  byId("help").addEventListener("click", help);
  document.addEventListener("keydown", (event) => {
    const act = acts[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey || !memory.get("keys", true)) return;
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    if ((typing && typing.type !== "checkbox" && typing.type !== "range") || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    act();
  });
}

function focusFilter() {
  const find = () => byId(current()).querySelector("[data-filter]");
  if (!find()) select("examples");
  find().focus();
  find().select();
}

function help() {
  const rows = (keys) => Object.entries(keys).map(([key, text]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, text)]);
  const box = h("input", { type: "checkbox", checked: memory.get("keys", true) });
  box.addEventListener("change", () => memory.set("keys", box.checked));
  const content = [
    h("dl.keys", {}, rows(KEYS), rows(CHART_KEYS)),
    h("label.inline", {}, box, " enable single-key shortcuts"),
  ];
  show("Keyboard", content, [{ label: "Close", value: "" }]);
}
