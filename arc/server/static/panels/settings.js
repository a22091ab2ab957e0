// The settings: a form built from what the server says each key is; sends only what was changed.

import { ApiError, get, post } from "../api.js";
import { actionButton, byId, disable, h, note, setText } from "../dom.js";
import { plain, words } from "../format.js";

const GROUPS = {
  Game: ["task_type", "num_distractors", "use_input_output_pairs"],
  Channel: ["bottleneck_type", "vocab_size", "max_message_length", "temperature"],
  Model: ["hidden_dim", "latent_dim", "num_conv_layers"],
  Data: ["max_grids", "filter_grid_size"],
  Training: ["batch_size", "learning_rate", "num_epochs", "use_pretrained", "freeze_encoder"],
  Pretraining: ["pretrain_task_type", "pretrain_epochs", "pretrain_learning_rate", "load_pretrained_before_pretrain"],
};
const OPTIONS = ["task_type", "bottleneck_type", "pretrain_task_type"]; // what decides which keys there are
const MISSING = "Not part of the task or channel chosen above";
const OTHERS = 4; // so many settings of a run with other ones are told

/** Returns {changed(), apply(), overrides()}. */
export function mountSettings(app) {
  const host = byId("settings");
  const help = h("p.hint.help-line", { "aria-live": "off" });
  const state = h("p.hint", { role: "status" });
  const applyButton = actionButton("primary", "Apply", apply, app.fail);
  const revert = h("button.quiet", { type: "button", onclick: () => load() }, "Revert");
  const overrides = h("input.mono", {
    id: "overrides",
    placeholder: "data=arc2 training.max_minutes=3",
    autocomplete: "off",
    spellcheck: "false",
  });
  let fields = new Map(); // key → field
  let [schema, values, base] = [null, {}, {}]; // base: the values, were the options applied that are chosen
  let turn = 0;

  async function load() {
    const mine = ++turn;
    try {
      const answer = await get("/task_schema");
      if (mine !== turn) return;
      [schema, values] = [answer.keys, answer.values];
      build();
    } catch (error) {
      const again = h("button.quiet", { type: "button", onclick: load }, "Try again");
      host.replaceChildren(note(`The settings could not be read: ${error.message}`, "bad"), again);
    }
  }

  function build() {
    const known = new Set(Object.values(GROUPS).flat());
    const rest = Object.keys(schema).filter((key) => !known.has(key));
    const groups = Object.entries({ ...GROUPS, Other: rest })
      .map(([title, keys]) => [title, keys.filter((key) => schema[key])])
      .filter(([, keys]) => keys.length);
    fields = new Map();
    const sets = groups.map(([title, keys]) =>
      h("fieldset", {}, h("legend", {}, title), keys.map((key) => row(key, schema[key]))),
    );
    const extra = h(
      "fieldset",
      {},
      h("legend", {}, "More"),
      h("label.stack", {}, "overrides for the next start, as on the command line", overrides),
    );
    const foot = h("div.foot", {}, state, h("div.row", {}, applyButton, revert));
    host.replaceChildren(...sets, extra, help, foot);
    fill(values);
  }

  function row(key, about) {
    const field = makeField(about, `set-${key}`);
    field.label = h("label", { for: `set-${key}` }, label(key));
    field.element.addEventListener("input", update);
    field.element.addEventListener("focusin", () => setText(help, [about.help, range(about)].filter(Boolean).join(" · ")));
    if (OPTIONS.includes(key)) field.element.addEventListener("input", () => choose().catch(app.fail));
    fields.set(key, field);
    field.row = h("div.field", { title: about.help ?? "" }, field.label, field.element);
    return field.row;
  }

  function fill(next) {
    values = base = next;
    for (const [key, field] of fields) field.set(next[key]);
    update();
  }

  /** Show the keys that the chosen options have; what was typed stays where it still has a place. */
  async function choose() {
    const mine = ++turn;
    const options = OPTIONS.filter((key) => fields.get(key).get() !== values[key]);
    const answer = await get(`/task_schema?${new URLSearchParams(options.map((key) => [key, fields.get(key).get()]))}`);
    if (mine !== turn) return;
    const typed = changes();
    for (const [key, { row: old }] of fields) {
      if (JSON.stringify(answer.keys[key]) !== JSON.stringify(schema[key])) old.replaceWith(row(key, answer.keys[key]));
    }
    schema = answer.keys;
    base = { ...answer.values, ...Object.fromEntries(OPTIONS.map((key) => [key, values[key]])) };
    for (const [key, field] of fields) field.set(key in typed && !absent(key) ? typed[key] : base[key]);
    update();
  }

  /** The keys whose field says something else than the server's value. */
  function changes() {
    const changed = {};
    for (const [key, field] of fields) {
      if (absent(key)) continue;
      const value = field.get();
      if (plain(value) !== plain(base[key])) changed[key] = value;
    }
    return changed;
  }

  const absent = (key) => base[key] === undefined || (base[key] === null && !schema[key].nullable);

  function update() {
    const locked = app.unreachable ?? (app.running ? "The settings wait until this run ends" : null);
    const changed = changes();
    for (const [key, field] of fields) {
      const reason = locked ?? (absent(key) ? MISSING : null);
      for (const control of field.controls) disable(control, reason);
      field.row.classList.toggle("changed", key in changed);
      field.row.classList.toggle("absent", absent(key));
    }
    overrides.disabled = locked !== null;
    const count = Object.keys(changed).length;
    disable(applyButton, locked ?? (count ? null : "Nothing was changed"));
    disable(revert, count ? null : "Nothing was changed");
    const named = Object.keys(changed).map(label).join(", ");
    setText(state, locked ? `${locked}.${others()}` : count ? `Changed, not yet applied: ${named}.` : "As the next start will use them.");
    app.emit("settings");
  }

  /** What the run under way has otherwise: one that was resumed brings its own settings. */
  function others() {
    if (!app.running || app.unreachable) return "";
    const status = app.status;
    const differ = Object.keys(values).filter((key) => key in status && plain(status[key]) !== plain(values[key]));
    const [few, more] = [differ.slice(0, OTHERS), differ.length - OTHERS];
    const told = few.map((key) => `${label(key)} ${plain(status[key] ?? "none")}`).join(", ");
    return told && ` They are the next one's; this one has ${told}${more > 0 ? ` and ${more} more, all under Config` : ""}.`;
  }

  async function apply() {
    const invalid = [...fields.values()].flatMap((field) => field.controls).find((control) => !control.checkValidity());
    if (invalid) {
      invalid.reportValidity();
      throw new ApiError(`${label(invalid.id.replace(/^set-|-w$/g, ""))}: ${invalid.validationMessage}`, 0);
    }
    const answer = await post("/task_config", changes());
    fill(answer);
    app.toast("Settings applied", "good");
    app.refresh();
  }

  app.on("status", update);
  const changed = () => schema !== null && Object.keys(changes()).length > 0;
  app.on("connection", (up) => (up && !changed() ? load() : update())); // what was typed outlives a lost connection
  app.on("run", () => schema && !changed() && load());
  load();
  return {
    changed,
    apply,
    overrides: () => splitOverrides(overrides.value),
  };
}

