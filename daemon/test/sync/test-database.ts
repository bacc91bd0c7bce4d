import { createHash, randomBytes } from "node:crypto";
import { join } from "node:path";
import Database from "better-sqlite3";
import { onTestFinished } from "vitest";
import { tempFolder } from "./machine.ts";

export interface TestDatabase {
  readonly path: string;
  readonly db: Database.Database;
}

/** Rows of noise in a WAL database whose log is not in the file yet, as an agent's is. */
export async function makeDatabase(bytes: number, folder?: string): Promise<TestDatabase> {
  const path = join(folder ?? (await tempFolder()), "objects.db");
  const db = new Database(path);
  onTestFinished(() => void db.close());
  db.pragma("journal_mode = WAL");
  db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB NOT NULL)");
  db.pragma("wal_checkpoint(TRUNCATE)");
  db.pragma("wal_autocheckpoint = 0");
  add(db, bytes / 1000);
  return { path, db };
}

export function add(db: Database.Database, rows: number): void {
  const insert = db.prepare("INSERT INTO t (x) VALUES (?)");
  db.transaction(() => {
    for (let i = 0; i < rows; i++) insert.run(randomBytes(1000));
  })();
}

/** How many rows, and all of them in one hash. */
export function rowsOf(db: Database.Database): { count: number; hash: string } {
  const sum = createHash("sha256");
  let count = 0;
  for (const { id, x } of db.prepare("SELECT * FROM t ORDER BY id").iterate() as Iterable<{ id: number; x: Buffer }>) {
    sum.update(`${id} `).update(x);
    count++;
  }
  return { count, hash: sum.digest("hex") };
}
