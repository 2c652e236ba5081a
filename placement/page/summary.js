// The tiles at the top: the fleet in six numbers.

import { el, keep, say } from "./dom.js";
import { joules, percent, quantile, seconds, watts } from "./format.js";
import { missed } from "./store.js";

function tiles(store) {
  const { tasks, devices } = store.now;
  const { bins } = store.timeline();
  const counted = bins.filter((bin) => bin !== null);
  const answered = counted.reduce((sum, bin) => sum + bin.answered, 0);
  const violated = counted.reduce((sum, bin) => sum + bin.missed, 0);
  const took = store.newest().filter((task) => task.state === "answered" || task.state === "late");
  const responses = took.map((task) => task.response_s);
  const failures = store.newest().filter(missed).length;
  const up = devices.filter((device) => device.state === "up").length;
  return [
    ["Under way", tasks.waiting + tasks.running, `${tasks.running} on devices, ${tasks.waiting} waiting`],
    ["Answered", tasks.answered, `${tasks.failed} failed, ${tasks.cancelled} cancelled`],
    ["Deadlines missed", percent(violated / (answered + violated)), `${violated} of ${answered + violated} in 10 min`,
      failures > 0 && violated > 0],
    ["Response", seconds(quantile(responses, 0.5)), `95 % below ${seconds(quantile(responses, 0.95))}`],
    ["Devices up", `${up} of ${devices.length}`, names(devices.filter((device) => device.state !== "up")),
      up < devices.length],
    ["Power, estimated", watts(devices.reduce((sum, device) => sum + (device.power_w ?? 0), 0)),
      `${joules(devices.reduce((sum, device) => sum + device.energy_j, 0))} so far`],
  ];
}

function names(devices) {
  if (!devices.length) return "all answer";
  const first = devices.slice(0, 2).map((device) => `${device.name} ${device.state}`).join(", ");
  return devices.length > 2 ? `${first} …` : first;
}

export function drawSummary(store) {
  keep(
    document.getElementById("summary"),
    tiles(store),
    ([name]) => name,
    ([name]) => el("div", {}, el("dt", {}, name), el("dd", { class: "value" }), el("dd", { class: "faint" })),
    (tile, [, value, beside, bad]) => {
      tile.classList.toggle("bad", Boolean(bad));
      say(tile.children[1], value);
      say(tile.children[2], beside);
    },
  );
}
