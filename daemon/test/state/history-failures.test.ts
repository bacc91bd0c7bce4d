import type { Changes, Commit, Hash } from "@vlinder/protocol";
import { expect, test } from "vitest";
import { HistoryIndex } from "../../src/state/history/history-index.ts";
import { MemorySegments, type SegmentRow } from "../../src/storage/segments/segment-storage.ts";

// What becomes of the history index when commits can't be read: a hole must not stay, as nobody would look there again.

const MOST = 4;
/** Of a line of commits: more rows than are stored at a time. */
const COMMITS = MOST * 60;
const HEAD = COMMITS - 1;

function hashOf(n: number): Hash {
  return n.toString(16).padStart(64, "0") as Hash;
}

class CountedSegments extends MemorySegments {
  rows = 0;

  override put(rows: readonly SegmentRow[], unfinished: readonly Hash[]): void {
    this.rows += rows.length;
    super.put(rows, unfinished);
  }
}

/** An index over a line of commits, of which those in `lost` can't be read. */
function opened(segments = new CountedSegments()) {
  const lost = new Set<Hash>();
  const source = {
    commit: async (hash: Hash): Promise<Commit> => {
      if (lost.has(hash)) throw new Error(`${hash} is away`);
      const n = Number.parseInt(hash, 16);
      const time = new Date(1_700_000_000_000 + n).toISOString();
      return { parents: n % COMMITS === 0 ? [] : [hashOf(n - 1)], time } as unknown as Commit;
    },
    changesOf: async (): Promise<Changes> => ({ kv: [] }),
  };
  const index = new HistoryIndex(segments, source, MOST);
  const build = (head: number): Promise<void> => {
    index.catchUp(`${head}`, hashOf(head));
    return index.settle();
  };
  return { segments, lost, index, build };
}

/** Commits that segments step over, from a head down. */
function covered(index: HistoryIndex, head: number): number {
  let commits = 0;
  for (let at: Hash | undefined = hashOf(head); at !== undefined;) {
    const segment = index.segment(at);
    if (segment === null) break;
    commits += segment.commits;
    at = segment.below[0];
  }
  return commits;
}

/** The first commit of a segment, in the middle of one, and the oldest. */
const PLACES = [HEAD - MOST * 50, HEAD - MOST * 50 - 2, 0];

test.for(PLACES)("what a build could not read the next one adds: commit %i", async (place) => {
  const { segments, lost, index, build } = opened();
  lost.add(hashOf(place));
  await expect(build(HEAD)).rejects.toThrow("is away");
  expect(segments.rows).toBeGreaterThan(32);
  expect(covered(index, HEAD)).toBeLessThan(COMMITS);
  lost.clear();
  await build(HEAD);
  expect(covered(index, HEAD)).toBe(COMMITS);
  await index.close();
});

test.for(PLACES)("and so does the next process: commit %i", async (place) => {
  const { segments, lost, index, build } = opened();
  lost.add(hashOf(place));
  await expect(build(HEAD)).rejects.toThrow("is away");
  await index.close();
  const next = opened(segments);
  await next.build(HEAD);
  expect(covered(next.index, HEAD)).toBe(COMMITS);
  await next.index.close();
});

test("what can't be read keeps nothing else from being added, and is told once", async () => {
  const { lost, index, build } = opened();
  const other = COMMITS + 100;
  lost.add(hashOf(HEAD));
  index.catchUp("other", hashOf(other));
  await expect(build(HEAD)).rejects.toThrow("is away");
  expect(covered(index, other)).toBe(101);
  await build(other + MOST);
  expect(covered(index, other + MOST)).toBe(101 + MOST);
  lost.clear();
  await build(other + MOST);
  expect(covered(index, HEAD)).toBe(COMMITS);
  await index.close();
});
