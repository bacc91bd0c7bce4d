import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import Database from "better-sqlite3";
import type { Hash } from "@vlinder/protocol";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { blocksOf } from "../../src/storage/backends/sqlite/blocks-of.ts";
import { openSqliteReader } from "../../src/storage/backends/sqlite/object-reader.ts";
import { packTransaction } from "../../src/storage/backends/sqlite/packed-transaction.ts";
import { PagedEntries } from "../../src/storage/backends/sqlite/paged-entries.ts";
import { byPrefix, type Entry, pageOf } from "../../src/storage/backends/sqlite/run.ts";
import { WriterDatabase } from "../../src/storage/backends/sqlite/writer-database.ts";
import type { StoredObject } from "../../src/storage/object-storage.ts";
import { sweepObjects } from "../../src/storage/sweep.ts";
import { dice } from "../sync/noise.ts";
import { has, objects, openSqlite, temporaryFolder, value } from "./samples.ts";

interface Run {
  readonly id: number;
  readonly level: number;
  readonly entries: number;
}

function look<T>(path: string, work: (db: Database.Database) => T): T {
  const db = new Database(path, { readonly: true });
  try {
    return work(db);
  } finally {
    db.close();
  }
}

const runsOf = (path: string): Run[] =>
  look(path, (db) => db.prepare<[], Run>("SELECT id, level, entries FROM run").all());

/** Blocks that are in no run yet. */
const blocksBehindRuns = (path: string): number =>
  look(
    path,
    (db) =>
      db.prepare<[], number>("SELECT count(*) FROM block WHERE id > (SELECT max(upto) FROM run)").pluck().get() ?? 0,
  );

test("every object is found, counted and scanned while the index is merged", { timeout: 60_000 }, async () => {
  const path = join(await temporaryFolder(), "objects.db");
  // A short run, so that there are three levels.
  const options = { runEntries: 40 };
  let storage = await openSqlite(path, options);
  const all = Array.from({ length: 6000 }, (_, index) => value(index));
  const levels = new Set<number>();
  for (let at = 0; at < all.length; at += 50) {
    await storage.apply(objects(...all.slice(at, at + 50)));
    for (const { level } of runsOf(path)) levels.add(level);
    for (const index of [at + 49, Math.floor(at / 2), 0])
      expect(await has(storage, all[index] as StoredObject)).toBe(true);
    expect(await has(storage, value(`not there ${at}`))).toBe(false);
    if (at % 1000 === 950) {
      // Opened anew, often between two steps of a merge, and told all objects so far once more.
      await storage.close();
      storage = await openSqlite(path, options);
      await storage.apply(objects(...all.slice(0, at + 50)));
      expect((await storage.usage()).counts.value).toBe(at + 50);
      const found: Hash[] = [];
      for (let page = await storage.scan("value", null, 700); page.length > 0;) {
        found.push(...page.map(({ hash }) => hash));
        page = await storage.scan("value", found.at(-1) ?? null, 700);
      }
      expect(found).toEqual(
        all
          .slice(0, at + 50)
          .map(({ hash }) => hash)
          .sort(),
      );
    }
  }
  expect([...levels].sort((a, b) => a - b)).toEqual([0, 1, 2]);
  expect(runsOf(path).length).toBeLessThan(24);
  await storage.remove("value", [value(5).hash]);
  expect(await Promise.all([4, 5, 6].map((index) => has(storage, value(index))))).toEqual([true, false, true]);
  // What merges left behind is dropped: pages of runs that there are, and little else.
  await storage.apply(objects(...Array.from({ length: 500 }, (_, index) => value(`more ${index}`))));
  const pages = look(path, (db) => db.prepare<[], number>("SELECT count(*) FROM run_page").pluck().get() ?? 0);
  expect(pages).toBeLessThan(300);
});

test("hashes that begin alike are all found, before, while and after they are carried over", async () => {
  const path = join(await temporaryFolder(), "objects.db");
  const storage = await openSqlite(path);
  const alike = Array.from({ length: 40 }, (_, index): StoredObject => {
    const hash = `${"c0ffee".repeat(10)}${index.toString(16).padStart(4, "0")}` as Hash;
    return { kind: "node", hash, bytes: Buffer.from(`node ${index}`) };
  });
  for (const [index, one] of alike.entries()) {
    const others = Array.from({ length: 200 }, (_, other) => value(`${index}-${other}`));
    await storage.apply(objects(one, ...others));
    for (const known of alike.slice(0, index + 1)) expect(await has(storage, known)).toBe(true);
  }
  await storage.apply(objects(...alike));
  expect((await storage.usage()).counts.node).toBe(40);
  const tenth = alike[9]?.hash ?? null;
  expect((await storage.scan("node", tenth, 5)).map(({ hash }) => hash)).toEqual(
    alike.slice(10, 15).map(({ hash }) => hash),
  );
});

