import type Database from "better-sqlite3";
import type { Migration } from "../../src/storage/backends/sqlite/migrate.ts";
import { SCHEMA_VERSION, type SchemaSteps } from "../../src/storage/backends/sqlite/schema.ts";

/** A step as a later release may have it: a new table, filled from an old one. */
export function addSizes(during: (db: Database.Database) => void = () => {}): Migration {
  return {
    from: SCHEMA_VERSION,
    what: "sizes get a table of their own",
    space: 2,
    run: (db, progress) => {
      db.exec("CREATE TABLE size(id INTEGER PRIMARY KEY, bytes INTEGER NOT NULL) STRICT");
      const total = db.prepare<[], number>("SELECT count(*) FROM block").pluck().get() ?? 0;
      db.exec("INSERT INTO size SELECT id, length(data) FROM block");
      during(db);
      progress(total, total);
    },
  };
}

/** The version after this release's. */
export function nextVersion(...migrations: Migration[]): SchemaSteps {
  return { version: SCHEMA_VERSION + migrations.length, migrations };
}
