import type Database from "better-sqlite3";
import type { RecentRows } from "./recent-rows.ts";
import { SHELVES } from "./schema.ts";

/** Rows that stay outside the index at least, and at most: in between a sixteenth of all. */
const RECENT_MIN = 2048;
const RECENT_MAX = 65_536;
const RECENT_SHARE = 16;
/** Rows carried into the index for each new one: more than one, so that a generation is done before the next is full. */
const PACE = 1.5;
/** Fewer at a time would write the same page again and again. */
const STEP_MIN = 64;

interface Batch {
  readonly shelf: number;
  readonly prefixes: Float64Array;
  readonly ids: ReadonlyMap<number, number>;
  at: number;
}

/** Carries recent rows into the index, some with each transaction: see recent-rows.ts. */
export class Folding {
  readonly #recent: RecentRows;
  readonly #insert: readonly Database.Statement<[number, number]>[];
  readonly #openGeneration: Database.Statement<[number]>;
  readonly #dropGenerations: Database.Statement<[number]>;
  #batches: Batch[] = [];
  #current: number;
  #owed = 0;

  constructor(db: Database.Database, recent: RecentRows) {
    this.#recent = recent;
    this.#insert = SHELVES.map((shelf) => db.prepare(`INSERT OR IGNORE INTO index_${shelf}(prefix, id) VALUES (?, ?)`));
    this.#openGeneration = db.prepare("INSERT INTO recent(generation, shelf, first, prefixes) VALUES (?, 0, 0, x'')");
    this.#dropGenerations = db.prepare("DELETE FROM recent WHERE generation < ?");
    this.#current = recent.generations.at(-1)?.number ?? 1;
    // What an earlier run had begun is begun again; what it had carried over already does no harm.
    this.#collect();
  }

  /** The generation that takes new rows. */
  get current(): number {
    return this.#current;
  }

  /** Puts one row into the index; returns 0 when it was there. */
  index(shelf: number, prefix: number, id: number): number {
    return this.#insert[shelf]?.run(prefix, id).changes ?? 0;
  }

  /** In a transaction that made `added` rows, of `rows` in all. */
  step(added: number, rows: number): void {
    if (this.#batches.length === 0) {
      const size = this.#recent.generation(this.#current).size;
      if (size < Math.min(RECENT_MAX, Math.max(RECENT_MIN, rows / RECENT_SHARE))) return;
      this.#begin();
    }
    this.#owed += added * PACE;
    if (this.#owed >= STEP_MIN) {
      this.#carry(Math.ceil(this.#owed));
      this.#owed = 0;
    }
  }

  /** Carries all over, so that every row is in the index and no entry remains for a row that is about to go. */
  finish(): void {
    this.#carry(Infinity);
    if (this.#recent.generation(this.#current).size === 0) return;
    this.#begin();
    this.#carry(Infinity);
  }

  #begin(): void {
    this.#current++;
    this.#recent.seen(Number(this.#openGeneration.run(this.#current).lastInsertRowid));
    this.#recent.generation(this.#current);
    this.#collect();
    this.#owed = 0;
  }

  #collect(): void {
    for (const { number, shelves } of this.#recent.generations) {
      if (number >= this.#current) continue;
      for (const [shelf, ids] of shelves.entries()) {
        if (ids.size > 0) this.#batches.push({ shelf, prefixes: Float64Array.from(ids.keys()).sort(), ids, at: 0 });
      }
    }
  }

  /** Rows that an earlier run carried over cost no write, and don't count. */
  #carry(count: number): void {
    let left = count;
    for (let batch = this.#batches[0]; batch !== undefined && left > 0; batch = this.#batches[0]) {
      for (; batch.at < batch.prefixes.length && left > 0; batch.at++) {
        const prefix = batch.prefixes[batch.at] as number;
        left -= this.index(batch.shelf, prefix, batch.ids.get(prefix) as number);
      }
      if (batch.at === batch.prefixes.length) this.#batches.shift();
    }
    if (this.#batches.length > 0) return;
    this.#dropGenerations.run(this.#current);
    this.#recent.dropBefore(this.#current);
  }
}
