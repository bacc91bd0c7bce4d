import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { type Hash, hashToBytes, sha256 } from "@vlinder/protocol";
import { afterAll, expect, onTestFinished, test } from "vitest";
import { Reader } from "../../src/storage/backends/sqlite/reader.ts";
import { openSqliteObjects } from "../../src/storage/backends/sqlite/sqlite-objects.ts";
import { KINDS } from "../../src/storage/object-storage.ts";

const folder = await mkdtemp(join(tmpdir(), "vlinder-beside-"));
afterAll(() => rm(folder, { recursive: true }));

const VALUE = KINDS.indexOf("value");
const values = Array.from({ length: 8 }, (_, i) => Buffer.from(`value ${i}`));
const hashes = values.map((value) => sha256(value));

/** A reader of eight values that share a block, and what it tells of. */
async function opened(name: string) {
  const path = join(folder, `${name}.db`);
  const storage = await openSqliteObjects({ path, durability: "process" });
  onTestFinished(() => storage.close());
  const objects = values.map((bytes, i) => ({ kind: "value" as const, hash: hashes[i]!, bytes }));
  await storage.apply({ objects, branches: [], replies: [] });
  const reader = new Reader(path);
  onTestFinished(() => reader.close());
  const told: Hash[] = [];
  const read = (i: number): void => {
    const found = reader.find(VALUE, hashToBytes(hashes[i]!))!;
    expect(Buffer.compare(found.bytes, values[i]!)).toBe(0);
    reader.tellBeside(found.location, (hash, bytes) => {
      expect(sha256(bytes)).toBe(hash);
      told.push(hash);
    });
  };
  return { storage, reader, told, read };
}

const others = (...read: number[]): Hash[] => read.flatMap((i) => hashes.filter((hash) => hash !== hashes[i]));

test("what lies beside is told behind the answer, each time", async () => {
  const { told, read } = await opened("told");
  read(3);
  read(5);
  expect(told).toEqual([]);
  await nextTurn();
  expect(told.toSorted()).toEqual(others(3, 5).toSorted());
  read(0);
  await nextTurn();
  expect(told.toSorted()).toEqual(others(3, 5, 0).toSorted());
});

test("what may have been removed meanwhile is told to nobody, and what was removed is not among the rest", async () => {
  const { storage, reader, told, read } = await opened("removed");
  read(3);
  reader.removed();
  await nextTurn();
  expect(told).toEqual([]);
  await storage.remove("value", [hashes[0]!]);
  read(3);
  await nextTurn();
  expect(told.toSorted()).toEqual(
    others(3)
      .filter((hash) => hash !== hashes[0])
      .toSorted(),
  );
});

test("of a reader that is closed before nothing is told, and it stays closed", async () => {
  const { reader, told, read } = await opened("closed");
  read(3);
  reader.close();
  await nextTurn();
  expect(told).toEqual([]);
});
