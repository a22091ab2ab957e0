// The status strip: state, progress and metrics of the run, and whether the server responds.

import { get } from "../api.js";
import { byId, h, setText } from "../dom.js";
import { clock, DASH, duration, figure, integer, percent } from "../format.js";
import { words } from "../labels.js";
import { poll } from "../poll.js";

const STATES = {
  idle: "○ idle",
  training: "● training",
  pretraining: "● pretraining",
  testing: "● testing",
  stopping: "◐ stopping",
  finished: "✓ finished",
  stopped: "■ stopped",
  failed: "✗ failed",
  lost: "⚡ no connection",
};
const STAGES = { test: "Testing", controls: "Testing controls", validation: "Testing on the validation set" };

const TIMEOUT_MS = 15000; // the server answers this request at once

export function mountStatus(app) {
  const facts = byId("facts");
  const cells = new Map();
  let seen = {};

  const now = poll(
    async () => {
      let status;
      try {
        status = await get("/status", TIMEOUT_MS);
      } catch (error) {
        lose(error);
        throw error;
      }
      reconnect();
      const fresh = status.run_id !== app.status?.run_id;
      app.status = status;
      show(status);
      announceChanges(status);
      if (fresh) app.emit("run", status);
      app.emit("status", status);
    },
    { every: () => 1000, hidden: true },
  );
  app.refresh = now;
  byId("retry").addEventListener("click", now);

  function lose(error) {
    if (!app.lost) {
      app.lost = new Date();
      app.announce("Connection to the run lost");
      app.emit("connection", false);
    }
    byId("lost").hidden = false;
    const outcome = app.status?.state === "idle" && app.status.outcome;
    byId("lost").classList.toggle("quiet", Boolean(outcome));
    if (outcome) { // usually no fault: a process started for one run exits with it
      setText(byId("lost-text"), `The run has ${outcome === "stopped" ? "been stopped" : outcome}, and the server has not responded since ${clock(app.lost)}; a process started for a single run exits at its end. The page shows the last state and reconnects when a server runs at this address.`);
      return;
    }
    const why = error.status ? `server error: ${error.message}` : "the server does not respond";
    setText(byId("lost-text"), `Connection lost at ${clock(app.lost)} (${why}). The page shows the last known state; reconnecting.`);
    paintState("lost");
    document.title = "no connection · arc";
  }

  function reconnect() {
    if (!app.lost) return;
    app.lost = null;
    byId("lost").hidden = true;
    app.announce("Connection restored");
    app.emit("connection", true);
  }

  function paintState(state) {
    const element = byId("state");
    element.dataset.state = state;
    setText(element, STATES[state] ?? state);
  }

  function show(status) {
    const state = status.running || status.state !== "idle" ? status.state : (status.outcome ?? "idle");
    paintState(state);
    setText(byId("run-name"), status.run_name ?? (status.running ? "Loading data and building the model …" : "No run yet"));
    byId("run-name").title = status.run_name ?? "";
    const failed = state === "failed" && status.error;
    byId("failure").hidden = !failed;
    setText(byId("failure"), failed ? `The run failed: ${status.error}` : "");
    showProgress(status);
    for (const [name, [value, title]] of Object.entries(facts_of(status))) put(name, value, title);
    const lead = status.running ? `${percent(status.metrics?.val_acc ?? status.metrics?.accuracy)} % · ` : "";
    document.title = `${lead}${STATES[state] ?? state} · arc`;
  }

  /** The bar and its text: of the test while testing, otherwise of the training. */
  function showProgress({ running, state, testing, progress }) {
    const tests = state === "testing";
    const share = tests ? testing?.progress : progress;
    const known = typeof share === "number";
    byId("progress-box").hidden = !running || !(known || tests);
    if (known) byId("progress").value = share;
    else byId("progress").removeAttribute("value");
    const parts = [known && `${Math.round(100 * share)} %`, tests && typeof testing?.eta_seconds === "number" && `${duration(testing.eta_seconds)} left`];
    setText(byId("progress-text"), `${tests ? `${STAGES[testing?.stage] ?? STAGES.test} … ` : ""}${parts.filter(Boolean).join(", ")}`.trim());
  }

  function put(name, value, title = "") {
    if (!cells.has(name)) {
      const cell = h("dd");
      cells.set(name, cell);
      facts.append(h("div", {}, h("dt", {}, name), cell));
    }
    const cell = cells.get(name);
    setText(cell, value);
    cell.title = title;
  }

  function announceChanges(status) {
    const saves = status.recent_saves ?? [];
    const announced = status.run_id === seen.run ? seen.saved : 0;
    const fresh = saves.filter((save) => save.number > announced && !automatic(save.name));
    if (seen.state !== undefined) {
      if (status.state !== seen.state) {
        const why = status.outcome === "failed" ? `: ${status.error}` : "";
        app.announce(status.state === "idle" ? `Run ${status.outcome ?? "over"}${why}` : `Now ${status.state}`);
        if (status.state === "idle" && why) app.toast(`The run failed${why}`, "bad");
      }
      for (const save of fresh) {
        if (save.state === "saved") app.toast(`Saved ${save.name}`, "good");
        else app.toast(`Saving ${save.name} failed: ${save.error}`, "bad");
      }
    }
    seen = { state: status.state, run: status.run_id, saved: saves.at(-1)?.number ?? 0 };
  }

  now();
}

