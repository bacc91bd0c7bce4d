import { z } from "zod";
import { shown } from "./toml-check.ts";

const DURATION = /^[1-9]\d{0,5}[hdwy]$/;
const SIZE = /^(\d+(?:\.\d+)?) ?(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)$/;
const TIME_LIMIT = /^[1-9]\d{0,5}[smh]$/;
const SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 };
const DAY = 24 * 3600;
const HOURS: Readonly<Record<string, number>> = { h: 1, d: 24, w: 7 * 24, y: 365 * 24 };

/** A time span as a text like "90d". */
export const duration = z.string().superRefine((value, context) => {
  if (!DURATION.test(value))
    context.addIssue(`${shown(value)} is no time span; write one like "12h", "90d", "8w" or "1y"`);
});

/** A short time span as a text like "30s", in which something has to be done; a day at most. */
export const timeLimit = z.string().superRefine((value, context) => {
  if (!TIME_LIMIT.test(value) || secondsOf(value) > DAY) {
    context.addIssue(`${shown(value)} is no time limit; write one like "30s", "10m" or "2h", of a day at most`);
  }
});

/** Of a text that is a time limit. */
export function secondsOf(text: string): number {
  return Number(text.slice(0, -1)) * (SECONDS[text.slice(-1)] as number);
}

const WAIT = /^\d{1,6}(ms|s|m|h)$/;
const WAIT_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** A wait as a text like "500ms" or "2s", from the first to the last of these. */
export function wait(least: string, most: string) {
  return z.string().superRefine((value, context) => {
    if (!WAIT.test(value)) {
      context.addIssue(`${shown(value)} is no time; write one like "500ms", "2s", "5m" or "1h"`);
    } else if (waitOf(value) < waitOf(least) || waitOf(value) > waitOf(most)) {
      context.addIssue(`${shown(value)} is out of range: from ${shown(least)} to ${shown(most)}`);
    }
  });
}

/** Of a text that is a wait, in milliseconds. */
export function waitOf(text: string): number {
  const [, unit = ""] = WAIT.exec(text) ?? [];
  return Number(text.slice(0, -unit.length)) * (WAIT_UNITS[unit] as number);
}

/** A size as a text like "2GB". */
export const size = z.string().superRefine((value, context) => {
  if (!SIZE.test(value)) context.addIssue(`${shown(value)} is no size; write one like "500MB" or "2GB"`);
});

/** Of a text that is a size. */
export function bytesOf(text: string): number {
  const [, number, unit] = SIZE.exec(text) as unknown as [string, string, string];
  const power = ["B", "K", "M", "G", "T"].indexOf(unit.charAt(0).toUpperCase());
  return Math.round(Number(number) * (unit.includes("i") ? 1024 : 1000) ** power);
}

/** Of a text that is a time span, in milliseconds. */
export function millisecondsOf(text: string): number {
  return Number(text.slice(0, -1)) * (HOURS[text.slice(-1)] as number) * 3_600_000;
}
