// Messages: symbols as chips, read-only or editable, and vectors as bars.

import { h, s } from "./dom.js";
import { figure } from "./format.js";

/** Give an element the hue of a symbol; the number itself is always shown too. */
function tint(element, symbol) {
  element.style.setProperty("--hue", String((symbol * 137.5) % 360));
}

/** A read-only message; symbols that differ from the message `other` are marked. */
export function messageView(message, { length = null, other = null } = {}) {
  const end = length ?? message.length;
  const read = message.slice(0, end).join(" ");
  const differs = (i) => other !== null && other[i] !== message[i];
  const count = message.filter((_, i) => differs(i)).length;
  const label = `Message ${read}${other ? `; ${count} of ${message.length} symbols differ` : ""}`;
  const chips = message.map((symbol, i) => {
    const chip = h(`span.chip${i >= end ? ".unused" : ""}${differs(i) ? ".differs" : ""}`, {}, symbol);
    tint(chip, symbol);
    return chip;
  });
  return h("span.message", { role: "img", "aria-label": label }, chips);
}

/**
 * An editable message: each chip takes a number, arrow up and down, or its two buttons; arrow
 * left and right move between chips. `changed(message)` is called on every edit. Returns
 * {element, set(message, length, sent)}, where symbols that differ from `sent` are marked.
 */
export function messageEditor(vocabulary, changed) {
  const element = h("div.message.editor", { role: "group", "aria-label": "Message, symbol by symbol" });
  let [message, sent] = [[], []];
  let chips = [];

  function put(i, symbol) {
    const value = ((symbol % vocabulary) + vocabulary) % vocabulary;
    if (message[i] === value) return;
    message = message.with(i, value);
    mark();
    changed(message);
  }

  function mark(end = message.length) {
    chips.forEach(({ box, input }, i) => {
      const typing = input === document.activeElement && input.value === "";
      if (!typing && input.valueAsNumber !== message[i]) input.value = message[i];
      tint(box, message[i]);
      const differs = message[i] !== sent[i];
      box.classList.toggle("differs", differs);
      box.classList.toggle("unused", i >= end);
      box.title = differs ? `original: ${sent[i]}` : i >= end ? "ignored: after the stop symbol" : "";
    });
  }

  function chip(i) {
    const input = h("input", {
      type: "number",
      min: 0,
      max: vocabulary - 1,
      "aria-label": `Symbol ${i + 1} of ${message.length}`,
    });
    input.addEventListener("focus", () => input.select());
    input.addEventListener("input", () => {
      const value = input.valueAsNumber;
      if (Number.isInteger(value) && value >= 0 && value < vocabulary) put(i, value);
    });
    input.addEventListener("blur", () => (input.value = message[i]));
    input.addEventListener("keydown", (event) => {
      const step = { ArrowUp: 1, ArrowDown: -1 }[event.key];
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step) put(i, message[i] + step);
      else if (move) chips[i + move]?.input.focus();
      else return;
      event.preventDefault();
      if (step) input.select();
    });
    const nudge = (step, label, sign) =>
      h("button", { type: "button", tabindex: "-1", "aria-hidden": "true", title: label, onclick: () => put(i, message[i] + step) }, sign);
    const box = h("span.chip.edit", {}, nudge(1, "next symbol", "▴"), input, nudge(-1, "previous symbol", "▾"));
    return { box, input };
  }

  function set(next, length, original) {
    sent = original ?? next;
    const rebuild = next.length !== message.length;
    message = [...next];
    if (rebuild) {
      chips = message.map((_, i) => chip(i));
      element.replaceChildren(...chips.map(({ box }) => box));
    }
    mark(length ?? next.length);
  }

  return { element, set };
}

/** A continuous message as bars around zero; `other` is drawn as a line over it. */
export function vectorView(vector, other = null) {
  const [width, height, n] = [Math.min(420, Math.max(160, vector.length * 5)), 64, vector.length];
  const finite = vector.filter((value) => value !== null);
  const size = Math.max(...finite.map(Math.abs), ...(other ?? []).map(Math.abs), 1e-9);
  const y = (value) => height / 2 - ((value ?? 0) / size) * (height / 2 - 2);
  const step = width / n;
  const bars = vector.map((value, i) =>
    s("rect", {
      x: (i * step + 0.5).toFixed(2),
      width: Math.max(0.8, step - 1).toFixed(2),
      y: Math.min(y(value), height / 2).toFixed(2),
      height: Math.max(0.5, Math.abs(y(value) - height / 2)).toFixed(2),
    }),
  );
  const line = other?.map((value, i) => `${i ? "L" : "M"}${((i + 0.5) * step).toFixed(1)} ${y(value).toFixed(1)}`);
  const label = `Vector of ${n} numbers from ${figure(Math.min(...finite), 3)} to ${figure(Math.max(...finite), 3)}`;
  const svg = s("svg", { class: "vector", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
  svg.append(...bars, s("line", { x1: 0, x2: width, y1: height / 2, y2: height / 2 }));
  if (line) svg.append(s("path", { d: line.join("") }));
  return h("div.vector-box", {}, svg, h("p.hint", {}, label));
}

/** The cosine similarity of two vectors. */
export function cosine(a, b) {
  let [dot, aa, bb] = [0, 0, 0];
  a.forEach((value, i) => {
    dot += value * b[i];
    aa += value * value;
    bb += b[i] * b[i];
  });
  return dot / Math.sqrt(aa * bb || 1);
}
