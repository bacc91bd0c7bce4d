import { type Block, slotPrefix } from "./block.ts";
import type { IndexReader, Run } from "./index-reader.ts";
import { blockOf } from "./location.ts";
import { isWhole, locationAt, pageEntries, pageOf, prefixAt } from "./run.ts";

/** Pages of one step: others wait for milliseconds. */
const STEP_PAGES = 32;

/**
 * Whether an object that lies in a block is found by its hash, which who reads blocks in order would not notice. Objects of blocks
 * that the index leads to are, when all of it is as it was written: a run has all of a block or nothing. The others are looked up.
 */
export class SoundIndex {
  readonly #checked = new Set<number>();
  readonly #led = new Blocks();
  #isSound = true;
  /** The run that is being looked at, its next page, and entries so far. */
  #run = 0;
  #page = 0;
  #entries = 0;

  /** One step of looking at what was not yet, in a snapshot. Returns whether there is more. */
  check(index: IndexReader): boolean {
    for (let left = STEP_PAGES; left > 0;) {
      const run = index.runs.find(({ id }) => !this.#checked.has(id));
      if (run === undefined || !this.#isSound) {
        for (const [, location] of index.recent()) this.#led.add(blockOf(location));
        return false;
      }
      if (run.id !== this.#run) [this.#run, this.#page, this.#entries] = [run.id, 0, 0];
      for (; this.#isSound && this.#page < run.pages && left > 0; this.#page++, left--) this.#look(index, run);
      if (this.#page < run.pages) continue;
      if (this.#entries !== run.entries) this.#isSound = false;
      this.#checked.add(run.id);
    }
    return true;
  }

  isFound(index: IndexReader, { head }: Block, slot: number, location: number): boolean {
    if (this.#isSound && this.#led.has(blockOf(location))) return true;
    return index.candidates(slotPrefix(head, slot)).includes(location);
  }

  #look(index: IndexReader, run: Run): void {
    const page = index.page(run.id, this.#page);
    this.#isSound = page !== undefined && isWhole(page) && this.#isLedTo(page, run, index.seen);
    this.#entries += page === undefined ? 0 : pageEntries(page);
  }

  /** Whether who looks for what a page has comes to it. */
  #isLedTo(page: Buffer, { pages, bloom }: Run, newest: number): boolean {
    for (let entry = 0; entry < pageEntries(page); entry++) {
      const prefix = prefixAt(page, entry);
      const block = blockOf(locationAt(page, entry));
      if (pageOf(prefix, pages) !== this.#page || !bloom.mayHave(prefix) || block > newest) return false;
      this.#led.add(block);
    }
    return true;
  }
}

/** Ids of blocks, a bit each. */
class Blocks {
  #bits = new Uint8Array(1024);

  add(id: number): void {
    const at = Math.floor(id / 8);
    if (at >= this.#bits.length) {
      const larger = new Uint8Array(2 * at);
      larger.set(this.#bits);
      this.#bits = larger;
    }
    this.#bits[at] = (this.#bits[at] as number) | (1 << (id & 7));
  }

  has(id: number): boolean {
    return ((this.#bits[Math.floor(id / 8)] ?? 0) & (1 << (id & 7))) !== 0;
  }
}
