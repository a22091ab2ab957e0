// The settings form, built from /task_schema; sends only the changed keys. Its panel is folded
// during a run, and otherwise open on wide screens unless the user has closed it.

import { ApiError, get, post } from "../api.js";
import { actionButton, byId, disable, h, memory, note, setText } from "../dom.js";
import { plain } from "../format.js";
import { label, words } from "../labels.js";

const GROUPS = {
  Task: ["task_type", "num_distractors", "distractors", "use_input_output_pairs"],
  Bottleneck: ["bottleneck_type", "vocab_size", "max_message_length", "stop_token", "temperature"],
  Model: ["hidden_dim", "latent_dim", "num_conv_layers"],
  Data: ["max_grids", "filter_grid_size", "augment"],
  Training: ["seed", "batch_size", "learning_rate", "max_steps", "num_epochs", "use_pretrained", "freeze_encoder"],
  Pretraining: ["pretrain_task_type", "pretrain_epochs", "pretrain_learning_rate", "load_pretrained_before_pretrain"],
};
const OPTIONS = ["task_type", "bottleneck_type", "pretrain_task_type"]; // these decide which other keys apply
const MISSING = "Does not apply to the chosen task or bottleneck";
const SHOWN = 4; // differences from the current run that are listed

/** Returns {changed(), apply(), overrides(), toggle}; `toggle` is the button of the panel. */
export function mountSettings(app) {
  const host = byId("settings");
  const toggle = mountPanel(app);
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
  const fields = new Map(); // key → field
  let [schema, values, base] = [null, {}, {}]; // base: the values with the chosen options
  let turn = 0;
  let version; // of the settings that are shown; null: load them again

  /** Show the server's values; with `keep`, unless a value was typed in the meantime. */
  async function load(keep = false) {
    const mine = ++turn;
    version = app.status?.settings_version;
    try {
      const answer = await get("/task_schema");
      if (mine !== turn || (keep && changed())) {
        version = null;
        return;
      }
      if (schema) replaceRows(answer.keys);
      else build(answer.keys);
      fill(answer.values);
    } catch (error) {
      version = null;
      if (keep && schema) return;
      schema = null;
      fields.clear();
      const again = h("button.quiet", { type: "button", onclick: () => load() }, "Try again");
      host.replaceChildren(note(`The settings could not be loaded: ${error.message}`, "bad"), again);
    }
  }

  function build(keys) {
    schema = keys;
    const known = new Set(Object.values(GROUPS).flat());
    const rest = Object.keys(schema).filter((key) => !known.has(key));
    const groups = Object.entries({ ...GROUPS, Other: rest })
      .map(([title, keys]) => [title, keys.filter((key) => schema[key])])
      .filter(([, keys]) => keys.length);
    const sets = groups.map(([title, keys]) =>
      h("fieldset", {}, h("legend", {}, title), keys.map((key) => row(key, schema[key]))),
    );
    const extra = h(
      "fieldset",
      {},
      h("legend", {}, "More"),
      h("label.stack", {}, "Overrides for the next run, as on the command line", overrides),
    );
    const foot = h("div.foot", {}, state, h("div.row", {}, applyButton, revert));
    host.replaceChildren(...sets, extra, help, foot);
  }

  /** Replace the rows of the keys that have changed; the others keep their focus. */
  function replaceRows(keys) {
    for (const [key, { row: old }] of fields) {
      if (JSON.stringify(keys[key]) !== JSON.stringify(schema[key])) old.replaceWith(row(key, keys[key]));
    }
    schema = keys;
  }

  function row(key, about) {
    const field = makeField(about, `set-${key}`);
    field.label = h("label", { for: `set-${key}` }, label(key));
    field.element.addEventListener("input", update);
    field.element.addEventListener("focusin", () => setText(help, [about.key, about.help, range(about)].filter(Boolean).join(" · ")));
    if (OPTIONS.includes(key)) field.element.addEventListener("input", () => choose().catch(app.fail));
    fields.set(key, field);
    field.row = h("div.field", { title: about.help ? `${about.key}: ${about.help}` : about.key }, field.label, field.element);
    return field.row;
  }

  function fill(next) {
    values = base = next;
    for (const [key, field] of fields) field.set(next[key]);
    update();
  }

  /** Show the keys that apply to the chosen options; keep typed values of keys that still apply. */
  async function choose() {
    const mine = ++turn;
    const options = OPTIONS.filter((key) => fields.get(key).get() !== values[key]);
    const answer = await get(`/task_schema?${new URLSearchParams(options.map((key) => [key, fields.get(key).get()]))}`);
    if (mine !== turn) return;
    const typed = changes();
    replaceRows(answer.keys);
    base = { ...answer.values, ...Object.fromEntries(OPTIONS.map((key) => [key, values[key]])) };
    for (const [key, field] of fields) field.set(key in typed && !absent(key) ? typed[key] : base[key]);
    update();
  }

  /** The keys whose field differs from the server's value. */
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
    const once = app.status?.ends_with_run ? "This process ends with its run; start it with server.autostart=false to change settings" : null;
    const locked = app.unreachable ?? once ?? (app.running ? "Settings are locked during a run" : null);
    const changed = changes();
    for (const [key, field] of fields) {
      const reason = locked ?? (absent(key) ? MISSING : null);
      for (const control of field.controls) disable(control, reason);
      field.row.classList.toggle("changed", key in changed);
      field.row.classList.toggle("absent", absent(key));
    }
    overrides.disabled = locked !== null;
    const count = Object.keys(changed).length;
    disable(applyButton, locked ?? (count ? null : "No changes"));
    disable(revert, count ? null : "No changes");
    const named = Object.keys(changed).map(label).join(", ");
    setText(state, locked ? `${locked}.${others()}` : count ? `Not applied yet: ${named}.` : "The next run uses these settings.");
    app.emit("settings");
  }

  /** How the current run differs: a resumed run has its own settings. */
  function others() {
    if (!app.running || app.unreachable || app.status.ends_with_run) return "";
    const status = app.status;
    const differ = Object.keys(values).filter((key) => key in status && plain(status[key]) !== plain(values[key]));
    const listed = differ.slice(0, SHOWN).map((key) => `${label(key)} ${plain(status[key] ?? "none")}`);
    if (differ.length > SHOWN) listed.push(`${differ.length - SHOWN} more (see Config)`);
    return listed.length ? ` They apply to the next run. This run has: ${listed.join(", ")}.` : "";
  }

  async function apply() {
    const invalid = [...fields.values()].flatMap((field) => field.controls).find((control) => !control.checkValidity());
    if (invalid) {
      invalid.reportValidity();
      throw new ApiError(`${label(invalid.id.replace(/^set-|-w$/g, ""))}: ${invalid.validationMessage}`, 0);
    }
    fill({ ...base, ...(await post("/task_config", changes())) });
    app.toast("Settings applied", "good");
    app.refresh();
  }

  app.on("status", (status) => {
    if (version === undefined) version = status.settings_version;
    if (schema && version !== status.settings_version && !changed()) load(true);
    update();
  });
  const changed = () => schema !== null && Object.keys(changes()).length > 0;
  app.on("connection", (up) => (up && !changed() ? load(true) : update())); // keeps typed values
  app.on("run", () => schema && !changed() && load(true));
  load();
  return {
    changed,
    apply,
    toggle,
    overrides: () => splitOverrides(overrides.value),
  };
}

