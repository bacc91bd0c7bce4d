import { closeSync, mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";
import Database from "better-sqlite3";
import { lookBeforeLog } from "../../sqlite-log.ts";
import type { Say } from "./migrate.ts";
import { checkVersion, prepareSchema } from "./schema.ts";

/** `disk`: an acknowledged write survives power loss. `process`: it survives the end of the process. */
export type Durability = "disk" | "process";

export interface WriterOptions {
  readonly path: string;
  readonly durability: Durability;
  /** For tests of a full disk: the file's highest number of pages. */
  readonly maxPages?: number;
  /** For tests of the index: entries at which a run of it is begun. */
  readonly runEntries?: number;
  /** For tests of the log: how long nothing is written before it is cut, in milliseconds. */
  readonly quietMs?: number;
}

/** How long a connection waits for another program's lock, in milliseconds: a wait stops all who share the thread. */
const BUSY_MS = 1000;
/**
 * The log is cut to this size when it starts anew. Under load it grows to 32 MiB and more each time: to cut it and let it grow again took a fifth of
 * the writer's time. When it is quiet it is cut further, see the writer's thread.
 */
const LOG_BYTES = 64 * 1024 * 1024;
/** A reader's: of a file of 2 GB, the inner pages of the table of blocks are 7 MB. */
const CACHE_KIB = 8 * 1024;
/** A writer's: it appends, and merges what it reads once. */
const WRITER_CACHE_KIB = 2 * 1024;

/** Makes file and schema where there are none, and migrates an older one. @throws StorageFailure, SqliteError, a system error */
export function openForWriting({ path, durability, maxPages }: WriterOptions, say?: Say): Database.Database {
  makeFile(path);
  lookBeforeLog(path, checkVersion);
  const db = new Database(path, { fileMustExist: true, timeout: BUSY_MS });
  try {
    if (maxPages !== undefined) db.pragma(`max_page_count = ${maxPages}`);
    // On macOS fsync leaves the data in the drive's cache; elsewhere these two do nothing.
    db.pragma(`fullfsync = ${durability === "disk" ? "ON" : "OFF"}`);
    db.pragma("checkpoint_fullfsync = ON");
    db.pragma(`synchronous = ${durability === "disk" ? "FULL" : "NORMAL"}`);
    prepareSchema(db, say);
    // A page that is split must leave no copy of what moved: what is erased later could be found there. It costs no I/O.
    db.pragma("secure_delete = FAST");
    db.pragma("wal_autocheckpoint = 0");
    db.pragma(`journal_size_limit = ${LOG_BYTES}`);
    db.pragma(`cache_size = -${WRITER_CACHE_KIB}`);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** A reader's: it can't change anything. */
export function openForReading(path: string): Database.Database {
  const db = new Database(path, { readonly: true, fileMustExist: true, timeout: BUSY_MS });
  db.pragma(`cache_size = -${CACHE_KIB}`);
  return db;
}

/** A connection that only moves the log's pages into the file. */
export function openForCheckpoint(path: string): Database.Database {
  const db = new Database(path, { fileMustExist: true, timeout: BUSY_MS });
  db.pragma("checkpoint_fullfsync = ON");
  return db;
}

/**
 * Agents' data are for the daemon's user only; SQLite gives the log the same rights as the file. (A file that
 * is there must not be opened here: closing it again would drop the locks that this process has on it.)
 */
function makeFile(path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  try {
    closeSync(openSync(path, "wx", 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}
