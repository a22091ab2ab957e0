// Modal dialogs with the native <dialog>, which traps and restores the focus.

import { h } from "./dom.js";

/** Show `content` under `title` with `buttons` [{label, value, kind}]; resolves to the value or null. */
export function show(title, content, buttons, { wide = false } = {}) {
  const heading = h("h2", { id: "dialog-title" }, title);
  const row = h(
    "div.row.end",
    {},
    buttons.map(({ label, value, kind }) =>
      h(`button.${kind ?? "quiet"}`, { value, type: "submit", formnovalidate: value === "" }, label),
    ),
  );
  const form = h("form", { method: "dialog" }, heading, content, row);
  const dialog = h(`dialog${wide ? ".wide" : ""}`, { "aria-labelledby": "dialog-title" }, form);
  document.body.append(dialog);
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue || null);
    });
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close(); // the backdrop
    });
    dialog.showModal();
  });
}

/** Ask for confirmation; true when confirmed. */
export async function confirm(title, text, label, kind = "primary") {
  const buttons = [
    { label: "Cancel", value: "" },
    { label, value: "yes", kind },
  ];
  return (await show(title, h("p", {}, text), buttons)) === "yes";
}

/** Ask for one or more lines of text; resolves to the text or null. */
export async function prompt(title, text, { label, type = "text", lines = 1, hint = "", ok = "OK" }) {
  const field =
    lines > 1
      ? h("textarea.mono", { rows: lines, spellcheck: "false" })
      : h("input.mono", { type, autocomplete: "off", spellcheck: "false" });
  const body = [
    text && h("p", {}, text),
    h("label.stack", {}, label, field),
    hint && h("p.hint", {}, hint),
  ];
  const buttons = [
    { label: "Cancel", value: "" },
    { label: ok, value: "yes", kind: "primary" },
  ];
  if (lines === 1) {
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return; // would press the first button, Cancel
      event.preventDefault();
      field.form.parentElement.close("yes");
    });
  }
  return (await show(title, body, buttons)) === "yes" ? field.value : null;
}
