// Shared by the panels: the latest status, events, toasts, screen reader announcements.

import { byId, h, setText } from "./dom.js";

export class App extends EventTarget {
  status = null; // the last answer of /status
  lost = null; // when the connection was lost
  refresh = () => {}; // fetches the status at once; set by the status panel

  on(event, handler) {
    this.addEventListener(event, (each) => handler(each.detail));
  }

  emit(event, detail) {
    this.dispatchEvent(new CustomEvent(event, { detail }));
  }

  get running() {
    return Boolean(this.status?.running);
  }

  /** Whether the model sends a vector: there are no symbols to count. */
  get sendsVector() {
    return this.status?.run_mode === "pretrain" || (this.status?.vocab_size ?? null) === null;
  }

  /** Why no request can be sent now; null when one can. */
  get unreachable() {
    if (this.lost) return "No connection to the run";
    return this.status ? null : "Waiting for the run's status";
  }

  /** Announce text to screen readers. */
  announce(text) {
    setText(byId("live"), text);
  }

  /** A short message that disappears, or, when bad, stays until it is closed. */
  toast(text, kind = "") {
    const close = h("button.plain", { type: "button", "aria-label": "Dismiss", onclick: () => box.remove() }, "×");
    const box = h(`div.toast${kind && `.${kind}`}`, { role: kind === "bad" ? "alert" : "status" }, h("span", {}, text), close);
    const host = byId("toasts");
    while (host.children.length >= 4) host.firstChild.remove();
    host.append(box);
    if (kind !== "bad") setTimeout(() => box.remove(), 5000);
  }

  /** Show an error message of the server. */
  fail = (error) => this.toast(error.message, "bad");
}
