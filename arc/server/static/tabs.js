// Tabs with the usual keyboard support; panels are notified when they come into view.

import { byId, memory } from "./dom.js";

/** Returns {tabs, select, current, previous}; tabs[name] = {active, shown: [called on show]}. */
export function mountTabs(app) {
  const buttons = [...document.querySelectorAll('[role="tab"]')];
  const tabs = Object.fromEntries(buttons.map((button) => [button.dataset.tab, { active: false, shown: [] }]));
  let [current, previous] = [null, "charts"];

  function select(name, focus = false) {
    if (!tabs[name]) return;
    if (name !== current) previous = current ?? previous;
    current = name;
    for (const button of buttons) {
      const on = button.dataset.tab === name;
      button.setAttribute("aria-selected", String(on));
      button.tabIndex = on ? 0 : -1;
      byId(button.dataset.tab).hidden = !on;
      tabs[button.dataset.tab].active = on;
      if (on) button.parentElement.scrollLeft = button.offsetLeft - 40; // the row scrolls on narrow screens
      if (on && focus) button.focus();
    }
    memory.set("tab", name);
    for (const act of tabs[name].shown) act();
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
  return { tabs, select, current: () => current, previous: () => previous };
}
