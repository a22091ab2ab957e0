// Checkpoints and pretrained encoders: their contents, and buttons to resume, fine-tune, download.

import { download, get, post } from "../api.js";
import { prompt, show } from "../dialog.js";
import { tableHeading } from "../csv.js";
import { actionButton, byId, disable, h, note, refill, scrollBox, setText } from "../dom.js";
import { DASH, figure, integer, percent } from "../format.js";
import { label, words } from "../labels.js";
import { poll } from "../poll.js";
import { splitOverrides } from "./settings.js";
import { treeView } from "../tree.js";

const COLUMNS = ["filename", "task_type", "bottleneck_type", "step", "val_acc", "val_loss", "size_mb", "modified", ""];
const ENCODER_COLUMNS = ["filename", "task_type", "val_acc", "epoch", ""];
const TITLES = { filename: "File", val_acc: "Validation accuracy (%)", size_mb: "Size (MB)", modified: "Saved" };
const NUMBERS = ["step", "epoch", "val_acc", "val_loss", "size_mb"];
const title = (key) => TITLES[key] ?? label(key);

const stem = (filename) => String(filename).replace(/\.pth$/, "");

export function mountCheckpoints(app, tab) {
  const host = byId("checkpoints");
  const filter = h("input", { type: "search", placeholder: "Filter", "aria-label": "Filter checkpoints by name", autocomplete: "off", "data-filter": "" });
  const count = h("span.hint", { role: "status" });
  const folder = h("code.hint", { title: "checkpoint.dir" });
  const [files, encoders] = [scrollBox("Checkpoints"), scrollBox("Pretrained encoders")];
  host.append(tableHeading(app, "Checkpoints", files, { more: [filter, count, folder] }), files, tableHeading(app, "Pretrained encoders", encoders), encoders);
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
    refill(encoders, found.error ? note(found.error, "bad") : encoderTable(found.encoders ?? []));
  }

  function render() {
    const wanted = filter.value.trim().toLowerCase();
    const matching = rows.filter((row) => row.filename.toLowerCase().includes(wanted));
    setText(count, rows.length ? `${integer(matching.length)} of ${integer(rows.length)}` : "");
    starters = [];
    if (!rows.length) files.replaceChildren(note("No checkpoints in this folder yet."));
    else refill(files, table(COLUMNS, matching.map(row)));
    lock();
  }

  function row(each) {
    const name = stem(each.filename);
    const size = [cell("size_mb", figure(each.size_mb, 3), each.size_mb), cell("modified", each.modified ?? DASH)];
    if (each.error) {
      return h("tr.broken", { "data-name": name }, cell("filename", nameView(name)), h("td", { colspan: 5 }, `✗ ${each.error}`), size, h("td.actions", {}, downloader(name)));
    }
    const resume = button("Resume", name, () => start("resume", name));
    const tune = button("Fine-tune", name, () => start("finetune", name));
    starters.push(resume, tune);
    const vector = (each.vocab_size ?? null) === null;
    const bottleneck = `${words(each.bottleneck_type ?? DASH)} ${vector ? (each.latent_dim ?? "") : `${each.max_message_length ?? "?"}×${each.vocab_size}`}`;
    return h(
      "tr",
      { "data-name": name },
      cell("filename", nameView(name)),
      cell("task_type", words(each.task_type ?? DASH)),
      cell("bottleneck_type", bottleneck),
      cell("step", integer(each.step), each.step),
      cell("val_acc", percent(each.val_acc), each.val_acc),
      cell("val_loss", figure(each.val_loss, 3), each.val_loss),
      size,
      h("td.actions", {}, inspector(name), resume, tune, downloader(name)),
    );
  }

  function encoderTable(list) {
    if (!list.length) return note("No pretrained encoders yet.");
    const lines = list.map((each) => {
      const name = stem(each.filename);
      return h(
        "tr",
        { "data-name": name },
        cell("filename", nameView(name)),
        cell("task_type", words(each.task_type ?? DASH)),
        cell("val_acc", percent(each.val_acc), each.val_acc),
        cell("epoch", integer(each.epoch), each.epoch),
        h("td.actions", {}, inspector(name), downloader(name)),
      );
    });
    return table(ENCODER_COLUMNS, lines);
  }

  function button(label, name, action) {
    const made = actionButton("plain", label, action, app.fail);
    made.dataset.key = `${label} ${name}`;
    return made;
  }

  const inspector = (name) => button("Inspect", name, () => inspect(name));
  const downloader = (name) => button("Download", name, () => download(`/download/${encodeURIComponent(name)}.pth`, `${name}.pth`));

  async function inspect(name) {
    const { metadata } = await get(`/checkpoint?name=${encodeURIComponent(name)}`);
    await show(name, h("div.tree-box", { tabindex: "0" }, treeView(metadata)), [{ label: "Close", value: "" }], { wide: true });
  }

  async function start(how, name) {
    const resume = how === "resume";
    const text = resume
      ? "Continues the run exactly from this checkpoint. Lengths are totals: to train longer, raise the limit."
      : "Starts a new run from these weights, with a fresh optimizer and fresh counters.";
    const typed = await prompt(`${resume ? "Resume" : "Fine-tune"} ${name}`, text, {
      label: "Overrides (optional), as on the command line",
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
    setText(folder, app.status?.folder ?? "");
  }

  filter.addEventListener("input", render);
  const now = poll(load, { every: () => 6000, active: () => tab.active && !app.lost });
  tab.shown.push(now);
  app.on("status", lock);
  app.on("connection", (up) => (up ? now() : lock()));
}

/** A file name that may wrap after an underscore. */
const nameView = (name) => h("code", {}, name.split(/(?<=_)/).flatMap((word) => [h("wbr"), word]));

const isNumber = (key) => (NUMBERS.includes(key) ? ".number" : "");

const cell = (key, content, csv) => h(`td.${key}${isNumber(key)}`, { "data-label": title(key), "data-csv": csv }, content);

function table(columns, rows) {
  const head = columns.map((key) => h(`th${isNumber(key)}`, { scope: "col", title: key, "data-csv-skip": !key }, key ? title(key) : h("span.vh", {}, "Actions")));
  return h("table.rows.stacking", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows));
}
