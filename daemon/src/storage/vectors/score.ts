import type { Hash, Key, Metric } from "@vlinder/protocol";

/**
 * How near two vectors are; more is nearer. cosine: the similarity, 0 where one has no length.
 * dot: the product. l2: the distance negated. Summed in order in double precision, so that every
 * machine and backend gives the same number to the last bit.
 */
export function score(metric: Metric, a: Float32Array, b: Float32Array): number {
  let product = 0;
  if (metric === "l2") {
    for (let i = 0; i < a.length; i++) {
      const d = (a[i] as number) - (b[i] as number);
      product += d * d;
    }
    return 0 - Math.sqrt(product);
  }
  if (metric === "dot") {
    for (let i = 0; i < a.length; i++) product += (a[i] as number) * (b[i] as number);
    return product;
  }
  let squareA = 0;
  let squareB = 0;
  for (let i = 0; i < a.length; i++) {
    const x = a[i] as number;
    const y = b[i] as number;
    product += x * y;
    squareA += x * x;
    squareB += y * y;
  }
  if (squareA === 0 || squareB === 0) return 0;
  // Two roots, not the root of the product: that would underflow for short vectors.
  return Math.min(1, Math.max(-1, product / (Math.sqrt(squareA) * Math.sqrt(squareB))));
}

export function norm(vector: Float32Array): number {
  let square = 0;
  for (const x of vector) square += x * x;
  return Math.sqrt(square);
}

export interface Scored {
  readonly key: Key;
  readonly hash: Hash;
  readonly score: number;
}

/** Nearest first; equal scores by key, then hash. */
export function byScore(a: Scored, b: Scored): number {
  if (a.score !== b.score) return b.score - a.score;
  if (a.key !== b.key) return a.key < b.key ? -1 : 1;
  return a.hash < b.hash ? -1 : a.hash > b.hash ? 1 : 0;
}
