import { uvarintLength } from "@vlinder/protocol";

export const HASH_BYTES = 32;

/** An entry in the bytes of a node, and the way to the next one. docs/formats.md has the table. */
export class Spot {
  readonly #bytes: Buffer;
  readonly #count: number;
  readonly #level: number;
  /** Which entry it is; -1: in front of the first. */
  index = -1;
  /** How much its key has in common with the one before it. */
  common = 0;
  /** Where the rest of its key begins; it ends where the hash begins. */
  rest = 0;
  /** Where its hash begins; behind that is its size. */
  hash = 0;
  /** Where the next entry begins. */
  end: number;
  /** Whether its key is the one that was sought, and not only the next one. */
  isExact = false;

  constructor(bytes: Buffer, count: number) {
    this.#bytes = bytes;
    this.#count = count;
    this.#level = bytes[1] as number;
    this.end = 2 + uvarintLength(count);
  }

  /** Completes the key of the entry before to that of this one; returns its length. To be called for each entry from the first on. */
  keyInto(key: Uint8Array): number {
    const bytes = this.#bytes;
    let to = this.common;
    for (let at = this.rest; at < this.hash; at++) key[to++] = bytes[at] as number;
    return to;
  }

  /** Goes on to the next entry; false: there is none. */
  next(): boolean {
    if (this.index + 1 === this.#count) return false;
    const bytes = this.#bytes;
    let at = this.end;
    // Lengths of keys have two bytes at most.
    let common = bytes[at++] as number;
    if (common >= 0x80) common = (common & 0x7f) + (bytes[at++] as number) * 0x80;
    let rest = bytes[at++] as number;
    if (rest >= 0x80) rest = (rest & 0x7f) + (bytes[at++] as number) * 0x80;
    this.index++;
    this.common = common;
    this.rest = at;
    this.hash = at + rest;
    at = this.hash + HASH_BYTES;
    while ((bytes[at++] as number) >= 0x80);
    if (this.#level > 0) while ((bytes[at++] as number) >= 0x80);
    this.end = at;
    return true;
  }
}
