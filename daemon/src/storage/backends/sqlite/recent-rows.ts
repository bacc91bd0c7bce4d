import type Database from "better-sqlite3";
import { SHELVES } from "./schema.ts";

/** Bytes of a prefix: as many of the hash as make a whole number that JavaScript holds exactly. */
export const PREFIX_BYTES = 6;

type Rows = Map<number, number>;

export interface Generation {
  readonly number: number;
  /** For each shelf, row id by prefix; the first of two rows with the same prefix. */
  readonly shelves: readonly Rows[];
  size: number;
}

interface RecentRow {
  readonly id: number;
  readonly generation: number;
  readonly shelf: number;
  readonly first: number;
  readonly prefixes: Buffer;
}

/**
 * The rows that came lately, by hash prefix, in memory. They are not in the index yet: hashes come in
 * no order, and each would dirty an index page of its own. Instead a transaction appends the prefixes
 * of its rows to the table `recent`, and the writer carries them into the index a generation at a time, in
 * the index's order, so that several fall on each page (at a million rows a tenth of the bytes).
 *
 * The writer and each reader keep this map of what `recent` holds. A reader's may be behind, and then has
 * entries too many (they are in the index meanwhile, or the row is gone), never too few: an entry is
 * only a hint, the row itself says whether it is the one. Of two rows with the same prefix
 * the second goes to the index at once.
 */
export class RecentRows {
  #generations: Generation[] = [];
  #seen = 0;
  readonly #newer: Database.Statement<[number], RecentRow>;
  readonly #oldest: Database.Statement<[], number>;

  constructor(db: Database.Database) {
    this.#newer = db.prepare<[number], RecentRow>(
      "SELECT id, generation, shelf, first, prefixes FROM recent WHERE id > ? ORDER BY id",
    );
    this.#oldest = db.prepare<[], number>("SELECT generation FROM recent ORDER BY id LIMIT 1").pluck();
  }

  /** Takes in what was committed since. */
  refresh(): void {
    const oldest = this.#oldest.get() ?? 0;
    if (this.#generations.some(({ number }) => number < oldest)) {
      this.#generations = this.#generations.filter(({ number }) => number >= oldest);
    }
    for (const row of this.#newer.all(this.#seen)) {
      const generation = this.generation(row.generation);
      for (let at = 0; at < row.prefixes.length; at += PREFIX_BYTES) {
        const prefix = row.prefixes.readUIntBE(at, PREFIX_BYTES);
        remember(generation, row.shelf, prefix, row.first + at / PREFIX_BYTES);
      }
      this.#seen = row.id;
    }
  }

  /** For the writer, which writes the rows of `recent` itself. */
  seen(id: number): void {
    this.#seen = id;
  }

  /** Oldest first. There is always one. */
  get generations(): readonly Generation[] {
    return this.#generations;
  }

  generation(number: number): Generation {
    const known = this.#generations.find((one) => one.number === number);
    if (known !== undefined) return known;
    const generation: Generation = { number, shelves: SHELVES.map(() => new Map()), size: 0 };
    this.#generations.push(generation);
    return generation;
  }

  /** Forgets generations that are in the index now. */
  dropBefore(number: number): void {
    this.#generations = this.#generations.filter((one) => one.number >= number);
  }

  /** Rows that may have a hash with this prefix; those that do and are not here are in the index. */
  candidates(shelf: number, prefix: number): number[] {
    const ids: number[] = [];
    for (const { shelves } of this.#generations) {
      const id = shelves[shelf]?.get(prefix);
      if (id !== undefined) ids.push(id);
    }
    return ids;
  }

  /** All (prefix, row id) of a shelf. */
  *entries(shelf: number): Generator<[prefix: number, id: number]> {
    for (const { shelves } of this.#generations) yield* shelves[shelf] ?? [];
  }
}

/** Writer and readers must do the same, or a reader would miss a row: the first one with a prefix stays. */
export function remember(generation: Generation, shelf: number, prefix: number, id: number): void {
  const rows = generation.shelves[shelf] as Rows;
  if (rows.has(prefix)) return;
  rows.set(prefix, id);
  generation.size++;
}
