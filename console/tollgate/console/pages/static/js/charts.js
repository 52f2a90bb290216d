// Draws the charts whose description stands beside them as JSON. The same description fills their tables.
import { count, money, short } from "./amounts.js";
import { timeText } from "./times.js";

const drawn = new Map();
let library = null;

async function load() {
  if (!globalThis.echarts) await import("../vendor/echarts-6.1.0.common.min.js");
  return globalThis.echarts;
}

// The value of a colour token in the present theme, as the browser computes it.
function colours() {
  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  const read = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const names = ["text", "text-soft", "text-faint", "edge", "track", "panel-solid", "over-fill", "series-1", "series-2"];
  const rest = [3, 4, 5, 6, 7, 8].map((number) => `series-${number}`);
  const found = Object.fromEntries([...names, ...rest].map((name) => [name, read(name)]));
  probe.remove();
  return found;
}

function withAlpha(colour, alpha) {
  const [red, green, blue] = colour.match(/[\d.]+/g);
  return `rgba(${red}, ${green}, ${blue}, ${alpha})`;
}

// Bright above, softer below.
function fading(colour, from, to) {
  const stops = [{ offset: 0, color: withAlpha(colour, from) }, { offset: 1, color: withAlpha(colour, to) }];
  return { type: "linear", x: 0, y: 0, x2: 0, y2: 1, colorStops: stops };
}

// For drawing alone; what is read is the exact text.
function numbers(values) {
  return values.map((value) => (value === null ? null : Number(value)));
}

function tooltip(spec, at) {
  const box = document.createElement("div");
  box.className = "chart-tip";
  const title = document.createElement("strong");
  title.textContent = spec.x_form === "text" ? spec.x[at] : timeText(spec.x[at], spec.x_form);
  box.append(title);
  for (const one of spec.series) {
    if (one.values[at] === null) continue;
    const line = document.createElement("div");
    const dot = document.createElement("span");
    dot.className = `dot s${one.colour ?? 1}`;
    const name = document.createElement("span");
    name.textContent = one.name;
    const value = document.createElement("b");
    value.textContent = spec.unit === "usd" ? money(one.values[at]) : count(one.values[at]);
    line.append(dot, name, value);
    box.append(line);
  }
  return box;
}

function seriesOf(spec, colour, still) {
  const made = [];
  const tone = (one) => colour[`series-${one.colour ?? 1}`];
  const low = spec.series.find((one) => one.role === "low");
  const high = spec.series.find((one) => one.role === "high");
  if (low && high) {
    const common = { type: "line", stack: "band", symbol: "none", silent: true, lineStyle: { opacity: 0 }, animation: false };
    const below = numbers(low.values);
    const above = numbers(high.values).map((value, at) => (value === null ? null : value - below[at]));
    made.push({ ...common, name: low.name, data: below });
    made.push({ ...common, name: high.name, data: above, areaStyle: { color: withAlpha(tone(high), 0.2) } });
  }
  for (const one of spec.series) {
    const data = numbers(one.values);
    if (one.role === "bar") {
      made.push({
        name: one.name, type: "bar", data, stack: spec.stacked ? "all" : undefined, barMaxWidth: 26, barCategoryGap: "28%",
        itemStyle: { color: spec.stacked ? tone(one) : fading(tone(one), 1, 0.55), borderRadius: spec.stacked ? 0 : [3, 3, 0, 0] }, emphasis: { focus: "none" },
      });
    } else if (["line", "dashed", "limit"].includes(one.role)) {
      const limit = one.role === "limit";
      // A line of one point would not be seen.
      const few = !limit && data.filter((value) => value !== null).length < 3;
      const ink = limit ? colour["over-fill"] : tone(one);
      made.push({
        name: one.name, type: "line", data, symbol: "circle", symbolSize: 7, showSymbol: few, connectNulls: false, z: 4, smooth: false,
        itemStyle: { color: ink }, lineStyle: { color: ink, width: limit ? 1.5 : 2.25, type: one.role === "line" ? "solid" : "dashed" },
        areaStyle: one.role === "line" && spec.area ? { color: fading(ink, 0.28, 0.02) } : undefined,
      });
    }
  }
  return made.map((one) => ({ animation: !still, animationDuration: 500, ...one }));
}

function option(spec, label, width) {
  const colour = colours();
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const faint = { color: colour["text-faint"], fontSize: 11, fontFamily: getComputedStyle(document.body).fontFamily };
  const bars = spec.series.filter((one) => one.role === "bar").length;
  const named = spec.series.filter((one) => one.role !== "low" && one.role !== "high");
  return {
    backgroundColor: "transparent",
    textStyle: { fontFamily: faint.fontFamily },
    grid: { left: 4, right: 10, top: named.length > 1 ? 34 : 14, bottom: 4, containLabel: true },
    legend: named.length > 1 ? { top: 0, left: 0, itemWidth: 14, itemHeight: 8, itemGap: 16, icon: "roundRect", textStyle: { ...faint, fontSize: 12, color: colour["text-soft"] }, data: named.map((one) => one.name) } : undefined,
    aria: { enabled: true, label: { description: label }, decal: { show: bars > 1 || matchMedia("(prefers-contrast: more)").matches } },
    tooltip: {
      trigger: "axis", confine: true, padding: 0, borderWidth: 0, backgroundColor: "transparent", extraCssText: "box-shadow: none", transitionDuration: still ? 0 : 0.15,
      axisPointer: { type: bars ? "shadow" : "line", shadowStyle: { color: withAlpha(colour["text-faint"], 0.12) }, lineStyle: { color: colour["text-faint"] } },
      formatter: (points) => tooltip(spec, points[0].dataIndex),
    },
    xAxis: {
      type: "category", data: spec.x.map((x) => (spec.x_form === "text" ? x : timeText(x, spec.x_form))), boundaryGap: bars > 0,
      axisLine: { lineStyle: { color: colour.edge } }, axisTick: { show: false }, axisLabel: { ...faint, hideOverlap: true, margin: 10 },
    },
    yAxis: {
      type: "value", splitNumber: width < 420 ? 3 : 4, axisLine: { show: false }, axisTick: { show: false },
      splitLine: { lineStyle: { color: colour.edge } }, axisLabel: { ...faint, formatter: (value) => short(value, spec.unit) },
    },
    series: seriesOf(spec, colour, still),
  };
}

function draw(element) {
  const source = document.getElementById(element.dataset.chart);
  if (!source || !element.clientWidth) return;
  const text = source.textContent;
  let held = drawn.get(element);
  if (held?.text === text && held.theme === document.documentElement.dataset.theme) return;
  const spec = JSON.parse(text);
  if (!held) {
    held = { chart: library.init(element, null, { renderer: "canvas" }), observer: new ResizeObserver(() => held.chart.resize()) };
    held.observer.observe(element);
    drawn.set(element, held);
  }
  Object.assign(held, { text, theme: document.documentElement.dataset.theme });
  held.chart.setOption(option(spec, element.dataset.label, element.clientWidth), { notMerge: true });
}

function forgetRemoved() {
  for (const [element, held] of drawn) {
    if (element.isConnected) continue;
    held.observer.disconnect();
    held.chart.dispose();
    drawn.delete(element);
  }
}

export async function drawCharts(root) {
  const elements = [...root.querySelectorAll("[data-chart]")];
  if (!elements.length) return;
  library ??= await load();
  forgetRemoved();
  elements.forEach(draw);
}

export function redrawCharts() {
  for (const held of drawn.values()) held.text = null;
  drawCharts(document);
}

// Charts in a tab have no size until it is shown.
export function resizeCharts() {
  drawCharts(document);
}
