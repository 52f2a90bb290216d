// Times in the reader's zone. The server writes them in UTC; `datetime` keeps the exact instant.
const LANGUAGE = "en-GB";
const FORMS = {
  datetime: { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" },
  date: { day: "numeric", month: "short", year: "numeric" },
  day: { day: "numeric", month: "short" },
  minute: { hour: "2-digit", minute: "2-digit" },
  time: { hour: "2-digit", minute: "2-digit", second: "2-digit" },
};
const full = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "full", timeStyle: "long" });
const cache = new Map();
const relative = new Intl.RelativeTimeFormat("en", { numeric: "always" });
const STEPS = [
  [60, "second"],
  [60, "minute"],
  [24, "hour"],
  [7, "day"],
  [5, "week"],
];

function formatter(form, zone) {
  const key = `${form} ${zone ?? ""}`;
  if (!cache.has(key)) cache.set(key, new Intl.DateTimeFormat(LANGUAGE, { ...FORMS[form], timeZone: zone }));
  return cache.get(key);
}

export function ago(moment, now = Date.now()) {
  let value = (moment - now) / 1000;
  if (Math.abs(value) < 5) return "just now";
  for (const [size, unit] of STEPS) {
    if (Math.abs(value) < size) return relative.format(Math.trunc(value), unit);
    value /= size;
  }
  return formatter("date").format(moment);
}

// Days are the calendar days of UTC, by which spend is kept; other forms are in the reader's zone.
export function timeText(iso, form) {
  const moment = new Date(iso);
  if (Number.isNaN(moment.getTime())) return iso;
  if (form === "ago") return ago(moment);
  return formatter(form in FORMS ? form : "datetime", form === "day" ? "UTC" : undefined).format(moment);
}

export function showTimes(root) {
  for (const element of root.querySelectorAll("time[data-form]")) {
    const text = timeText(element.dateTime, element.dataset.form);
    if (element.textContent !== text) element.textContent = text;
    if (!element.title) element.title = full.format(new Date(element.dateTime));
  }
}

export function startTimes() {
  showTimes(document);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  for (const element of document.querySelectorAll("[data-zone]")) element.textContent = zone;
  setInterval(() => {
    if (!document.hidden) showTimes(document);
  }, 15_000);
}
