import type Database from "better-sqlite3";
import { KINDS } from "../../object-storage.ts";
import { StorageFailure } from "./failure.ts";

/** "vlnd", at offset 68 of the file. */
export const APPLICATION_ID = 0x766c6e64;
export const SCHEMA_VERSION = 1;

/** Tables that are found by hash: a kind of object each, and replies, by the hash of their id. */
export const SHELVES = [...KINDS, "reply"] as const;
export type Shelf = (typeof SHELVES)[number];
export const REPLY_SHELF = SHELVES.length - 1;

/** Chosen among 2048, 4096 and 8192 by measurement: the best of speed and bytes written. */
const PAGE_SIZE = 4096;

/*
 * A row's id says when it came, so new rows go to the end of their table. The hash is cut in two:
 * `prefix`, the first 6 bytes as a number, which the index has, and `tail`, the other 26. The index is a
 * table of its own because rows enter it later, many at once and in order (recent-rows.ts): one at a time,
 * each would write a page of 4 KiB somewhere in it. `recent` lists the rows that are not in it yet.
 */
function shelfSql(shelf: Shelf): string {
  const time = shelf === "reply" ? ", time REAL NOT NULL" : "";
  return `
    CREATE TABLE object_${shelf}(
      id INTEGER PRIMARY KEY, prefix INTEGER NOT NULL, tail BLOB NOT NULL, data BLOB NOT NULL${time}) STRICT;
    CREATE TABLE index_${shelf}(prefix INTEGER NOT NULL, id INTEGER NOT NULL, PRIMARY KEY(prefix, id)) STRICT, WITHOUT ROWID;`;
}

const SCHEMA = `
  ${SHELVES.map(shelfSql).join("")}
  CREATE INDEX reply_time ON object_reply(time);

  CREATE TABLE recent(
    id INTEGER PRIMARY KEY,
    generation INTEGER NOT NULL,
    shelf INTEGER NOT NULL,
    first INTEGER NOT NULL,
    prefixes BLOB NOT NULL) STRICT;
  INSERT INTO recent(generation, shelf, first, prefixes) VALUES (1, 0, 0, x'');

  -- Ids below a table's highest that no row has: what a count must leave out.
  CREATE TABLE gap(shelf INTEGER PRIMARY KEY, ids INTEGER NOT NULL) STRICT;

  CREATE TABLE branch(
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    head BLOB,
    sealed INTEGER NOT NULL,
    deleted BLOB,
    -- Its newest entry in the reflog, each of which names the one before.
    newest INTEGER NOT NULL) STRICT;
  CREATE TABLE reflog(
    id INTEGER PRIMARY KEY,
    branch INTEGER NOT NULL,
    previous INTEGER,
    name TEXT NOT NULL,
    "from" BLOB,
    "to" BLOB,
    time INTEGER NOT NULL,
    why TEXT NOT NULL) STRICT;

  CREATE TABLE note(name TEXT PRIMARY KEY, data BLOB NOT NULL) STRICT, WITHOUT ROWID;
`;

/** Makes the schema in an empty database; leaves one of this version as it is. @throws StorageFailure */
export function prepareSchema(db: Database.Database): void {
  if (isCurrent(db)) return;
  // Both can only be set while there is no table. Pages are given back by `incremental_vacuum` only.
  db.pragma(`page_size = ${PAGE_SIZE}`);
  db.pragma("auto_vacuum = INCREMENTAL");
  db.pragma("journal_mode = WAL");
  db.exec("BEGIN IMMEDIATE");
  try {
    if (!isCurrent(db)) {
      db.exec(SCHEMA);
      db.pragma(`application_id = ${APPLICATION_ID}`);
      db.pragma(`user_version = ${SCHEMA_VERSION}`);
    }
    db.exec("COMMIT");
  } finally {
    if (db.inTransaction) db.exec("ROLLBACK");
  }
}

/** False: the database is empty. @throws StorageFailure: it is not ours, or of a newer version */
function isCurrent(db: Database.Database): boolean {
  const application = db.pragma("application_id", { simple: true });
  const version = db.pragma("user_version", { simple: true }) as number;
  if (application === APPLICATION_ID && version === SCHEMA_VERSION) return true;
  if (application === APPLICATION_ID) {
    throw new StorageFailure({
      code: "invalid",
      message: `${db.name} has version ${version} of the schema, and this vlinder knows ${SCHEMA_VERSION}`,
      remedy: "update vlinder on this machine",
      retryable: false,
    });
  }
  const empty = db.prepare("SELECT 1 FROM sqlite_schema LIMIT 1").get() === undefined;
  if (empty && application === 0 && version === 0) return false;
  throw new StorageFailure({
    code: "invalid",
    message: `${db.name} is a database of another program`,
    remedy: "name another file for object_storage in agent.toml, or move this one away",
    retryable: false,
  });
}
