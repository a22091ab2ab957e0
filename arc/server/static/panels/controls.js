// Start, pretrain, stop and save: each disabled with its reason, busy while asked, errors as they come.

import { post } from "../api.js";
import { confirm } from "../dialog.js";
import { actionButton, byId, disable, h, setText } from "../dom.js";

/** `settings` gives {changed(), apply(), overrides()}. Returns {save(), begin(path, body)}. */
export function mountControls(app, settings) {
  const reason = h("p.hint", { id: "control-reason" });
  const start = actionButton("primary", "Start training", () => begin("/start_train"), app.fail);
  const pretrain = actionButton("quiet", "Pretrain encoder", () => begin("/start_pretrain"), app.fail);
  const stop = actionButton("danger", "Stop", askStop, app.fail);
  const name = h("input.mono", {
    id: "save-name",
    placeholder: "name (optional)",
    "aria-label": "Name of the checkpoint to save",
    autocomplete: "off",
    spellcheck: "false",
    maxlength: "100",
  });
  const saveButton = actionButton("quiet", "Save", save, app.fail);
  name.addEventListener("keydown", (event) => event.key === "Enter" && saveButton.click());
  byId("controls").append(
    h("div.row", {}, start, pretrain, stop),
    h("div.row", {}, name, saveButton),
    reason,
  );

  async function begin(path, body = {}) {
    if (settings.changed()) await settings.apply();
    const overrides = body.overrides ?? settings.overrides();
    const full = { ...body, ...(overrides.length ? { overrides } : {}) };
    const answer = await post(path, full);
    app.toast(`${answer.mode === "pretrain" ? "Pretraining" : "Training"} started`, "good");
    app.refresh();
  }

  async function askStop() {
    const text = "It stops after the current step and saves its last state; you can resume it exactly.";
    if (!(await confirm("Stop the run?", text, "Stop the run", "danger"))) return;
    await post("/stop");
    app.toast("Stopping after the current step", "good");
    app.refresh();
  }

  async function save() {
    if (saveButton.disabled) {
      app.toast(saveButton.dataset.why ?? "Nothing to save now");
      return;
    }
    const wanted = name.value.trim();
    const body = wanted ? { name: wanted } : undefined;
    let answer;
    try {
      answer = await post("/save_checkpoint", body);
    } catch (error) {
      if (error.status !== 409) throw error;
      const text = "What it holds now would be lost.";
      if (!(await confirm(`Overwrite ${wanted}?`, text, "Overwrite", "danger"))) return;
      answer = await post("/save_checkpoint", { ...body, overwrite: true });
    }
    name.value = "";
    app.toast(answer.message ?? `Save requested: ${answer.checkpoint_name}`, "good");
    app.refresh();
  }

  function update() {
    const away = app.unreachable;
    const state = app.status?.state;
    const busy = app.running ? `A run is ${state}: stop it first` : null;
    disable(start, away ?? busy);
    disable(pretrain, away ?? busy);
    const ends = { stopping: "The run is stopping already", testing: "Training has ended; the best state is being tested" };
    const ending = ends[state] ?? null;
    disable(stop, away ?? (app.running ? ending : "Nothing is running"));
    const early = state === "pretraining" ? "Pretraining saves its encoder by itself at each new best" : null;
    disable(saveButton, away ?? (app.running ? (early ?? ending) : "Nothing is running, so there is nothing to save"));
    name.disabled = saveButton.disabled;
    setText(start, settings.changed() ? "Apply and start" : "Start training");
    setText(pretrain, settings.changed() ? "Apply and pretrain" : "Pretrain encoder");
    const text = away ?? (app.running ? (ending ?? early ?? "Another start waits until this run ends.") : "Stop and save need a run.");
    setText(reason, text);
  }

  for (const event of ["status", "connection", "settings"]) app.on(event, update);
  update();
  return { save: () => saveButton.click(), saveReason: () => saveButton.dataset.why ?? null, begin };
}
