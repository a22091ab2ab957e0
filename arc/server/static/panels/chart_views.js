// What each chart shows: its lines, its dashed references, and the same in a sentence.

import { figure, integer, percent, words } from "../format.js";

const WAITING = "No steps yet";

/** A line over the history's columns. */
function stepLine({ history, x }, label, style, name, ranged, raw = true) {
  const { data } = history;
  const [least, most] = ranged ? [data[`${name}_min`], data[`${name}_max`]] : [data[name], data[name]];
  return { label, style, x, y: data[name], least, most, n: history.length, raw };
}

/** A line over the validations; `read` takes one value out of one. */
function validationLine({ validations, byTime }, label, style, read) {
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

function tell(data) {
  if (data.history.length) return "";
  if (data.validations.length) return "";
  return data.status?.running ? "The first steps are under way" : WAITING;
}

export function lossView(data) {
  const train = stepLine(data, "training", "train", "loss", true);
  const held = validationLine(data, "held-out", "held", (each) => each.val_loss);
  const { first, last, low, lowAt, bad } = ends(train);
  const where = data.byTime ? "" : ` at step ${integer(lowAt)}`;
  let summary = train.n ? `From ${figure(first, 3)} to ${figure(last, 3)}; least ${figure(low, 3)}${where}.` : "";
  if (held.n) summary += ` Held-out ${figure(held.y[held.n - 1], 3)}.`;
  return { lines: [train, held], references: [], summary: summary + broken(bad), empty: tell(data) };
}

export function accuracyView(data) {
  const train = stepLine(data, "training", "train", "accuracy", true);
  const latest = data.validations.at(-1);
  const [main, ...others] = Object.keys(latest?.values ?? {});
  const held = validationLine(data, main && others.length ? `held-out ${words(main)}` : "held-out", "held", (each) => each.values?.[main] ?? each.val_acc);
  const rest = others.slice(0, 3).map((name, i) => validationLine(data, `held-out ${words(name)}`, `more${i}`, (each) => each.values?.[name]));
  const baselines = Object.entries(latest?.baselines ?? {}).filter(([, value]) => typeof value === "number");
  const references = data.options.baselines ? baselines.map(([name, value]) => ({ label: words(name), value })) : [];
  const { last, bad } = ends(train);
  let summary = train.n ? `Training ${percent(last)} %` : "";
  if (held.n) {
    const { high } = ends(held);
    summary += `${summary ? ", held-out" : "Held-out"} ${percent(held.y[held.n - 1])} % (best ${percent(high)}) on ${integer(latest.targets)} targets`;
    if (baselines.length) summary += `; to beat: ${baselines.map(([name, value]) => `${words(name)} ${percent(value)}`).join(", ")}`;
  }
  return { lines: [train, held, ...rest], references, summary: summary && `${summary}.${broken(bad)}`, empty: tell(data) };
}

const speaks = (each) => each.language && typeof each.language.message_entropy_bits === "number";

function mute(data) {
  if (data.validations.length) return "A vector is sent here: no symbols to count";
  return tell(data) || "No validation yet";
}

export function entropyView(data) {
  const whole = validationLine(data, "messages", "train", (each) => each.language?.message_entropy_bits);
  const symbol = validationLine(data, "a symbol", "held", (each) => each.language?.symbol_entropy_bits);
  const latest = data.validations.findLast(speaks)?.language;
  const limits = latest ? { "all different": latest.entropy_limit_bits, capacity: latest.capacity_bits } : {};
  const references = Object.entries(limits).flatMap(([label, value]) => (typeof value === "number" ? [{ label, value }] : []));
  const summary = latest
    ? `Messages carry ${figure(latest.message_entropy_bits, 3)} of at most ${figure(latest.entropy_limit_bits, 3)} bits here; a symbol ${figure(latest.symbol_entropy_bits, 3)}. The channel holds ${figure(latest.capacity_bits, 3)}.`
    : "";
  return { lines: [whole, symbol], references, summary, empty: mute(data) };
}

export function useView(data) {
  const used = validationLine(data, "symbols used", "train", (each) => each.language?.symbols_used);
  const unique = validationLine(data, "different messages", "held", (each) =>
    each.language?.entropy_limit_bits === undefined ? null : (100 * each.language.unique_messages) / 2 ** each.language.entropy_limit_bits,
  );
  const latest = data.validations.findLast(speaks)?.language;
  const summary = latest
    ? `${percent(latest.symbols_used)} % of symbols and places used; ${integer(latest.unique_messages)} different messages; mean length ${figure(latest.mean_length, 3)}.`
    : "";
  return { lines: [used, unique], references: [], summary, empty: mute(data) };
}

export function gradientView(data) {
  const norm = stepLine(data, "before clipping", "train", "grad_norm", false);
  const { last, high, bad } = ends(norm);
  const summary = norm.n && last === last ? `Now ${figure(last, 3)}, greatest ${figure(high, 3)}.${broken(bad)}` : "";
  return { lines: [norm], references: [], summary, empty: tell(data) };
}

export function rateView(data) {
  const rate = stepLine(data, "learning rate", "train", "learning_rate", false, false);
  const { last, high } = ends(rate);
  const summary = rate.n && last === last ? `Now ${figure(last, 3)}, greatest ${figure(high, 3)}.` : "";
  return { lines: [rate], references: [], summary, empty: tell(data) };
}
