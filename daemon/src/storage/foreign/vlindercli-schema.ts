import type Database from "better-sqlite3";
import { invalid } from "@vlinder/protocol";

/*
 * What VlinderCLI's `state.db` has, as its sources have it (crates/vlinder-sqlite-kv/src/state_store.rs):
 *
 *   state_values(hash TEXT PRIMARY KEY, content BLOB NOT NULL)           hash = SHA-256(content)
 *   state_snapshots(hash TEXT PRIMARY KEY, entries TEXT NOT NULL)        hash = SHA-256(entries), which is JSON
 *                                                                         {"<path>": "<value's hash>"}, paths in order
 *   state_commits(hash TEXT PRIMARY KEY, snapshot_hash TEXT NOT NULL,    hash = SHA-256("<snapshot_hash>:<parent_hash>")
 *                 parent_hash TEXT NOT NULL)                              parent_hash of a first one: ""
 *
 * Hashes are 64 lower-case hex digits; bytes and upper case are taken too.
 */
const TABLES: Readonly<Record<string, readonly string[]>> = {
  state_values: ["hash", "content"],
  state_snapshots: ["hash", "entries"],
  state_commits: ["hash", "snapshot_hash", "parent_hash"],
};

export const EXPECTED =
  "name the state.db of a VlinderCLI agent or session: it has the tables state_values(hash, content), " +
  "state_snapshots(hash, entries) and state_commits(hash, snapshot_hash, parent_hash)";

/** Names of tables, and of columns as `table.column`, that are not known. */
export interface Unknown {
  readonly tables: readonly string[];
  readonly columns: readonly string[];
}

/** @throws invalid: a table or column is missing */
export function unknownParts(db: Database.Database, path: string): Unknown {
  const tables = db
    .prepare<[], string>(
      "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )
    .pluck()
    .all();
  const columns: string[] = [];
  for (const [table, known] of Object.entries(TABLES)) {
    if (!tables.includes(table)) throw invalid(`${path} has no table ${table}`, { remedy: EXPECTED });
    const found = db.prepare<[string], string>("SELECT name FROM pragma_table_info(?)").pluck().all(table);
    const missing = known.find((column) => !found.includes(column));
    if (missing !== undefined) throw invalid(`${path}: ${table} has no column ${missing}`, { remedy: EXPECTED });
    columns.push(...found.filter((column) => !known.includes(column)).map((column) => `${table}.${column}`));
  }
  return { tables: tables.filter((table) => !Object.hasOwn(TABLES, table)).toSorted(), columns };
}

/** Our own tables, in the copy. */
export function prepareTables(db: Database.Database): void {
  db.pragma("synchronous = OFF");
  db.exec(`
    DROP TABLE IF EXISTS import_commit;
    CREATE TABLE import_commit(
      id INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, snapshot TEXT NOT NULL, parent TEXT NOT NULL) STRICT;
    CREATE INDEX import_child ON import_commit(parent);
    CREATE TABLE import_line(hash TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
    CREATE TABLE import_value(hash TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
    CREATE TABLE import_snapshot(hash TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;`);
}

/** SQL for a column's hash as lower-case hex. */
export function hashColumn(name: string): string {
  return `lower(coalesce(CASE WHEN typeof(${name}) = 'blob' AND length(${name}) = 32 THEN hex(${name}) ELSE CAST(${name} AS TEXT) END, ''))`;
}
