// Listens to the front door, and has every section drawn again when it was told something.

import { say } from "./dom.js";
import { seconds } from "./format.js";
import { Store } from "./store.js";
import { drawSummary } from "./summary.js";
import { drawDevices } from "./devices.js";
import { drawPolicy } from "./policy.js";
import { drawSpent } from "./spent.js";
import { drawTasks, whenFiltered } from "./tasks.js";
import { redrawWaterfall } from "./waterfall.js";

const store = new Store();
const connection = document.getElementById("connection");
const notice = document.getElementById("notice");
const pause = document.getElementById("pause");
let paused = false;
let waiting = false;
let shownVersion = -1;

function state(name, text = name) {
  connection.dataset.state = name;
  say(connection, text);
}

function tell(text) {
  notice.hidden = !text;
  say(notice, text);
}

function draw() {
  waiting = false;
  if (store.now === null || document.hidden) return;
  shownVersion = store.now.version;
  const { policy, now_s: now, accepting, interval_s: interval } = store.now;
  const pace = interval ? `, asked every ${seconds(interval)}` : "";
  say(document.getElementById("about"), `${policy}${pace} · up ${seconds(now)}${accepting ? "" : " · takes no tasks"}`);
  drawSummary(store);
  drawDevices(store);
  drawPolicy(store);
  drawSpent(store);
  drawTasks(store);
  redrawWaterfall(store);
}

function soon() {
  if (waiting || paused) return;
  waiting = true;
  requestAnimationFrame(draw);
}

function listen() {
  const source = new EventSource("/v2/splitplace/events");
  source.addEventListener("state", (event) => {
    store.take(JSON.parse(event.data));
    tell(store.now.missed_events ? `${store.now.missed_events} events came too fast and are not shown.` : "");
    state(paused ? "paused" : "live");
    soon();
  });
  source.addEventListener("gone", (event) => {
    state("lost", "no fleet");
    tell(JSON.parse(event.data).reason);
  });
  source.addEventListener("error", () => {
    state("lost", "lost");
    if (source.readyState !== EventSource.CLOSED) return;
    refused();
  });
}

/** The front door does not let this page listen: say why, and try again, or ask for the token. */
async function refused() {
  try {
    const answer = await fetch("/v2/splitplace/events", { method: "HEAD" });
    if (answer.status === 401) {
      location.assign("/dashboard/login");
      return;
    }
    tell(answer.status === 429 ? "Too many pages watch this fleet: close one of them." : "The front door refuses.");
  } catch {
    tell("The front door does not answer.");
  }
  setTimeout(listen, 5000);
}

pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  say(pause, paused ? "Go on" : "Pause");
  state(paused ? "paused" : "live");
  soon();
});
document.addEventListener("visibilitychange", () => {
  if (store.now !== null && store.now.version !== shownVersion) soon();
});
whenFiltered(() => requestAnimationFrame(draw));
listen();
