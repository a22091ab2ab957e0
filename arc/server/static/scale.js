// Axes: round tick values for linear and logarithmic scales, and labels that do not overlap.

import { duration, figure } from "./format.js";

/** Round values that divide [low, high] into about `count` parts. */
export function linearTicks(low, high, count) {
  const raw = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((candidate) => candidate >= raw * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) {
    ticks.push(Number((i * step).toPrecision(12)));
  }
  return ticks;
}

/** Powers of ten, with 2 and 5 between where there are few. */
export function logTicks(low, high) {
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const every = Math.max(1, Math.ceil((last - first) / 5));
  const between = last - first <= 2 ? [1, 2, 5] : [1];
  const ticks = [];
  for (let power = first; power <= last; power += every) {
    for (const m of between) ticks.push(m * 10 ** power);
  }
  const seen = ticks.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
  return seen.length > 1 ? seen : linearTicks(low, high, 3);
}

/** A y scale from values to pixels: {map, ticks, low, high}. */
export function yScale(low, high, top, bottom, log) {
  if (log) {
    const [a, b] = [Math.log(low), Math.log(high)];
    const scale = (bottom - top) / (b - a);
    const map = (value) => (value > low ? bottom - (Math.log(value) - a) * scale : bottom);
    return { map, ticks: logTicks(low, high) };
  }
  const scale = (bottom - top) / (high - low);
  return { map: (value) => bottom - (value - low) * scale, ticks: linearTicks(low, high, 4) };
}

const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400];

export function xTicks(low, high, count, byTime) {
  const raw = (high - low) / Math.max(1, count);
  const step = byTime && TIME_STEPS.find((candidate) => candidate >= raw);
  if (!step || raw < 1) return linearTicks(low, high, count).filter((tick) => byTime || Number.isInteger(tick));
  const ticks = [];
  for (let value = Math.ceil(low / step) * step; value <= high; value += step) ticks.push(value);
  return ticks;
}

export function xLabel(value, byTime) {
  if (byTime) return duration(value);
  if (value < 1e4) return figure(Math.round(value));
  if (value >= 1e6) return `${Number((value / 1e6).toPrecision(4))}M`;
  return `${Number((value / 1e3).toPrecision(4))}k`;
}

/** Move label positions [{y}] apart to at least `gap` pixels, within [top, bottom]. */
export function spread(labels, gap, top, bottom) {
  labels.sort((a, b) => a.y - b.y);
  let least = top;
  for (const label of labels) {
    label.y = Math.max(label.y, least);
    least = label.y + gap;
  }
  let most = bottom;
  for (const label of [...labels].reverse()) {
    label.y = Math.min(label.y, most);
    most = label.y - gap;
  }
  return labels;
}
