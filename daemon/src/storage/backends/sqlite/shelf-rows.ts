import type Database from "better-sqlite3";
import { PREFIX_BYTES, type RecentRows } from "./recent-rows.ts";
import { SHELVES } from "./schema.ts";

/** A hash as the tables have it. */
export interface HashParts {
  readonly prefix: number;
  readonly tail: Buffer;
}

export function hashParts(hash: Buffer): HashParts {
  return { prefix: hash.readUIntBE(0, PREFIX_BYTES), tail: hash.subarray(PREFIX_BYTES) };
}

export function hashOfParts(prefix: number, tail: Buffer): string {
  return prefix.toString(16).padStart(2 * PREFIX_BYTES, "0") + tail.toString("hex");
}

/**
 * Finds the row of a hash: among the recent ones, then in the index. `column` is what a find returns. Two small
 * statements cost a quarter of a join; only for rows whose hashes begin alike there is one.
 */
export class ShelfRows<T> {
  readonly #recent: RecentRows;
  readonly #shelf: number;
  readonly #row: Database.Statement<[number, number, Buffer], T>;
  readonly #indexed: Database.Statement<[number], number>;
  readonly #alike: Database.Statement<[number, number, Buffer], T>;

  constructor(db: Database.Database, recent: RecentRows, shelf: number, column: "id" | "data") {
    this.#recent = recent;
    this.#shelf = shelf;
    const name = SHELVES[shelf];
    this.#row = db
      .prepare<[number, number, Buffer], T>(
        `SELECT ${column} FROM object_${name} WHERE id = ? AND prefix = ? AND tail = ?`,
      )
      .pluck();
    this.#indexed = db.prepare<[number], number>(`SELECT id FROM index_${name} WHERE prefix = ?`).pluck();
    this.#alike = db
      .prepare<[number, number, Buffer], T>(
        `SELECT o.${column} FROM index_${name} i CROSS JOIN object_${name} o ON o.id = i.id
         WHERE i.prefix = ? AND o.prefix = ? AND o.tail = ?`,
      )
      .pluck();
  }

  find({ prefix, tail }: HashParts): T | undefined {
    for (const id of this.#recent.candidates(this.#shelf, prefix)) {
      const found = this.#row.get(id, prefix, tail);
      if (found !== undefined) return found;
    }
    const id = this.#indexed.get(prefix);
    if (id === undefined) return undefined;
    return this.#row.get(id, prefix, tail) ?? this.#alike.get(prefix, prefix, tail);
  }
}
