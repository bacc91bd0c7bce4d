import { CHUNKED_OVER, decodeChunkList, encodeChunkList, type Hash, LIST_ENTRIES, sha256 } from "@vlinder/protocol";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { cutChunks } from "../../src/state/chunks.ts";
import { ListBuilder } from "../../src/state/list-builder.ts";
import { Objects } from "../../src/state/objects.ts";
import { valueObjects, ValueCutter } from "../../src/state/value-cutter.ts";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";
import type { StoredObject } from "../../src/storage/object-storage.ts";
import { holds, noise } from "./property.ts";

const MIB = 1024 * 1024;

async function storageWith(objects: readonly StoredObject[]): Promise<Objects> {
  const storage = new MemoryObjects("memory://values");
  await storage.apply({ objects, branches: [], replies: [] });
  return new Objects(storage);
}

/** What storing values one after another adds, in bytes: an object that is there already costs nothing. */
class Disk {
  readonly #known = new Set<string>();

  add(bytes: Uint8Array): { chunks: number; lists: number } {
    const added = { chunks: 0, lists: 0 };
    for (const object of valueObjects(sha256(bytes), bytes)) {
      const name = `${object.kind} ${object.hash}`;
      if (this.#known.has(name)) continue;
      this.#known.add(name);
      added[object.kind === "list" ? "lists" : "chunks"] += object.bytes.length;
    }
    return added;
  }
}

describe("cutting", () => {
  test("however a value comes, it is cut the same", () =>
    holds(
      "pieces",
      fc.asyncProperty(
        fc.nat(1000),
        fc.integer({ min: 0, max: 600_000 }),
        fc.array(fc.integer({ min: 0, max: 200_000 }), { maxLength: 20 }),
        async (seed, length, cuts) => {
          const bytes = noise(seed, length);
          const cutter = new ValueCutter();
          const objects: StoredObject[] = [];
          let at = 0;
          for (const cut of [...cuts, length]) {
            objects.push(...cutter.push(bytes.subarray(at, at + cut)));
            at = Math.min(length, at + cut);
          }
          objects.push(...cutter.finish(sha256(bytes)));
          expect(objects).toEqual(valueObjects(sha256(bytes), bytes));
        },
      ),
      40,
    ));

  test.each([0, 1, CHUNKED_OVER, CHUNKED_OVER + 1])("a value of %i bytes, at the border of being chunked", (length) => {
    const bytes = noise(1, length);
    const cutter = new ValueCutter();
    const objects = [...cutter.push(bytes), ...cutter.finish(sha256(bytes))];
    expect(objects).toEqual(valueObjects(sha256(bytes), bytes));
    expect(objects.at(-1)).toMatchObject({ kind: length > CHUNKED_OVER ? "list" : "value", hash: sha256(bytes) });
  });

  test("lists have at least 16 entries, the last of a level apart, and as many levels as it takes", () => {
    const builder = new ListBuilder();
    const objects: StoredObject[] = [];
    for (let i = 0; i < 100_000; i++) objects.push(...builder.add({ hash: sha256(`part ${i}`), size: 13_000 }));
    objects.push(...builder.finish(sha256("any")));
    const lists = objects.map(({ bytes }) => decodeChunkList(bytes));
    for (let level = 1; level < 3; level++) {
      const sizes = lists.filter((list) => list.level === level).map(({ parts }) => parts.length);
      expect(Math.min(...sizes.slice(0, -1))).toBeGreaterThanOrEqual(16);
      expect(Math.max(...sizes)).toBeLessThanOrEqual(LIST_ENTRIES);
    }
    expect(lists.at(-1)?.level).toBe(3);
    expect(lists.at(-1)?.parts.reduce((sum, { size }) => sum + size, 0)).toBe(1_300_000_000);
  });
});

describe("what a change costs", () => {
  test("a transcript that grows adds its tail and a list or two", () => {
    const whole = noise(3, 7 * MIB);
    const disk = new Disk();
    disk.add(whole.subarray(0, 6 * MIB));
    let added = 0;
    for (let turn = 1; turn <= 40; turn++) {
      const { chunks, lists } = disk.add(whole.subarray(0, 6 * MIB + turn * 4096));
      added += chunks + lists;
    }
    // 500 turns of this are less than a value of 20 MB itself.
    expect(added / 40).toBeLessThan(24 * 1024);
  });

  test("1 KB changed in the middle: at most 64 KB of new chunks, and 24 KB of lists, in 99 of 100", () => {
    const bytes = noise(4, 4 * MIB);
    const disk = new Disk();
    disk.add(bytes);
    const made: { chunks: number; lists: number }[] = [];
    for (let i = 0; i < 100; i++) {
      const at = 512 * 1024 + i * 30_011;
      const changed = Buffer.from(bytes);
      noise(100 + i, 1024).copy(changed, at);
      made.push(disk.add(changed));
    }
    const p99 = (of: "chunks" | "lists"): number => made.map((one) => one[of]).toSorted((a, b) => a - b)[98] ?? 0;
    expect(p99("chunks")).toBeLessThanOrEqual(64 * 1024);
    expect(p99("chunks")).toBeGreaterThan(0);
    expect(p99("lists")).toBeLessThanOrEqual(24 * 1024);
  });

  test("a byte inserted at the start shifts no list but the first ones", () => {
    const bytes = noise(5, 16 * MIB);
    const disk = new Disk();
    const { lists } = disk.add(bytes);
    const added = disk.add(Buffer.concat([Buffer.from("x"), bytes]));
    expect(lists).toBeGreaterThan(40 * 1024);
    expect(added.lists).toBeLessThan(lists / 2);
  });
});

describe("reading ranges", () => {
  const bytes = noise(6, 3_000_000);

  test("any range is what the value has there", async () => {
    const objects = await storageWith(valueObjects(sha256(bytes), bytes));
    const small = noise(7, 1000);
    const withSmall = await storageWith(valueObjects(sha256(small), small));
    await holds(
      "ranges",
      fc.asyncProperty(fc.nat(bytes.length), fc.nat(700_000), async (start, length) => {
        const end = Math.min(bytes.length, start + length);
        const found = await objects.range(sha256(bytes), bytes.length, start, end);
        expect(Buffer.compare(found, bytes.subarray(start, end))).toBe(0);
        const [from, to] = [Math.min(1000, start), Math.min(1000, end)];
        expect(await withSmall.range(sha256(small), 1000, from, to)).toEqual(small.subarray(from, to));
      }),
      100,
    );
    expect(await objects.range(sha256(bytes), bytes.length, 0, 0)).toHaveLength(0);
  });

  test("only the chunks that hold the range are read", async () => {
    const storage = new MemoryObjects("memory://values");
    await storage.apply({ objects: valueObjects(sha256(bytes), bytes), branches: [], replies: [] });
    const read: Hash[] = [];
    const counting = new Proxy(storage, {
      get: (target, name) =>
        name === "read"
          ? (kind: "chunk", hashes: Hash[]) => {
              if (kind === "chunk") read.push(...hashes);
              return target.read(kind, hashes);
            }
          : Reflect.get(target, name),
    });
    await new Objects(counting).range(sha256(bytes), bytes.length, 1_000_000, 1_000_010);
    expect(read.length).toBeLessThanOrEqual(2);
    expect(read.length).toBeGreaterThan(0);
  });

  test("a chunk that is damaged or missing is told, wherever else is read in peace", async () => {
    const stored = valueObjects(sha256(bytes), bytes);
    const chunks = stored.filter(({ kind }) => kind === "chunk");
    const [first, second] = chunks as [StoredObject, StoredObject];
    const flipped = Buffer.from(second.bytes);
    flipped[0] = (flipped[0] ?? 0) ^ 1;
    const damaged = await storageWith(stored.map((one) => (one === second ? { ...one, bytes: flipped } : one)));
    const missing = await storageWith(stored.filter((one) => one !== second));
    const at = first.bytes.length;
    for (const [objects, problem] of [
      [damaged, "damaged"],
      [missing, "missing"],
    ] as const) {
      await expect(objects.range(sha256(bytes), bytes.length, at, at + 1)).rejects.toMatchObject({ problem });
      expect(await objects.range(sha256(bytes), bytes.length, 0, at)).toEqual(bytes.subarray(0, at));
    }
  });

  test("lists of an earlier release, cut by count, are read", async () => {
    const parts = [...cutChunks(bytes)].map((chunk) => ({ hash: sha256(chunk), size: chunk.length, chunk }));
    const objects: StoredObject[] = parts.map(({ hash, chunk }) => ({ kind: "chunk", hash, bytes: chunk }));
    const lists: { hash: Hash; size: number }[] = [];
    for (let i = 0; i < parts.length; i += 100) {
      const group = parts.slice(i, i + 100);
      const list = encodeChunkList({ level: 1, parts: group });
      objects.push({ kind: "list", hash: sha256(list), bytes: list });
      lists.push({ hash: sha256(list), size: group.reduce((sum, { size }) => sum + size, 0) });
    }
    objects.push({ kind: "list", hash: sha256(bytes), bytes: encodeChunkList({ level: 2, parts: lists }) });
    const old = await storageWith(objects);
    expect(Buffer.compare((await old.value(sha256(bytes), bytes.length)) as Uint8Array, bytes)).toBe(0);
    expect(await old.range(sha256(bytes), bytes.length, 2_000_000, 2_000_100)).toEqual(
      bytes.subarray(2_000_000, 2_000_100),
    );
  });
});
