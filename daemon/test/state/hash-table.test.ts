import fc from "fast-check";
import { type Hash, hashToBytes, sha256 } from "@vlinder/protocol";
import { expect, test } from "vitest";
import { HashTable } from "../../src/state/retention/hash-table.ts";
import { Pruned } from "../../src/state/retention/pruned.ts";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";

/** Many that begin alike: what the table finds them by. */
const anyHash = fc
  .tuple(fc.nat({ max: 3 }), fc.nat({ max: 60 }))
  .map(([start, n]) => `0${start}000000${sha256(`${n}`).slice(8)}` as Hash);

test("a table of hashes does what a map does", () => {
  fc.assert(
    fc.property(fc.array(anyHash, { maxLength: 300, size: "max" }), fc.array(anyHash), (added, asked) => {
      const table = new HashTable();
      const model = new Map<Hash, number>();
      for (const hash of added) {
        if (!model.has(hash)) model.set(hash, model.size);
        expect(table.add(hash)).toBe(model.get(hash));
      }
      expect(table.size).toBe(model.size);
      for (const hash of [...asked, ...added]) expect(table.numberOf(hash)).toBe(model.get(hash) ?? -1);
      for (const [hash, number] of model) {
        expect(table.at(number)).toBe(hash);
        expect(table.bytes(number)).toEqual(hashToBytes(hash));
      }
    }),
  );
});

test("dropped commits are added and taken out again, and are there after a restart", async () => {
  const sorted = (hashes: readonly Hash[]): Buffer => Buffer.concat([...new Set(hashes)].sort().map(hashToBytes));
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(fc.boolean(), fc.array(anyHash)), { maxLength: 8 }), async (steps) => {
      const storage = new MemoryObjects("memory://pruned");
      let pruned = await Pruned.open(storage);
      let model = new Set<Hash>();
      for (const [adds, hashes] of steps) {
        await pruned.become(adds ? pruned.with(sorted(hashes)) : pruned.without(sorted(hashes)), storage);
        model = new Set(adds ? [...model, ...hashes] : [...model].filter((hash) => !hashes.includes(hash)));
        for (const one of [pruned, (pruned = await Pruned.open(storage))]) {
          expect(one.count).toBe(model.size);
          for (const hash of [...model, ...hashes]) expect(one.covers(hash)).toBe(model.has(hash));
        }
      }
    }),
  );
});
