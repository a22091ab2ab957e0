// The button that changes the theme: the system's, light or dark.

import { byId, setText } from "./dom.js";

export function mountTheme() {
  const button = byId("theme");
  const names = { system: "◐ system", light: "☀ light", dark: "☾ dark" };
  let chosen = document.documentElement.dataset.theme ?? "system";
  const paint = () => {
    if (chosen === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = chosen;
    setText(button, names[chosen]);
    button.setAttribute("aria-label", `Theme: ${chosen}. Change it`);
  };
  button.addEventListener("click", () => {
    chosen = { system: "light", light: "dark", dark: "system" }[chosen];
    try {
      localStorage.setItem("arc.theme", chosen); // read by theme.js, before the first paint
    } catch {
      // without storage, the choice lasts as long as the page
    }
    paint();
  });
  paint();
}
