const STEPS: readonly (readonly [seconds: number, unit: string])[] = [
  [86_400, "d"],
  [3600, "h"],
  [60, "min"],
  [1, "s"],
];
const MONTH = 30 * 86_400;

/** Seconds in the largest unit that fits: 4 s, 3 min, 1 h, 12 d. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const [step, unit] = STEPS.find(([length]) => whole >= length) ?? [1, "s"];
  return `${Math.floor(whole / step)} ${unit}`;
}

/** How long ago an ISO 8601 time was; after a month the date. Empty for none. */
export function ago(time: string | null, now: number = Date.now()): string {
  if (time === null) return "";
  const then = Date.parse(time);
  if (Number.isNaN(then)) return time;
  const seconds = (now - then) / 1000;
  if (seconds >= MONTH) return new Date(then).toISOString().slice(0, 10);
  // Clocks of several machines: a little ahead is now, more than that is worth seeing.
  if (seconds <= -60) return `${duration(-seconds)} ahead`;
  return seconds < 1 ? "now" : `${duration(seconds)} ago`;
}

/** When an ISO 8601 time comes: "in 20 s", or "now". */
export function ahead(time: string, now: number = Date.now()): string {
  const seconds = (Date.parse(time) - now) / 1000;
  return seconds < 1 ? "now" : `in ${duration(seconds)}`;
}
