import { parseRefTime } from "@vlinder/protocol";

const SECONDS: readonly (readonly [name: RegExp, seconds: number])[] = [
  [/^s(ec(ond)?s?)?$/, 1],
  [/^m(in(ute)?s?)?$/, 60],
  [/^h(ours?)?$/, 3600],
  [/^d(ays?)?$/, 86_400],
  [/^w(eeks?)?$/, 7 * 86_400],
];

/**
 * A time as people write it: ISO 8601 as it stands, `3 min ago` and `yesterday` (24 hours ago) as ISO 8601; null: none.
 *
 * @param short `2h` is enough, without `ago`: nothing else can be meant
 */
export function momentOf(text: string, short: boolean, now: number = Date.now()): string | null {
  if (parseRefTime(text) !== null) return text;
  const [, amount = "", unit = "", ago] =
    text === "yesterday" ? ["", "1", "d", "ago"] : (/^(\d{1,6})\s*([a-z]{1,7})(?:\s+(ago))?$/.exec(text) ?? []);
  const seconds = SECONDS.find(([name]) => name.test(unit))?.[1];
  if (seconds === undefined || (ago === undefined && !short)) return null;
  const time = new Date(now - Number(amount) * seconds * 1000);
  return Number.isNaN(time.getTime()) || time.getUTCFullYear() < 0 ? null : time.toISOString();
}
