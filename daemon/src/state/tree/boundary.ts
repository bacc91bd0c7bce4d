import { type Key, LIMITS, type TreeVersion } from "@vlinder/protocol";

/**
 * Where a node of the tree ends. This is format: two machines that disagree here have different
 * hashes for equal contents. docs/formats.md specifies it, golden tests pin it.
 *
 * Left to right from the node's start, an entry of weight e that brings the node from w to w + e
 * ends it with a chance of ((w+e)² - w²) / SCALE², and always at LIMIT scales. So the chance grows with
 * the node: sizes spread less than with a constant chance, and an edit still finds the old
 * boundaries again after one node or two. The weight is the key's bytes plus a constant, never the
 * value: an overwrite moves no boundary. All numbers are integers that a double holds exactly, so that every
 * platform decides alike.
 *
 * Above the leaves a node has at least two entries, so that each level is at most half the one below.
 */
const SCALE: Record<TreeVersion, number> = { 1: 512, 2: 1024 };
/** The limit, in scales. */
const LIMIT = 6;
const LEAF_ENTRY = 36;
const INNER_ENTRY = 40;

/** For one key at a time. */
const scratch = new Uint8Array(LIMITS.keyBytes);

export class Boundary {
  readonly #level: number;
  readonly #entry: number;
  readonly #limit: number;
  readonly #scaleSquared: number;
  #weight = 0;
  #entries = 0;

  constructor(level: number, version: TreeVersion) {
    const scale = SCALE[version];
    this.#limit = LIMIT * scale;
    this.#scaleSquared = scale * scale;
    this.#level = level;
    this.#entry = level === 0 ? LEAF_ENTRY : INNER_ENTRY;
  }

  /** Takes the next entry's key; true when the node ends behind it, and the next one starts. */
  take(key: Key): boolean {
    const { length } = key;
    for (let i = 0; i < length; i++) scratch[i] = key.charCodeAt(i);
    return this.takeBytes(scratch, length);
  }

  /** The same of a key that is the first bytes of these. */
  takeBytes(key: Uint8Array, length: number): boolean {
    const before = this.#weight;
    const after = before + length + this.#entry;
    this.#entries++;
    if (this.#ends(key, length, before, after)) {
      this.#weight = 0;
      this.#entries = 0;
      return true;
    }
    this.#weight = after;
    return false;
  }

  #ends(key: Uint8Array, length: number, before: number, after: number): boolean {
    if (this.#level > 0 && this.#entries < 2) return false;
    if (after >= this.#limit) return true;
    return keyHash(key, length, this.#level) * this.#scaleSquared < (after * after - before * before) * 2 ** 32;
  }
}

/** MurmurHash3 x86 32-bit over the key's bytes, seeded with the level. */
export function keyHash(key: Uint8Array, length: number, seed: number): number {
  const blocks = length & ~3;
  let h = seed;
  let k: number;
  for (let i = 0; i < blocks; i += 4) {
    k = at(key, i) | (at(key, i + 1) << 8) | (at(key, i + 2) << 16) | (at(key, i + 3) << 24);
    k = Math.imul(k, 0xcc9e2d51);
    k = (k << 15) | (k >>> 17);
    h ^= Math.imul(k, 0x1b873593);
    h = (h << 13) | (h >>> 19);
    h = (Math.imul(h, 5) + 0xe6546b64) | 0;
  }
  k = 0;
  if (length - blocks >= 3) k ^= at(key, blocks + 2) << 16;
  if (length - blocks >= 2) k ^= at(key, blocks + 1) << 8;
  if (length - blocks >= 1) {
    k ^= at(key, blocks);
    k = Math.imul(k, 0xcc9e2d51);
    k = (k << 15) | (k >>> 17);
    h ^= Math.imul(k, 0x1b873593);
  }
  h ^= length;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function at(bytes: Uint8Array, i: number): number {
  return bytes[i] as number;
}
