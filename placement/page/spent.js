// Where the time of the last tasks went, split by split: means of what is attributed, and of what is not.

import { el, keep, say, wide } from "./dom.js";
import { percent, seconds } from "./format.js";
import { KINDS } from "./store.js";

function means(tasks) {
  const sums = Object.fromEntries(KINDS.map((kind) => [kind, 0]));
  let all = 0;
  for (const { parts } of tasks) {
    for (const kind of KINDS) {
      sums[kind] += parts[kind];
      all += parts[kind];
    }
  }
  return { sums, all, count: tasks.length };
}

function groups(store) {
  const found = new Map();
  for (const task of store.newest()) {
    if (!task.parts || (task.state !== "answered" && task.state !== "late")) continue;
    if (!found.has(task.split)) found.set(task.split, []);
    found.get(task.split).push(task);
  }
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([split, tasks]) => ({ split, ...means(tasks) }));
}

function row() {
  return el(
    "div",
    { class: "spent" },
    el("span", { class: "name" }),
    el("span", { class: "parts" }, KINDS.map((kind) => el("span", { class: `part kind-${kind}` }))),
    el("span", { class: "value" }),
  );
}

function update(element, { split, sums, all, count }) {
  const [name, parts, value] = element.children;
  say(name, split);
  KINDS.forEach((kind, at) => {
    const share = all ? sums[kind] / all : 0;
    wide(parts.children[at], share);
    parts.children[at].title = `${kind}: ${percent(share)}`;
  });
  parts.setAttribute("role", "img");
  parts.setAttribute("aria-label", KINDS.map((kind) => `${kind} ${percent(all ? sums[kind] / all : 0)}`).join(", "));
  say(value, `${seconds(all / count)} in the mean of ${count}`);
}

export function drawSpent(store) {
  const section = document.getElementById("spent");
  if (!section.children.length) {
    section.append(
      el("div", { class: "rows" }),
      el(
        "ul",
        { class: "legend" },
        KINDS.map((kind) => el("li", {}, el("span", { class: `swatch kind-${kind}` }), el("span", {}, kind), el("b", {}))),
      ),
      el("p", { class: "faint" }, "Of the last tasks that were answered and followed from their beginning."),
    );
  }
  const found = groups(store);
  keep(section.children[0], found, (group) => group.split, row, update);
  const whole = found.reduce((sum, group) => sum + group.all, 0);
  KINDS.forEach((kind, at) => {
    const spent = found.reduce((sum, group) => sum + group.sums[kind], 0);
    say(section.children[1].children[at].lastChild, whole ? percent(spent / whole) : "–");
  });
}
