import { crc32 } from "node:zlib";
import { PREFIX_BYTES, PREFIX_RANGE } from "./prefix-table.ts";
import { LOCATION_BYTES } from "./block.ts";

/*
 * A run is an immutable part of the index: (hash prefix, location) pairs in the order of their prefixes, on pages that
 * are rows. Hashes are spread evenly, so the page of a prefix follows from its value, and there is no tree to
 * walk. A Bloom filter says of most prefixes that the run does not have them.
 */
/** A CRC-32 at the end of a page. */
const SUM_BYTES = 4;
const ENTRY_BYTES = PREFIX_BYTES + LOCATION_BYTES;
/** Entries on a page in the mean: 4,000 bytes hold 333, which is more than three standard deviations away. */
export const PAGE_ENTRIES = 280;
const PAGES_MAX = 2 ** 24;
/** Bits for each entry. A "perhaps" that is none costs a page, and there may be twenty runs to ask. */
const BLOOM_BITS = 20;
const BLOOM_PROBES = 7;

export interface RunShape {
  readonly id: number;
  readonly pages: number;
}

export type Entry = readonly [prefix: number, location: number];

export function byPrefix([a, x]: Entry, [b, y]: Entry): number {
  return a - b || x - y;
}

export function pagesFor(entries: number): number {
  return Math.max(1, Math.ceil(entries / PAGE_ENTRIES));
}

/** The page that a prefix is on, in a run of so many pages. Reader and writer must round alike. */
export function pageOf(prefix: number, pages: number): number {
  return Math.floor((prefix / PREFIX_RANGE) * pages);
}

export function pageId(run: number, page: number): number {
  return run * PAGES_MAX + page;
}

export function pageEntries(page: Buffer): number {
  return (page.length - SUM_BYTES) / ENTRY_BYTES;
}

/** Whether a page is as it was written. */
export function isWhole(page: Buffer): boolean {
  const end = page.length - SUM_BYTES;
  return end >= 0 && end % ENTRY_BYTES === 0 && crc32(page.subarray(0, end)) === page.readUInt32LE(end);
}

export function prefixAt(page: Buffer, entry: number): number {
  return page.readUIntLE(entry * ENTRY_BYTES, PREFIX_BYTES);
}

export function locationAt(page: Buffer, entry: number): number {
  return page.readUIntLE(entry * ENTRY_BYTES + PREFIX_BYTES, LOCATION_BYTES);
}

/** @param entries in the order of their prefixes */
export function encodePage(entries: readonly Entry[]): Buffer {
  const page = Buffer.allocUnsafe(entries.length * ENTRY_BYTES + SUM_BYTES);
  let at = 0;
  for (const [prefix, location] of entries) {
    at = page.writeUIntLE(prefix, at, PREFIX_BYTES);
    at = page.writeUIntLE(location, at, LOCATION_BYTES);
  }
  page.writeUInt32LE(crc32(page.subarray(0, at)), at);
  return page;
}

/** Appends the locations that a page has under a prefix. */
export function findOnPage(page: Buffer, prefix: number, found: number[]): void {
  const count = pageEntries(page);
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (prefixAt(page, middle) < prefix) low = middle + 1;
    else high = middle;
  }
  for (; low < count && prefixAt(page, low) === prefix; low++) found.push(locationAt(page, low));
}

/** A Bloom filter over prefixes: of one that was not added it says "perhaps" about once in five thousand times. */
export class Bloom {
  readonly bits: Uint8Array;
  readonly #size: number;

  constructor(bits: Uint8Array) {
    this.bits = bits;
    this.#size = bits.length * 8;
  }

  static for(entries: number): Bloom {
    return new Bloom(new Uint8Array(Math.ceil((Math.max(entries, 64) * BLOOM_BITS) / 8)));
  }

  // The `>>> 0` keep all of it in machine integers: on other numbers `%` costs as much as all the rest.

  add(prefix: number): void {
    let at = prefix | 0;
    const step = stepOf(prefix);
    for (let probe = 0; probe < BLOOM_PROBES; probe++) {
      const bit = (at >>> 0) % (this.#size >>> 0);
      this.bits[bit >>> 3] = (this.bits[bit >>> 3] as number) | (1 << (bit & 7));
      at = (at + step) | 0;
    }
  }

  mayHave(prefix: number): boolean {
    let at = prefix | 0;
    const step = stepOf(prefix);
    for (let probe = 0; probe < BLOOM_PROBES; probe++) {
      const bit = (at >>> 0) % (this.#size >>> 0);
      if (((this.bits[bit >>> 3] as number) & (1 << (bit & 7))) === 0) return false;
      at = (at + step) | 0;
    }
    return true;
  }
}

/** From bits that the start does not depend on alone, spread over the whole range; odd. */
function stepOf(prefix: number): number {
  return Math.imul(Math.floor(prefix / 0x10000), 0x9e3779b1) | 1;
}
