import { type Hash, sha256 } from "@vlinder/protocol";
import Database from "better-sqlite3";
import { anyKey, keyAt, Values } from "../values.ts";

/**
 * A peer: versions kept the plain way. Every put stores the value, the whole map of keys to hashes as
 * JSON, and a commit that names both it and its parent.
 */
export class FlatSnapshots {
  readonly keys: number;
  readonly #db: Database.Database;
  readonly #insert: Database.Statement<[string, Uint8Array | string]>;
  readonly #values = new Values();
  readonly #map: Record<string, Hash> = {};
  #parent: Hash | null = null;

  constructor(path: string, keys: number) {
    this.keys = keys;
    this.#db = new Database(path);
    this.#db.pragma("journal_mode = WAL");
    this.#db.pragma("synchronous = FULL");
    this.#db.exec("CREATE TABLE object(id INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, data BLOB NOT NULL)");
    this.#insert = this.#db.prepare("INSERT OR IGNORE INTO object(hash, data) VALUES (?, ?)");
    for (let i = 0; i < keys; i++) this.#map[keyAt(i)] = sha256(this.#values.next());
  }

  /** So many puts in one transaction. */
  put(count: number): void {
    this.#db.exec("BEGIN IMMEDIATE");
    for (let i = 0; i < count; i++) {
      const bytes = this.#values.next();
      this.#map[anyKey(this.keys)] = this.#store(bytes);
      const snapshot = this.#store(JSON.stringify(this.#map));
      this.#parent = this.#store(JSON.stringify({ parent: this.#parent, snapshot, time: new Date().toISOString() }));
    }
    this.#db.exec("COMMIT");
  }

  close(): void {
    this.#db.close();
  }

  #store(data: Uint8Array | string): Hash {
    const hash = sha256(data);
    this.#insert.run(hash, data);
    return hash;
  }
}
