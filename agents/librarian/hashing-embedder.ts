import type { TermCounts } from "./term-counts.ts";
import { hashTerm, kindWeight, mix, termFrequencies } from "./terms.ts";

/** Stored with each vector, so that vectors of different makes are never compared unseen. */
export const EMBEDDER = "hashing-384";
export const DIMENSION = 384;

/** Coordinates that a term goes to. With one, two terms that meet there would be the same term. */
const SPREAD = 8;

/**
 * Text as a vector, by feature hashing: no model, no download, no network. Two texts are near when they
 * share words (or pairs of words), rare ones above all. It knows nothing of meaning: "car" and
 * "automobile" are as far apart as any two words.
 *
 * Each term has the weight `(1 + ln tf) · idf`, and is added, with signs, to a few of 384 coordinates
 * that its hash names; the sum has length 1, so that a dot product is the cosine.
 */
export function embed(text: string, counts: TermCounts): Float32Array {
  const vector = new Float32Array(DIMENSION);
  for (const [term, times] of termFrequencies(text)) {
    spread(vector, hashTerm(term), (1 + Math.log(times)) * counts.weight(term) * kindWeight(term));
  }
  return normalise(vector);
}

function spread(vector: Float32Array, hash: number, weight: number): void {
  let bits = hash;
  for (let i = 0; i < SPREAD; i++) {
    bits = mix(bits + 0x9e3779b9);
    const at = (bits >>> 1) % DIMENSION;
    vector[at] = (vector[at] ?? 0) + (bits & 1 ? weight : -weight);
  }
}

function normalise(vector: Float32Array): Float32Array {
  const length = Math.hypot(...vector);
  // A text without a single word is near nothing; one coordinate keeps it a vector with a direction.
  if (length === 0) vector[0] = 1;
  else for (let i = 0; i < vector.length; i++) vector[i] = (vector[i] ?? 0) / length;
  return vector;
}
