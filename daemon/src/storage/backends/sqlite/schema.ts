import type Database from "better-sqlite3";
import { KINDS } from "../../object-storage.ts";
import { StorageFailure } from "./failure.ts";

/** "vlnd", at offset 68 of the file. */
export const APPLICATION_ID = 0x766c6e64;
export const SCHEMA_VERSION = 2;

/** Tables that are found by hash: a kind of object each, and replies, by the hash of their id. */
export const SHELVES = [...KINDS, "reply"] as const;
export type Shelf = (typeof SHELVES)[number];
export const REPLY_SHELF = SHELVES.length - 1;

/** Chosen among 2048, 4096 and 8192 by measurement: the best of speed and bytes written. */
const PAGE_SIZE = 4096;

const SCHEMA = `
  -- Objects, several in a row: block.ts.
  CREATE TABLE block(id INTEGER PRIMARY KEY, head BLOB NOT NULL, data BLOB NOT NULL) STRICT;

  -- Where objects are: run.ts, index-writer.ts. Blocks up to \`upto\` are in runs.
  CREATE TABLE run(
    id INTEGER PRIMARY KEY,
    level INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    pages INTEGER NOT NULL,
    upto INTEGER NOT NULL,
    bloom BLOB NOT NULL) STRICT;
  CREATE TABLE run_page(id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
  CREATE TABLE runs(generation INTEGER NOT NULL) STRICT;
  INSERT INTO runs VALUES (0);

  -- Blocks that hold replies, each the replies of one transaction; times in milliseconds since 1970.
  CREATE TABLE reply(block INTEGER PRIMARY KEY, oldest REAL NOT NULL, newest REAL NOT NULL) STRICT;

  CREATE TABLE shelf(id INTEGER PRIMARY KEY, objects INTEGER NOT NULL) STRICT;
  INSERT INTO shelf VALUES ${SHELVES.map((_, shelf) => `(${shelf}, 0)`).join(", ")};

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
