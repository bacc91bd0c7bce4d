import { copyFileSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, onTestFinished, test } from "vitest";
import type { Hash } from "@vlinder/protocol";
import { WriterDatabase } from "../../src/storage/backends/sqlite/writer-database.ts";
import type { StoredObject } from "../../src/storage/object-storage.ts";
import { has, hashOf, objects, openSqlite, temporaryFolder, value } from "./samples.ts";

const MIB = 1024 * 1024;

/** Transactions in a log: frames that say how large the file is after them. */
function commits(log: string): number {
  const bytes = readFileSync(log);
  let count = 0;
  for (let at = 32; at + 24 <= bytes.length; at += 24 + 4096) {
    const sameLog = bytes.compare(bytes, 16, 24, at + 8, at + 16) === 0;
    if (sameLog && bytes.readUInt32BE(at + 4) > 0) count++;
  }
  return count;
}

test("transactions that are under way together share a commit, and so an fsync", async () => {
  const path = join(await temporaryFolder(), "objects.db");
  const storage = await openSqlite(path, { durability: "disk" });
  const before = commits(`${path}-wal`);
  const id = hashOf("main");
  let head: Hash | null = null;
  const under: Promise<void>[] = [];
  for (let index = 0; index < 128; index++) {
    const next = hashOf(`commit ${index}`);
    const expected: Hash | null = index % 4 === 3 ? hashOf("elsewhere") : head;
    const time = "2026-11-20T21:40:00.123Z";
    under.push(
      storage.apply({ ...objects(value(index)), branches: [{ id, name: "main", expected, next, why: "put", time }] }),
    );
    if (expected === head) head = next;
  }
  const results = await Promise.allSettled(under);
  expect(results.map(({ status }) => status)).toEqual(
    results.map((_, index) => (index % 4 === 3 ? "rejected" : "fulfilled")),
  );
  expect((await storage.usage()).counts.value).toBe(96);
  expect(await storage.reflog(id, 1000)).toHaveLength(96);
  expect(commits(`${path}-wal`) - before).toBeLessThanOrEqual(24);
});

test("the log starts anew under steady load beside readers", { timeout: 60_000 }, async () => {
  const path = join(await temporaryFolder(), "objects.db");
  const warnings: unknown[] = [];
  const storage = await openSqlite(path, { warn: (error) => warnings.push(error) });
  const log = `${path}-wal`;
  const salts = new Set<string>();
  let largest = 0;
  let reading = true;
  const reader = (async () => {
    while (reading) {
      await storage.read("value", [value(0, 60_000).hash]);
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  for (let index = 0; index < 600; index += 2) {
    const under = [index, index + 1].map((one) =>
      storage.apply(objects(...[0, 1, 2, 3].map((part) => value(4 * one + part, 60_000)))),
    );
    await Promise.all(under);
    largest = Math.max(largest, statSync(log).size);
    if (index % 20 === 0) salts.add(readFileSync(log).toString("hex", 16, 24));
  }
  reading = false;
  await reader;
  expect(statSync(path).size).toBeGreaterThan(60 * MIB);
  expect(largest).toBeLessThan(64 * MIB);
  expect(salts.size).toBeGreaterThan(1);
  expect(warnings).toEqual([]);
  await storage.close();
  expect(() => statSync(log)).toThrow(/ENOENT/);
});

test("a log that grew under load is cut when it is quiet, as soon as nobody reads an old state", async () => {
  const path = join(await temporaryFolder(), "objects.db");
  const storage = await openSqlite(path, { quietMs: 400 });
  const size = (): number => statSync(`${path}-wal`).size;
  const fill = async (from: number): Promise<void> => {
    // At once: a busy machine may take longer for ten transactions than the log has until it counts as quiet.
    await storage.apply(objects(...Array.from({ length: 10 }, (_, index) => value(from + index, 2_000_000))));
  };
  await fill(0);
  expect(size()).toBeGreaterThan(8 * MIB);
  await expect.poll(size, { timeout: 20_000 }).toBe(0);

  const reader = new Database(path, { readonly: true });
  reader.exec("BEGIN");
  reader.prepare("SELECT count(*) FROM block").get();
  await fill(10);
  const before = size();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  expect(size()).toBe(before);
  // It stops nobody meanwhile.
  await storage.apply(objects(value(20)));
  expect(Buffer.from((await storage.read("value", [value(20).hash]))[0] as Uint8Array)).toEqual(value(20).bytes);
  reader.exec("COMMIT");
  reader.close();
  await expect.poll(size, { timeout: 20_000 }).toBe(0);
  for (const index of [0, 9, 10, 19]) {
    const one = value(index, 2_000_000);
    expect(Buffer.compare((await storage.read("value", [one.hash]))[0] as Uint8Array, one.bytes)).toBe(0);
  }
});

/** Bytes of a log up to its last frame. */
function used(log: string): number {
  const bytes = readFileSync(log);
  let at = 32;
  while (at + 24 <= bytes.length && bytes.compare(bytes, 16, 24, at + 8, at + 16) === 0) at += 24 + 4096;
  return at;
}

test("the log has room for the next transactions, and what two instances write in turns is all there after a crash", async () => {
  const folder = await temporaryFolder();
  const path = join(folder, "objects.db");
  const [one, other] = [await openSqlite(path, { durability: "disk" }), await openSqlite(path, { durability: "disk" })];
  const all: StoredObject[] = [];
  let [last, grown] = [0, 0];
  for (let round = 0; round < 60; round++) {
    const some = [0, 1, 2, 3].map((n) => value(`${round} ${n}`, 3000 * n));
    await Promise.all(some.map((object, n) => (n % 2 === 0 ? one : other).apply(objects(object))));
    all.push(...some);
    const { size } = statSync(`${path}-wal`);
    if (size !== last) grown++;
    last = size;
  }
  expect(grown, "it does not grow with each transaction").toBeLessThan(20);
  await expect.poll(() => statSync(`${path}-wal`).size - used(`${path}-wal`)).toBeGreaterThan(64 * 1024);
  // As a process leaves it that is killed.
  const left = join(folder, "left.db");
  for (const end of ["", "-wal"]) copyFileSync(`${path}${end}`, `${left}${end}`);
  const again = await openSqlite(left);
  for (const object of all) expect(await has(again, object)).toBe(true);
});

test("a log whose writes wait for no fsync takes only what it needs", async () => {
  const path = join(await temporaryFolder(), "objects.db");
  const storage = await openSqlite(path, { durability: "process" });
  for (let n = 0; n < 20; n++) await storage.apply(objects(value(n, 3000)));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(statSync(`${path}-wal`).size).toBe(used(`${path}-wal`));
});

test("the log gets no room while another process may append to it", async () => {
  const path = join(await temporaryFolder(), "objects.db");
  const database = new WriterDatabase({ path, durability: "disk" });
  onTestFinished(() => database.close());
  database.open();
  const other = new Database(path);
  onTestFinished(() => void other.close());
  other.exec("BEGIN IMMEDIATE");
  const { size } = statSync(`${path}-wal`);
  const started = performance.now();
  database.growLog();
  expect(performance.now() - started, "it waits for nobody").toBeLessThan(900);
  expect(statSync(`${path}-wal`).size).toBe(size);
  other.exec("ROLLBACK");
  database.open();
  database.growLog();
  expect(statSync(`${path}-wal`).size).toBeGreaterThan(size);
});
