import { setImmediate as nextTurn } from "node:timers/promises";
import { type BranchName, type Hash, MAIN, parseKey } from "@vlinder/protocol";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { HistoryIndex } from "../../src/state/history/history-index.ts";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";
import type { Kind } from "../../src/storage/object-storage.ts";
import { MemorySegments, type SegmentRow } from "../../src/storage/segments/segment-storage.ts";
import { openEngine, put } from "./harness.ts";

// When the history index is added to: behind the engine's writes, by a clock that a test moves.

beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] }));
afterEach(() => void vi.useRealTimers());

/** Each build ends with a `put`, of no rows where there were none. */
class CountedSegments extends MemorySegments {
  builds = 0;
  rows = 0;

  override put(rows: readonly SegmentRow[], unfinished: readonly Hash[]): void {
    this.builds++;
    this.rows += rows.length;
    super.put(rows, unfinished);
  }
}

async function opened() {
  const storage = new MemoryObjects("memory://builds");
  const read: Kind[] = [];
  const reads = storage.read.bind(storage);
  storage.read = (kind, hashes) => {
    read.push(kind);
    return reads(kind, hashes);
  };
  const segments = new CountedSegments();
  const { engine } = await openEngine({ storage, segments });
  const pass = async (): Promise<void> => {
    await vi.advanceTimersByTimeAsync(1000);
    for (let turn = 0; turn < 20; turn++) await nextTurn();
  };
  /** So many commits, with time to add them between. */
  const write = async (count: number, branch: BranchName = MAIN): Promise<void> => {
    for (let n = 0; n < count; n++) {
      await put(engine, { "/counter": `${n} ${Math.random()}` }, branch);
      await pass();
    }
  };
  // The first commit of all is a row of its own.
  await write(1);
  return { engine, storage, segments, read, pass, write };
}

test("commits that are no whole segment are looked at once they are, and what they changed is not read again", async () => {
  const { engine, segments, read, write } = await opened();
  expect(segments.builds).toBe(1);
  await put(engine, Object.fromEntries(Array.from({ length: 1000 }, (_, n) => [`/k/${n}`, `${n}`])));
  read.length = 0;
  await write(254);
  expect([segments.builds, segments.rows]).toEqual([1, 1]);
  await write(1);
  // A whole one, and what is left below it.
  expect([segments.builds, segments.rows]).toEqual([2, 3]);
  expect(read).toEqual([]);
  await engine.close();
});

test("so are a few commits of many keys", async () => {
  const { engine, segments, pass } = await opened();
  for (let n = 0; n < 16; n++) {
    await put(engine, Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`/${n}/${i}`, ""])));
    await pass();
  }
  expect([segments.builds, segments.rows]).toEqual([1, 1]);
  await put(engine, Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`/16/${i}`, ""])));
  await pass();
  expect([segments.builds, segments.rows]).toEqual([2, 3]);
  await engine.close();
});

test("a commit of so many keys that it is a segment by itself is looked at soon", async () => {
  const { engine, segments, read, pass } = await opened();
  read.length = 0;
  await put(engine, Object.fromEntries(Array.from({ length: 16_384 }, (_, i) => [`/${i}`, ""])));
  await pass();
  expect(segments.builds).toBe(2);
  expect(segments.get(engine.branch(MAIN).head)).not.toBeNull();
  expect(read).toContain("changes");
  await engine.close();
});

test("a head that was not written here just now is looked at soon, and so is one below which somebody reads", async () => {
  const { engine, storage, segments, pass, write } = await opened();
  await write(300);
  const { engine: again } = await openEngine({ storage, segments, contract: null });
  const { builds } = segments;
  // The first after opening: what is below was stored by another process.
  await put(again, { "/a": "1" });
  await pass();
  expect(segments.builds).toBe(builds + 1);
  await put(again, { "/a": "2" });
  await pass();
  expect(segments.builds).toBe(builds + 1);
  const parentOf = async (commit: Hash): Promise<Hash> => (await again.commit(commit)).parents[0] as Hash;
  const old = await parentOf(await parentOf(again.branch(MAIN).head));
  await again.fork("old" as BranchName, old);
  await pass();
  expect(segments.builds).toBe(builds + 2);
  for await (const _ of again.timeline.history(parseKey("/a"), again.branch(MAIN).head)) break;
  await pass();
  expect(segments.builds).toBe(builds + 3);
  await again.timeline.index.close();
  await engine.close();
});

test("a branch that is gone is not looked at: its commits may be, too", async () => {
  const { engine } = await opened();
  const commit = await engine.commit(engine.branch(MAIN).head);
  const gone = (): never => {
    throw new Error("the commit is gone");
  };
  const settled = async (end: (index: HistoryIndex) => void): Promise<void> => {
    const index = new HistoryIndex(new MemorySegments(), { commit: gone, changesOf: gone }, 100_000);
    await index.settle();
    const head = "a".repeat(64) as Hash;
    index.stored(head, commit, {});
    index.moved("old", head);
    end(index);
    // So many that nothing is remembered of it.
    for (let n = 0; n < 20_000; n++) index.stored(n.toString(16).padStart(64, "0") as Hash, commit, {});
    await index.settle();
    await index.close();
  };
  await settled((index) => index.moved("old", null));
  await expect(settled(() => {})).rejects.toThrow("the commit is gone");
  await engine.close();
});
