import type Database from "better-sqlite3";
import { StorageFailure } from "./failure.ts";
import { OBJECT_TABLES } from "./object-tables.ts";
import { rowsToBlocks } from "./rows-to-blocks.ts";
import { migrate, type Migrating, type Migration, type Say, versionOf } from "./migrate.ts";

/** "vlnd", at offset 68 of the file. */
export const APPLICATION_ID = 0x766c6e64;
export const SCHEMA_VERSION = 2;

/** One for each version before this one. */
const MIGRATIONS: readonly Migration[] = [rowsToBlocks];

/** Chosen among 2048, 4096 and 8192 by measurement: the best of speed and bytes written. */
const PAGE_SIZE = 4096;

const SCHEMA = `
  ${OBJECT_TABLES}
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

/** What opening goes by; tests have versions of their own. */
export type SchemaSteps = Omit<Migrating, "say">;
const STEPS: SchemaSteps = { version: SCHEMA_VERSION, migrations: MIGRATIONS };

/**
 * Makes the schema in an empty database, and brings one of an older version to this one.
 * @throws StorageFailure: it is not ours, of a newer version, or can't be migrated; it is as it was then
 */
export function prepareSchema(db: Database.Database, say: Say = () => {}, steps: SchemaSteps = STEPS): void {
  if (isOurs(db, steps.version)) {
    // One that was copied to a bucket is none, so that it can be read without its log.
    db.pragma("journal_mode = WAL");
    if (versionOf(db) < steps.version) migrate(db, { ...steps, say });
    return;
  }
  // Both can only be set while there is no table. Pages are given back by `incremental_vacuum` only.
  db.pragma(`page_size = ${PAGE_SIZE}`);
  db.pragma("auto_vacuum = INCREMENTAL");
  db.pragma("journal_mode = WAL");
  db.exec("BEGIN IMMEDIATE");
  try {
    if (!isOurs(db, steps.version)) {
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
function isOurs(db: Database.Database, version: number): boolean {
  if (hasMark(db, version)) return true;
  const empty = db.prepare("SELECT 1 FROM sqlite_schema LIMIT 1").get() === undefined;
  if (empty && db.pragma("application_id", { simple: true }) === 0 && versionOf(db) === 0) return false;
  throw new StorageFailure({
    code: "invalid",
    message: `${db.name} is a database of another program`,
    remedy: "name another file for object_storage in agent.toml, or move this one away",
    retryable: false,
  });
}

/** Reads only. @throws StorageFailure: of a newer version */
export function checkVersion(db: Database.Database): void {
  hasMark(db, SCHEMA_VERSION);
}

function hasMark(db: Database.Database, version: number): boolean {
  if (db.pragma("application_id", { simple: true }) !== APPLICATION_ID) return false;
  const found = versionOf(db);
  if (found <= version) return true;
  throw new StorageFailure({
    code: "invalid",
    message: `${db.name} has version ${found} of the schema, and this vlinder knows ${version}`,
    remedy: "update vlinder on this machine",
    retryable: false,
  });
}
