// Start, pretrain, stop and save buttons; a disabled button has the reason as its tooltip.

import { post } from "../api.js";
import { confirm } from "../dialog.js";
import { actionButton, byId, disable, h, setText } from "../dom.js";

/** `settings` gives {changed(), apply(), overrides()}. Returns {save()}. */
export function mountControls(app, settings) {
  const reason = h("p.hint", { id: "control-reason" });
  const start = actionButton("primary", "Start training", () => begin("/start_train"), app.fail);
  const pretrain = actionButton("quiet", "Pretrain encoder", () => begin("/start_pretrain"), app.fail);
  const stop = actionButton("danger", "Stop", askStop, app.fail);
  const name = h("input.mono", {
    id: "save-name",
    placeholder: "checkpoint name",
    "aria-label": "Name of the checkpoint to save",
    autocomplete: "off",
    spellcheck: "false",
    maxlength: "100",
  });
  const saveButton = actionButton("quiet", "Save", save, app.fail);
  name.addEventListener("keydown", (event) => event.key === "Enter" && saveButton.click());
  byId("controls").append(h("div.row", {}, start, pretrain, stop), h("div.row", {}, name, saveButton), reason, settings.toggle);

  async function begin(path) {
    if (settings.changed()) await settings.apply();
    const overrides = settings.overrides();
    const answer = await post(path, overrides.length ? { overrides } : {});
    app.toast(`${answer.mode === "pretrain" ? "Pretraining" : "Training"} started`, "good");
    app.refresh();
  }

  async function askStop() {
    const [what, text, done] =
      app.status?.state === "testing"
        ? ["final evaluation", "The final evaluation ends at once. Results computed so far are kept.", "Stopping the final evaluation"]
        : ["run", "The run stops after the current step and saves its last state. It can be resumed exactly.", "Stopping after the current step"];
    if (!(await confirm(`Stop the ${what}?`, text, `Stop the ${what}`, "danger"))) return;
    await post("/stop");
    app.toast(done, "good");
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
      const text = "The existing file will be replaced.";
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
    const stopping = state === "stopping" ? "The run is already stopping" : null;
    const unsaved = { testing: "Training has ended; the best checkpoint is being tested", pretraining: "Pretraining saves the encoder at each new best" };
    const noSave = stopping ?? unsaved[state] ?? null;
    disable(start, away ?? busy);
    disable(pretrain, away ?? busy);
    disable(stop, away ?? (app.running ? stopping : "Nothing is running"));
    disable(saveButton, away ?? (app.running ? noSave : "Nothing is running"));
    name.disabled = saveButton.disabled;
    setText(start, settings.changed() ? "Apply and start" : "Start training");
    setText(pretrain, settings.changed() ? "Apply and pretrain" : "Pretrain encoder");
    setText(stop, state === "testing" ? "Stop evaluation" : "Stop");
    const after = app.status?.ends_with_run ? "This process ends with its run." : "A new run can start after this one ends.";
    setText(reason, away ?? (app.running ? (noSave ?? after) : "Stop and Save need a run."));
  }

  for (const event of ["status", "connection", "settings"]) app.on(event, update);
  update();
  return { save: () => saveButton.click() };
}
