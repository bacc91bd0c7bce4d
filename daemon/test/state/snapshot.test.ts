import fc from "fast-check";
import { type Hash, MAIN, parseKey } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import type { Space } from "../../src/state/api.ts";
import type { StateEngine } from "../../src/state/engine.ts";
import { BACKENDS, type Place } from "./backends.ts";
import { key, op, openEngine, put } from "./harness.ts";
import { holds } from "./property.ts";

const name = fc
  .oneof(
    fc.nat(300).map((n) => `/k/${n}`),
    fc.string({ minLength: 1, maxLength: 8, unit: "binary" }),
  )
  .filter((text) => text.isWellFormed() && !text.includes("\0"));
const contents = fc.uniqueArray(fc.tuple(name, fc.nat(1000)), {
  selector: ([text]) => parseKey(text),
  maxLength: 400,
  size: "max",
});
const detours = fc.array(fc.tuple(name, fc.nat(1000)), { maxLength: 60, size: "max" });

async function fill(
  engine: StateEngine,
  space: Space,
  writes: readonly (readonly [string, number | null])[],
  group: number,
): Promise<void> {
  for (let i = 0; i < writes.length; i += group) {
    const ops = writes.slice(i, i + group).map(([text, value]) => op(text, value === null ? null : `value ${value}`));
    await engine.write({ space, kind: "kv.batch", branch: MAIN, ops });
  }
}

async function snapshotOf(engine: StateEngine): Promise<Hash> {
  return (await engine.commit(engine.branch(MAIN).head)).snapshot;
}

describe("the snapshot hash", () => {
  test(
    "depends on the contents alone: not on order, grouping, detours, space written first, or backend",
    { timeout: 120_000 },
    async () => {
      const property = fc.asyncProperty(
        contents,
        detours,
        fc.array(fc.nat(), { minLength: 400, maxLength: 400, size: "max" }),
        fc.integer({ min: 1, max: 60 }),
        async (wanted, others, order, group) => {
          const place = await (BACKENDS["sqlite"] as () => Promise<Place>)();
          const one = await openEngine({ device: 1 });
          const two = await openEngine({ device: 2, storage: await place.open() });
          try {
            two.clock.tick(12_345);
            await fill(one.engine, "kv", wanted, 400);
            await fill(one.engine, "vectors", wanted.slice(0, 50), 50);

            // The other one starts with vectors, takes detours over keys that it deletes again, and another order.
            await fill(two.engine, "vectors", wanted.slice(0, 50).toReversed(), 7);
            const keep = new Set(wanted.map(([text]) => parseKey(text)));
            const extra = [...new Map(others.filter(([text]) => !keep.has(parseKey(text)))).entries()];
            await fill(two.engine, "kv", extra, group);
            const shuffled = wanted.map((entry, i) => ({ entry, by: order[i] as number })).sort((a, b) => a.by - b.by);
            await fill(
              two.engine,
              "kv",
              shuffled.map(({ entry: [text] }) => [text, 0] as const),
              group,
            );
            await fill(
              two.engine,
              "kv",
              extra.map(([text]) => [text, null] as const),
              group,
            );
            await fill(two.engine, "kv", shuffled.map(({ entry }) => entry).toReversed(), group + 3);
            expect(await snapshotOf(two.engine)).toBe(await snapshotOf(one.engine));
          } finally {
            await Promise.all([one.engine.close(), two.engine.close()]);
            await place.dispose();
          }
        },
      );
      await holds("snapshots", property, 6);
    },
  );

  test("is that of an empty agent again when all is deleted", async () => {
    const { engine } = await openEngine();
    const empty = await snapshotOf(engine);
    await put(engine, { "/a": "1", "/b": "2" });
    expect(await snapshotOf(engine)).not.toBe(empty);
    await put(engine, { "/a": null, "/b": null });
    expect(await snapshotOf(engine)).toBe(empty);
  });

  test("tells a size, a key and a space apart", async () => {
    const hashes = new Set<Hash>();
    for (const [space, text] of [
      ["kv", "/a"],
      ["vectors", "/a"],
      ["kv", "/b"],
    ] as const) {
      const { engine } = await openEngine();
      await engine.write({ space, kind: "kv.put", branch: MAIN, ops: [{ ...op(text, "1"), key: key(text) }] });
      hashes.add(await snapshotOf(engine));
    }
    expect(hashes.size).toBe(3);
  });
});
