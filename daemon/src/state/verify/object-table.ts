import { randomFillSync } from "node:crypto";
import type { Hash } from "@vlinder/protocol";

/**
 * Many hashes in little memory, about 16 bytes each, numbered in the order in which they came. A hash is
 * known by 64 bits, mixed with numbers that are drawn for this process: of a hundred million hashes, two
 * are taken for one with a chance of 1 in 4,000, and nobody can prepare such a pair.
 */
export class ObjectTable {
  /** Index + 1 of an entry, or 0; the place is where the search for its print begins. */
  #slots: Uint32Array;
  /** Two words for each entry. */
  #prints: Uint32Array;
  #flags: Uint8Array;
  #size = 0;

  /** @param expected so many cost no growing */
  constructor(expected = 0) {
    const room = Math.max(64, Math.ceil(expected * 1.05));
    this.#slots = new Uint32Array(slotsFor(room));
    this.#prints = new Uint32Array(2 * room);
    this.#flags = new Uint8Array(room);
  }

  get size(): number {
    return this.#size;
  }

  /** Its number, or -1. */
  find(hash: Hash): number {
    mix(hash);
    return (this.#slots[this.#slotOf(low, high)] as number) - 1;
  }

  /** Its number, a new one if it is new. */
  add(hash: Hash): number {
    mix(hash);
    const slot = this.#slotOf(low, high);
    const known = this.#slots[slot] as number;
    if (known > 0) return known - 1;
    const index = this.#size++;
    if (index === this.#flags.length) this.#makeRoom();
    this.#prints[2 * index] = low;
    this.#prints[2 * index + 1] = high;
    this.#slots[slot] = index + 1;
    if (this.#size > this.#slots.length * MAX_LOAD) this.#rehash();
    return index;
  }

  /** Bits of the caller's. */
  flags(index: number): number {
    return this.#flags[index] as number;
  }

  setFlags(index: number, bits: number): void {
    this.#flags[index] = (this.#flags[index] as number) | bits;
  }

  #slotOf(wantedLow: number, wantedHigh: number): number {
    const mask = this.#slots.length - 1;
    for (let slot = wantedLow & mask; ; slot = (slot + 1) & mask) {
      const entry = this.#slots[slot] as number;
      if (entry === 0) return slot;
      if (this.#prints[2 * entry - 2] === wantedLow && this.#prints[2 * entry - 1] === wantedHigh) return slot;
    }
  }

  #makeRoom(): void {
    const room = Math.ceil(this.#flags.length * 1.5);
    const [prints, flags] = [new Uint32Array(2 * room), new Uint8Array(room)];
    prints.set(this.#prints);
    flags.set(this.#flags);
    [this.#prints, this.#flags] = [prints, flags];
  }

  #rehash(): void {
    this.#slots = new Uint32Array(2 * this.#slots.length);
    for (let index = 0; index < this.#size; index++) {
      const slot = this.#slotOf(this.#prints[2 * index] as number, this.#prints[2 * index + 1] as number);
      this.#slots[slot] = index + 1;
    }
  }
}

const MAX_LOAD = 0.75;

function slotsFor(entries: number): number {
  return 2 ** Math.ceil(Math.log2(entries / MAX_LOAD + 1));
}

/** The value of a hex digit by its character's code. */
const DIGITS = new Uint8Array(128);
for (let value = 0; value < 16; value++) DIGITS[value.toString(16).charCodeAt(0)] = value;
const [seedLow = 0, seedHigh = 0, evenLow = 0, evenHigh = 0] = randomFillSync(new Uint32Array(4));
const [factorLow, factorHigh] = [evenLow | 1, evenHigh | 1];
/** What `mix` found last. */
let low = 0;
let high = 0;

/** Takes the first 128 bits of the hash: nobody can find two that begin alike. */
function mix(hash: Hash): void {
  low = seedLow;
  high = seedHigh;
  for (let at = 0; at < 32; at += 8) {
    let word = 0;
    for (let i = at; i < at + 8; i++) word = (word << 4) | (DIGITS[hash.charCodeAt(i)] as number);
    low = Math.imul(low ^ word, factorLow);
    low ^= low >>> 15;
    high = Math.imul(high ^ word, factorHigh);
    high ^= high >>> 13;
  }
  low >>>= 0;
  high >>>= 0;
}
