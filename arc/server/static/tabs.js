// Tabs with the keyboard that people expect of them; panels are told when they come into view.

import { byId, memory } from "./dom.js";

/** Returns {name: tab}, tab = {active, shown: [called on show]}, and select(name). */
export function mountTabs(app) {
  const buttons = [...document.querySelectorAll('[role="tab"]')];
  const tabs = Object.fromEntries(buttons.map((button) => [button.dataset.tab, { active: false, shown: [] }]));
  let current = null;

  function select(name, focus = false) {
    if (!tabs[name]) return;
    current = name;
    for (const button of buttons) {
      const on = button.dataset.tab === name;
      button.setAttribute("aria-selected", String(on));
      button.tabIndex = on ? 0 : -1;
      byId(button.dataset.tab).hidden = !on;
      tabs[button.dataset.tab].active = on;
      if (on && focus) button.focus();
    }
    memory.set("tab", name);
    for (const hear of tabs[name].shown) hear();
  }

  buttons.forEach((button, i) => {
    button.addEventListener("click", () => select(button.dataset.tab));
    button.addEventListener("keydown", (event) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: buttons.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      select(buttons[(to + buttons.length) % buttons.length].dataset.tab, true);
    });
  });
  app.on("tab", (name) => select(name));
  return { tabs, select, current: () => current };
}
