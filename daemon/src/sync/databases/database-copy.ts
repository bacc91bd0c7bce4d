import { createHash } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
// A copy of a storage's file is made by SQLite itself; nothing of the storage is asked.
// oxlint-disable-next-line no-restricted-imports
import Database from "better-sqlite3";
import { setImmediate as yieldToOthers } from "node:timers/promises";
// Only the type: a thread that is made for one copy loads as little as it can.
import type { Hash } from "@vlinder/protocol";

/** Pages between two looks at whether to go on. */
const STEP = 1024;
const SLICE = 1 << 20;
/** Of an object storage, at offset 68. */
const OBJECTS = 0x766c6e64;

export interface CopiedBranch {
  readonly id: Hash;
  readonly name: string;
  readonly head: Hash;
}

export interface SeenDatabase {
  /** As they are in the copy, in the order of their ids; of another database than an object storage, null. */
  readonly branches: readonly CopiedBranch[] | null;
  /** What SQLite found wrong with the copy; null: it is sound. */
  readonly damage: string | null;
}

export interface CopiedDatabase extends SeenDatabase {
  /** Of the file that is to be sent: the encrypted one where it is. */
  readonly bytes: number;
  readonly sha256: Hash;
}

export type OnPages = (done: number, total: number) => void;

/**
 * Copies a SQLite database, page by page as it is, into a new file that needs no companion. One read transaction spans the
 * copy: it is of one moment, writers go on, and what they write does not make it begin anew. Only page 1 is
 * changed: its counters, and that the copy is no WAL database, so that it can be read where nothing can be written.
 * Blocks while it works: for a thread of its own.
 */
export async function copyDatabase(source: string, target: string, onPages: OnPages): Promise<SeenDatabase> {
  const from = new Database(source, { readonly: true, fileMustExist: true });
  try {
    from.exec("BEGIN");
    // A read transaction begins with the first read.
    from.prepare("SELECT count(*) FROM sqlite_schema").get();
    await from.backup(target, {
      progress: ({ totalPages, remainingPages }) => {
        onPages(totalPages - remainingPages, totalPages);
        return STEP;
      },
    });
  } finally {
    from.close();
  }
  const copy = new Database(target, { fileMustExist: true });
  let seen;
  try {
    copy.pragma("journal_mode = DELETE");
    const found = copy.pragma("quick_check(1)", { simple: true });
    seen = { branches: branchesOf(copy), damage: found === "ok" ? null : String(found) };
  } finally {
    copy.close();
  }
  await yieldToOthers();
  return seen;
}

function branchesOf(db: Database.Database): CopiedBranch[] | null {
  if (db.pragma("application_id", { simple: true }) !== OBJECTS) return null;
  const rows = db
    .prepare("SELECT hash, name, head FROM branch WHERE head IS NOT NULL AND deleted IS NULL ORDER BY hash")
    .all() as { hash: Buffer; name: string; head: Buffer }[];
  return rows.map(({ hash, name, head }) => ({
    id: hash.toString("hex") as Hash,
    name,
    head: head.toString("hex") as Hash,
  }));
}

export function hashFile(path: string): { bytes: number; sha256: Hash } {
  const hash = createHash("sha256");
  const slice = Buffer.alloc(SLICE);
  const file = openSync(path, "r");
  try {
    let bytes = 0;
    for (let read = -1; read !== 0; bytes += read) {
      read = readSync(file, slice, 0, SLICE, null);
      hash.update(slice.subarray(0, read));
    }
    return { bytes, sha256: hash.digest("hex") as Hash };
  } finally {
    closeSync(file);
  }
}
