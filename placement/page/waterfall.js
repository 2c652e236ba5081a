// One task, taken apart: what each moment of it was spent on, lane by lane, and in sums.

import { el } from "./dom.js";
import { percent, seconds } from "./format.js";
import { KINDS } from "./store.js";

const MEANING = {
  wait: "with the broker: for a choice, a place, and its journal",
  queue: "on a device that does something else, before it is run or sent",
  load: "a device opens a fragment for it",
  compute: "a device runs it",
  link: "tensors, or orders, are on their way",
  unexplained: "of which no event tells",
};
const ROOM = 1.6; // a deadline further away than so many responses is said, not drawn
const dialog = document.getElementById("waterfall");
let shown = null;
let latest = null;
let under_way = false;
let order = [];

/** Ask for a task, and show it. */
export async function openWaterfall(id) {
  shown = id;
  let content;
  try {
    const answer = await fetch(`/v2/splitplace/events/${id}`);
    const told = await answer.json();
    if (shown !== id) return;
    under_way = answer.ok && told.state !== undefined && (told.state === "waiting" || told.state === "running");
    content = answer.ok ? story(told) : [el("p", {}, told.error)];
    latest = answer.ok ? told : null;
  } catch {
    if (shown !== id) return;
    content = [el("p", {}, "The front door does not answer.")];
  }
  const title = latest && latest.id === id ? `Task ${id} · ${latest.application}` : `Task ${id}`;
  const focused = document.activeElement?.dataset?.step;
  dialog.replaceChildren(
    el(
      "div",
      { class: "bar" },
      el("h2", { id: "waterfall-title" }, title),
      step("newer", -1, "←"),
      step("older", 1, "→"),
      el("button", { type: "button", "data-step": "close", onclick: () => dialog.close() }, "Close"),
    ),
    ...content,
  );
  if (!dialog.open) dialog.showModal();
  dialog.querySelector(`[data-step="${focused ?? "close"}"]`)?.focus();
}

function step(name, by, arrow) {
  return el("button", { type: "button", "data-step": name, "aria-label": `${name} task`, onclick: () => go(by) }, arrow);
}

function go(by) {
  const next = order[order.indexOf(shown) + by];
  if (next !== undefined) openWaterfall(next);
}

/** With each message: one that is under way goes on; the arrows go through what is listed now. */
export function redrawWaterfall(store) {
  order = [...store.now.open, ...store.newest()].map((task) => task.id);
  if (dialog.open && under_way) openWaterfall(shown);
}

function story(task) {
  const deadline = task.deadline_s;
  const drawn = deadline <= ROOM * task.response_s;
  const span = Math.max(task.response_s, drawn ? 1.02 * deadline : 0) || 1;
  return [
    el(
      "p",
      {},
      el("span", { class: "badge", "data-state": task.state }, task.state),
      ` ${task.n} image${task.n === 1 ? "" : "s"} as ${task.split ?? "no split yet"}`,
      `, ${seconds(task.response_s)} of ${seconds(deadline)}`,
      task.attempts > 1 ? `, ${task.attempts} attempts` : "",
      task.p === null || task.p === undefined ? "" : `, accuracy ${percent(task.p)} (${task.p_source})`,
    ),
    task.error ? el("p", { class: "error" }, task.error) : null,
    el("div", { class: "lanes" }, lanes(task, span, drawn ? deadline : null), axis(span, drawn)),
    drawn ? null : el("p", { class: "faint" }, `Its deadline, at ${seconds(deadline)}, lies beyond this picture.`),
    sums(task),
  ].filter((child) => child !== null);
}

function lanes(task, span, deadline) {
  const found = new Map();
  for (const stretch of task.stretches) {
    const name = lane(stretch);
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(stretch);
  }
  return [...found].map(([name, stretches]) =>
    el(
      "div",
      { class: "lane" },
      el("span", { class: "name", title: name }, name),
      el("span", { class: "track" }, stretches.map((stretch) => block(stretch, span)), mark(deadline, span)),
    ),
  );
}

function mark(deadline, span) {
  if (deadline === null) return null;
  const line = el("span", { class: "mark", title: `deadline, ${seconds(deadline)}` });
  line.style.left = `${(100 * deadline) / span}%`;
  return line;
}

function lane({ kind, fragment, device }) {
  if (kind === "wait" || kind === "orders") return "broker";
  return fragment === "@answer" ? "answer to the broker" : `${fragment} on ${device}`;
}

function block({ kind, fragment, start_s: start, end_s: end, micro_batch: number }, span) {
  const which = number === null || number === undefined ? "" : `, micro-batch ${number}`;
  const title = `${kind} ${fragment}${which}: ${seconds(end - start)}, from ${seconds(start)} on`;
  const element = el("span", { class: `block kind-${kind}`, title });
  element.style.left = `${((100 * start) / span).toFixed(3)}%`;
  element.style.width = `${((100 * (end - start)) / span).toFixed(3)}%`;
  return element;
}

function axis(span, drawn) {
  const scale = el("span", { class: "track" });
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    const tick = el("span", { class: "tick" }, seconds(share * span));
    tick.style.left = `${100 * share}%`;
    scale.append(tick);
  }
  return el("div", { class: "lane axis" }, el("span", { class: "name" }, drawn ? "│ its deadline" : ""), scale);
}

function sums(task) {
  const rows = KINDS.map((kind) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, el("span", { class: `swatch kind-${kind}` }), kind),
      el("td", {}, seconds(task.parts[kind])),
      el("td", {}, percent(task.response_s ? task.parts[kind] / task.response_s : 0)),
      el("td", { class: "faint" }, MEANING[kind]),
    ),
  );
  const head = ["spent on", "seconds", "share", "what it is"].map((name) => el("th", { scope: "col" }, name));
  return el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows));
}

dialog.addEventListener("close", () => {
  shown = null;
  under_way = false;
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
dialog.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") go(-1);
  if (event.key === "ArrowRight") go(1);
});
