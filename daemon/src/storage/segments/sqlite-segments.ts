import { rmSync } from "node:fs";
import Database from "better-sqlite3";
import { type Hash, hashFromBytes, hashToBytes } from "@vlinder/protocol";
import type { SegmentRow, SegmentStorage } from "./segment-storage.ts";

/** Another one: the file is made anew, as there is nothing in it that can't be. */
const VERSION = 1;
const SCHEMA = `
  CREATE TABLE segments (id INTEGER PRIMARY KEY, top BLOB NOT NULL UNIQUE, body BLOB NOT NULL);
  CREATE TABLE unfinished (start BLOB PRIMARY KEY) WITHOUT ROWID;
  PRAGMA user_version = ${VERSION};
`;

interface Opened {
  readonly db: Database.Database;
  readonly get: Database.Statement<[Uint8Array], { body: Buffer }>;
  readonly put: (rows: readonly SegmentRow[], unfinished: readonly Hash[]) => void;
  readonly unfinished: Database.Statement<[], { start: Buffer }>;
}

/**
 * The history index as a file. A row stands for hundreds of commits, so that reads and writes are few and short, and
 * are done where they are asked for. Nothing waits for the disk (`synchronous = OFF`): a crash of the
 * machine may cost the file, and one that is damaged is begun anew.
 */
export class SqliteSegments implements SegmentStorage {
  readonly #path: string;
  readonly #warn: (error: unknown, message: string) => void;
  #opened: Opened | null = null;
  /** What failed was told already, and not again until something succeeds. */
  #told = false;

  constructor(path: string, warn: (error: unknown, message: string) => void) {
    this.#path = path;
    this.#warn = warn;
    this.#guarded(null, () => null);
  }

  get(top: Hash): Uint8Array | null {
    return this.#guarded(null, ({ get }) => get.get(hashToBytes(top))?.body ?? null);
  }

  put(rows: readonly SegmentRow[], unfinished: readonly Hash[]): void {
    this.#guarded(undefined, ({ put }) => put(rows, unfinished));
  }

  unfinished(): Hash[] {
    return this.#guarded([], ({ unfinished }) => unfinished.all().map(({ start }) => hashFromBytes(start)));
  }

  close(): void {
    this.#opened?.db.close();
    this.#opened = null;
  }

  #guarded<T>(otherwise: T, work: (opened: Opened) => T): T {
    try {
      const result = work((this.#opened ??= this.#open()));
      this.#told = false;
      return result;
    } catch (error) {
      const code = String((error as { code?: unknown }).code);
      const damaged = /^SQLITE_(CORRUPT|NOTADB|ERROR)/.test(code);
      if (!this.#told)
        this.#warn(
          error,
          damaged
            ? "the history index is damaged and is made anew"
            : "the history index can't be used; history is read commit by commit",
        );
      this.#told = true;
      if (damaged) this.#drop();
      return otherwise;
    }
  }

  #open(): Opened {
    let db = connect(this.#path);
    const version = db.pragma("user_version", { simple: true });
    if (version !== VERSION) {
      if (version !== 0) {
        db.close();
        remove(this.#path);
        db = connect(this.#path);
      }
      db.exec(SCHEMA);
    }
    const put = db.prepare("INSERT OR REPLACE INTO segments (top, body) VALUES (?, ?)");
    const forget = db.prepare("DELETE FROM unfinished");
    const remember = db.prepare("INSERT OR IGNORE INTO unfinished VALUES (?)");
    return {
      db,
      get: db.prepare("SELECT body FROM segments WHERE top = ?"),
      put: db.transaction((rows: readonly SegmentRow[], unfinished: readonly Hash[]) => {
        for (const { top, body } of rows) put.run(hashToBytes(top), body);
        forget.run();
        for (const start of unfinished) remember.run(hashToBytes(start));
      }),
      unfinished: db.prepare("SELECT start FROM unfinished"),
    };
  }

  #drop(): void {
    try {
      this.close();
      remove(this.#path);
    } catch (error) {
      this.#warn(error, "the damaged history index can't be removed");
    }
  }
}

function connect(path: string): Database.Database {
  const db = new Database(path);
  try {
    db.pragma("journal_mode = WAL");
    db.pragma("synchronous = OFF");
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

function remove(path: string): void {
  for (const end of ["", "-wal", "-shm"]) rmSync(path + end, { force: true });
}
