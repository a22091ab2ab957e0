// The content of each chart: its lines, its dashed reference lines, and a one-sentence summary.

import { figure, integer, percent } from "../format.js";
import { words } from "../labels.js";

/** A line over the history's columns. */
function stepLine({ history, x }, label, style, name, ranged, raw = true) {
  const { data } = history;
  const [least, most] = ranged ? [data[`${name}_min`], data[`${name}_max`]] : [data[name], data[name]];
  return { label, style, x, y: data[name], least, most, n: history.length, raw };
}

/** A line over the validations; `read` returns the value of one of them. */
export function validationLine({ validations, byTime }, label, style, read) {
  const rows = validations.filter((each) => typeof read(each) === "number");
  const x = Float64Array.from(rows, (each) => (byTime ? each.seconds : each.batch_num));
  const y = Float64Array.from(rows, read);
  return { label, style, x, y, least: y, most: y, n: rows.length, raw: false };
}

function ends({ x, y, n }) {
  let [first, last, low, lowAt, high, bad] = [NaN, NaN, Infinity, 0, -Infinity, 0];
  for (let i = 0; i < n; i++) {
    const value = y[i];
    if (value !== value) {
      bad++;
      continue;
    }
    if (first !== first) first = value;
    last = value;
    if (value < low) [low, lowAt] = [value, x[i]];
    if (value > high) high = value;
  }
  return { first, last, low, lowAt, high, bad };
}

const broken = (bad) => (bad ? ` ⚠ ${integer(bad)} ${bad === 1 ? "value was" : "values were"} not finite (gaps).` : "");

function emptyText(data) {
  if (data.history.length || data.validations.length) return "";
  return data.status?.running ? "Waiting for the first steps" : "No steps yet";
}

export function lossView(data) {
  const train = stepLine(data, "training", "train", "loss", true);
  const validation = validationLine(data, "validation", "validation", (each) => each.val_loss);
  const { first, last, low, lowAt, bad } = ends(train);
  const where = data.byTime ? "" : ` at step ${integer(lowAt)}`;
  let summary = train.n ? `From ${figure(first, 3)} to ${figure(last, 3)}, minimum ${figure(low, 3)}${where}.` : "";
  if (validation.n) summary += ` Validation ${figure(validation.y[validation.n - 1], 3)}.`;
  return { lines: [train, validation], references: [], summary: summary + broken(bad), empty: emptyText(data) };
}

export function accuracyView(data) {
  const train = stepLine(data, "training", "train", "accuracy", true);
  const latest = data.validations.at(-1);
  const [main, ...others] = Object.keys(latest?.values ?? {});
  const named = main && others.length ? `validation ${words(main)}` : "validation";
  const validation = validationLine(data, named, "validation", (each) => each.values?.[main] ?? each.val_acc);
  const rest = others.slice(0, 3).map((name, i) => validationLine(data, `validation ${words(name)}`, `more${i}`, (each) => each.values?.[name]));
  const baselines = Object.entries(latest?.baselines ?? {}).filter(([, value]) => typeof value === "number");
  const references = data.options.baselines ? baselines.map(([name, value]) => ({ label: words(name), value })) : [];
  const { last, bad } = ends(train);
  let summary = train.n ? `Training ${percent(last)} %` : "";
  if (validation.n) {
    const { high } = ends(validation);
    summary += `${summary ? ", validation" : "Validation"} ${percent(validation.y[validation.n - 1])} % (best ${percent(high)}) on ${integer(latest.targets)} examples`;
    if (baselines.length) summary += `; baselines: ${baselines.map(([name, value]) => `${words(name)} ${percent(value)}`).join(", ")}`;
  }
  return { lines: [train, validation, ...rest], references, summary: summary && `${summary}.${broken(bad)}`, empty: emptyText(data) };
}

const discrete = (each) => each.language && typeof each.language.message_entropy_bits === "number";

function noSymbols(data) {
  if (data.validations.length) return "Continuous bottleneck: no symbols to count";
  return emptyText(data) || "No validation yet";
}

export function entropyView(data) {
  const whole = validationLine(data, "message", "train", (each) => each.language?.message_entropy_bits);
  const symbol = validationLine(data, "symbol", "validation", (each) => each.language?.symbol_entropy_bits);
  const latest = data.validations.findLast(discrete)?.language;
  const limits = latest ? { "all distinct": latest.entropy_limit_bits, capacity: latest.capacity_bits } : {};
  const references = Object.entries(limits).flatMap(([label, value]) => (typeof value === "number" ? [{ label, value }] : []));
  const summary = latest
    ? `Message entropy ${figure(latest.message_entropy_bits, 3)} bits of at most ${figure(latest.entropy_limit_bits, 3)} on this set; symbol entropy ${figure(latest.symbol_entropy_bits, 3)} bits; capacity ${figure(latest.capacity_bits, 3)} bits.`
    : "";
  return { lines: [whole, symbol], references, summary, empty: noSymbols(data) };
}

export function useView(data) {
  const used = validationLine(data, "symbols used", "train", (each) => each.language?.symbols_used);
  const unique = validationLine(data, "distinct messages", "validation", (each) =>
    each.language?.entropy_limit_bits === undefined ? null : (100 * each.language.unique_messages) / 2 ** each.language.entropy_limit_bits,
  );
  const latest = data.validations.findLast(discrete)?.language;
  const summary = latest
    ? `${percent(latest.symbols_used)} % of symbol–position pairs used; ${integer(latest.unique_messages)} distinct messages; mean length ${figure(latest.mean_length, 3)}.`
    : "";
  return { lines: [used, unique], references: [], summary, empty: noSymbols(data) };
}

export function gradientView(data) {
  const norm = stepLine(data, "before clipping", "train", "grad_norm", false);
  const { last, high, bad } = ends(norm);
  const summary = norm.n && last === last ? `Now ${figure(last, 3)}, maximum ${figure(high, 3)}.${broken(bad)}` : "";
  return { lines: [norm], references: [], summary, empty: emptyText(data) };
}

export function rateView(data) {
  const rate = stepLine(data, "learning rate", "train", "learning_rate", false, false);
  const { last, high } = ends(rate);
  const summary = rate.n && last === last ? `Now ${figure(last, 3)}, maximum ${figure(high, 3)}.` : "";
  return { lines: [rate], references: [], summary, empty: emptyText(data) };
}
