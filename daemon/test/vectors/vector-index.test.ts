import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type Hash, type Key, VlinderError } from "@vlinder/protocol";
import { IndexDamaged, type NearestQuery, type VectorStorage } from "../../src/storage/vector-storage.ts";
import { openVectorStorage } from "../../src/storage/vectors/open.ts";
import { expected, openIndex } from "./index-fixture.ts";
import { ModelHistory } from "./model-history.ts";

const folder = await mkdtemp(join(tmpdir(), "vlinder-vector-index-"));
afterAll(() => rm(folder, { recursive: true, force: true }));
let files = 0;
const newUri = () => `sqlite://${join(folder, `${++files}.db`)}`;
const query = { vector: Float32Array.of(1, 0), limit: 2 };

function history2(): ModelHistory {
  return new ModelHistory({ metric: "cosine", dimension: 2 });
}

/** A storage that hands every call of `nearest` to a function first. */
function watching(before: (query: NearestQuery) => void | Promise<void>): (storage: VectorStorage) => VectorStorage {
  return (storage) =>
    new Proxy(storage, {
      get(target, name) {
        if (name === "nearest") {
          return async (asked: NearestQuery) => {
            await before(asked);
            return target.nearest(asked);
          };
        }
        const member = Reflect.get(target, name, target) as unknown;
        return typeof member === "function" ? member.bind(target) : member;
      },
    });
}

