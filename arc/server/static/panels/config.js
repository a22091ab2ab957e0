// The resolved configuration, and the command that reproduces it.

import { get } from "../api.js";
import { actionButton, byId, copyText, h, note } from "../dom.js";
import { treeView } from "../tree.js";

export function mountConfig(app, tab) {
  const host = byId("config");
  const tree = h("div.tree-columns");
  const line = h("pre.mono.wrap", { tabindex: "0", "aria-label": "Overrides that reproduce this run" });
  let overrides = [];
  const quote = (each) => (/^[\w.=,+~:/@-]+$/.test(each) ? each : `'${each.replaceAll("'", `'\\''`)}'`);
  const command = () => `python -m arc.train ${overrides.map(quote).join(" ")}`.trim();
  const copy = (label, text) =>
    actionButton(
      "quiet",
      label,
      async () => {
        await copyText(text());
        app.toast("Copied", "good");
      },
      app.fail,
    );
  host.append(
    h("div.toolbar", {}, h("h3", {}, "Configuration"), copy("Copy overrides", () => overrides.map(quote).join(" ")), copy("Copy command", command)),
    line,
    tree,
  );

  async function load() {
    try {
      const answer = await get("/config");
      overrides = lastOfEachKey(answer.overrides ?? []);
      line.textContent = command();
      tree.replaceChildren(treeView(answer.config));
    } catch (error) {
      line.textContent = "";
      tree.replaceChildren(note(error.message, error.status === 409 ? "" : "bad"));
    }
  }

  tab.shown.push(load);
  let version = null; // of the settings
  app.on("run", () => tab.active && load());
  app.on("connection", (up) => up && tab.active && load());
  app.on("status", ({ settings_version: next }) => {
    if (version !== null && next !== version && tab.active) load();
    version = next;
  });
}

/** Without overrides that a later one of the same key replaces; Hydra merges mappings instead. */
function lastOfEachKey(overrides) {
  const key = (each) => (each.includes("={") ? each : each.split("=")[0]);
  return overrides.filter((each, i) => !overrides.slice(i + 1).some((later) => key(later) === key(each)));
}