/** Split at spaces outside quotes and brackets, like a shell. */
export function splitOverrides(text) {
  const parts = text.match(/(?:"[^"]*"|'[^']*'|\[[^\]]*\]|\{[^}]*\}|[^\s"'[\]{}])+/g) ?? [];
  return parts.map((part) => part.replace(/^(["'])(.*)\1$/, "$2"));
}

/** The button that opens and closes the panel. Only the user's choice between runs is stored. */
function mountPanel(app) {
  const panel = byId("settings-box");
  const wide = matchMedia("(width > 900px)");
  const button = h("button.quiet.disclosure", { type: "button", id: "settings-toggle", "aria-controls": "settings-box" }, "Settings");
  const show = (open) => {
    panel.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
  };
  const reset = () => show(app.status !== null && !app.running && wide.matches && memory.get("settings", true));
  button.addEventListener("click", () => {
    show(panel.hidden);
    if (!app.running && wide.matches) memory.set("settings", !panel.hidden);
    if (panel.hidden || wide.matches) return;
    panel.style.scrollMarginTop = `${document.querySelector(".bar").offsetHeight}px`; // it covers the top
    panel.scrollIntoView({ block: "nearest" });
  });
  let running = null;
  app.on("status", () => {
    if (app.running !== running) reset();
    running = app.running;
  });
  wide.addEventListener("change", reset);
  reset();
  return button;
}

function range({ minimum, maximum, nullable, type }) {
  const low = minimum ?? null;
  const high = maximum <= Number.MAX_SAFE_INTEGER ? maximum : null;
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