describe("a damaged index: what is not found by its hash any more is not swept either", () => {
  const damages: Record<string, string> = {
    "a run that is gone": "DELETE FROM run WHERE id = (SELECT min(id) FROM run)",
    "a filter that lost bits":
      "UPDATE run SET bloom = CAST(zeroblob(30) || substr(bloom, 31) AS BLOB) WHERE id = (SELECT min(id) FROM run)",
    "a run that says it has more": "UPDATE run SET upto = upto + 2 WHERE id = (SELECT max(id) FROM run)",
    "a run that says it has fewer pages": "UPDATE run SET pages = pages - 1 WHERE id = (SELECT min(id) FROM run)",
    "a page that is gone": "DELETE FROM run_page WHERE id = (SELECT min(id) FROM run_page)",
  };
  test.each(Object.entries(damages))("%s", async (_, damage) => {
    const path = join(await temporaryFolder(), "objects.db");
    const before = await openSqlite(path, { runEntries: 400 });
    const all = Array.from({ length: 1500 }, (__, index) => value(index));
    for (let at = 0; at < all.length; at += 10) {
      await before.apply(objects(...all.slice(at, at + 10)));
      // On a busy machine it may all come into one run, and without one all is read anew.
      if (at % 500 === 490) await expect.poll(() => runsOf(path).length).toBeGreaterThan(Math.floor(at / 500));
    }
    await before.close();
    // All of it may be in runs already: what one wrongly says it has, none may have.
    for (let more = 0; blocksBehindRuns(path) < 2; more++) {
      const again = await openSqlite(path, { runEntries: 400 });
      const one = value(all.length);
      await again.apply(objects(one));
      await again.close();
      all.push(one);
      expect(more).toBeLessThan(5);
    }
    const db = new Database(path);
    expect(db.prepare(damage).run().changes).toBe(1);
    db.close();
    const storage = await openSqlite(path);
    const found = (
      await storage.read(
        "value",
        all.map(({ hash }) => hash),
      )
    ).filter((bytes) => bytes !== null);
    expect(found.length).toBeLessThan(all.length);
    const swept: StoredObject[] = [];
    for await (const some of sweepObjects(storage, "value")) swept.push(...some);
    expect(swept.map(({ bytes }) => Buffer.from(bytes))).toEqual(found);
  });
});

test("what a sweep gave is read again from where it lay, unless it is gone or something else is asked for", async () => {
  const path = join(await temporaryFolder(), "objects.db");
  const storage = await openSqlite(path);
  const all = Array.from({ length: 300 }, (_, index) => value(index));
  for (let at = 0; at < all.length; at += 30) await storage.apply(objects(...all.slice(at, at + 30)));
  const reader = openSqliteReader(path);
  onTestFinished(() => reader.close());
  const swept: StoredObject[] = [];
  for await (const some of sweepObjects(reader, "value")) swept.push(...some);
  expect(swept).toHaveLength(300);
  const readAt = (of: StoredObject, at: StoredObject): Uint8Array | null => reader.readAt!("value", of.hash, at.place!);
  for (const one of swept) expect(Buffer.from(readAt(one, one)!)).toEqual(Buffer.from(one.bytes));
  const [first, second] = swept as [StoredObject, StoredObject];
  expect(readAt(first, second)).toBeNull();
  expect(reader.readAt!("node", first.hash, first.place!)).toBeNull();
  expect(reader.readAt!("value", first.hash, 2 ** 40)).toBeNull();
  await storage.remove("value", [first.hash]);
  await nextTurn();
  expect(readAt(first, first)).toBeNull();
  expect(readAt(second, second)).not.toBeNull();
  await storage.close();
});

test("entries that wait for a run are on its pages in order, however many come", () => {
  const entries = new PagedEntries(7, 3);
  const random = dice(5);
  const all = Array.from({ length: 1000 }, (_, i): Entry => [random(2 ** 31) * 2 ** 17 + random(1000), i]);
  for (const [prefix, location] of [...all, all[0]!]) entries.add(prefix, location);
  const pages = Array.from({ length: 7 }, (_, page) => entries.page(page));
  pages.forEach((page, i) => expect(page.every(([prefix]) => pageOf(prefix, 7) === i)).toBe(true));
  expect(pages.flat()).toEqual([...all, all[0]!].sort(byPrefix));
});

describe("the index is kept", () => {
  test("when nothing more is stored, too", async () => {
    const path = join(await temporaryFolder(), "objects.db");
    const storage = await openSqlite(path, { runEntries: 40 });
    const all = Array.from({ length: 50 }, (_, index) => value(index));
    await storage.apply(objects(...all));
    await expect.poll(() => runsOf(path).length).toBe(1);
    for (const one of all) expect(await has(storage, one)).toBe(true);
  });

  test("without an fsync, and with one for what is stored behind it", async () => {
    const pragma = vi.spyOn(Database.prototype, "pragma");
    onTestFinished(() => pragma.mockRestore());
    const path = join(await temporaryFolder(), "objects.db");
    const database = new WriterDatabase({ path, durability: "disk", runEntries: 40 });
    onTestFinished(() => database.close());
    const all = Array.from({ length: 50 }, (_, index) => value(index));
    const { blocks } = blocksOf(all, [], { has: () => false, base: () => null });
    const packed = packTransaction(blocks, [], []);
    expect(database.apply([{ packed, view: null }])).toEqual([{ first: 1 }]);
    expect(runsOf(path)).toEqual([]);
    const levels = (): unknown[] => {
      const set = pragma.mock.calls.flatMap(([text]) => /^synchronous = (.+)$/.exec(text)?.[1] ?? []);
      pragma.mockClear();
      return set;
    };
    expect(levels()).toEqual(["FULL"]);
    database.tidy();
    expect(levels()).toEqual(["NORMAL", "2"]);
    expect(runsOf(path)).toHaveLength(1);
    database.tidy();
    expect(levels()).toEqual([]);
  });
});
