import { setImmediate } from "node:timers/promises";
// This home's own bookkeeping, not an agent's storage: no backend of `storage/` is asked for it.
// oxlint-disable-next-line no-restricted-imports
import type Database from "better-sqlite3";
import { type Hash, hashToBytes } from "@vlinder/protocol";
import type { Kind } from "../../storage/object-storage.ts";

export type LedgerObject = { readonly kind: Kind; readonly hash: Hash };

/** Rows of one transaction, so that the serving thread is never held for long. */
export const ROWS = 2000;
/** Rows that may wait in `recent` for others. */
const GATHERED = 8192;

const COLUMNS = "hash BLOB NOT NULL, kind TEXT NOT NULL, pack INTEGER NOT NULL, PRIMARY KEY (hash, kind, pack)";

export const OBJECTS_SCHEMA = `CREATE TABLE objects (${COLUMNS}) WITHOUT ROWID;`;
export const RECENT_SCHEMA = `CREATE TABLE recent (${COLUMNS}) WITHOUT ROWID;`;

/**
 * Which packs hold which objects, in `objects`. The hashes of a pack fall anywhere, so that its rows would touch most pages of that table, each
 * time: they are gathered in `recent`, which is small, and go on together and in their order. So a row is in one of the two: who reads looks
 * into both, or calls `settle` first.
 */
export class ObjectRows {
  readonly #db: Database.Database;
  /** Rows in `recent`, at most; 0: none. */
  #gathered: number;

  constructor(db: Database.Database) {
    this.#db = db;
    this.#gathered = (db.prepare("SELECT count(*) AS count FROM recent").get() as { count: number }).count;
  }

  /** Whether all rows are in `objects`. */
  get isSettled(): boolean {
    return this.#gathered === 0;
  }

  /** In slices; until all are there, some of the rows may be. */
  async add(objects: readonly LedgerObject[], pack: number): Promise<void> {
    // Of many, neighbours share a page anyway.
    const table = objects.length > GATHERED / 2 ? "objects" : "recent";
    const insert = this.#db.prepare(`INSERT INTO ${table} VALUES (?, ?, ?) ON CONFLICT DO NOTHING`);
    await this.#ofEach(objects.toSorted(byHash), (rows) => {
      if (table === "recent") this.#gathered += rows.length;
      for (const { kind, hash } of rows) insert.run(hashToBytes(hash), kind, pack);
    });
    if (this.#gathered > GATHERED) await this.settle();
  }

  /** Takes rows of `add` back, in slices. */
  async drop(objects: readonly LedgerObject[], pack: number): Promise<void> {
    await this.settle();
    const forget = this.#db.prepare("DELETE FROM objects WHERE hash = ? AND kind = ? AND pack = ?");
    await this.#ofEach(objects, (rows) => {
      for (const { kind, hash } of rows) forget.run(hashToBytes(hash), kind, pack);
    });
  }

  /** All rows are in `objects` then; in slices. */
  async settle(): Promise<void> {
    while (!this.isSettled) {
      this.#moveSome();
      await setImmediate();
    }
  }

  /** The same at once. */
  settleNow(): void {
    while (!this.isSettled) this.#moveSome();
  }

  /** Moves the first rows. @throws what SQLite does; all is as before then */
  #moveSome(): void {
    const left = this.#db.transaction(() => {
      const order = "ORDER BY hash, kind, pack";
      const last = this.#db.prepare(`SELECT * FROM recent ${order} LIMIT 1 OFFSET ?`).get(ROWS - 1);
      const { hash, kind, pack } = (last ?? {}) as { hash?: Buffer; kind?: string; pack?: number };
      const [where, bound] =
        last === undefined ? ["true", []] : ["(hash, kind, pack) <= (?, ?, ?)", [hash, kind, pack]];
      this.#db
        .prepare(`INSERT INTO objects SELECT * FROM recent WHERE ${where} ${order} ON CONFLICT DO NOTHING`)
        .run(...bound);
      const { changes } = this.#db.prepare(`DELETE FROM recent WHERE ${where}`).run(...bound);
      return last === undefined ? 0 : Math.max(1, this.#gathered - changes);
    })();
    // Not before it is committed: what the disk refuses is still to be moved.
    this.#gathered = left;
  }

  async #ofEach(objects: readonly LedgerObject[], work: (rows: readonly LedgerObject[]) => void): Promise<void> {
    for (let i = 0; i < objects.length; i += ROWS) {
      // First of all: what the caller began meanwhile gets to where others work on it.
      await setImmediate();
      this.#db.transaction(() => work(objects.slice(i, i + ROWS)))();
    }
  }
}

function byHash(a: LedgerObject, b: LedgerObject): number {
  return a.hash < b.hash ? -1 : a.hash > b.hash ? 1 : 0;
}