describe("VectorIndex", () => {
  it("refuses what the contract does not declare, and another dimension", async () => {
    const none = new ModelHistory();
    const index = await openIndex(none, "memory://x");
    await expect(index.search(await none.view(none.main), query)).rejects.toMatchObject({ code: "not_declared" });
    await index.close();

    const history = history2();
    const other = await openIndex(history, "memory://x");
    const search = other.search(await history.view(history.main), { ...query, vector: Float32Array.of(1, 2, 3) });
    await expect(search).rejects.toMatchObject({ code: "invalid", details: { expected: 2, got: 3 } });
    await other.close();
  });

  it("opens nothing before the first vector", async () => {
    const history = new ModelHistory({ metric: "cosine" });
    let opened = 0;
    const index = await openIndex(history, "memory://x", (storage) => {
      opened++;
      return storage;
    });
    await index.catchUp();
    expect(await index.search(await history.view(history.main), query)).toEqual([]);
    expect([opened, index.status().state]).toEqual([0, "idle"]);
    history.move(history.main, history.change(history.main, {}, { metric: "cosine", dimension: 2 }));
    const head = history.put(history.main, "a", [1, 1]);
    await index.catchUp();
    expect(await index.search(await history.view(head), query)).toEqual(expected(history, head, "cosine", query));
    expect([opened, index.status().state]).toEqual([1, "ready"]);
    await index.close();
  });

  it("answers from the index: records are read for results only", async () => {
    const history = history2();
    for (let i = 0; i < 200; i++) history.put(history.main, `k${i}`, [i, 100]);
    const index = await openIndex(history, newUri());
    await index.catchUp();
    history.reads = 0;
    const head = history.head(history.main);
    expect(await index.search(await history.view(head), query)).toEqual(expected(history, head, "cosine", query));
    expect(history.reads).toBe(2);
    const past = history.held(head).commit.parents[0] as never;
    history.reads = 0;
    expect(await index.search(await history.view(past), query)).toEqual(expected(history, past, "cosine", query));
    expect(history.reads).toBe(2);
    await index.close();
  });

  it("leaves dead rows out at a head, and finds those that another fork still holds", async () => {
    const history = history2();
    history.put(history.main, "keep", [0, 1]);
    for (let i = 0; i < 30; i++) history.put(history.main, `k${i}`, [1, i / 100]);
    const fork = history.fork("fork", history.head(history.main));
    const asked: NearestQuery[] = [];
    const index = await openIndex(
      history,
      newUri(),
      watching((q) => void asked.push(q)),
    );
    await index.catchUp();
    for (let i = 0; i < 30; i++) {
      if (i % 2) history.put(history.main, `k${i}`, [-1, i / 100]);
      else history.delete(history.main, `k${i}`);
    }
    await index.catchUp();
    for (const branch of [history.main, fork]) {
      const head = history.head(branch);
      expect(await index.search(await history.view(head), query)).toEqual(expected(history, head, "cosine", query));
    }
    history.move(fork, null);
    await index.catchUp();
    asked.length = 0;
    const head = history.head(history.main);
    expect(await index.search(await history.view(head), query)).toEqual(expected(history, head, "cosine", query));
    // Nothing dead is nearer than the two results: one question was enough.
    expect(asked.map(({ limit, liveOnly }) => [limit, liveOnly])).toEqual([[2, true]]);
    await index.close();
  });

  it("catches up after a crash between the durable write and the index", async () => {
    const history = history2();
    history.put(history.main, "a", [1, 0]);
    const uri = newUri();
    const before = await openIndex(history, uri);
    await before.catchUp();
    await before.close();
    const head = history.put(history.main, "b", [1, 0.1]);
    const index = await openIndex(history, uri);
    const view = await history.view(head);
    expect(await index.search(view, query)).toEqual(expected(history, head, "cosine", query));
    expect(await index.count()).toBe(1);
    await index.catchUp();
    expect(await index.count()).toBe(2);
    expect(await index.search(view, query)).toEqual(expected(history, head, "cosine", query));
    expect(index.status()).toEqual({ state: "ready", notes: [] });
    await index.close();
  });

  it("counts a record once that several commits put in place and the index lacks", async () => {
    const history = history2();
    const index = await openIndex(history, newUri());
    await index.catchUp();
    for (const key of ["a", "b"]) history.put(history.main, key, [1, 0]);
    history.delete(history.main, "a");
    const head = history.put(history.main, "a", [1, 0]);
    expect(await index.search(await history.view(head), query)).toEqual(expected(history, head, "cosine", query));
    await index.close();
  });

  it("looks at each catch-up for records whose bytes were not here", async () => {
    const history = history2();
    const old = history.put(history.main, "a", [1, 0], { was: "erased" });
    const { hash } = [...history.held(old).vectors.values()][0] as { hash: Hash };
    const bytes = history.values.get(hash) as Uint8Array;
    history.values.delete(hash);
    history.delete(history.main, "a");
    const uri = newUri();
    let index = await openIndex(history, uri);
    await index.catchUp();
    await index.close();
    index = await openIndex(history, uri);
    history.values.set(hash, bytes);
    const found = expected(history, old, "cosine", query);
    expect(found).toHaveLength(1);
    expect(await index.search(await history.view(old), query)).toEqual(found);
    const fork = history.fork("fork", old);
    await index.catchUp();
    expect(await index.count()).toBe(1);
    expect(await index.search(await history.view(history.head(fork)), query)).toEqual(found);
    await index.close();
  });

  it("joins calls that wait, and none of them returns before its commit is in", async () => {
    const history = history2();
    const index = await openIndex(history, newUri());
    let advances = 0;
    const waiting: Promise<void>[] = [];
    for (let i = 0; i < 50; i++) {
      history.put(history.main, `k${i}`, [1, i]);
      waiting.push(index.catchUp().then(() => void advances++));
    }
    await Promise.all(waiting);
    expect([advances, await index.count()]).toEqual([50, 50]);
    await index.close();
  });

  it("is right while a branch moves under a search", async () => {
    const history = history2();
    for (let i = 0; i < 20; i++) history.put(history.main, `k${i}`, [1, i / 10]);
    let meanwhile: (() => Promise<void>) | null = null;
    const index = await openIndex(
      history,
      newUri(),
      watching(async () => {
        const run = meanwhile;
        meanwhile = null;
        await run?.();
      }),
    );
    await index.catchUp();
    const head = history.head(history.main);
    meanwhile = async () => {
      for (let i = 0; i < 20; i++) history.delete(history.main, `k${i}`);
      await index.catchUp();
    };
    expect(await index.search(await history.view(head), query)).toEqual(expected(history, head, "cosine", query));
    meanwhile = async () => void (await index.reindex());
    expect(await index.search(await history.view(head), query)).toEqual(expected(history, head, "cosine", query));
    await index.close();
  });

  it("does not take an empty answer from a storage that was dropped under a search", async () => {
    const history = history2();
    for (let i = 0; i < 5; i++) history.put(history.main, `k${i}`, [1, i]);
    let meanwhile: (() => Promise<unknown>) | null = null;
    const index = await openIndex(
      history,
      "memory://x",
      watching(async () => {
        const run = meanwhile;
        meanwhile = null;
        await run?.();
      }),
    );
    await index.catchUp();
    meanwhile = () => index.reindex();
    const head = history.head(history.main);
    expect(await index.search(await history.view(head), query)).toEqual(expected(history, head, "cosine", query));
    await index.close();
  });

  it("does not trust the marks that an unfinished build left", async () => {
    const history = history2();
    history.put(history.main, "a", [1, 0]);
    const stray = {
      key: "stray" as Key,
      hash: history.record([1, 1]).hash,
      vector: Float32Array.of(1, 1),
      metadata: {},
    };
    const uri = newUri();
    const left = await openVectorStorage(uri, { dimension: 2, metric: "cosine" });
    await left.add([stray]);
    await left.advance({ live: [stray], dead: [], position: null });
    await left.close();
    const again = await openIndex(history, uri);
    await again.catchUp();
    expect(await again.count()).toBe(1);
    await again.close();
  });

  it.each([
    ["damaged", new IndexDamaged("SQLITE_CORRUPT: database disk image is malformed")],
    ["out of reach", new VlinderError("unavailable", "disk I/O error")],
  ])("answers without a storage that is found %s by a search, and mends it", async (_what, error) => {
    const history = history2();
    for (let i = 0; i < 20; i++) history.put(history.main, `k${i}`, [1, i / 10]);
    let fail = false;
    const index = await openIndex(
      history,
      newUri(),
      watching(() => {
        if (!fail) return;
        fail = false;
        throw error;
      }),
    );
    await index.catchUp();
    const head = history.head(history.main);
    fail = true;
    expect(await index.search(await history.view(head), query)).toEqual(expected(history, head, "cosine", query));
    expect(fail).toBe(false);
    expect(await index.count()).toBe(20);
    const { state, notes } = index.status();
    expect([state, notes.length]).toEqual(["ready", 1]);
    await index.close();
  });

  it("does not trust a row that is not its record", async () => {
    const history = history2();
    for (let i = 0; i < 5; i++) history.put(history.main, `k${i}`, [1, i]);
    const index = await openIndex(history, "memory://x", (storage) => {
      const add = storage.add.bind(storage);
      storage.add = (rows) => add(rows.map((row) => ({ ...row, vector: Float32Array.of(0.5, 0.5) })));
      return storage;
    });
    await index.catchUp();
    const head = history.head(history.main);
    expect(await index.search(await history.view(head), query)).toEqual(expected(history, head, "cosine", query));
    expect(index.status().notes.join()).toContain("is not its record");
    await index.close();
  });

  it("is built anew for another dimension, and still answers for states of the old one", async () => {
    const history = history2();
    const old = history.put(history.main, "a", [1, 0]);
    const uri = newUri();
    const index = await openIndex(history, uri);
    await index.catchUp();
    history.move(history.main, history.change(old, {}, { metric: "l2", dimension: 3 }));
    const head = history.put(history.main, "b", [1, 0, 0]);
    await index.catchUp();
    expect(await index.count()).toBe(1);
    expect(await index.search(await history.view(old), query)).toEqual(expected(history, old, "cosine", query));
    const query3 = { vector: Float32Array.of(1, 2, 3), limit: 5 };
    const found = await index.search(await history.view(head), query3);
    expect(found).toEqual(expected(history, head, "l2", query3));
    expect(found.map(({ key }) => key)).toEqual(["b"]);
    await index.close();
  });

  it("is built anew when the history is another one, as after a restored backup", async () => {
    const uri = newUri();
    const one = history2();
    one.put(one.main, "a", [1, 0]);
    const first = await openIndex(one, uri);
    await first.catchUp();
    await first.close();
    const other = history2();
    other.put(other.main, "z", [1, 1]);
    const head = other.put(other.main, "y", [1, 2]);
    const index = await openIndex(other, uri);
    await index.catchUp();
    expect(await index.count()).toBe(2);
    expect(await index.search(await other.view(head), query)).toEqual(expected(other, head, "cosine", query));
    await index.close();
  });

  it("reports how far a reindex is, and counts its rows", async () => {
    const history = history2();
    for (let i = 0; i < 1200; i++)
      history.move(history.main, history.change(history.head(history.main), { [`k${i}`]: history.record([i, 1]) }));
    const index = await openIndex(history, newUri());
    const progress: [number, number | null][] = [];
    expect(await index.reindex((done, total) => void progress.push([done, total]))).toBe(1200);
    expect(progress).toEqual([
      [500, null],
      [1000, null],
      [1200, null],
      [1200, 1200],
    ]);
    await index.close();
  }, 60_000);

  it("closes during a build, and begins again at the next start", async () => {
    const history = history2();
    for (let i = 0; i < 1200; i++)
      history.move(history.main, history.change(history.head(history.main), { [`k${i}`]: history.record([i, 1]) }));
    const uri = newUri();
    const index = await openIndex(history, uri);
    const reindex = index.reindex(() => void index.close());
    await expect(reindex).rejects.toMatchObject({ code: "unavailable" });
    await index.close();
    const again = await openIndex(history, uri);
    const prefixed = { ...query, prefix: "k11" as Key };
    const head = history.head(history.main);
    expect(await again.search(await history.view(head), prefixed)).toEqual(expected(history, head, "cosine", prefixed));
    await again.catchUp();
    expect(await again.count()).toBe(1200);
    await again.close();
  }, 60_000);
});
