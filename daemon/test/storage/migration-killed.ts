import { openSync, writeSync } from "node:fs";
import Database from "better-sqlite3";
import { prepareSchema } from "../../src/storage/backends/sqlite/schema.ts";
import { addSizes, nextVersion } from "./migration-steps.ts";

/** Migrates the database at a path, and is killed in the midst of it: all is written, nothing committed. */
const [path = "", log = ""] = process.argv.slice(2);
const db = new Database(path);
// So small a cache that what is not committed is in the file's log already.
db.pragma("cache_size = 10");
const step = addSizes(() => {
  writeSync(openSync(log, "w"), "written");
  process.kill(process.pid, "SIGKILL");
});
prepareSchema(db, () => {}, nextVersion(step));
