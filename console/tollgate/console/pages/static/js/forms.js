// Dialogs, sliders with a preview, and forms that are sent to the API.
//
// <form data-api="PUT /api/v1/budgets/{scope}" data-version="3" data-base="id"> is sent as JSON: a field
// `thresholds.warning.percent` becomes a member of members. Nothing is written before somebody presses the button.
import { money } from "./amounts.js";
import { news } from "./live.js";

const PREVIEW_MS = 250;

export function toast(text, level = "ok") {
  const box = document.getElementById("toasts");
  const made = document.createElement("div");
  made.className = "toast";
  made.dataset.level = level;
  const words = document.createElement("p");
  words.textContent = text;
  const close = document.createElement("button");
  close.type = "button";
  close.setAttribute("aria-label", "Close the message");
  close.textContent = "✕";
  close.addEventListener("click", () => made.remove());
  made.append(words, close);
  box.append(made);
  // What went wrong stays until it was read.
  if (level === "ok") setTimeout(() => made.remove(), 6_000);
}

function drop(body, path) {
  const names = path.split(".");
  const last = names.pop();
  const holder = names.reduce((at, name) => at?.[name], body);
  if (holder) delete holder[last];
}

// The record in the script that `data-base` names, with what the fields hold. An empty field removes its member, or
// what `data-drops` names.
export function bodyOf(form) {
  const base = form.dataset.base && document.getElementById(form.dataset.base);
  const body = base ? JSON.parse(base.textContent) : {};
  const drops = [];
  for (const field of form.elements) {
    if (!field.name || field.disabled || field.type === "submit") continue;
    if (field.type === "radio" && !field.checked) continue;
    const text = field.value.trim();
    const value = field.type === "checkbox" ? field.checked : field.type === "number" && text ? Number(text) : text;
    const names = field.name.split(".");
    if (value === "") drops.push(field.dataset.drops ?? field.name);
    else names.slice(0, -1).reduce((at, name) => (at[name] ??= {}), body)[names.at(-1)] = value;
  }
  for (const path of drops) drop(body, path);
  return listed(body);
}

// Members `0`, `1`, … are those of a list; one whose fields are empty is left out.
function listed(value) {
  if (value === null || typeof value !== "object") return value;
  // What was removed from a list of the record leaves a hole.
  if (Array.isArray(value)) return value.filter(() => true);
  const members = Object.entries(value).map(([name, one]) => [name, listed(one)]);
  if (!members.length || !members.every(([name]) => /^\d+$/.test(name))) return Object.fromEntries(members);
  return members.map(([, one]) => one).filter((one) => Object.keys(one).length);
}

// `/api/v1/budgets/{scope}` with the members of the body in it.
function filled(address, body) {
  return address.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(body[name] ?? ""));
}

// What the API said, as one sentence.
function sentence(status, problem) {
  if (status === 409 || status === 412) {
    const who = problem.changed_by ? ` by ${problem.changed_by}` : "";
    return `Changed${who} meanwhile, so nothing was saved. Load the page again to see what holds now.`;
  }
  if (status === 401) return "You are logged out. Log in again; what you typed is still here.";
  return problem.detail || `The server answered with ${status}.`;
}

