import fc from "fast-check";
import { expect, test } from "vitest";
import { applyDelta, baseOf, deltaOf, undoOf } from "../../src/storage/backends/sqlite/block.ts";
import { holds } from "../state/property.ts";

test("a delta on a base gives the bytes again, wherever they differ; there is none where it would not pay", async () => {
  const change = fc.record({ at: fc.nat(300), bytes: fc.uint8Array({ minLength: 1, maxLength: 40 }) });
  const property = fc.asyncProperty(
    fc.uint8Array({ minLength: 0, maxLength: 300, size: "max" }),
    fc.array(change, { maxLength: 4 }),
    fc.nat(2 ** 40),
    async (one, changes, location) => {
      // Not of a pool, as what is a base has memory of its own.
      const base = Buffer.from(new Uint8Array(one).buffer);
      const other = Buffer.from(new Uint8Array(one).buffer);
      for (const { at, bytes } of changes)
        other.set(bytes.subarray(0, Math.max(0, other.length - at)), Math.min(at, other.length));
      const delta = deltaOf(base, location, other);
      const differ = [...base.keys()].filter((at) => base[at] !== other[at]).length;
      if (delta === null) {
        // It may have bytes that are the same: whole words, and three bytes and the location besides.
        expect(4 * differ * 4 + 6).toBeGreaterThan(base.length / 2);
      } else {
        expect(baseOf(delta)).toBe(location);
        expect(applyDelta(base, delta)).toEqual(other);
        expect(applyDelta(other, undoOf(base, delta)), "and back again").toEqual(base);
        expect(delta.length).toBeLessThanOrEqual(Math.max(6, base.length / 2) + 6);
      }
    },
  );
  await holds("deltas", property, 3000);
});

test("bytes of another length have no delta", () => {
  expect(deltaOf(Buffer.alloc(100), 1, Buffer.alloc(104))).toBeNull();
});