/** Split at spaces outside of quotes and brackets, as a shell and Hydra together would. */
export function splitOverrides(text) {
  const parts = text.match(/(?:"[^"]*"|'[^']*'|\[[^\]]*\]|\{[^}]*\}|[^\s"'[\]{}])+/g) ?? [];
  return parts.map((part) => part.replace(/^(["'])(.*)\1$/, "$2"));
}

const label = (key) => words(key).replace("num ", "").replace("max message length", "message length");

function range({ minimum, maximum, nullable, type }) {
  const low = minimum ?? null;
  const high = maximum ?? null;
  const ends = low !== null && high !== null ? `${low} to ${high}` : low !== null ? `at least ${low}` : high !== null ? `at most ${high}` : "";
  const empty = nullable ? (type === "size" ? "empty: any size" : "empty: no limit") : "";
  return [ends, empty].filter(Boolean).join("; ");
}

/** A field {element, controls, get(), set(value)} for a key of the schema. */
function makeField(about, id) {
  if (about.type === "boolean") {
    const box = h("input", { type: "checkbox", id });
    return { element: h("span.control", {}, box), controls: [box], get: () => box.checked, set: (value) => (box.checked = Boolean(value)) };
  }
  if (about.options?.length) {
    const options = about.options.map((option) => h("option", { value: option }, words(plain(option))));
    const none = about.nullable ? [h("option", { value: "" }, "none")] : [];
    const select = h("select", { id }, none, options);
    const get = () => about.options.find((option) => String(option) === select.value) ?? null;
    return { element: h("span.control", {}, select), controls: [select], get, set: (value) => (select.value = value ?? "") };
  }
  if (about.type === "size") return sizeField(about, id);
  const numeric = about.type === "integer" || about.type === "number";
  const input = h("input", {
    id,
    type: numeric ? "number" : "text",
    min: about.minimum,
    max: about.maximum,
    step: about.type === "integer" ? 1 : "any",
    required: !about.nullable,
    placeholder: about.nullable ? "none" : "",
    autocomplete: "off",
  });
  const get = () => (input.value === "" ? null : numeric ? input.valueAsNumber : input.value);
  return { element: h("span.control", {}, input), controls: [input], get, set: (value) => (input.value = value ?? "") };
}

function sizeField(about, id) {
  const side = (suffix, text) =>
    h("input", { id: id + suffix, type: "number", min: about.minimum ?? 1, max: about.maximum ?? 30, step: 1, placeholder: "any", "aria-label": text });
  const [high, wide] = [side("", "rows"), side("-w", "columns")];
  const get = () => {
    if (high.value === "" && wide.value === "") return null;
    return [high.valueAsNumber, wide.valueAsNumber].map((value) => (Number.isNaN(value) ? null : value));
  };
  const set = (value) => ([high.value, wide.value] = value ?? ["", ""]);
  return { element: h("span.control.size", {}, high, "×", wide), controls: [high, wide], get, set };
}
