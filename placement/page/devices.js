// A card a device: whether it answers, how busy it is, its memory as booked and as measured, and what it holds.

import { el, keep, say, svg, wide } from "./dom.js";
import { bytes, joules, percent, watts } from "./format.js";

const WIDTH = 120;
const HEIGHT = 28;

function meter(name) {
  return el(
    "div",
    { class: "meter" },
    el("span", { class: "name" }, name),
    el("span", { class: "track" }, el("span", { class: "level" }), el("span", { class: "mark", hidden: true })),
    el("span", { class: "value" }),
  );
}

function card() {
  return el(
    "li",
    { class: "card" },
    el("div", { class: "bar" }, el("h3", {}), el("span", { class: "badge" })),
    svg(
      "svg",
      { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("path", {}),
    ),
    meter("CPU"),
    meter("Memory"),
    el("p", { class: "faint" }),
    el("details", {}, el("summary", {}), el("ul", { class: "plain" })),
  );
}

function show(element, value, share, mark = null) {
  wide(element.querySelector(".level"), share);
  const line = element.querySelector(".mark");
  line.hidden = mark === null;
  if (mark !== null) line.style.left = `${(100 * Math.min(Math.max(mark, 0), 1)).toFixed(2)}%`;
  say(element.querySelector(".value"), value);
}

function spark(loads) {
  const step = WIDTH / 59;
  const from = WIDTH - (loads.length - 1) * step;
  let path = "";
  let pen = false;
  loads.forEach((load, row) => {
    if (load === null) {
      pen = false;
      return;
    }
    const y = HEIGHT - 1 - load * (HEIGHT - 2);
    path += `${pen ? "L" : "M"}${(from + row * step).toFixed(1)} ${y.toFixed(1)}`;
    pen = true;
  });
  return path;
}

function fragment(name) {
  const cut = name.lastIndexOf("/");
  return el("li", { title: name }, el("b", {}, name.slice(cut + 1)), el("span", { class: "faint" }, name.slice(0, cut)));
}

function update(element, device, loads) {
  const [bar, picture, cpu, memory, line, held] = element.children;
  element.dataset.state = device.state;
  say(bar.children[0], device.name);
  say(bar.children[1], device.state);
  picture.firstElementChild.setAttribute("d", spark(loads));
  show(cpu, device.cpu === null ? "–" : percent(device.cpu), device.cpu);
  const resident = device.resident_bytes;
  const booked = device.booked_bytes / device.memory_bytes;
  const mark = resident === null ? null : resident / device.memory_bytes;
  show(memory, `${bytes(device.booked_bytes)} of ${bytes(device.memory_bytes)}`, booked, mark);
  memory.title = "The bar: booked for fragments. The mark: resident, as the device measures it, its runtime included.";
  const moved = (device.sent_bytes_per_s ?? 0) + (device.received_bytes_per_s ?? 0);
  const share = device.cpu_share < 1 ? `${percent(device.cpu_share)} of a core · ` : "";
  const measured = resident === null ? "" : `${bytes(resident)} resident · `;
  say(line, `${share}${measured}${bytes(moved)}/s · ${watts(device.power_w)}, ${joules(device.energy_j)} · ${device.runs} runs`);
  const count = device.fragments.length + device.fragments_more;
  say(held.children[0], `holds ${count} fragment${count === 1 ? "" : "s"}`);
  keep(held.children[1], device.fragments, (name) => name, fragment, () => {});
}

export function drawDevices(store) {
  keep(
    document.getElementById("devices"),
    store.now.devices,
    (device) => device.name,
    card,
    (element, device) => update(element, device, store.loads.get(device.name) ?? []),
  );
}
