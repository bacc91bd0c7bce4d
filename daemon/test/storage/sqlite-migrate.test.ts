import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { expect, onTestFinished, test } from "vitest";
import { StorageFailure } from "../../src/storage/backends/sqlite/failure.ts";
import { backupPath, type Migration, versionOf } from "../../src/storage/backends/sqlite/migrate.ts";
import { prepareSchema, SCHEMA_VERSION, type SchemaSteps } from "../../src/storage/backends/sqlite/schema.ts";
import { addSizes, nextVersion } from "./migration-steps.ts";
import { objects, openSqlite, temporaryFolder, value } from "./samples.ts";

/** A database of this release with some values; its log is not in the file yet when `killed`. */
async function madeDatabase({ killed = false } = {}): Promise<string> {
  const folder = await temporaryFolder();
  const path = join(folder, "objects.db");
  const storage = await openSqlite(path);
  await storage.apply(objects(...Array.from({ length: 400 }, (_, index) => value(index, 300))));
  if (!killed) {
    await storage.close();
    return path;
  }
  const copy = join(folder, "killed.db");
  for (const suffix of ["", "-wal"]) copyFileSync(path + suffix, copy + suffix);
  await storage.close();
  return copy;
}

function open(path: string): Database.Database {
  const db = new Database(path);
  onTestFinished(() => void db.close());
  return db;
}

function migrated(path: string, steps: SchemaSteps, say: string[] = []): Database.Database {
  const db = open(path);
  prepareSchema(db, (message) => void say.push(message), steps);
  return db;
}

function failureOf(work: () => unknown): StorageFailure["failure"] {
  try {
    work();
  } catch (error) {
    if (error instanceof StorageFailure) return error.failure;
    throw error;
  }
  throw new Error("it did not fail");
}

/** Rows that the values make. */
const BLOCKS = 37;
const valuesIn = (db: Database.Database): unknown => db.prepare("SELECT * FROM block ORDER BY id").all();
const tables = (db: Database.Database): unknown =>
  db.prepare("SELECT name FROM sqlite_schema ORDER BY 1").pluck().all();
/** All files of a folder, by their bytes, without those of an open connection. */
function filesOf(path: string): Record<string, string> {
  const folder = join(path, "..");
  const names = readdirSync(folder).filter((name) => !name.endsWith("-shm") && !name.endsWith("-wal"));
  const sum = (name: string): string =>
    createHash("sha256")
      .update(readFileSync(join(folder, name)))
      .digest("hex");
  return Object.fromEntries(names.map((name) => [name, sum(name)]));
}

test("an older database is brought to the new version, step by step, and kept as it was, for its owner only", async () => {
  const path = await madeDatabase({ killed: true });
  const copied = join(path, "..", "before.db");
  for (const suffix of ["", "-wal"]) copyFileSync(path + suffix, copied + suffix);
  const before = valuesIn(open(copied));
  const second: Migration = {
    from: SCHEMA_VERSION + 1,
    what: "a view",
    space: 0,
    run: (db) => void db.exec("CREATE VIEW large AS SELECT * FROM size WHERE bytes > 100"),
  };
  const said: string[] = [];
  const db = migrated(path, nextVersion(addSizes(), second), said);
  expect(versionOf(db)).toBe(SCHEMA_VERSION + 2);
  expect(db.prepare("SELECT count(*) FROM large").pluck().get()).toBe((before as unknown[]).length);
  expect(valuesIn(db)).toEqual(before);
  expect(said).toEqual([
    expect.stringContaining(`is of version ${SCHEMA_VERSION}: bringing it to ${SCHEMA_VERSION + 2}`),
    expect.stringContaining(backupPath(path, SCHEMA_VERSION)),
  ]);

  const kept = backupPath(path, SCHEMA_VERSION);
  expect(statSync(kept).mode & 0o777).toBe(0o600);
  expect(readdirSync(join(path, "..")).filter((name) => name.includes("partial"))).toEqual([]);
  // It opens with the release that wrote it.
  const copy = open(kept);
  prepareSchema(copy);
  expect([versionOf(copy), valuesIn(copy)]).toEqual([SCHEMA_VERSION, before]);
  expect(copy.pragma("integrity_check", { simple: true })).toBe("ok");

  // And nothing is done a second time.
  db.close();
  const again: string[] = [];
  migrated(path, nextVersion(addSizes(), second), again);
  expect(again).toEqual([]);
});

