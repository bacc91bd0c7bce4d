import { setImmediate } from "node:timers/promises";
import Database from "better-sqlite3";
import fc from "fast-check";
import { hashFromBytes, sha256 } from "@vlinder/protocol";
import { expect, test } from "vitest";
import { type LedgerObject, ObjectRows, OBJECTS_SCHEMA, RECENT_SCHEMA } from "../../src/sync/packs/object-rows.ts";
import { holds } from "../state/property.ts";

function newDatabase(): Database.Database {
  const db = new Database(":memory:");
  db.exec(OBJECTS_SCHEMA + RECENT_SCHEMA);
  return db;
}

const ALL: readonly LedgerObject[] = Array.from({ length: 21_000 }, (_, i) => {
  return { kind: i % 3 === 0 ? "node" : "value", hash: sha256(`object ${i}`) };
});

function rowsIn(db: Database.Database, table: string): string[] {
  const rows = db.prepare(`SELECT * FROM ${table} ORDER BY hash, kind, pack`).all() as Row[];
  return rows.map(({ hash, kind, pack }) => nameOf({ kind, hash: hashFromBytes(hash) }, pack));
}

interface Row {
  readonly hash: Buffer;
  readonly kind: LedgerObject["kind"];
  readonly pack: number;
}

function nameOf({ kind, hash }: LedgerObject, pack: number): string {
  return `${hash} ${kind} ${String(pack).padStart(3, "0")}`;
}

const count = fc.oneof(
  { weight: 6, arbitrary: fc.nat(3000) },
  { weight: 1, arbitrary: fc.integer({ min: 4000, max: 5000 }) },
);
const step = fc.record({
  what: fc.oneof(
    { weight: 6, arbitrary: fc.constant("add") },
    { weight: 2, arbitrary: fc.constantFrom("drop", "settle", "open") },
  ),
  from: fc.nat(9000),
  count,
});
const groups = fc.array(fc.array(step, { minLength: 1, maxLength: 3 }), { minLength: 4, maxLength: 10 });

test("whatever is added, taken back and read meanwhile, all rows are there, each once", async () => {
  const property = fc.asyncProperty(groups, async (all) => {
    const db = newDatabase();
    const model = new Set<string>();
    let rows = new ObjectRows(db);
    let pack = 0;
    const done = async ({ what, from, count }: { what: string; from: number; count: number }): Promise<void> => {
      if (what === "settle") {
        await Promise.resolve(); // while others are at work
        rows.settleNow();
        expect(rowsIn(db, "recent")).toEqual([]);
      }
      if (what !== "add" && what !== "drop") return;
      const [some, mine] = [ALL.slice(from, from + count), ++pack];
      await rows.add(some, mine);
      const kept = what === "drop" ? count >> 1 : count;
      if (what === "drop") await rows.drop(some.slice(kept), mine);
      for (const one of some.slice(0, kept)) model.add(nameOf(one, mine));
    };
    for (const together of all) {
      // Packs come several at a time.
      await Promise.all(together.map(done));
      if (together.some(({ what }) => what === "open")) rows = new ObjectRows(db);
    }
    rows.settleNow();
    expect(rowsIn(db, "recent")).toEqual([]);
    expect(rowsIn(db, "objects").join("\n") === [...model].toSorted().join("\n")).toBe(true);
    db.close();
  });
  await holds("rows of packs", property, 30);
}, 60_000);

test("few rows wait for others, and go on together when they are many; those of a large pack do not wait", async () => {
  const db = newDatabase();
  const rows = new ObjectRows(db);
  const counts = (): number[] => ["recent", "objects"].map((table) => rowsIn(db, table).length);
  for (let pack = 0; pack < 4; pack++) await rows.add(ALL.slice(pack * 2000, pack * 2000 + 2000), pack);
  expect(counts()).toEqual([8000, 0]);
  await rows.add(ALL.slice(8000, 8000 + 5000), 4);
  expect(counts()).toEqual([8000, 5000]);
  await rows.add(ALL.slice(13_000, 13_000 + 200), 5);
  expect(counts()).toEqual([0, 13_200]);
  await rows.add(ALL.slice(20_000, 20_000 + 1), 6);
  expect(counts()).toEqual([1, 13_200]);
  new ObjectRows(db).settleNow();
  expect(counts()).toEqual([0, 13_201]);
  db.close();
});

test("who reads while rows go on has all of them", async () => {
  const db = newDatabase();
  const rows = new ObjectRows(db);
  for (let pack = 0; pack < 4; pack++) await rows.add(ALL.slice(pack * 2000, pack * 2000 + 2000), pack);
  const adding = rows.add(ALL.slice(8000, 8500), 4);
  while (rowsIn(db, "objects").length === 0) await setImmediate();
  expect(rowsIn(db, "recent").length).toBeGreaterThan(0);
  rows.settleNow();
  expect(rowsIn(db, "objects")).toHaveLength(8500);
  await adding;
  db.close();
});

test("what the disk refuses as a move is committed is still to be moved", async () => {
  const db = newDatabase();
  const rows = new ObjectRows(db);
  await rows.add(ALL.slice(0, 1500), 1);
  // A foreign key that is looked at by the commit.
  db.exec(`
    PRAGMA foreign_keys = ON;
    CREATE TABLE one (id INTEGER PRIMARY KEY);
    CREATE TABLE other (id INTEGER REFERENCES one (id) DEFERRABLE INITIALLY DEFERRED);
    CREATE TRIGGER refusing AFTER INSERT ON objects BEGIN INSERT INTO other VALUES (1); END;`);
  expect(() => rows.settleNow()).toThrow("FOREIGN KEY");
  await expect(rows.settle()).rejects.toThrow("FOREIGN KEY");
  expect(rows.isSettled).toBe(false);
  db.exec("DROP TRIGGER refusing");
  rows.settleNow();
  expect([rowsIn(db, "recent").length, rowsIn(db, "objects").length]).toEqual([0, 1500]);
  db.close();
});
