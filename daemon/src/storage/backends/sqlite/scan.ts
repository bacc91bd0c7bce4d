import { SLOT, type Block, slotCount, slotFlags, slotHash } from "./block.ts";
import type { IndexReader } from "./index-reader.ts";
import { blockOf, shelfOf, slotOf } from "./location.ts";
import { hashPrefix, PREFIX_RANGE } from "./prefix-table.ts";
import { locationAt, PAGE_ENTRIES, pageEntries, pageOf, prefixAt } from "./run.ts";

interface Blocks {
  readonly index: IndexReader;
  block(id: number): Block | undefined;
  bytesAt(block: Block, slot: number): Buffer;
}

interface Scanned {
  readonly hash: Buffer;
  readonly bytes: Buffer;
}

/** Prefixes are looked at in slices of the whole range, each with about so many entries. */
const SLICE_ENTRIES = 512;

/** Objects of a shelf in the order of their hashes, after one. Runs are in order already; what is recent is not. */
export function pageInOrder(blocks: Blocks, shelf: number, after: Buffer | null, limit: number): Scanned[] {
  const { index } = blocks;
  const found: Scanned[] = [];
  if (limit <= 0) return found;
  const recent = [...index.recent()].filter(([, location]) => shelfOf(location) === shelf);
  const entries = index.runs.reduce((sum, { pages }) => sum + pages * PAGE_ENTRIES, recent.length);
  const slice = PREFIX_RANGE / Math.max(1, Math.ceil(entries / SLICE_ENTRIES));
  let low = after === null ? 0 : hashPrefix(after);
  while (low < PREFIX_RANGE && found.length < limit) {
    const high = Math.min(PREFIX_RANGE, low + slice);
    const locations = new Set(recent.filter(([p]) => p >= low && p < high).map(([, location]) => location));
    for (const run of index.runs) {
      for (let page = pageOf(low, run.pages); page <= Math.min(run.pages - 1, pageOf(high, run.pages)); page++) {
        const data = index.page(run.id, page);
        if (data === undefined) continue;
        for (let entry = 0; entry < pageEntries(data); entry++) {
          const prefix = prefixAt(data, entry);
          const location = locationAt(data, entry);
          if (prefix >= low && prefix < high && shelfOf(location) === shelf) locations.add(location);
        }
      }
    }
    found.push(...objectsAt(blocks, shelf, locations, after));
    low = high;
  }
  return found.slice(0, limit);
}

function objectsAt(blocks: Blocks, shelf: number, locations: Iterable<number>, after: Buffer | null): Scanned[] {
  const found = new Map<string, Scanned>();
  for (const location of locations) {
    const block = blocks.block(blockOf(location));
    const slot = slotOf(location);
    if (block === undefined || slot >= slotCount(block)) continue;
    const flags = slotFlags(block.head, slot);
    if ((flags & SLOT.removed) !== 0 || (flags & SLOT.shelf) !== shelf) continue;
    const hash = slotHash(block.head, slot);
    if (after !== null && hash.compare(after) <= 0) continue;
    found.set(hash.toString("latin1"), { hash, bytes: blocks.bytesAt(block, slot) });
  }
  return [...found.values()].sort((a, b) => a.hash.compare(b.hash));
}
