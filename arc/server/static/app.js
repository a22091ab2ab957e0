// What the panels share: the latest status, events between panels, toasts and spoken lines.

import { byId, h, setText } from "./dom.js";

export class App extends EventTarget {
  status = null; // the last answer of /status
  lost = null; // since when the server has not answered
  refresh = () => {}; // asks for the status at once; set by the status panel

  on(event, hear) {
    this.addEventListener(event, (each) => hear(each.detail));
  }

  emit(event, detail) {
    this.dispatchEvent(new CustomEvent(event, { detail }));
  }

  get running() {
    return Boolean(this.status?.running);
  }

  /** Why nothing can be asked of the server now; null when it can. */
  get unreachable() {
    if (this.lost) return "No connection to the run";
    return this.status ? null : "Waiting for the run's status";
  }

  /** Say something to screen readers. */
  announce(text) {
    setText(byId("live"), text);
  }

  /** A short message that goes away, or, when bad, stays until it is closed. */
  toast(text, kind = "") {
    const close = h("button.plain", { type: "button", "aria-label": "Dismiss", onclick: () => box.remove() }, "×");
    const box = h(`div.toast${kind && `.${kind}`}`, { role: kind === "bad" ? "alert" : "status" }, h("span", {}, text), close);
    const host = byId("toasts");
    while (host.children.length >= 4) host.firstChild.remove();
    host.append(box);
    if (kind !== "bad") setTimeout(() => box.remove(), 5000);
  }

  /** Show the server's own words. */
  fail = (error) => this.toast(error.message, "bad");
}
