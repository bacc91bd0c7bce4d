import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { type Key, METRICS } from "@vlinder/protocol";
import type { VectorStorage } from "../../src/storage/vector-storage.ts";
import { openVectorStorage } from "../../src/storage/vectors/open.ts";
import type { SearchQuery } from "../../src/vectors/vector-index.ts";
import { expected, openIndex } from "./index-fixture.ts";
import { ModelHistory } from "./model-history.ts";
import { rounds } from "../../../test/harness/long.ts";

const folder = await mkdtemp(join(tmpdir(), "vlinder-search-"));
// Stays open, so that the worker thread is not started anew for each run.
const first = await openVectorStorage(`sqlite://${join(folder, "first.db")}`, { dimension: 1, metric: "l2" });
afterAll(async () => {
  await first.close();
  await rm(folder, { recursive: true, force: true });
});
let files = 0;
const backends = [
  ["memory", () => "memory://x"],
  ["sqlite", () => `sqlite://${join(folder, `${++files}.db`)}`],
] as const;

const key = fc.constantFrom("a", "b", "c", "d", "e", "f", "g", "p/a", "p/b", "p/c", "p/d", "p/e", "p/f");
const vector = fc.array(fc.integer({ min: -2, max: 2 }), { minLength: 2, maxLength: 2 });
const lang = fc.constantFrom("en", "de");
const pick = fc.nat();
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant("put" as const), branch: pick, key, vector, lang }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("delete" as const), branch: pick, key }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("fork" as const), commit: pick }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("drop" as const), branch: pick }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("rewind" as const), branch: pick, commit: pick }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("merge" as const), branch: pick, other: pick }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("turn" as const), branch: pick, key, vector, lang }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("erase" as const), value: pick }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("catchUp" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("reindex" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("reopen" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("search" as const) }) },
);
const query = fc.record(
  {
    vector: vector.map((xs) => Float32Array.from(xs)),
    limit: fc.integer({ min: 1, max: 3 }),
    prefix: fc.constant("p/" as Key),
    filter: lang.map((value) => ({ lang: value })),
  },
  { requiredKeys: ["vector", "limit"] },
) as fc.Arbitrary<SearchQuery>;

/** No row is marked live that no branch's head holds: a head's search would only be slower, so nothing else shows it. */
async function checkLive(history: ModelHistory, storage: VectorStorage): Promise<void> {
  const heads = history.branches().flatMap(({ head }) => (head === null ? [] : [history.held(head).vectors]));
  const rows = await storage.nearest({ vector: Float32Array.of(1, 1), limit: 1000, liveOnly: true });
  const dead = rows.filter(({ key: k, hash }) => !heads.some((held) => held.get(k)?.hash === hash));
  expect(dead).toEqual([]);
}

function one<T>(items: readonly T[], n: number): T {
  return items[n % items.length] as T;
}

describe.each(backends)("search at any commit, index in %s", (_name, uri) => {
  it.each(METRICS)(
    "gives exactly what the commit holds: %s",
    async (metric) => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(step, { minLength: 20, maxLength: 60 }),
          fc.array(query, { minLength: 1, maxLength: 3 }),
          async (steps, asked) => {
            const history = new ModelHistory({ metric, dimension: 2 });
            const place = uri();
            let storage: VectorStorage = first;
            const keep = (opened: VectorStorage) => (storage = opened);
            let index = await openIndex(history, place, keep);
            const notes: string[] = [];
            const check = async (): Promise<void> => {
              for (const commit of history.commits.keys()) {
                for (const q of asked) {
                  expect(await index.search(await history.view(commit), q)).toEqual(
                    expected(history, commit, metric, q),
                  );
                }
              }
            };
            try {
              for (const s of [
                ...steps,
                { do: "search" as const },
                { do: "catchUp" as const },
                { do: "search" as const },
              ]) {
                const branches = history.branches().filter(({ head }) => head !== null);
                const branch = one(branches, "branch" in s ? s.branch : 0).id;
                const commits = [...history.commits.keys()];
                if (s.do === "put") history.put(branch, s.key, s.vector, { lang: s.lang });
                if (s.do === "delete") history.delete(branch, s.key);
                if (s.do === "fork") history.fork(`f${commits.length}`, one(commits, s.commit));
                if (s.do === "drop" && branch !== history.main) history.move(branch, null);
                if (s.do === "rewind") history.rewind(branch, one(commits, s.commit));
                if (s.do === "merge") history.merge(branch, one(branches, s.other).head as never);
                if (s.do === "turn")
                  history.change(history.head(branch), { [s.key]: history.record(s.vector, { lang: s.lang }) });
                if (s.do === "erase" && history.values.size > 0)
                  history.values.delete(one([...history.values.keys()], s.value));
                if (s.do === "catchUp") {
                  await index.catchUp();
                  await checkLive(history, storage);
                  await check();
                }
                if (s.do === "reindex") expect(await index.reindex()).toBe(await index.count());
                if (s.do === "search") await check();
                if (s.do !== "reopen") continue;
                notes.push(...index.status().notes);
                await index.close();
                index = await openIndex(history, place, keep);
              }
              expect(index.status().state).not.toBe("failed");
              // Right because the index was right, not because something was found wrong and mended.
              expect([...notes, ...index.status().notes]).toEqual([]);
            } finally {
              await index.close();
            }
          },
        ),
        { numRuns: rounds(20) * Number(process.env["VLINDER_RUNS"] ?? 1), interruptAfterTimeLimit: 20_000 },
      );
    },
    60_000,
  );
});
