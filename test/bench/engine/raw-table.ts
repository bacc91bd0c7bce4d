import { hashToBytes, sha256 } from "@vlinder/protocol";
import Database from "better-sqlite3";
import { Values } from "../values.ts";

/** A peer: the same values in a plain table with a unique index on the hash, as durable, with no history. */
export class RawTable {
  readonly #db: Database.Database;
  readonly #insert: Database.Statement<[Uint8Array, Uint8Array]>;
  readonly #values = new Values();

  constructor(path: string, rows: number) {
    this.#db = new Database(path);
    this.#db.pragma("journal_mode = WAL");
    this.#db.exec("CREATE TABLE value(id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, data BLOB NOT NULL) STRICT");
    this.#insert = this.#db.prepare("INSERT INTO value(hash, data) VALUES (?, ?)");
    this.#db.pragma("synchronous = OFF");
    for (let from = 0; from < rows; from += 10_000) this.put(Math.min(10_000, rows - from));
    this.#db.pragma("synchronous = FULL");
  }

  /** So many inserts in one transaction. */
  put(count: number): void {
    this.#db.exec("BEGIN IMMEDIATE");
    for (let i = 0; i < count; i++) {
      const bytes = this.#values.next();
      this.#insert.run(hashToBytes(sha256(bytes)), bytes);
    }
    this.#db.exec("COMMIT");
  }

  settle(): void {
    this.#db.pragma("wal_checkpoint(PASSIVE)");
  }

  close(): void {
    this.#db.close();
  }
}
