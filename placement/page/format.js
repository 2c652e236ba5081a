// Numbers as people read them.

const PREFIXES = ["", "k", "M", "G", "T"];

function rounded(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

/** Seconds, as 12 ms or 3.4 s. */
export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0 s";
  if (value < 1e-3) return `${rounded(value * 1e6)} µs`;
  if (value < 1) return `${rounded(value * 1e3)} ms`;
  if (value < 120) return `${rounded(value)} s`;
  if (value < 7200) return `${Math.floor(value / 60)} min`;
  return `${Math.floor(value / 3600)} h ${Math.floor((value % 3600) / 60)} min`;
}

function prefixed(value, unit) {
  let row = 0;
  let left = value;
  while (left >= 1000 && row < PREFIXES.length - 1) {
    left /= 1000;
    row += 1;
  }
  return `${row ? rounded(left) : Number(left.toPrecision(3))} ${PREFIXES[row]}${unit}`;
}

export const bytes = (value) => (value === null || value === undefined ? "–" : prefixed(value, "B"));
export const watts = (value) => (value === null || value === undefined ? "–" : prefixed(value, "W"));

/** An energy: joules, or watt-hours where there are many. */
export function joules(value) {
  return value < 36_000 ? prefixed(value, "J") : prefixed(value / 3600, "Wh");
}

/** A share, as 12 % or 0.4 %. */
export function percent(share) {
  if (share === null || share === undefined || Number.isNaN(share)) return "–";
  const value = 100 * share;
  return `${value === 0 || value >= 10 ? value.toFixed(0) : value.toFixed(1)} %`;
}

/** The value below which a share of the values lies (nearest rank); null of none. */
export function quantile(values, share) {
  if (!values.length) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(Math.max(Math.ceil(share * sorted.length) - 1, 0), sorted.length - 1)];
}
