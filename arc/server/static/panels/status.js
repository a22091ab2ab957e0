// The status strip: what the run is doing, in one look; and whether the server still answers.

import { get } from "../api.js";
import { byId, h, setText } from "../dom.js";
import { clock, DASH, duration, figure, integer, percent, words } from "../format.js";
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

export function mountStatus(app) {
  const facts = byId("facts");
  const cells = new Map();
  let seen = {};

  const now = poll(
    async () => {
      let status;
      try {
        status = await get("/status");
      } catch (error) {
        lose(error);
        throw error;
      }
      find();
      const fresh = status.run_id !== app.status?.run_id;
      app.status = status;
      show(status);
      speak(status);
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
    if (outcome) { // nothing went wrong: a process that was started for one run ends with it
      setText(byId("lost-text"), `The run has ${outcome === "failed" ? "failed" : outcome}, and its process has ended since ${clock(app.lost)}. What is shown is its end; another run at this address will show by itself.`);
      return;
    }
    const why = error.status ? `the server answers: ${error.message}` : "the server does not answer";
    setText(byId("lost-text"), `Connection lost since ${clock(app.lost)} (${why}). What is shown is from then; trying again.`);
    paintState("lost");
    document.title = "no connection · arc";
  }

  function find() {
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
    setText(byId("run-name"), status.run_name ?? (status.running ? "reading the data, making the model …" : "no run yet"));
    byId("run-name").title = status.run_name ?? "";
    const failed = state === "failed" && status.error;
    byId("failure").hidden = !failed;
    setText(byId("failure"), failed ? `The run failed: ${status.error}` : "");
    const bar = byId("progress");
    bar.hidden = typeof status.progress !== "number";
    if (state === "testing") bar.removeAttribute("value"); // how long it takes is not known
    else bar.value = status.progress ?? 0;
    for (const [name, [value, title]] of Object.entries(facts_of(status))) put(name, value, title);
    const lead = status.running ? `${percent(status.metrics?.val_acc ?? status.metrics?.accuracy)} % · ` : "";
    document.title = `${lead}${STATES[state] ?? state} · arc`;
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

  function speak(status) {
    const saves = status.recent_saves ?? [];
    const fresh = saves.filter((save) => save.time > (seen.saved ?? "") && !automatic(save.name));
    const end = status.outcome && `${status.run_id} ${status.outcome}`;
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
    seen = { state: status.state, saved: saves.at(-1)?.time ?? seen.saved, end };
  }

  now();
}

const automatic = (name) => /_(best|last|epoch_\d+)(\.pth)?$/.test(name ?? "");

/** Name → [value, tooltip], in the order shown. */
function facts_of(status) {
  const { metrics = {}, throughput = {} } = status;
  const vector = status.vocab_size === null || status.vocab_size === undefined;
  const channel = vector
    ? `vector${status.latent_dim ? ` of ${status.latent_dim}` : ""}`
    : `${status.max_message_length} of ${status.vocab_size} symbols`;
  const steps = typeof status.step === "number" && status.step > 0;
  const loss = steps && metrics.loss === null ? "not finite ⚠" : figure(metrics.loss);
  const game = words(status.task_type ?? DASH);
  const others = status.num_distractors ? `, ${status.num_distractors} distractors` : "";
  const pairs = status.use_input_output_pairs ? ", pairs" : "";
  const pretrains = status.mode === "pretrain";
  return {
    task: [pretrains ? `pretraining on ${words(status.pretrain_task_type ?? DASH)}` : game + others + pairs],
    channel: [pretrains ? "none: the sender's encoder alone" : `${words(status.bottleneck_type ?? DASH)}, ${channel}`],
    epoch: [status.epoch ? `${integer(status.epoch)}, batch ${integer(status.batch)}/${integer(status.batches_per_epoch)}` : DASH],
    step: [integer(status.step)],
    loss: [loss, loss.endsWith("⚠") ? "The last loss was NaN or infinite" : ""],
    "accuracy %": [percent(metrics.accuracy)],
    "held-out %": [percent(metrics.val_acc), "on the validation puzzles"],
    "steps/s": [figure(throughput.steps_per_second, 3)],
    "targets/s": [figure(throughput.targets_per_second, 3)],
    elapsed: [duration(status.seconds)],
    "time left": [status.running ? duration(status.eta_seconds) : DASH],
    device: [[status.device, status.precision].filter(Boolean).join(", ") || DASH],
    "last save": saving(status),
    folder: [status.folder ?? DASH, status.folder ?? ""],
  };
}

/** A run's own files go by their last word: its name stands in the header already. */
const shortly = (name, run) => (run && name.startsWith(`${run}_`) ? name.slice(run.length + 1) : name);

function saving({ pending_saves: pending, last_save: last, run_name: run }) {
  if (pending?.length) return [`⟳ writing ${pending.map((name) => shortly(name, run)).join(", ")}`, pending.join(", ")];
  if (!last) return ["none yet"];
  if (last.state === "failed") return [`✗ ${shortly(last.name, run)} failed`, last.error ?? ""];
  return [`✓ ${shortly(last.name, run)} ${last.time.slice(11, 19)}`, `${last.name}, ${last.time}`];
}
