// What every page does, and what is done again for a part of a page that the server sent anew.
import { drawCharts, redrawCharts } from "./charts.js";
import { startForms } from "./forms.js";
import { startLive } from "./live.js";
import { startOnce } from "./once.js";
import { startTables, sortTables } from "./tables.js";
import { startTabs } from "./tabs.js";
import { startTimes, showTimes } from "./times.js";

function startTheme() {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", redrawCharts);
  for (const button of document.querySelectorAll("[data-theme-switch]")) {
    button.addEventListener("click", () => {
      const now = root.dataset.theme ?? (dark.matches ? "dark" : "light");
      root.dataset.theme = now === "dark" ? "light" : "dark";
      try {
        localStorage.setItem("theme", root.dataset.theme);
      } catch {
        // The choice then lasts as long as the page.
      }
      redrawCharts();
    });
  }
}

function startMenus() {
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && document.querySelector("details.menu[open]");
    if (menu) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
}

startTheme();
startMenus();
startTimes();
startTabs();
startTables();
startForms();
startOnce();
drawCharts(document);
startLive();

// htmx has put a part of the page in anew.
document.addEventListener("htmx:after:swap", () => {
  showTimes(document);
  sortTables(document);
  drawCharts(document);
});
