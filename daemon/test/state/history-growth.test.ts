import { expect, test } from "vitest";
import type { Changes, Commit, Hash, Key } from "@vlinder/protocol";
import { HistoryIndex } from "../../src/state/history/history-index.ts";
import { MemorySegments } from "../../src/storage/segments/segment-storage.ts";
import { COMMITS, covered, hashOf, MOST, opened, segmentsBelow } from "./history-lines.ts";

// The history index while branches grow: a build after each commit, or few.

/** Commits in segments and in the short run above them, from a head down. */
function whole(index: HistoryIndex, head: number): number {
  for (let above = 0; above < MOST; above++) {
    const commits = covered(index, head - above);
    if (commits > 0) return commits + above;
  }
  return 0;
}

test("a build reads what came since the last one, and not again what may become a segment", async () => {
  const { read, build, index } = opened({ most: COMMITS });
  await build(1);
  for (let head = 2; head < COMMITS; head++) {
    read.length = 0;
    await build(head);
    expect(new Set(read).size).toBe(1);
  }
  await index.close();
});

test("and stores nothing where there is nothing to store", async () => {
  const { segments, build, index } = opened();
  await build(0);
  const { puts } = segments;
  for (let head = 1; head < MOST; head++) await build(head);
  expect(segments.puts).toBe(puts);
  await build(MOST);
  expect(segments.puts).toBe(puts + 1);
  await index.close();
});

test("segments of a branch that grows are as long as they may be", async () => {
  const { build, index } = opened();
  for (let head = 0; head < COMMITS; head++) await build(head);
  const last = COMMITS - 1 - ((COMMITS - 1) % MOST);
  expect(segmentsBelow(index, last)).toEqual([...Array.from({ length: last / MOST }, () => MOST), 1]);
  await index.close();
});

test.for([2, 3, 5, 7])("all is found in them when %i commits came since the last build", async (step) => {
  const { build, index } = opened();
  for (let head = 0; head < COMMITS; head += step) {
    await build(head);
    expect(whole(index, head)).toBe(head + 1);
  }
  await index.close();
});

test("two branches that begin in the middle of a short run become segments, each on top of what they share", async () => {
  const fork = MOST + 2;
  const { build, index } = opened({ parents: new Map([[COMMITS, [fork]]]) });
  for (let head = 0; head <= fork; head++) await build(head);
  for (let n = 0; n < 4 * MOST; n++) {
    await build(fork + 1 + n);
    await build(COMMITS + n);
  }
  for (const head of [fork + 4 * MOST, COMMITS + 4 * MOST - 1]) expect(whole(index, head)).toBe(fork + 1 + 4 * MOST);
  await index.close();
});

test("keys that change again and again count once", async () => {
  const keys = Array.from({ length: 6000 }, (_, n) => `/${n}`);
  const { segments, build, index } = opened({ most: 20, keysOf: () => keys });
  for (let head = 0; head < 20; head++) await build(head);
  expect(segments.rows).toBe(1);
  await index.close();
});

test("as many different ones as a segment may have end it", async () => {
  const keysOf = (commit: number): string[] => Array.from({ length: 6000 }, (_, n) => `/${commit}/${n}`);
  const { segments, build, index } = opened({ most: 20, keysOf });
  for (let head = 0; head < 3; head++) await build(head);
  expect(segments.rows).toBe(1);
  await build(3);
  expect([segments.rows, covered(index, 3)]).toEqual([2, 4]);
  await index.close();
});

test("below a merge nothing is left for later", async () => {
  const merge = 10 * MOST;
  const { build, index } = opened({ parents: new Map([[merge, [MOST + 3, COMMITS + 2]]]) });
  for (let head = 0; head <= MOST + 2; head++) await build(head);
  await build(COMMITS + 1);
  await build(merge);
  expect([covered(index, merge), covered(index, COMMITS + 2)]).toEqual([MOST + 5, 3]);
  await index.close();
});

test("what a build owes is stored though it adds no rows, and no longer than it is owed", async () => {
  const { segments, lost, build, index } = opened();
  await build(0);
  lost.add(hashOf(1));
  await expect(build(1)).rejects.toThrow("is away");
  expect(segments.unfinished()).toEqual([hashOf(1)]);
  await index.close();
  segments.put([], [hashOf(0)]);
  const next = opened({ segments });
  await next.build(1);
  expect(segments.unfinished()).toEqual([]);
  await next.index.close();
});

test("a file that was begun anew in the middle of a run is filled by the next build", async () => {
  const { segments, build, index } = opened();
  const head = 10 * MOST + 1;
  for (let n = 0; n <= head; n++) await build(n);
  segments.isEmpty = true;
  await build(head + 1);
  expect(covered(index, 10 * MOST)).toBe(10 * MOST + 1);
  await index.close();
});

test("what is in segments leaves its memory to what no build has seen, of another agent, too", async () => {
  const read: Hash[] = [];
  const commit = (n: number): Commit =>
    ({
      parents: n === 0 ? [] : [hashOf(n - 1)],
      time: new Date(1_700_000_000_000 + n).toISOString(),
    }) as unknown as Commit;
  const changes = (n: number): Changes => ({ kv: [[`/${n}` as Key, null, 0]] });
  const open = (): HistoryIndex =>
    new HistoryIndex(new MemorySegments(), {
      commit: async (hash) => {
        read.push(hash);
        return commit(Number.parseInt(hash, 16));
      },
      changesOf: async () => ({}),
    });
  const [busy, waiting] = [open(), open()];
  const store = (index: HistoryIndex, n: number): void => index.stored(hashOf(n), commit(n), changes(n));
  for (let n = 0; n < 3000; n++) store(waiting, n);
  // Ten times what has room for all agents together.
  for (let n = 0; n < 300_000; n++) {
    store(busy, n);
    if (n % 2000 !== 1999) continue;
    busy.catchUp("main", hashOf(n));
    await busy.settle();
  }
  expect(read).toEqual([]);
  waiting.catchUp("main", hashOf(2999));
  await waiting.settle();
  expect(read).toEqual([]);
  for (const index of [busy, waiting]) await index.close();
});
