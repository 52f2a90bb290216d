// Amounts are decimal strings. They are computed as whole numbers of 10⁻¹², never as floating point.
const PLACES = 12;
const ONE = 10n ** BigInt(PLACES);
export const MINUS = "\u2212";
const GAP = "\u00a0";

export function parse(text) {
  const found = /^(-?)(\d+)(?:\.(\d{1,12})\d*)?$/.exec(String(text ?? "").trim());
  if (!found) return null;
  const whole = BigInt(found[2]) * ONE + BigInt((found[3] ?? "").padEnd(PLACES, "0"));
  return found[1] ? -whole : whole;
}

function grouped(digits) {
  return digits.replace(/\B(?=(\d{3})+$)/g, ",");
}

function rounded(size, places) {
  const unit = 10n ** BigInt(PLACES - places);
  const steps = (size + unit / 2n) / unit;
  const digits = steps.toString().padStart(places + 1, "0");
  return [digits.slice(0, digits.length - places), digits.slice(digits.length - places)];
}

// As `money` in shown.py: two decimals from one cent on, else two significant digits.
export function money(text) {
  const amount = parse(text);
  if (amount === null) return "–";
  const size = amount < 0n ? -amount : amount;
  const first = PLACES - size.toString().length + 1;
  const places = size === 0n || size >= ONE / 100n ? 2 : Math.min(PLACES, first + 1);
  let [whole, part] = rounded(size, places);
  while (part.length > 2 && part.endsWith("0")) part = part.slice(0, -1);
  return `${amount < 0n ? MINUS : ""}$${grouped(whole)}.${part}`;
}

export function count(text) {
  const amount = parse(text);
  if (amount === null) return "–";
  const [whole, part] = rounded(amount < 0n ? -amount : amount, 3);
  const rest = part.replace(/0+$/, "");
  return `${amount < 0n ? MINUS : ""}${grouped(whole)}${rest ? `.${rest}` : ""}`;
}

// Hundredths of a percent of the limit, rounded down; null when there is no limit.
export function share(spent, limit) {
  const of = parse(limit);
  const amount = parse(spent);
  return of === null || of === 0n || amount === null ? null : Number((amount * 10000n) / of);
}

export function percentText(hundredths) {
  if (hundredths === null) return "–";
  if (hundredths > 0 && hundredths < 100) return `<1${GAP}%`;
  return `${grouped(String(Math.floor(hundredths / 100)))}${GAP}%`;
}

export function levelOf(hundredths) {
  if (hundredths === null) return "unknown";
  return hundredths >= 10000 ? "over" : hundredths >= 8000 ? "warn" : "ok";
}

export function minus(a, b) {
  const difference = parse(a) - parse(b);
  const size = difference < 0n ? -difference : difference;
  const digits = size.toString().padStart(PLACES + 1, "0");
  return `${difference < 0n ? "-" : ""}${digits.slice(0, -PLACES)}.${digits.slice(-PLACES)}`;
}

// For the axis of a chart alone: `$1.2k`.
export function short(number, unit) {
  const size = Math.abs(number);
  const [divisor, suffix] = size >= 1e9 ? [1e9, "B"] : size >= 1e6 ? [1e6, "M"] : size >= 1e4 ? [1e3, "k"] : [1, ""];
  const digits = suffix ? 1 : size >= 10 || Number.isInteger(number) ? 0 : size >= 0.01 || size === 0 ? 2 : 6;
  const text = (size / divisor).toLocaleString("en-US", { maximumFractionDigits: digits });
  return `${number < 0 ? MINUS : ""}${unit === "usd" ? "$" : ""}${text}${suffix}`;
}
