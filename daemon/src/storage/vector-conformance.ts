import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { type Key, type Metric, METRICS, parseKey, sha256, type VectorFilter } from "@vlinder/protocol";
import type { Candidate, NearestQuery, RowName, VectorRow, VectorStorage } from "./vector-storage.ts";
import { MemoryVectorStorage } from "./vectors/memory.ts";

export interface VectorBackend {
  readonly name: string;
  /** An empty storage of its own for each call. */
  create(dimension: number, metric: Metric): Promise<VectorStorage>;
  /**
   * Closes a storage and opens it again as it was left. Absent: what is closed is gone. May be given
   * another shape, which must reject with IndexDamaged.
   */
  reopen?(
    storage: VectorStorage,
    shape?: { readonly dimension: number; readonly metric: Metric },
  ): Promise<VectorStorage>;
}

const component = fc.oneof(
  fc.integer({ min: -3, max: 3 }),
  fc.float({ noNaN: true, noDefaultInfinity: true }),
  fc.float({ noNaN: true, min: -1, max: 1 }),
);
const scalar = fc.oneof(
  fc.constantFrom<string | number | boolean | null>(
    null,
    true,
    false,
    0,
    1,
    "1",
    "true",
    "null",
    "",
    2 ** 60,
    "a'\"\\",
  ),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.string({ unit: "binary" }),
);
const memberName = fc.constantFrom("a", "b", "a.b", "$", "", "'\"", "\\", "é", "0", "[0]", "\u0001", "#", "__proto__");
const metadata = fc
  .array(fc.tuple(memberName, fc.oneof(scalar, fc.constantFrom([1], { a: 1 }))), { maxLength: 4 })
  .map((members) => Object.fromEntries(members));
const bound = fc.oneof(fc.integer({ min: -2, max: 2 }), fc.double({ noNaN: true, noDefaultInfinity: true }));
const condition = fc.oneof(
  scalar,
  fc.record({ in: fc.array(scalar, { minLength: 1, maxLength: 3 }) }),
  fc.record({ gt: bound, lte: bound }, { requiredKeys: [] }).filter((range) => Object.keys(range).length > 0),
  fc.record({ gte: bound, lt: bound }, { requiredKeys: ["gte"] }),
);
const filter = fc
  .array(fc.tuple(memberName, condition), { maxLength: 2 })
  .map((members) => Object.fromEntries(members) as VectorFilter);
const key = fc
  .constantFrom("a", "b", "ab", "a/1", "a/2", "é", "éa", "\u{10ffff}", "\u{10ffff}a")
  .map((text) => parseKey(text));

interface Step {
  readonly add: readonly VectorRow[];
  readonly live: readonly RowName[];
  readonly dead: readonly RowName[];
  readonly remove: readonly RowName[];
}

function steps(dimension: number): fc.Arbitrary<Step[]> {
  const vector = fc.array(component, { minLength: dimension, maxLength: dimension }).map((xs) => Float32Array.from(xs));
  // Few names, so that rows meet again.
  const name = fc.record({ key, hash: fc.integer({ min: 0, max: 3 }).map((n) => sha256(String(n))) });
  const row = fc
    .record({ name, vector, metadata })
    .map((r): VectorRow => ({ ...r.name, vector: r.vector, metadata: r.metadata }));
  const names = fc.array(name, { maxLength: 4 });
  return fc.array(
    fc.record({
      add: fc.array(row, { maxLength: 12 }),
      live: names,
      dead: names,
      remove: fc.oneof(fc.constant([]), names),
    }),
    { minLength: 1, maxLength: 5 },
  );
}

function queries(dimension: number): fc.Arbitrary<NearestQuery[]> {
  const vector = fc.array(component, { minLength: dimension, maxLength: dimension }).map((xs) => Float32Array.from(xs));
  const query = fc.record(
    { vector, limit: fc.integer({ min: 1, max: 8 }), liveOnly: fc.boolean(), prefix: key, filter },
    { requiredKeys: ["vector", "limit", "liveOnly"] },
  );
  return fc.array(query as fc.Arbitrary<NearestQuery>, { minLength: 1, maxLength: 6 });
}

