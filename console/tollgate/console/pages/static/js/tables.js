// Sorts a table by one of its columns. Cells are compared by `data-value`, or by the exact value or instant within them.
const chosen = new Map();

function valueOf(cell) {
  const inner = cell.querySelector("data, time");
  return cell.dataset.value ?? inner?.value ?? inner?.dateTime ?? cell.textContent.trim();
}

function compare(kind) {
  const words = new Intl.Collator("en", { numeric: true });
  if (kind !== "num") return (a, b) => words.compare(a, b);
  // Unknown amounts stand below all others.
  const number = (text) => (text === "" || Number.isNaN(Number(text)) ? -Infinity : Number(text));
  return (a, b) => number(a) - number(b) || 0;
}

function sort(table, column, direction) {
  const headers = [...table.tHead.rows[0].cells];
  const kind = headers[column].dataset.sort;
  const by = compare(kind);
  const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row.cells[column]), row]);
  rows.sort(([a], [b]) => (direction === "ascending" ? by(a, b) : by(b, a)));
  table.tBodies[0].append(...rows.map(([, row]) => row));
  headers.forEach((header, at) => {
    if (at === column) header.setAttribute("aria-sort", direction);
    else header.removeAttribute("aria-sort");
  });
}

function nameOf(table) {
  return table.caption?.textContent ?? "";
}

function prepare(table) {
  [...table.tHead.rows[0].cells].forEach((header) => {
    if (!header.dataset.sort || header.querySelector("button")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...header.childNodes);
    header.append(button);
  });
}

export function sortTables(root) {
  for (const table of root.querySelectorAll("table[data-sortable]")) {
    prepare(table);
    const wanted = chosen.get(nameOf(table));
    if (wanted) sort(table, ...wanted);
  }
}

export function startTables() {
  sortTables(document);
  document.addEventListener("click", (event) => {
    const header = event.target.closest?.("th[data-sort]");
    if (!header || !event.target.closest("button.sort")) return;
    const first = header.dataset.sort === "num" ? "descending" : "ascending";
    const other = first === "descending" ? "ascending" : "descending";
    const direction = header.getAttribute("aria-sort") === first ? other : first;
    const table = header.closest("table");
    chosen.set(nameOf(table), [header.cellIndex, direction]);
    sort(table, header.cellIndex, direction);
  });
}
