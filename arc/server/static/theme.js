// Runs before the first paint, so that a chosen theme does not flash: light, dark, or the system's.
try {
  const chosen = localStorage.getItem("arc.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // storage may be switched off; the system's theme it is
}
