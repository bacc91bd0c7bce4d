import { type Block, slotPrefix } from "./block.ts";
import type { IndexReader } from "./index-reader.ts";
import { isWhole } from "./run.ts";

/**
 * Whether an object that lies in a block is found by its hash, which who reads blocks in order would not notice. When every page
 * of the index is as it was written, all are; else each is looked up.
 */
export function sound(index: IndexReader): (block: Block, slot: number, location: number) => boolean {
  for (const run of index.runs) {
    for (let page = 0; page < run.pages; page++) {
      const data = index.page(run.id, page);
      if (data === undefined || !isWhole(data)) return (block, slot, at) => isFound(index, block, slot, at);
    }
  }
  return () => true;
}

function isFound(index: IndexReader, { head }: Block, slot: number, location: number): boolean {
  return index.candidates(slotPrefix(head, slot)).includes(location);
}
