// Builds elements. Text is only ever inserted as text nodes, so no server string becomes markup.

const SVG = "http://www.w3.org/2000/svg";

/** `h("button.quiet", {onclick, title}, "Text", child, …)`; null, undefined and false are skipped. */
export function h(spec, attributes, ...children) {
  const [tag, ...classes] = spec.split(".");
  const element = document.createElement(tag || "div");
  if (classes.length) element.className = classes.join(" ");
  return fill(element, attributes, children);
}

/** The same for SVG. */
export function s(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(2)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Set text only where it differs, so that selections and live regions are not disturbed. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Replace the content of `element`; the focus stays on the control with the same data-key. */
export function refill(element, ...content) {
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  element.replaceChildren(...content);
  if (focused !== undefined) element.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

/** A short line in place of missing content. `kind`: "", "bad". */
export function note(text, kind = "") {
  return h(`p.note${kind && `.${kind}`}`, { role: kind === "bad" ? "alert" : null }, text);
}

/** A box for a wide table; the keyboard can scroll it. */
export const scrollBox = (name) => h("div.scroll", { tabindex: "0", role: "region", "aria-label": name });

/** Disable a control with the reason as its tooltip; null enables it and removes the tooltip. */
export function disable(element, reason) {
  element.disabled = reason !== null;
  if (reason === null) {
    if (element.dataset.why !== undefined) element.removeAttribute("title");
    delete element.dataset.why;
  } else {
    element.title = reason;
    element.dataset.why = reason;
  }
}

/** A button that runs async `action`, is marked busy meanwhile, and passes errors to `failed`. */
export function actionButton(spec, label, action, failed) {
  const button = h(`button.${spec}`, { type: "button" }, label);
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-busy") === "true") return;
    button.setAttribute("aria-busy", "true");
    try {
      await action(button);
    } catch (error) {
      if (error?.status === undefined) console.error(error);
      failed(error);
    } finally {
      button.removeAttribute("aria-busy");
    }
  });
  return button;
}

/** Copy text. On plain http the clipboard API is unavailable, so fall back on a selection. */
export async function copyText(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = h("textarea.vh", {}, text);
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** Choices stored in this browser, where storage is available. */
export const memory = {
  get(key, fallback) {
    try {
      return JSON.parse(localStorage.getItem(`arc.${key}`)) ?? fallback;
    } catch {
      return fallback;
    }
  },
  set(key, value) {
    try {
      localStorage.setItem(`arc.${key}`, JSON.stringify(value));
    } catch {
      // without storage, the choice lasts as long as the page
    }
  },
};
