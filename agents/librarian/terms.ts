import { words } from "./words.ts";

/** What two words in a row count beside the words themselves. */
const PAIR_WEIGHT = 0.25;

/** How often each term of a text comes up: stems, and pairs of neighbours joined by a space. */
export function termFrequencies(text: string): Map<string, number> {
  const found = new Map<string, number>();
  const count = (term: string): unknown => found.set(term, (found.get(term) ?? 0) + 1);
  let last: string | undefined;
  for (const word of words(text)) {
    count(word);
    if (last !== undefined && last !== word) count(`${last} ${word}`);
    last = word;
  }
  return found;
}

export function isPair(term: string): boolean {
  return term.includes(" ");
}

/** What a term counts for its kind alone. */
export function kindWeight(term: string): number {
  return isPair(term) ? PAIR_WEIGHT : 1;
}

/** 32 bits: FNV-1a with a final mix. */
export function hashTerm(term: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < term.length; i++) h = Math.imul(h ^ term.charCodeAt(i), 0x01000193);
  return mix(h);
}

/** Murmur3's: every bit of the result depends on every bit that goes in. */
export function mix(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
