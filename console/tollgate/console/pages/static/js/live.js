// One stream of server-sent events for all tabs of a browser: a visible one holds it and tells the others, because a
// browser opens six connections to a host and a seventh tab would wait for ever. It is closed while all are hidden. Over
// plain HTTP, where there are no locks between tabs, each visible tab has its own.
//
// A page uses it in three ways. An element with `data-live="global|month"` shows a value of that sum. A panel with
// `data-feed="spend flags"` turns grey when the topics it lives from are 30 s behind. An element that listens for the
// event `news` on the body (htmx: `hx-trigger="news from:body"`) is sent anew by the server.
import { levelOf, minus, money, count, parse, percentText, share } from "./amounts.js";
import { timeText } from "./times.js";

const STREAM = "/api/v1/stream";
const STALE_MS = 30_000;
const NEWS_MS = 5_000;
const SAY_MS = 5_000;
const RETRY_MS = [1_000, 2_000, 5_000, 10_000, 30_000];

let source = null;
let channel = null;
// Ends the hold of the lock, or the wait for it.
let leave = null;
let lastBeat = null;
let failures = 0;
let retry = 0;
let heard = 0;
let opened = Date.now();
let asOf = {};
let stale = [];
// How far the server's clock is ahead of this one.
let ahead = 0;
let newsAt = 0;
let newsTimer = 0;
let again = false;
let saidAt = 0;
let toSay = "";
let sayTimer = 0;

function show(state, text) {
  const element = document.getElementById("connection");
  if (!element) return;
  element.dataset.state = state;
  const word = element.querySelector(".word");
  if (word.textContent !== text) word.textContent = text;
}

// At most one message each 5 s for a screen reader: the latest one.
function say(text) {
  toSay = text;
  if (sayTimer) return;
  sayTimer = setTimeout(() => {
    sayTimer = 0;
    saidAt = Date.now();
    const element = document.getElementById("announcer");
    if (element) element.textContent = toSay;
  }, Math.max(0, saidAt + SAY_MS - Date.now()));
}

// At most one each 5 s, and the last one is never lost.
// `fresh`: what a stream has just said is in ClickHouse a moment later, so that the page is asked for once more.
export function news(fresh = false) {
  again ||= fresh;
  if (newsTimer) return;
  newsTimer = setTimeout(() => {
    newsTimer = 0;
    newsAt = Date.now();
    if (!document.hidden) document.body.dispatchEvent(new CustomEvent("news"));
    if (again) {
      again = false;
      news();
    }
  }, Math.max(0, newsAt + NEWS_MS - Date.now()));
}

function put(element, text, exact) {
  if (element.textContent !== text) element.textContent = text;
  element.setAttribute("value", exact);
  element.title = exact;
}

function showSum(element, item) {
  const { show: what, limit } = element.dataset;
  const spent = item.spent_usd;
  const hundredths = share(spent, limit);
  if (what === "left") put(element, money(minus(limit, spent)), minus(limit, spent).replace(/\.?0+$/, ""));
  else if (what === "retail") put(element, money(item.retail_usd), item.retail_usd);
  else if (what === "profit") put(element, money(minus(item.retail_usd, spent)), minus(item.retail_usd, spent).replace(/\.?0+$/, ""));
  else if (what === "events") put(element, count(item.events), String(item.events));
  else if (what === "percent") {
    put(element, percentText(hundredths), String(hundredths / 100));
    if (/\blevel-/.test(element.className)) element.className = element.className.replace(/level-\w+/, `level-${levelOf(hundredths)}`);
  } else if (what === "bar" || what === "gauge") showMeter(element, hundredths);
  else put(element, money(spent), spent);
}

function showMeter(element, hundredths) {
  const full = Math.min(hundredths, 10000) / 100;
  element.dataset.level = levelOf(hundredths);
  element.setAttribute("aria-valuenow", String(full));
  element.setAttribute("aria-valuetext", percentText(hundredths));
  element.querySelector(".bar-fill")?.setAttribute("width", `${full}%`);
  element.querySelector(".gauge-fill")?.setAttribute("stroke-dasharray", `${full} 200`);
}

function holdsNow(window) {
  const now = Date.now() + ahead;
  return Date.parse(window.start) <= now && now < Date.parse(window.end) && (window.timezone ?? "UTC") === "UTC";
}

