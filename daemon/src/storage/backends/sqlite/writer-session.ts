import type Database from "better-sqlite3";
import { openForWriting, type WriterOptions } from "./connection.ts";
import { Folding } from "./folding.ts";
import { PREFIX_BYTES, RecentRows } from "./recent-rows.ts";
import { SHELVES } from "./schema.ts";
import { ShelfRows } from "./shelf-rows.ts";
import { WriterBranches } from "./writer-branches.ts";

/** An open connection with all that is prepared on it, and what is in memory of the database. */
export class WriterSession {
  readonly db: Database.Database;
  readonly recent: RecentRows;
  readonly folding: Folding;
  readonly branches: WriterBranches;
  readonly find: readonly ShelfRows<number>[];
  readonly insert: readonly Database.Statement<unknown[]>[];
  readonly setNote: Database.Statement<[string, Buffer]>;
  readonly dropNote: Database.Statement<[string]>;
  readonly highest: readonly Database.Statement<[], number>[];
  readonly #version: Database.Statement<[], number>;
  readonly #addRecent: Database.Statement<[number, number, number, Buffer]>;
  readonly #log: Database.Statement<[], [number, number, number]>;
  #seenVersion: number;

  constructor(options: WriterOptions) {
    this.db = openForWriting(options);
    try {
      const { db } = this;
      this.recent = new RecentRows(db);
      this.recent.refresh();
      this.folding = new Folding(db, this.recent);
      this.branches = new WriterBranches(db);
      this.find = SHELVES.map((_, shelf) => new ShelfRows<number>(db, this.recent, shelf, "id"));
      this.insert = SHELVES.map((shelf) =>
        shelf === "reply"
          ? db.prepare("INSERT INTO object_reply(prefix, tail, data, time) VALUES (?, ?, ?, ?)")
          : db.prepare(`INSERT INTO object_${shelf}(prefix, tail, data) VALUES (?, ?, ?)`),
      );
      this.setNote = db.prepare("INSERT OR REPLACE INTO note(name, data) VALUES (?, ?)");
      this.dropNote = db.prepare("DELETE FROM note WHERE name = ?");
      this.highest = SHELVES.map((shelf) =>
        db.prepare<[], number>(`SELECT coalesce(max(id), 0) FROM object_${shelf}`).pluck(),
      );
      this.#version = db.prepare<[], number>("PRAGMA data_version").pluck();
      this.#addRecent = db.prepare("INSERT INTO recent(generation, shelf, first, prefixes) VALUES (?, ?, ?, ?)");
      this.#log = db.prepare<[], [number, number, number]>("PRAGMA wal_checkpoint(NOOP)").raw();
      this.#seenVersion = this.#version.get() ?? 0;
    } catch (error) {
      this.db.close();
      throw error;
    }
  }

  /** Whether another connection has written; what is in memory may be behind then. */
  get isBehind(): boolean {
    return this.#version.get() !== this.#seenVersion;
  }

  /** Pages in the log, and how many of them are not in the file yet. */
  log(): { readonly pages: number; readonly owed: number } {
    const [, pages, done] = this.#log.get() ?? [0, 0, 0];
    return { pages, owed: pages - done };
  }

  /** Lists new rows of one shelf, with ids from `first` on, as recent ones. */
  addRecent(shelf: number, first: number, prefixes: readonly number[]): void {
    const bytes = Buffer.allocUnsafe(prefixes.length * PREFIX_BYTES);
    for (const [index, prefix] of prefixes.entries()) bytes.writeUIntBE(prefix, index * PREFIX_BYTES, PREFIX_BYTES);
    this.recent.seen(Number(this.#addRecent.run(this.folding.current, shelf, first, bytes).lastInsertRowid));
  }
}