/** What every vector storage must do. Registers tests with Vitest. */
export function vectorStorageConformance(backend: VectorBackend): void {
  describe(`vector storage: ${backend.name}`, () => {
    const open: VectorStorage[] = [];
    afterEach(async () => {
      for (const storage of open.splice(0)) await storage.close();
    });
    const create = async (dimension: number, metric: Metric): Promise<VectorStorage> => {
      const storage = await backend.create(dimension, metric);
      open.push(storage);
      return storage;
    };
    const row = (text: string, vector: number[], member: Record<string, string | number> = {}): VectorRow => ({
      key: parseKey(text),
      hash: sha256(`${text}${vector.join()}`),
      vector: Float32Array.from(vector),
      metadata: member,
    });
    const all = (vector: number[], more: Partial<NearestQuery> = {}): NearestQuery => ({
      vector: Float32Array.from(vector),
      limit: 100,
      liveOnly: false,
      ...more,
    });
    const keys = (found: Candidate[]): Key[] => found.map((candidate) => candidate.key);

    it("is empty at first", async () => {
      const storage = await create(2, "cosine");
      expect([storage.dimension, storage.metric]).toEqual([2, "cosine"]);
      expect(await storage.nearest(all([1, 0]))).toEqual([]);
      expect([await storage.count(), await storage.position()]).toEqual([0, null]);
    });

    it.each([
      ["cosine", [1, Math.SQRT1_2, 0, -1]],
      ["dot", [2, 2, 0, -2]],
      ["l2", [0, -2, -Math.sqrt(8), -4]],
    ] as const)("scores by %s", async (metric, scores) => {
      const storage = await create(2, metric);
      const rows = [row("d", [-1, 0]), row("c", [0, 2]), row("a", [1, 0]), row("b", [1, 1])];
      await storage.add(
        metric === "dot"
          ? rows
          : rows.map((r) => (metric === "l2" ? { ...r, vector: l2Points[r.key] as Float32Array } : r)),
      );
      const found = await storage.nearest(all([2, 0]));
      expect(keys(found)).toEqual(["a", "b", "c", "d"]);
      found.forEach((candidate, i) => expect(candidate.score).toBeCloseTo(scores[i] as number, 12));
    });
    const l2Points: Record<string, Float32Array> = {
      a: Float32Array.of(2, 0),
      b: Float32Array.of(2, 2),
      c: Float32Array.of(0, 2),
      d: Float32Array.of(-2, 0),
    };

    it("orders equal scores by key as bytes, then by hash", async () => {
      const storage = await create(1, "l2");
      const rows = ["\u{10000}", "\uffff", "b", "a"].flatMap((text) =>
        [1, 2].map((n) => ({ ...row(text, [5]), hash: sha256(`${n}`) })),
      );
      await storage.add(rows);
      const found = await storage.nearest(all([5], { limit: 7 }));
      const expected = rows
        .map(({ key: k, hash }) => [k, hash] as const)
        .sort(
          ([a, x], [b, y]) => Buffer.compare(Buffer.from(a, "latin1"), Buffer.from(b, "latin1")) || (x < y ? -1 : 1),
        )
        .slice(0, 7);
      expect(found.map((c) => [c.key, c.hash])).toEqual(expected);
      expect(Object.is(found[0]?.score, 0)).toBe(true);
    });

    it("leaves a row that is there as it is", async () => {
      const storage = await create(1, "dot");
      const first = row("a", [1], { lang: "en" });
      await storage.add([first]);
      await storage.advance({ live: [first], dead: [], position: null });
      await storage.add([{ ...first, vector: Float32Array.of(9), metadata: {} }]);
      const found = await storage.nearest(all([1], { liveOnly: true, filter: { lang: "en" } }));
      expect(found).toEqual([{ key: "a", hash: first.hash, score: 1 }]);
    });

    it("filters by plain members only, beside those that are nested", async () => {
      const storage = await create(1, "dot");
      const deep = JSON.parse(`${"[".repeat(60)}${"]".repeat(60)}`);
      await storage.add([{ ...row("a", [1]), metadata: { deep, lang: "en" } }]);
      expect(keys(await storage.nearest(all([1], { filter: { lang: "en" } })))).toEqual(["a"]);
      expect(await storage.nearest(all([1], { filter: { deep: null } }))).toEqual([]);
    });

    it("never takes a filter's names or values for code", async () => {
      const storage = await create(1, "dot");
      await storage.add([row("a", [1], { "x') or 1=1 --": "y" })]);
      const found = async (f: VectorFilter) => keys(await storage.nearest(all([1], { filter: f })));
      expect(await found({ "x') or 1=1 --": "y" })).toEqual(["a"]);
      expect(await found({ "z') or 1=1 --": "y" })).toEqual([]);
      expect(await found({ a: "' or '1'='1" })).toEqual([]);
      expect(await found({ '"': { in: ["'; drop table rows; --", 1] } })).toEqual([]);
      expect(await found({})).toEqual(["a"]);
      await expect(found({ a: "\ud800" })).rejects.toMatchObject({ code: "invalid" });
      const many = Object.fromEntries(Array.from({ length: 101 }, (_, i) => [`m${i}`, 1]));
      await expect(found(many)).rejects.toMatchObject({ code: "invalid" });
    });

    it("compares numbers as doubles, also those over 2^53", async () => {
      const storage = await create(1, "dot");
      await storage.add([row("a", [1], { n: 2 ** 60 })]);
      expect(keys(await storage.nearest(all([1], { filter: { n: { lte: 2 ** 60 } } })))).toEqual(["a"]);
      expect(await storage.nearest(all([1], { filter: { n: { gt: 2 ** 60 } } }))).toEqual([]);
    });

    it.each(METRICS)(
      "is exact among hundreds that differ in the last digits, and at the ends of float32: %s",
      async (metric) => {
        const dimension = 24;
        await fc.assert(
          fc.asyncProperty(fc.integer(), async (seed) => {
            let state = seed;
            const random = () => ((state = (Math.imul(state, 1664525) + 1013904223) | 0) >>> 0) / 2 ** 32;
            const base = Array.from({ length: dimension }, () => random() - 0.5);
            const near = (scale: number, noise: number) =>
              Float32Array.from(base, (x) => Math.fround(scale * (x + noise * (random() - 0.5))));
            const rows = Array.from({ length: 300 }, (_, i): VectorRow => {
              // Cosine: all but parallel, of any length. The others: all but equal.
              const scale = metric === "cosine" ? 10 ** (random() * 4 - 2) : 1;
              const odd = [1e-22, 1e-30, 1e18, 1e25, 0][i % 60];
              return { ...row(`k${i}`, [i]), vector: near(odd ?? scale, i % 3 === 0 ? 0 : 1e-7) };
            });
            const storage = await backend.create(dimension, metric);
            const model = new MemoryVectorStorage("memory://model", dimension, metric);
            try {
              for (const one of [storage, model]) await one.add(rows);
              for (const scale of [1, 3, 1e-20, 1e20]) {
                const query = { vector: near(scale, 1e-3), limit: 1 + (seed & 7), liveOnly: false };
                expect(await storage.nearest(query)).toEqual(await model.nearest(query));
              }
            } finally {
              await storage.close();
            }
          }),
          { numRuns: 10 },
        );
      },
    );

    it("marks and moves its position together, and removes", async () => {
      const storage = await create(1, "l2");
      const [a, b, absent] = [row("a", [1]), row("b", [2]), row("c", [3])];
      await storage.add([a, b]);
      expect(await storage.nearest(all([0], { liveOnly: true }))).toEqual([]);
      await storage.advance({ live: [a, b, absent], dead: [a], position: "one" });
      expect(keys(await storage.nearest(all([0], { liveOnly: true })))).toEqual(["b"]);
      expect(await storage.position()).toBe("one");
      await storage.remove([b, absent]);
      expect(keys(await storage.nearest(all([0])))).toEqual(["a"]);
      expect(await storage.count()).toBe(1);
      await storage.advance({ live: [], dead: [], position: null });
      expect(await storage.position()).toBeNull();
    });

    it("says with fewer results than the limit that there are no more", async () => {
      const storage = await create(1, "l2");
      await storage.add(Array.from({ length: 300 }, (_, i) => row(`k${i}`, [i])));
      expect((await storage.nearest(all([0], { limit: 299 }))).map((c) => c.score)).toEqual(
        Array.from({ length: 299 }, (_, i) => 0 - i),
      );
      expect(await storage.nearest(all([0], { limit: 301 }))).toHaveLength(300);
    });

    it("closes twice", async () => {
      const storage = await create(1, "l2");
      await storage.close();
      await storage.close();
    });

    it.skipIf(backend.reopen === undefined)("is the same after it was closed and opened again", async () => {
      const storage = await create(2, "cosine");
      const rows = [row("a", [1, 0]), row("b", [0, 1], { lang: "en" })];
      await storage.add(rows);
      await storage.advance({ live: rows.slice(1), dead: [], position: "here" });
      const before = await storage.nearest(all([1, 1]));
      const again = (await backend.reopen?.(storage)) as VectorStorage;
      open.push(again);
      expect(await again.nearest(all([1, 1]))).toEqual(before);
      expect(keys(await again.nearest(all([1, 1], { liveOnly: true })))).toEqual(["b"]);
      expect([await again.count(), await again.position()]).toEqual([2, "here"]);
    });

    it.skipIf(backend.reopen === undefined)("is not opened for another dimension or metric", async () => {
      const storage = await create(2, "cosine");
      await expect(backend.reopen?.(storage, { dimension: 3, metric: "cosine" })).rejects.toMatchObject({
        name: "IndexDamaged",
      });
      await expect(backend.reopen?.(storage, { dimension: 2, metric: "l2" })).rejects.toMatchObject({
        name: "IndexDamaged",
      });
    });

    it.each(METRICS)("gives what reading every row gives, to the last bit: %s", async (metric) => {
      const runs = fc.integer({ min: 1, max: 9 }).chain((n) => fc.tuple(fc.constant(n), steps(n), queries(n)));
      await fc.assert(
        fc.asyncProperty(runs, async ([dimension, changes, asked]) => {
          const storage = await backend.create(dimension, metric);
          const model = new MemoryVectorStorage("memory://model", dimension, metric);
          try {
            for (const change of changes) {
              for (const one of [storage, model]) {
                await one.add(change.add);
                await one.advance({ live: change.live, dead: change.dead, position: null });
                await one.remove(change.remove);
              }
              expect(await storage.count()).toBe(await model.count());
              for (const query of asked) expect(await storage.nearest(query)).toEqual(await model.nearest(query));
            }
          } finally {
            await storage.close();
          }
        }),
        { numRuns: 60 },
      );
    });
  });
}
