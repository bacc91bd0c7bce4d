import type { Changes, Commit, Hash, Key } from "@vlinder/protocol";
import { HistoryIndex } from "../../src/state/history/history-index.ts";
import { MemorySegments, type SegmentRow } from "../../src/storage/segments/segment-storage.ts";

export const MOST = 4;
/** Of a line of commits: more rows than are stored at a time. */
export const COMMITS = MOST * 60;

export function hashOf(n: number): Hash {
  return n.toString(16).padStart(64, "0") as Hash;
}

class CountedSegments extends MemorySegments {
  rows = 0;
  puts = 0;
  /** Rows that can't be found any more. */
  isEmpty = false;

  override get(top: Hash): Uint8Array | null {
    return this.isEmpty ? null : super.get(top);
  }

  override put(rows: readonly SegmentRow[], unfinished: readonly Hash[]): void {
    this.rows += rows.length;
    this.puts++;
    this.isEmpty = false;
    super.put(rows, unfinished);
  }
}

/** An index over lines of commits, COMMITS each, of which those in `lost` can't be read. */
export function opened({
  segments = new CountedSegments(),
  keysOf = (_commit: number): string[] => [],
  most = MOST,
  /** Of commits whose parent is not the one before. */
  parents = new Map<number, number[]>(),
} = {}) {
  const lost = new Set<Hash>();
  const read: Hash[] = [];
  const source = {
    commit: async (hash: Hash): Promise<Commit> => {
      read.push(hash);
      if (lost.has(hash)) throw new Error(`${hash} is away`);
      const n = Number.parseInt(hash, 16);
      const time = new Date(1_700_000_000_000 + n).toISOString();
      const before = parents.get(n) ?? (n % COMMITS === 0 ? [] : [n - 1]);
      return { parents: before.map(hashOf), time, changes: n } as unknown as Commit;
    },
    changesOf: async (commit: Commit): Promise<Changes> => ({
      kv: keysOf(commit.changes as unknown as number).map((key) => [key as Key, null, 0]),
    }),
  };
  const index = new HistoryIndex(segments, source, most);
  const build = (head: number): Promise<void> => {
    index.catchUp(`${head}`, hashOf(head));
    return index.settle();
  };
  return { segments, lost, read, index, build };
}

/** The commits of the segments from a head down. */
export function segmentsBelow(index: HistoryIndex, head: number): number[] {
  const found: number[] = [];
  for (let at: Hash | undefined = hashOf(head); at !== undefined;) {
    const segment = index.segment(at);
    if (segment === null) break;
    found.push(segment.commits);
    at = segment.below[0];
  }
  return found;
}

/** Commits that segments step over, from a head down. */
export function covered(index: HistoryIndex, head: number): number {
  return segmentsBelow(index, head).reduce((sum, commits) => sum + commits, 0);
}