const automatic = (name) => /_(best|last|epoch_\d+)(\.pth)?$/.test(name ?? "");

/** Label → [value, tooltip], in display order. */
function facts_of(status) {
  const { metrics = {}, throughput = {} } = status;
  const vector = status.vocab_size === null || status.vocab_size === undefined;
  const code = vector
    ? `vector${status.latent_dim ? ` of ${status.latent_dim}` : ""}`
    : `length ${status.max_message_length}, vocabulary ${status.vocab_size}`;
  const steps = typeof status.step === "number" && status.step > 0;
  const loss = steps && metrics.loss === null ? "not finite ⚠" : figure(metrics.loss);
  const task = words(status.task_type ?? DASH);
  const others = status.num_distractors ? `, ${status.num_distractors} distractors` : "";
  const pairs = status.use_input_output_pairs ? ", pairs" : "";
  const share = (value) => (typeof value === "number" ? `${percent(value)} %` : DASH);
  const pretrains = status.run_mode === "pretrain";
  return {
    Task: [pretrains ? `pretraining on ${words(status.pretrain_task_type ?? DASH)}` : task + others + pairs, pretrains ? "pretrain" : "task"],
    Bottleneck: [pretrains ? "none (encoder only)" : `${words(status.bottleneck_type ?? DASH)}, ${code}`, "bottleneck"],
    Epoch: [status.epoch ? `${integer(status.epoch)}, batch ${integer(status.batch)}/${integer(status.batches_per_epoch)}` : DASH],
    Step: [integer(status.step)],
    "Training loss": [loss, loss.endsWith("⚠") ? "loss: the last value was NaN or infinite" : "loss"],
    "Training accuracy": [share(metrics.accuracy), "accuracy"],
    "Validation accuracy": [share(metrics.val_acc), "val_acc"],
    "Steps/s": [figure(throughput.steps_per_second, 3), "steps_per_second"],
    "Examples/s": [figure(throughput.examples_per_second ?? throughput.targets_per_second, 3), "examples_per_second"],
    Elapsed: [duration(status.seconds), "seconds"],
    "Time left": [status.running ? duration(status.testing?.eta_seconds ?? status.eta_seconds) : DASH, "eta_seconds"],
    Device: [[status.device, status.precision].filter(Boolean).join(", ") || DASH],
    "Last save": saving(status),
  };
}

/** Without the run's name, which the header shows. */
const shortly = (name, run) => (run && name.startsWith(`${run}_`) ? name.slice(run.length + 1) : name);

function saving({ pending_saves: pending, last_save: last, run_name: run }) {
  if (pending?.length) return [`⟳ saving ${pending.map((name) => shortly(name, run)).join(", ")}`, pending.join(", ")];
  if (!last) return ["none yet"];
  if (last.state === "failed") return [`✗ ${shortly(last.name, run)} failed`, last.error ?? ""];
  return [`✓ ${shortly(last.name, run)} ${last.time.slice(11, 19)}`, `${last.name}, ${last.time}`];
}
