import { yellow } from "./color.ts";
import type { Span } from "./text.ts";

const DIGITS = 7;

/** The first digits of a hash: enough for people, and accepted wherever a hash is. */
export function short(hash: string): string {
  return hash.slice(0, DIGITS);
}

/** What named a commit: a hash is cut. */
export function shortRef(ref: string): string {
  return /^[0-9a-f]{8,64}$/.test(ref) ? short(ref) : ref;
}

export function shortHash(hash: string): Span {
  return yellow(short(hash));
}
