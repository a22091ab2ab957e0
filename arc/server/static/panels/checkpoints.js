// Saved runs: what each file holds, and what can be done with it.

import { download, get, post } from "../api.js";
import { prompt, show } from "../dialog.js";
import { actionButton, byId, disable, h, note, setText } from "../dom.js";
import { DASH, figure, integer, percent, words } from "../format.js";
import { poll } from "../poll.js";
import { splitOverrides } from "./settings.js";
import { treeView } from "../tree.js";

const TITLES = ["file", "task", "channel", "step", "held-out %", "held-out loss", "MB", "saved", ""];
const MEANINGS = {
  "held-out %": "By the last validation before the save, on the validation puzzles",
  "held-out loss": "By the last validation before the save, on the validation puzzles",
};

const stem = (filename) => String(filename).replace(/\.pth$/, "");

export function mountCheckpoints(app, tab) {
  const host = byId("checkpoints");
  const filter = h("input", { type: "search", placeholder: "filter", "aria-label": "Filter checkpoints by name", autocomplete: "off", "data-filter": "" });
  const count = h("span.hint", { role: "status" });
  const [files, encoders] = [h("div.scroll"), h("div.scroll")];
  host.append(h("div.toolbar", {}, h("h3", {}, "Checkpoints"), filter, count), files, h("h3", {}, "Pretrained encoders"), encoders);
  let [rows, shown, starters] = [[], null, []];

  async function load() {
    const listed = get("/list_checkpoints");
    const trained = get("/pretrained_encoders").catch((error) => ({ error: error.message }));
    const answer = await listed.catch((error) => {
      files.replaceChildren(note(error.message, "bad"));
      shown = null;
      throw error;
    });
    const found = await trained;
    const stamp = JSON.stringify([answer, found]);
    if (stamp === shown) return;
    shown = stamp;
    rows = answer.checkpoints ?? [];
    render();
    encoders.replaceChildren(found.error ? note(found.error, "bad") : encoderTable(found.encoders ?? []));
  }

  function render() {
    const wanted = filter.value.trim().toLowerCase();
    const matching = rows.filter((row) => row.filename.toLowerCase().includes(wanted));
    setText(count, rows.length ? `${integer(matching.length)} of ${integer(rows.length)}` : "");
    starters = [];
    if (!rows.length) files.replaceChildren(note("Nothing saved yet in this folder."));
    else files.replaceChildren(table(TITLES, matching.map(row)));
    lock();
  }

  function row(each) {
    const name = stem(each.filename);
    const get_it = downloader(name);
    if (each.error) {
      return h("tr.broken", { "data-name": name }, cell("file", nameView(name)), h("td", { colspan: 5, "data-label": "" }, `✗ ${each.error}`), cell("MB", figure(each.size_mb, 3), true), cell("saved", each.modified), h("td.actions", {}, get_it));
    }
    const resume = actionButton("plain", "resume", () => start("resume", name), app.fail);
    const tune = actionButton("plain", "fine-tune", () => start("finetune", name), app.fail);
    starters.push(resume, tune);
    const vector = (each.vocab_size ?? null) === null;
    const channel = `${words(each.bottleneck_type ?? DASH)} ${vector ? (each.latent_dim ?? "") : `${each.max_message_length ?? "?"}×${each.vocab_size}`}`;
    return h(
      "tr",
      { "data-name": name },
      cell("file", nameView(name)),
      cell("task", words(each.task_type ?? DASH)),
      cell("channel", channel),
      cell("step", integer(each.step), true),
      cell("held-out %", percent(each.val_acc), true),
      cell("held-out loss", figure(each.val_loss, 3), true),
      cell("MB", figure(each.size_mb, 3), true),
      cell("saved", each.modified ?? DASH),
      h("td.actions", {}, inspector(name), resume, tune, get_it),
    );
  }

  function encoderTable(list) {
    if (!list.length) return note("No pretrained encoder yet.");
    const lines = list.map((each) => {
      const name = stem(each.filename);
      return h(
        "tr",
        { "data-name": name },
        cell("file", nameView(name)),
        cell("pretrained on", words(each.task_type ?? DASH)),
        cell("held-out %", percent(each.val_acc), true),
        cell("epoch", integer(each.epoch), true),
        h("td.actions", {}, inspector(name), downloader(name)),
      );
    });
    return table(["file", "pretrained on", "held-out %", "epoch", ""], lines);
  }

  const inspector = (name) => actionButton("plain", "inspect", () => inspect(name), app.fail);
  const downloader = (name) => actionButton("plain", "download", () => download(`/download/${encodeURIComponent(name)}.pth`, `${name}.pth`), app.fail);

  async function inspect(name) {
    const { metadata } = await get(`/checkpoint?name=${encodeURIComponent(name)}`);
    await show(name, h("div.tree-box", { tabindex: "0" }, treeView(metadata)), [{ label: "Close", value: "" }], { wide: true });
  }

  async function start(how, name) {
    const resume = how === "resume";
    const text = resume
      ? "The run goes on exactly where it was saved. Lengths are totals: to train longer, raise the limit."
      : "A new run with these weights, and all else fresh.";
    const typed = await prompt(`${resume ? "Resume" : "Fine-tune"} ${name}`, text, {
      label: "overrides, as on the command line (may stay empty)",
      lines: 3,
      hint: resume ? "training.max_minutes=20" : "training.learning_rate=1e-4 model.dropout=0.1",
      ok: resume ? "Resume" : "Fine-tune",
    });
    if (typed === null) return;
    const overrides = splitOverrides(typed);
    await post("/start_train", { [how]: name, ...(overrides.length ? { overrides } : {}) });
    app.toast(`${resume ? "Resuming" : "Fine-tuning"} ${name}`, "good");
    app.refresh();
  }

  function lock() {
    const reason = app.unreachable ?? (app.running ? `A run is ${app.status.state}: stop it first` : null);
    for (const button of starters) disable(button, reason);
  }

  filter.addEventListener("input", render);
  const now = poll(load, { every: () => 6000, active: () => tab.active && !app.lost });
  tab.shown.push(now);
  app.on("status", lock);
  app.on("connection", (up) => (up ? now() : lock()));
}

/** A file's name, which may be broken where a word of it ends. */
const nameView = (name) => h("code", {}, name.split(/(?<=_)/).flatMap((word) => [h("wbr"), word]));

const cell = (label, content, number = false) => h(`td${number ? ".number" : ""}`, { "data-label": label }, content);

function table(titles, rows) {
  const numbers = new Set(["step", "epoch", "held-out %", "held-out loss", "MB"]);
  const head = titles.map((title) => h(`th${numbers.has(title) ? ".number" : ""}`, { scope: "col", title: MEANINGS[title] ?? "" }, title || h("span.vh", {}, "actions")));
  return h("table.rows.stacking", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows));
}
