// A row a task: its time against its deadline, taken apart once it has left; its button opens the waterfall.

import { el, keep, say, wide } from "./dom.js";
import { percent, seconds } from "./format.js";
import { KINDS, missed } from "./store.js";
import { openWaterfall } from "./waterfall.js";

const AXIS = 1.25; // of a deadline: what a row's track is wide
const FILTERS = [
  ["all", () => true],
  ["under way", (task) => task.response_s === undefined],
  ["violations", missed],
];
const FIRST = 40; // rows that are shown before somebody asks for all
let chosen = "all";
let all = false;
let redraw = () => {};

/** What is to be called when other tasks are to be shown. */
export function whenFiltered(call) {
  redraw = call;
}

const button = document.querySelector("#more button");
button.addEventListener("click", () => {
  all = true;
  redraw();
});

function row(task) {
  return el(
    "li",
    {},
    el(
      "button",
      { type: "button", class: "task", onclick: () => openWaterfall(task.id) },
      el("span", { class: "number" }, `#${task.id}`),
      el("span", { class: "what" }, el("span", {}), el("span", { class: "faint" })),
      el(
        "span",
        { class: "track" },
        el("span", { class: "parts" }, ["age", ...KINDS].map((kind) => el("span", { class: `part kind-${kind}` }))),
        el("span", { class: "mark" }),
      ),
      el("span", { class: "took" }),
      el("span", { class: "badge" }),
    ),
  );
}

function update(element, task, now_s) {
  const [, what, track, took, badge] = element.firstElementChild.children;
  const left = task.response_s !== undefined;
  const age = left ? task.response_s : Math.max(now_s - task.arrival_s, 0);
  const whole = AXIS * task.deadline_s;
  element.firstElementChild.dataset.state = task.state;
  const split = task.split ?? "no split chosen yet";
  const retried = task.attempts > 1 ? ` · attempt ${task.attempts}` : "";
  const where = task.devices.length ? ` on ${task.devices.join(", ")}` : "";
  say(what.children[0], `${task.application} · ${task.n} image${task.n === 1 ? "" : "s"}`);
  say(what.children[1], `${split}${where}${retried}`);
  const [bar, ...parts] = track.firstElementChild.children;
  const apart = left && task.parts;
  wide(bar, apart ? 0 : age / whole);
  KINDS.forEach((kind, at) => wide(parts[at], apart ? share(task, at, whole) : 0));
  say(took, `${seconds(age)} of ${seconds(task.deadline_s)}`);
  say(badge, task.state);
  const spent = apart ? KINDS.map((kind) => `${kind} ${percent(task.parts[kind] / (age || 1))}`).join(", ") : "";
  element.firstElementChild.title = task.error ?? spent;
}

/** A part's share of the track, where what was before it leaves room. */
function share(task, at, whole) {
  const before = KINDS.slice(0, at).reduce((sum, kind) => sum + task.parts[kind], 0);
  return Math.min(task.parts[KINDS[at]], Math.max(whole - before, 0)) / whole;
}

function drawFilter(store) {
  keep(
    document.getElementById("filter"),
    FILTERS,
    ([name]) => name,
    ([name]) =>
      el("button", {
        type: "button",
        onclick: () => {
          chosen = name;
          redraw();
        },
      }),
    (button, [name, wanted]) => {
      const count = [...store.now.open, ...store.left.values()].filter(wanted).length;
      say(button, `${name} ${count}`);
      button.setAttribute("aria-pressed", String(name === chosen));
    },
  );
}

export function drawTasks(store) {
  drawFilter(store);
  const wanted = FILTERS.find(([name]) => name === chosen)[1];
  const found = [...store.now.open, ...store.newest()].filter(wanted);
  const shown = all ? found : found.slice(0, FIRST);
  const update_ = (element, task) => update(element, task, store.now.now_s);
  keep(document.getElementById("rows"), shown, (task) => task.id, row, update_);
  const more = store.now.open_more ? `${store.now.open_more} more under way are not shown.` : "";
  say(document.getElementById("note"), shown.length ? more : `No such tasks yet. ${more}`);
  button.hidden = shown.length === found.length;
  say(button, `Show all ${found.length}`);
}
