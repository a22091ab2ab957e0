// Formats numbers. Anything missing or not finite becomes a dash.

export const DASH = "–";

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

export const integer = (value) => (isNumber(value) ? whole.format(value) : DASH);

export const percent = (value, digits = 1) => (isNumber(value) ? value.toFixed(digits) : DASH);

/** About `digits` significant figures, without an exponent where that stays short. */
export function figure(value, digits = 4) {
  if (!isNumber(value)) return DASH;
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) {
    return value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
  }
  if (size >= 1000) return whole.format(value);
  return String(Number(value.toPrecision(digits)));
}

/** 42 s, 3:07, 1:02:09, 2 d 3 h */
export function duration(seconds) {
  if (!isNumber(seconds)) return DASH;
  const total = Math.max(0, Math.round(seconds));
  if (total < 60) return `${total} s`;
  if (total >= 86400) return `${Math.floor(total / 86400)} d ${Math.floor((total % 86400) / 3600)} h`;
  const [hours, minutes, rest] = [Math.floor(total / 3600), Math.floor((total % 3600) / 60), total % 60];
  const two = (part) => String(part).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

export const clock = (date) => date.toTimeString().slice(0, 8);

/** A configuration value as Hydra and YAML write it. */
export function plain(value) {
  if (value === null || value === undefined) return "null";
  if (Array.isArray(value)) return `[${value.map(plain).join(", ")}]`;
  return String(value);
}
