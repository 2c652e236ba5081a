// What the page knows: what the front door told last, and what it told before of tasks and times. Bounded as there.

export const KINDS = ["wait", "queue", "load", "compute", "link", "unexplained"];
const MOST_LEFT = 200;
const MOST_BINS = 300;
const MOST_LOADS = 60;

export class Store {
  constructor() {
    this.clear();
  }

  clear() {
    this.now = null;
    this.left = new Map();
    this.bins = new Map();
    this.loads = new Map();
  }

  /** A message of the front door; one that tells from 0 tells all. */
  take(told) {
    if (told.since === 0) {
      const loads = this.loads;
      this.clear();
      this.loads = loads;
    }
    this.now = told;
    for (const task of told.left) {
      this.left.delete(task.id);
      this.left.set(task.id, task);
    }
    drop(this.left, MOST_LEFT);
    for (const bin of told.bins) this.bins.set(bin.at_s, bin);
    if (this.bins.size > MOST_BINS) {
      const times = [...this.bins.keys()].sort((a, b) => a - b);
      for (const time of times.slice(0, times.length - MOST_BINS)) this.bins.delete(time);
    }
    const names = new Set();
    for (const device of told.devices) {
      names.add(device.name);
      const loads = this.loads.get(device.name) ?? [];
      loads.push(device.cpu);
      if (loads.length > MOST_LOADS) loads.shift();
      this.loads.set(device.name, loads);
    }
    for (const name of this.loads.keys()) if (!names.has(name)) this.loads.delete(name);
  }

  /** Bins of the last ten minutes by their times, those in which nothing happened as null. */
  timeline() {
    const width = this.now.bin_s;
    const last = Math.floor(this.now.now_s / width);
    const known = [...this.bins.keys()].map((at) => Math.round(at / width));
    const first = Math.max(Math.min(last, ...known), last - MOST_BINS + 1);
    const found = [];
    for (let number = first; number <= last; number += 1) found.push(this.bins.get(number * width) ?? null);
    return { bins: found, from_s: first * width, width_s: width };
  }

  /** Tasks that have left, the newest first. */
  newest() {
    return [...this.left.values()].reverse();
  }
}

function drop(map, most) {
  for (const key of map.keys()) {
    if (map.size <= most) return;
    map.delete(key);
  }
}

/** Whether a task has violated its deadline. */
export function missed(task) {
  return task.state === "late" || task.state === "failed";
}
