import { randomBytes } from "node:crypto";

export const VALUE_BYTES = 256;
export const BIG_BYTES = 4096;
/** Keys with values of 4 KiB, whatever the size of the state; they lie spread among the others. */
export const BIG_KEYS = 1000;
const POOL = randomBytes(1 << 20);

/** Values that are all different and don't compress, made at the price of a copy. */
export class Values {
  readonly #size: number;
  #count = 0;

  constructor(size = VALUE_BYTES) {
    this.#size = size;
  }

  next(): Uint8Array {
    const value = new Uint8Array(this.#size);
    for (let at = 0; at < this.#size;) {
      const from = (this.#count * 4099 + at * 7) % (POOL.length - 4096);
      const part = POOL.subarray(from, from + Math.min(4096, this.#size - at));
      value.set(part, at);
      at += part.length;
    }
    new DataView(value.buffer).setFloat64(0, process.hrtime()[1] * 1e6 + this.#count++);
    return value;
  }
}

/** The nth of the keys that are in the order of their numbers. */
export function keyAt(n: number): string {
  return `/bench/${String(n).padStart(8, "0")}.json`;
}

/** One of the first `count` keys. */
export function anyKey(count: number): string {
  return keyAt(below(count));
}

/** One of the keys with a value of 4 KiB in a state of so many others: beside every so-manieth of them. */
export function bigKeyAt(n: number, count: number): string {
  return `/bench/${String(Math.floor((n * count) / BIG_KEYS)).padStart(8, "0")}.large`;
}

export function anyBigKey(count: number): string {
  return bigKeyAt(below(BIG_KEYS), count);
}

/** A whole number from 0, and below this one. */
export function below(end: number): number {
  return Math.floor(Math.random() * end);
}
