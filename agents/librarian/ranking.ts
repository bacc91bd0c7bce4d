import type { TermCounts } from "./term-counts.ts";
import { isPair, kindWeight, termFrequencies } from "./terms.ts";

/** Passages that the vectors propose; the right one is nearly always among so many. */
export const CANDIDATES = 100;

/** How soon a word that comes up again stops counting more, and how much a long text is held against it. */
const SATURATION = 1.2;
const LENGTH = 0.75;
/** Words of an ordinary passage. */
const ORDINARY = 100;

/**
 * How well a passage answers a question by its words (BM25). In 384 coordinates words blur into each other,
 * so the vectors find the candidates, and this puts the few of them in order by what they really say.
 */
export function score(question: string, passage: string, counts: TermCounts): number {
  const found = termFrequencies(passage);
  let length = 0;
  for (const [term, times] of found) if (!isPair(term)) length += times;
  let sum = 0;
  for (const term of termFrequencies(question).keys()) {
    const times = found.get(term) ?? 0;
    const damped = times + SATURATION * (1 - LENGTH + (LENGTH * length) / ORDINARY);
    sum += (counts.weight(term) * kindWeight(term) * times * (SATURATION + 1)) / damped;
  }
  return sum;
}
