// Pictures over time, in SVG: bars on each other, and lines. One time axis, ten minutes at most, for all of them.

import { el, svg } from "./dom.js";
import { seconds } from "./format.js";

const WIDTH = 400;
const HEIGHT = 130;
const LEFT = 46;
const BOTTOM = 20;
const TOP = 8;

function frame(label, span_s, most, format) {
  const picture = svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
  for (const share of [0, 0.5, 1]) {
    const y = at(share);
    picture.append(
      svg("line", { class: "grid", x1: LEFT, x2: WIDTH, y1: y, y2: y }),
      svg("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, format(share * most)),
    );
  }
  picture.append(
    svg("text", { x: LEFT, y: HEIGHT - 4 }, `${seconds(span_s)} ago`),
    svg("text", { x: WIDTH, y: HEIGHT - 4, "text-anchor": "end" }, "now"),
  );
  return picture;
}

function at(share) {
  return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP);
}

/** A round number that is no less. */
export function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * (1 - 1e-9));
}

/** Bars: of each time the values of the series, on each other. series: [{name, colour, values}]. */
export function bars(label, series, span_s) {
  const count = series.length ? series[0].values.length : 0;
  const totals = Array.from({ length: count }, (_, row) => series.reduce((sum, one) => sum + one.values[row], 0));
  const most = ceiling(Math.max(1, ...totals));
  const picture = frame(label, span_s, most, (value) => (Number.isInteger(value) ? value : value.toFixed(1)));
  const width = (WIDTH - LEFT) / Math.max(count, 1);
  const below = new Array(count).fill(0);
  for (const { colour, values } of series) {
    let path = "";
    values.forEach((value, row) => {
      if (!value) return;
      const [bottom, top] = [at(below[row] / most), at((below[row] + value) / most)];
      const [left, right] = [LEFT + row * width, LEFT + (row + 1) * width - Math.min(1, width / 5)];
      path += `M${left.toFixed(1)} ${bottom.toFixed(1)}V${top.toFixed(1)}H${right.toFixed(1)}V${bottom.toFixed(1)}Z`;
      below[row] += value;
    });
    picture.append(svg("path", { class: `fill ${colour}`, d: path }));
  }
  return picture;
}

/** Lines: a value of null is a gap. */
export function lines(label, series, span_s, most, format) {
  const count = series.length ? series[0].values.length : 0;
  const picture = frame(label, span_s, most, format);
  const step = (WIDTH - LEFT) / Math.max(count - 1, 1);
  for (const { colour, dashed, values } of series) {
    let path = "";
    let pen = false;
    values.forEach((value, row) => {
      if (value === null || value === undefined) return;
      path += `${pen ? "L" : "M"}${(LEFT + row * step).toFixed(1)} ${at(Math.min(value / most, 1)).toFixed(1)}`;
      pen = true;
    });
    picture.append(svg("path", { class: `line ${colour}${dashed ? " dashed" : ""}`, d: path }));
  }
  return picture;
}

/** What the colours mean: [{name, colour, dashed, beside}]. */
export function legend(entries) {
  return el(
    "ul",
    { class: "legend" },
    entries.map(({ name, colour, dashed, beside }) =>
      el(
        "li",
        {},
        el("span", { class: `swatch ${colour}${dashed ? " dashed" : ""}`, "aria-hidden": "true" }),
        el("span", {}, name),
        beside === undefined ? null : el("span", { class: "faint" }, beside),
      ),
    ),
  );
}
