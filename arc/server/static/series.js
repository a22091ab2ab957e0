// Long series in bounded memory: growing columns of numbers, smoothing, min/max per pixel.

const LIMIT = 200000;

/** Rows of numbers as columns; beyond LIMIT rows, neighbours are merged and keep their range. */
export class Columns {
  /** `names`: plain columns; `ranged`: columns with a minimum and a maximum. */
  constructor(names, ranged) {
    this.plain = names;
    this.ranged = ranged;
    this.clear();
  }

  clear() {
    this.length = 0;
    this.room = 1024;
    const all = [...this.plain, ...this.ranged.flatMap((name) => [name, `${name}_min`, `${name}_max`])];
    this.data = Object.fromEntries(all.map((name) => [name, new Float64Array(this.room)]));
  }

  push(row) {
    if (this.length === this.room) this.#grow();
    const at = this.length++;
    for (const name of this.plain) this.data[name][at] = number(row[name]);
    for (const name of this.ranged) {
      const value = number(row[name]);
      this.data[name][at] = value;
      this.data[`${name}_min`][at] = row[`${name}_min`] ?? value;
      this.data[`${name}_max`][at] = row[`${name}_max`] ?? value;
    }
  }

  last(name) {
    return this.length ? this.data[name][this.length - 1] : NaN;
  }

  #grow() {
    if (this.room >= LIMIT) {
      this.#halve();
      return;
    }
    this.room *= 2;
    for (const [name, old] of Object.entries(this.data)) {
      this.data[name] = new Float64Array(this.room);
      this.data[name].set(old);
    }
  }

  #halve() {
    const half = this.length >> 1;
    for (const name of this.plain) {
      const column = this.data[name];
      for (let i = 0; i < half; i++) column[i] = column[2 * i + 1];
    }
    for (const name of this.ranged) {
      const [value, least, most] = [name, `${name}_min`, `${name}_max`].map((key) => this.data[key]);
      for (let i = 0; i < half; i++) {
        value[i] = mean(value[2 * i], value[2 * i + 1]);
        least[i] = Math.min(least[2 * i], least[2 * i + 1]);
        most[i] = Math.max(most[2 * i], most[2 * i + 1]);
      }
    }
    this.length = half;
  }
}

const number = (value) => (typeof value === "number" ? value : NaN);
const mean = (a, b) => (a !== a ? b : b !== b ? a : (a + b) / 2);

/** The first index in sorted `x[0..n)` whose value is at least `at`. */
export function lowerBound(x, n, at) {
  let [low, high] = [0, n];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x[middle] < at) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Running mean with weights that decay along x, relative to the range `x0..x1` in view, so that the
 * same setting looks alike on short and long runs. Gaps (NaN) stay gaps.
 */
export function smooth(x, y, n, strength, x0, x1) {
  const out = new Float64Array(n);
  const keep = Math.min(Math.sqrt(strength), 0.999);
  const scale = 1000 / (x1 - x0 || 1);
  let [sum, weight, last, step, factor] = [0, 0, x[0], NaN, 0];
  for (let i = 0; i < n; i++) {
    const distance = x[i] - last;
    if (distance !== step) {
      step = distance;
      factor = keep ** Math.max(distance * scale, 0.02);
    }
    last = x[i];
    const value = y[i];
    if (value !== value) {
      out[i] = NaN;
      continue;
    }
    sum = sum * factor + value;
    weight = weight * factor + 1;
    out[i] = sum / weight;
  }
  return out;
}

/** The minimum and maximum finite value over rows [from, to); `positive` skips values <= 0. */
export function extent(least, most, from, to, positive = false) {
  let [low, high] = [Infinity, -Infinity];
  for (let i = from; i < to; i++) {
    const [a, b] = [least[i], most[i]];
    if (a < low && (!positive || a > 0)) low = a;
    if (b > high && b < Infinity) high = b;
  }
  return [low, high];
}

/**
 * An SVG path over rows [from, to) with at most four points a pixel column: the first value, the
 * minimum, the maximum and the last, so that no outlier is lost. `px` and `py` map to pixels; `px`
 * is linear, so a column is delimited by its end along x instead of by each row's pixel.
 */
export function path(x, y, least, most, from, to, px, py) {
  const parts = [];
  const [origin, slope] = [px(0), px(1) - px(0)];
  let open = false;
  let i = from;
  while (i < to) {
    if (y[i] !== y[i]) {
      open = false;
      i++;
      continue;
    }
    const column = Math.round(px(x[i]));
    const first = y[i];
    const edge = (column + 0.5 - origin) / slope;
    const start = i;
    let low = least[i];
    let high = most[i];
    do {
      if (least[i] < low) low = least[i];
      if (most[i] > high) high = most[i];
      i++;
    } while (i < to && x[i] < edge && y[i] === y[i]);
    const end = y[i - 1];
    const count = i - start;
    parts.push(open ? "L" : "M", count === 1 ? px(x[i - 1]).toFixed(1) : column, " ", py(first).toFixed(1));
    if (low !== high) parts.push("V", py(low).toFixed(1), "V", py(high).toFixed(1), "V", py(end).toFixed(1));
    else if (!open && (i === to || y[i] !== y[i])) parts.push("h.1"); // an isolated point stays visible
    open = true;
  }
  return parts.join("");
}

/** An SVG path around the values from `least` to `most` over rows [from, to), which has no gaps. */
export function area(x, least, most, from, to, px, py) {
  const points = [];
  for (let i = from; i < to; i++) points.push(`${px(x[i]).toFixed(1)} ${py(most[i]).toFixed(1)}`);
  for (let i = to - 1; i >= from; i--) points.push(`${px(x[i]).toFixed(1)} ${py(least[i]).toFixed(1)}`);
  return points.length ? `M${points.join("L")}Z` : "";
}
