import { yellow } from "./color.ts";
import type { Span } from "./text.ts";

const DIGITS = 7;

/** The first digits of a hash: enough for people, and accepted wherever a hash is. */
export function short(hash: string): string {
  return hash.slice(0, DIGITS);
}

export function shortHash(hash: string): Span {
  return yellow(short(hash));
}
