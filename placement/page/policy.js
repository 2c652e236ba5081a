// What the policy chose over time, what it has learned, and what came of it: answers, violations, power.

import { bars, ceiling, legend, lines } from "./charts.js";
import { el } from "./dom.js";
import { seconds, watts } from "./format.js";

const OTHERS = 6;
const UNIT_TITLES = { reward: "Estimated reward", s: "Estimated response" };

/** A colour a split: its strategy's for the first of each, another for the next. */
export function colours(splits) {
  const found = new Map();
  const used = new Set();
  let other = 0;
  for (const [split, strategy] of Object.entries(splits).sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (used.has(strategy)) {
      found.set(split, `other-${(other % OTHERS) + 1}`);
      other += 1;
    } else {
      found.set(split, `strategy-${strategy}`);
      used.add(strategy);
    }
  }
  return found;
}

function figure(title, picture, entries) {
  return el("figure", {}, el("figcaption", {}, title), picture, legend(entries));
}

function choices(store, { bins, width_s: width }) {
  const series = [...colours(store.now.splits)].map(([split, colour]) => ({
    name: split,
    colour,
    values: bins.map((bin) => bin?.decided[split] ?? 0),
  }));
  const entries = series.map((one) => ({ ...one, beside: one.values.reduce((sum, value) => sum + value, 0) }));
  return figure("Choices of a split", bars("Choices over time", series, bins.length * width), entries);
}

function answers({ bins, width_s: width }) {
  const series = [
    { name: "in time", colour: "good", values: bins.map((bin) => bin?.answered ?? 0) },
    { name: "violations", colour: "bad", values: bins.map((bin) => bin?.missed ?? 0) },
    { name: "cancelled", colour: "dull", values: bins.map((bin) => bin?.cancelled ?? 0) },
  ];
  const entries = series.map((one) => ({ ...one, beside: one.values.reduce((sum, value) => sum + value, 0) }));
  return figure("Tasks that left", bars("Answers and violations over time", series, bins.length * width), entries);
}

function estimates(store, { bins, width_s: width }, unit) {
  const now = store.now.estimates;
  const rows = now.map((_, row) => row).filter((row) => now[row].unit === unit);
  const series = rows.map((row, order) => ({
    name: now[row].name,
    colour: lineColour(now[row].name, order),
    dashed: now[row].name.includes("<"),
    values: carried(bins.map((bin) => bin?.estimates[row] ?? null)),
    beside: beside(now[row], unit),
  }));
  const most = unit === "reward" ? 1 : ceiling(Math.max(...series.flatMap(({ values }) => values.map((v) => v ?? 0))));
  const format = unit === "s" ? seconds : (value) => value.toFixed(1);
  const title = UNIT_TITLES[unit] ?? `Estimates (${unit})`;
  return figure(title, lines(`${title} over time`, series, bins.length * width, most, format), series);
}

function lineColour(name, order) {
  const strategy = ["layer", "semantic"].find((one) => name.startsWith(`${one},`));
  return strategy ? `strategy-${strategy}` : `other-${(order % OTHERS) + 1}`;
}

/** An estimate holds until it changes: a moment in which nobody looked shows the one before. */
function carried(values) {
  let last = null;
  return values.map((value) => {
    last = value ?? last;
    return last;
  });
}

function beside({ value, count }, unit) {
  const shown = value === null ? "not seen yet" : unit === "s" ? seconds(value) : value.toFixed(3);
  return count === null ? shown : `${shown}, ${count} taken`;
}

function power({ bins, width_s: width }) {
  const values = bins.map((bin) => bin?.power_w ?? null);
  const most = ceiling(Math.max(...values.map((value) => value ?? 0)));
  const series = [{ name: "all devices, by their power curves and measured CPU", colour: "other-1", values }];
  return figure("Power, estimated", lines("Power over time", series, bins.length * width, most, watts), series);
}

export function drawPolicy(store) {
  const timeline = store.timeline();
  const units = [...new Set(store.now.estimates.map((estimate) => estimate.unit))];
  document.getElementById("policy").replaceChildren(
    choices(store, timeline),
    answers(timeline),
    ...units.map((unit) => estimates(store, timeline, unit)),
    power(timeline),
  );
}
