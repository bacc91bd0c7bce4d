import { threadId } from "node:worker_threads";
import type Database from "better-sqlite3";
import { openForWriting, type WriterOptions } from "./connection.ts";
import { IndexWriter } from "./index-writer.ts";
import type { Say } from "./migrate.ts";
import { WriterBranches } from "./writer-branches.ts";

let sessions = 0;

/** An open connection with all that is prepared on it, and what is in memory of the database. */
export class WriterSession {
  readonly db: Database.Database;
  readonly index: IndexWriter;
  readonly branches: WriterBranches;
  /** Unlike that of any other session of this process: as long as it is this one, nobody else has written. */
  readonly view = threadId * 2 ** 32 + ++sessions;
  readonly addBlock: Database.Statement<[Buffer, Buffer]>;
  readonly addReplies: Database.Statement<[number, number, number]>;
  readonly count: Database.Statement<[number, number]>;
  readonly setNote: Database.Statement<[string, Buffer]>;
  readonly dropNote: Database.Statement<[string]>;
  readonly begin: Database.Statement<[]>;
  readonly commit: Database.Statement<[]>;
  readonly #version: Database.Statement<[], number>;
  readonly #log: Database.Statement<[], [number, number, number]>;
  #seenVersion: number;

  constructor(options: WriterOptions, say?: Say) {
    this.db = openForWriting(options, say);
    try {
      const { db } = this;
      this.begin = db.prepare("BEGIN IMMEDIATE");
      this.commit = db.prepare("COMMIT");
      this.addBlock = db.prepare("INSERT INTO block(head, data) VALUES (?, ?)");
      this.addReplies = db.prepare("INSERT INTO reply(block, oldest, newest) VALUES (?, ?, ?)");
      this.count = db.prepare("UPDATE shelf SET objects = objects + ? WHERE id = ?");
      this.setNote = db.prepare("INSERT OR REPLACE INTO note(name, data) VALUES (?, ?)");
      this.dropNote = db.prepare("DELETE FROM note WHERE name = ?");
      this.#version = db.prepare<[], number>("PRAGMA data_version").pluck();
      this.#log = db.prepare<[], [number, number, number]>("PRAGMA wal_checkpoint(NOOP)").raw();
      this.#seenVersion = this.#version.get() ?? 0;
      this.branches = new WriterBranches(db);
      this.index = new IndexWriter(db, options.runEntries);
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
}
