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

/** Finds the row of a hash: among the recent ones, then in the index. `column` is what a find returns. */
export class ShelfRows<T> {
  readonly #recent: RecentRows;
  readonly #shelf: number;
  readonly #byId: Database.Statement<[number, number, Buffer], T>;
  readonly #byPrefix: Database.Statement<[number, number, Buffer], T>;

  constructor(db: Database.Database, recent: RecentRows, shelf: number, column: "id" | "data") {
    this.#recent = recent;
    this.#shelf = shelf;
    const name = SHELVES[shelf];
    this.#byId = db
      .prepare<[number, number, Buffer], T>(
        `SELECT ${column} FROM object_${name} WHERE id = ? AND prefix = ? AND tail = ?`,
      )
      .pluck();
    this.#byPrefix = db
      .prepare<[number, number, Buffer], T>(
        `SELECT o.${column} FROM index_${name} i CROSS JOIN object_${name} o ON o.id = i.id
         WHERE i.prefix = ? AND o.prefix = ? AND o.tail = ?`,
      )
      .pluck();
  }

  find({ prefix, tail }: HashParts): T | undefined {
    for (const id of this.#recent.candidates(this.#shelf, prefix)) {
      const found = this.#byId.get(id, prefix, tail);
      if (found !== undefined) return found;
    }
    return this.#byPrefix.get(prefix, prefix, tail);
  }
}
