// Tabs by click and by arrow keys, Home and End.
import { resizeCharts } from "./charts.js";

function choose(tab) {
  for (const other of tab.closest('[role="tablist"]').querySelectorAll('[role="tab"]')) {
    const here = other === tab;
    other.setAttribute("aria-selected", String(here));
    other.tabIndex = here ? 0 : -1;
    const panel = document.getElementById(other.getAttribute("aria-controls"));
    if (panel) panel.hidden = !here;
  }
  resizeCharts();
}

export function startTabs() {
  document.addEventListener("click", (event) => {
    const tab = event.target.closest?.('[role="tab"]');
    if (tab) choose(tab);
  });
  document.addEventListener("keydown", (event) => {
    const tab = event.target.closest?.('[role="tab"]');
    if (!tab) return;
    const all = [...tab.closest('[role="tablist"]').querySelectorAll('[role="tab"]')];
    const at = all.indexOf(tab);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = all[(to + all.length) % all.length];
    choose(next);
    next.focus();
  });
}
