// Applies the chosen theme before the first paint: light, dark, or the system's.
try {
  const chosen = localStorage.getItem("arc.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // without storage, the system's theme
}
