import type Database from "better-sqlite3";
import { SLOT, SLOT_BYTES, slotFlags, slotPrefix } from "./block.ts";
import type { Item, NewBlock } from "./blocks-of.ts";
import { locationOf } from "./location.ts";
import { PrefixTable } from "./prefix-table.ts";
import { Bloom, findOnPage, pageId, pageOf, type RunShape } from "./run.ts";

export interface Run extends RunShape {
  readonly entries: number;
  readonly bloom: Bloom;
}

interface RunRow {
  readonly id: number;
  readonly entries: number;
  readonly pages: number;
  readonly upto: number;
}

/**
 * Where objects are, by hash prefix: in the runs, and for blocks that came after the last of these in a table in memory,
 * filled from their heads. A location is a hint: the block says what is there. There may be some too many (of objects
 * that were removed), never too few.
 */
export class IndexReader {
  readonly #state: Database.Statement<[], [blocks: number, generation: number]>;
  readonly #runRows: Database.Statement<[], RunRow>;
  readonly #bloom: Database.Statement<[number], Buffer>;
  readonly #page: Database.Statement<[number], Buffer>;
  readonly #heads: Database.Statement<[number, number], [id: number, head: Buffer]>;
  #recent = new PrefixTable();
  /** Blocks up to this one are known. */
  #seen = 0;
  #generation = -1;
  /** Something that this process has stored may not be known yet. */
  #isBehind = true;
  #runs: readonly Run[] = [];

  constructor(db: Database.Database) {
    this.#state = db
      .prepare<[], [number, number]>("SELECT coalesce((SELECT max(id) FROM block), 0), generation FROM runs")
      .raw();
    this.#runRows = db.prepare("SELECT id, entries, pages, upto FROM run ORDER BY id DESC");
    this.#bloom = db.prepare<[number], Buffer>("SELECT bloom FROM run WHERE id = ?").pluck();
    this.#page = db.prepare<[number], Buffer>("SELECT data FROM run_page WHERE id = ?").pluck();
    this.#heads = db
      .prepare<[number, number], [number, Buffer]>("SELECT id, head FROM block WHERE id > ? AND id <= ? ORDER BY id")
      .raw();
  }

  /** Takes in what others have committed. In a snapshot. */
  refresh(): void {
    const [blocks, generation] = this.#state.get() as [number, number];
    this.#isBehind = false;
    if (generation !== this.#generation) this.#readRuns(generation);
    if (blocks <= this.#seen) return;
    for (const [id, head] of this.#heads.iterate(this.#seen, blocks)) this.#take(id, head);
    this.#seen = blocks;
  }

  /** Blocks that this process has stored, with ids from `first` on: unless a refresh has seen them. */
  stored(first: number, blocks: readonly NewBlock[]): void {
    if (first > this.#seen + 1) this.#isBehind = true;
    if (first !== this.#seen + 1) return;
    for (const { items } of blocks) {
      this.#seen++;
      for (let slot = 0; slot < items.length; slot++) {
        const { prefix, shelf } = items[slot] as Item;
        this.#recent.add(prefix, locationOf(this.#seen, slot, shelf));
      }
    }
  }

  /** There may be blocks that this process has stored and that nobody told of. */
  doubt(): void {
    this.#isBehind = true;
  }

  /** Whether there is surely none with this prefix that this process has stored; what others did since the last refresh is not looked at. */
  surelyLacks(prefix: number): boolean {
    return !this.#isBehind && !this.mayHave(prefix);
  }

  /** False: there is surely none with this prefix. */
  mayHave(prefix: number): boolean {
    if (this.#recent.has(prefix)) return true;
    for (const { bloom } of this.#runs) if (bloom.mayHave(prefix)) return true;
    return false;
  }

  /** Where there may be an object with this prefix, on any shelf. */
  candidates(prefix: number): number[] {
    const found: number[] = [];
    this.#recent.find(prefix, found);
    for (const { id, pages, bloom } of this.#runs) {
      if (!bloom.mayHave(prefix)) continue;
      const page = this.#page.get(pageId(id, pageOf(prefix, pages)));
      if (page !== undefined) findOnPage(page, prefix, found);
    }
    return found;
  }

  /** In no order. */
  recent(): Iterable<[prefix: number, location: number]> {
    return this.#recent.entries();
  }

  get runs(): readonly Run[] {
    return this.#runs;
  }

  /** The newest block that is known. */
  get seen(): number {
    return this.#seen;
  }

  page(run: number, page: number): Buffer | undefined {
    return this.#page.get(pageId(run, page));
  }

  #take(id: number, head: Buffer): void {
    for (let slot = 0; slot * SLOT_BYTES < head.length; slot++) {
      const flags = slotFlags(head, slot);
      if ((flags & SLOT.removed) !== 0) continue;
      this.#recent.add(slotPrefix(head, slot), locationOf(id, slot, flags & SLOT.shelf));
    }
  }

  #readRuns(generation: number): void {
    const known = new Map(this.#runs.map((run) => [run.id, run]));
    let upto = 0;
    const runs: Run[] = [];
    for (const row of this.#runRows.all()) {
      upto = Math.max(upto, row.upto);
      runs.push(known.get(row.id) ?? { ...row, bloom: new Bloom(this.#bloom.get(row.id) ?? new Uint8Array(8)) });
    }
    this.#runs = runs;
    this.#generation = generation;
    this.#recent = this.#recent.keepAbove(locationOf(upto + 1, 0, 0) - 1);
    this.#seen = Math.max(this.#seen, upto);
  }
}