test("a step that fails leaves the old version whole; the next try takes in what was written since", async () => {
  const path = await madeDatabase();
  const failing = addSizes(() => {
    throw new Error("no way on");
  });
  expect(() => migrated(path, nextVersion(failing))).toThrow("no way on");
  const between = open(path);
  expect(versionOf(between)).toBe(SCHEMA_VERSION);
  expect(tables(between)).not.toContain("size");
  between.close();
  const storage = await openSqlite(path);
  await storage.apply(objects(value(1000)));
  await storage.close();

  const db = migrated(path, nextVersion(addSizes()));
  expect(db.prepare("SELECT count(*) FROM size").pluck().get()).toBe(BLOCKS + 1);
  expect((valuesIn(open(backupPath(path, SCHEMA_VERSION))) as unknown[]).length).toBe(BLOCKS + 1);
});

test("killed in the midst: of the old version, with its copy; and the next try gets through", async () => {
  const path = await madeDatabase();
  const log = join(path, "..", "reached");
  const program = fileURLToPath(new URL("migration-killed.ts", import.meta.url));
  const { signal, stderr } = spawnSync(process.execPath, [program, path, log], { encoding: "utf8" });
  expect(signal, stderr).toBe("SIGKILL");
  expect(readFileSync(log, "utf8")).toBe("written");
  const between = open(path);
  expect([versionOf(between), (valuesIn(between) as unknown[]).length]).toEqual([SCHEMA_VERSION, BLOCKS]);
  expect(tables(between)).not.toContain("size");
  between.close();
  expect(versionOf(open(backupPath(path, SCHEMA_VERSION)))).toBe(SCHEMA_VERSION);
  expect(versionOf(migrated(path, nextVersion(addSizes())))).toBe(SCHEMA_VERSION + 1);
});

test("a copy that was broken off, and one that is no database, are made anew", async () => {
  const path = await madeDatabase();
  const kept = backupPath(path, SCHEMA_VERSION);
  writeFileSync(`${kept}.partial`, "half of a copy");
  writeFileSync(kept, "something else");
  migrated(path, nextVersion(addSizes()));
  expect((valuesIn(open(kept)) as unknown[]).length).toBe(BLOCKS);
  expect(existsSync(`${kept}.partial`)).toBe(false);
});

test("without enough space, or without a way from its version, nothing is touched", async () => {
  const path = await madeDatabase();
  const before = filesOf(path);
  const size = statSync(path).size;
  const little = { ...nextVersion(addSizes()), free: () => 3 * size };
  expect(failureOf(() => migrated(path, little))).toMatchObject({
    code: "unavailable",
    retryable: true,
    remedy: expect.stringContaining("free space"),
  });
  expect(failureOf(() => migrated(path, { version: SCHEMA_VERSION + 2, migrations: [addSizes()] }))).toMatchObject({
    code: "invalid",
    message: expect.stringContaining(`can't bring to ${SCHEMA_VERSION + 2}`),
  });
  expect(filesOf(path)).toEqual(before);
});

test("what another program writes during the copy is not lost: the migration is refused", async () => {
  const path = await madeDatabase();
  const other = open(path);
  const steps = nextVersion(addSizes());
  const db = open(path);
  const say = (): void => void other.exec("DELETE FROM block WHERE id = 1");
  expect(failureOf(() => prepareSchema(db, say, steps))).toMatchObject({ code: "unavailable" });
  expect([versionOf(db), (valuesIn(db) as unknown[]).length]).toEqual([SCHEMA_VERSION, BLOCKS - 1]);
});

test("a newer release's database is refused and stays as it is, byte for byte, also with its log", async () => {
  for (const killed of [false, true]) {
    const path = await madeDatabase();
    const newer = open(path);
    newer.pragma(`user_version = ${SCHEMA_VERSION + 1}`);
    newer.pragma("wal_checkpoint(TRUNCATE)");
    const file = join(path, "..", "newer.db");
    if (killed) newer.exec("CREATE TABLE unknown(x)");
    for (const suffix of killed ? ["", "-wal"] : [""]) copyFileSync(path + suffix, file + suffix);
    newer.close();
    const read = (): string[] =>
      ["", "-wal"].map((suffix) => (existsSync(file + suffix) ? readFileSync(file + suffix, "hex") : ""));
    const before = read();
    await expect(openSqlite(file)).rejects.toMatchObject({
      code: "invalid",
      message: expect.stringContaining(`newer.db has version ${SCHEMA_VERSION + 1}`),
      remedy: expect.stringContaining("update vlinder"),
    });
    expect(read()).toEqual(before);
  }
});