function takeSpend(items) {
  for (const item of items) {
    if (item.gone || parse(item.spent_usd) === null || !holdsNow(item.window)) continue;
    const key = CSS.escape(`${item.scope}|${item.window.kind}`);
    for (const element of document.querySelectorAll(`[data-live="${key}"]`)) showSum(element, item);
  }
}

const STATE_WORDS = { ok: "is within its budget again", warning: "has reached a warning", blocked: "is blocked", stopped: "is stopped" };

function takeFlags(items) {
  const last = items.at(-1);
  if (last) say(`${last.scope} ${STATE_WORDS[last.state] ?? "has changed"}`);
}

function take(kind, text) {
  heard = Date.now();
  show("live", "Live");
  let data;
  try {
    data = JSON.parse(text);
  } catch {
    return;
  }
  if (kind === "heartbeat") {
    asOf = data.as_of ?? {};
    stale = data.stale ?? [];
    ahead = (Date.parse(data.now) || Date.now()) - Date.now();
    showAges();
    return;
  }
  const items = data.items ?? [];
  if (kind === "spend") takeSpend(items);
  if (kind === "flag" && !data.snapshot) takeFlags(items);
  document.dispatchEvent(new CustomEvent(`live:${kind}`, { detail: data }));
  if (!data.snapshot || Date.now() - opened > NEWS_MS) news(true);
}

// Greys the panels whose numbers are older than 30 s, and says of when they are.
function showAges() {
  const silent = Date.now() - (heard || opened) > STALE_MS;
  for (const panel of document.querySelectorAll(".panel[data-feed]")) {
    const names = panel.dataset.feed.split(" ");
    if (silent) panel.toggleAttribute("data-stale", true);
    else if (names.some((name) => name in asOf)) panel.toggleAttribute("data-stale", names.some((name) => stale.includes(name)));
    const oldest = Math.min(...names.map((name) => Date.parse(asOf[name] ?? "") || Infinity));
    const time = panel.querySelector(".as-of time");
    if (time && Number.isFinite(oldest) && oldest > Date.parse(time.dateTime)) {
      time.dateTime = new Date(oldest).toISOString();
      time.textContent = timeText(time.dateTime, time.dataset.form);
      time.removeAttribute("title");
    }
  }
}

function look() {
  if (document.hidden) return;
  const silent = Date.now() - (heard || opened);
  if (silent > STALE_MS) show("old", heard ? `No news since ${timeText(new Date(heard).toISOString(), "time")}` : "Not live");
  showAges();
}

function hear(kind, text) {
  failures = 0;
  if (kind === "heartbeat") lastBeat = text;
  channel?.postMessage([kind, text]);
  take(kind, text);
}

function closeSource() {
  clearTimeout(retry);
  source?.close();
  source = null;
}

function reopenLater(milliseconds) {
  closeSource();
  if (!document.hidden) retry = setTimeout(openSource, milliseconds * (0.8 + 0.4 * Math.random()));
}

function openSource() {
  closeSource();
  source = new EventSource(STREAM);
  for (const kind of ["spend", "flag", "alert", "budget", "heartbeat"]) {
    source.addEventListener(kind, (event) => hear(kind, event.data));
  }
  // The server ends: another process may take over at once.
  source.addEventListener("bye", () => reopenLater(1_000));
  source.addEventListener("error", () => {
    show("waiting", "Connecting…");
    reopenLater(RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]);
    failures += 1;
  });
}

function close() {
  closeSource();
  leave?.();
  leave = null;
}

function open(name) {
  close();
  opened = Date.now();
  if (!navigator.locks) {
    openSource();
    return;
  }
  const waiting = new AbortController();
  leave = () => waiting.abort();
  const hold = () =>
    new Promise((release) => {
      leave = release;
      openSource();
    });
  navigator.locks.request(name, { signal: waiting.signal }, hold).catch(() => {
    // The tab was hidden before its turn came.
  });
  channel.postMessage(["hello"]);
}

export function startLive() {
  const connection = document.getElementById("connection");
  if (!connection) return;
  // Tabs of one caller share; another who logs in meanwhile may see something else.
  const name = `tollgate stream of ${connection.dataset.caller}`;
  channel = new BroadcastChannel(name);
  channel.addEventListener("message", ({ data: [kind, text] }) => {
    if (kind !== "hello") take(kind, text);
    else if (source && lastBeat) channel.postMessage(["heartbeat", lastBeat]);
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      close();
      show("off", "Paused");
    } else {
      open(name);
      news();
    }
  });
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && open(name));
  setInterval(look, 5_000);
  if (!document.hidden) open(name);
}
