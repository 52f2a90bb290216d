// Runs before the page is drawn, so that it never shows in the wrong theme. Without a choice the system's theme holds.
(() => {
  const root = document.documentElement;
  root.dataset.js = "";
  try {
    const chosen = localStorage.getItem("theme");
    if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  } catch {
    // Storage may be forbidden; then the system's theme holds.
  }
})();