async function send(method, url, body, headers = {}) {
  const answer = await fetch(url, {
    method,
    headers: { Accept: "application/json", ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
    credentials: "same-origin",
  });
  const text = await answer.text();
  let value = {};
  try {
    value = text ? JSON.parse(text) : {};
  } catch {
    // An answer of a proxy that is no JSON.
  }
  return [answer.ok, answer.status, value];
}

function showErrors(form, lines) {
  form.querySelector(".form-errors")?.remove();
  if (!lines.length) return;
  const box = document.createElement("div");
  box.className = "form-errors";
  box.setAttribute("role", "alert");
  const list = document.createElement("ul");
  for (const line of lines) {
    const item = document.createElement("li");
    item.textContent = line;
    list.append(item);
  }
  box.append(list);
  form.prepend(box);
}

async function submit(form) {
  const [method, address] = form.dataset.api.split(" ");
  const body = bodyOf(form);
  const url = filled(address, body);
  const key = (form.dataset.key ??= crypto.randomUUID?.() ?? String(Math.random()).slice(2));
  const headers = { "Idempotency-Key": key };
  if (form.dataset.version) headers["If-Match"] = `"${form.dataset.version}"`;
  const buttons = [...form.querySelectorAll("button[type=submit], button:not([type])")];
  buttons.forEach((button) => (button.disabled = true));
  try {
    const [ok, status, answer] = await send(method, url, method === "DELETE" ? undefined : body, headers);
    showErrors(form, ok ? [] : [sentence(status, answer)]);
    // The same key with other content is refused, so a corrected form has a new one.
    delete form.dataset.key;
    if (!ok) return;
    if (answer.version) form.dataset.version = answer.version;
    toast(form.dataset.done || "Saved.");
    form.closest("dialog")?.close();
    form.dispatchEvent(new CustomEvent("saved", { bubbles: true, detail: answer }));
    if (form.dataset.next) location.assign(form.dataset.next);
    else news();
  } catch {
    // The key stays: a second try of the same change is done once.
    showErrors(form, ["The server cannot be reached. Nothing is known to be saved: try again."]);
  } finally {
    buttons.forEach((button) => (button.disabled = false));
  }
}

function fillOf(range) {
  const { min, max, value } = range;
  range.style.setProperty("--fill", `${((value - min) / (max - min)) * 100}%`);
}

function startSlider(slider) {
  const range = slider.querySelector("input[type=range]");
  const field = slider.querySelector("input:not([type=range])");
  fillOf(range);
  range.setAttribute("aria-valuetext", money(field.value));
  range.addEventListener("input", () => {
    field.value = range.value;
    fillOf(range);
    range.setAttribute("aria-valuetext", money(range.value));
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });
  field.addEventListener("input", () => {
    const amount = Number(field.value);
    if (!Number.isFinite(amount) || document.activeElement === range) return;
    range.value = String(amount);
    fillOf(range);
  });
}

// Asks the API what the form would do: <form data-preview="/api/v1/budgets/{scope}/preview">.
function startPreview(form) {
  const box = form.querySelector(".preview");
  let timer = 0;
  let number = 0;
  const ask = async () => {
    const mine = ++number;
    if (!form.checkValidity()) return;
    try {
      const body = bodyOf(form);
      const [ok, status, answer] = await send("POST", filled(form.dataset.preview, body), body);
      if (mine !== number) return;
      box.dataset.level = ok ? (answer.level ?? "ok") : "over";
      box.querySelector("p").textContent = ok ? answer.sentence : sentence(status, answer);
    } catch {
      if (mine === number) box.querySelector("p").textContent = "The preview cannot be made now: the server cannot be reached.";
    }
  };
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(ask, PREVIEW_MS);
  });
}

function prepare(root) {
  for (const slider of root.querySelectorAll("[data-slider]:not([data-ready])")) {
    slider.dataset.ready = "";
    startSlider(slider);
  }
  for (const form of root.querySelectorAll("form[data-preview]:not([data-ready])")) {
    form.dataset.ready = "";
    startPreview(form);
  }
}

export function startForms() {
  prepare(document);
  document.addEventListener("htmx:after:swap", () => prepare(document));
  document.addEventListener("click", (event) => {
    const opener = event.target.closest?.("[data-open]");
    const dialog = opener && document.getElementById(opener.dataset.open);
    if (dialog) {
      dialog.showModal();
      dialog.querySelector(".dialog-body input, .dialog-body select, .dialog-body textarea")?.focus();
    }
    if (event.target.closest?.("[data-close]")) event.target.closest("dialog")?.close();
    // A click beside the dialog.
    if (event.target.matches?.("dialog.dialog")) event.target.close();
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.dataset.api) return;
    event.preventDefault();
    const question = event.submitter?.dataset.confirm;
    if (question && !confirm(question)) return;
    submit(form);
  });
}
