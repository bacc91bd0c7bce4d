import type { Changes, Commit, Hash, Key } from "@vlinder/protocol";
import { isNewer, timeOf } from "./ancestry.ts";
import type { Space } from "./api.ts";
import { Breather } from "./breather.ts";
import { Heap } from "./heap.ts";
import type { Head } from "./head.ts";
import { keyNumber, type Segment } from "./history/segment.ts";
import { listedConflicts, preferredBy } from "./merge-conflict.ts";
import type { Source } from "./source.ts";
import { getEntry } from "./tree/read.ts";

/** The commit that last changed a key: newer is the greater (time, hash). */
export interface Attribution {
  readonly time: string;
  readonly hash: Hash;
}

type Part = Space | "contract";

/** What a state holds there; null: nothing. */
async function valueAt(head: Head, part: Part, key: string): Promise<Hash | null> {
  if (part === "contract") return head.snapshot.contract;
  return (await getEntry(head.nodes, head.snapshot[part], key as Key))?.hash ?? null;
}

/** Keys that a commit's own list of changes has. */
function listed(changes: Changes, part: Part): Set<string> {
  if (part === "contract") return new Set(changes.contract === undefined ? [] : [""]);
  return new Set((changes[part] ?? []).map(([key]) => key));
}

/**
 * For each key, the commit that gave it the value that it has in a state. The value is followed down
 * the history that it came by: at a merge to a parent that has it (merges never count, unless the
 * value is the merge's own work, or somebody's choice); a rewind counts where it changed the key, and so does a promote
 * against the branch that it replaced (not of the contract, which it merges). `segmentAt`, for keys of values alone, lets stretches be stepped over that changed none of the keys.
 */
export async function lastChanges(
  source: Source,
  from: { readonly commits: readonly Hash[]; readonly head: Head },
  part: Part,
  keys: readonly string[],
  segmentAt: (top: Hash) => Segment | null = () => null,
): Promise<Map<string, Attribution>> {
  const breather = new Breather();
  const found = new Map<string, Attribution>();
  const waiting = new Map<Hash, Set<string>>();
  const open = new Heap<Attribution>(isNewer);

  const follow = async (hash: Hash, key: string): Promise<void> => {
    const set = waiting.get(hash);
    if (set !== undefined) {
      set.add(key);
      return;
    }
    waiting.set(hash, new Set([key]));
    open.push({ hash, time: timeOf(await source.commit(hash)) });
  };
  /** To the first of these commits that has the same value; false when none has. */
  const followSame = async (head: Head, candidates: readonly Hash[], key: string): Promise<boolean> => {
    const value = await valueAt(head, part, key);
    for (const candidate of candidates) {
      if ((await valueAt(await source.at(candidate), part, key)) !== value) continue;
      await follow(candidate, key);
      return true;
    }
    return false;
  };

  const newest = { time: from.head.time, hash: from.commits.toSorted().at(-1) as Hash };
  for (const key of keys) {
    if (from.commits.length === 1) await follow(from.commits[0] as Hash, key);
    else if (!(await followSame(from.head, from.commits, key))) found.set(key, newest);
  }

  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    const pending = waiting.get(at.hash);
    if (pending === undefined) continue;
    waiting.delete(at.hash);
    await breather.breathe();
    const segment = segmentAt(at.hash);
    const [below] = segment?.below ?? [];
    if (segment?.kind === "run" && below !== undefined) {
      for (const key of pending) {
        if (segment.may(keyNumber(key as Key))) continue;
        pending.delete(key);
        await follow(below, key);
      }
      if (pending.size === 0) continue;
    }
    const commit: Commit = await source.commit(at.hash);
    const [first, second] = commit.parents;
    const own = commit.adopts === undefined ? listed(await source.changesOf(commit), part) : null;
    const chosen = preferredBy(commit) === null ? null : await keysDecided(source, commit, part);
    for (const key of pending) {
      if (first === undefined || chosen?.has(key) === true) {
        found.set(key, at);
      } else if (second !== undefined) {
        const head = await source.at(at.hash);
        const replaces =
          part !== "contract" &&
          commit.event.kind === "promote" &&
          (await valueAt(head, part, key)) !== (await valueAt(await source.at(second), part, key));
        if (replaces || !(await followSame(head, commit.parents, key))) found.set(key, at);
      } else if (own === null) {
        if (!(await followSame(await source.at(at.hash), [first], key))) found.set(key, at);
      } else if (own.has(key)) {
        found.set(key, at);
      } else {
        await follow(first, key);
      }
    }
  }
  return found;
}

/** Keys that a merge lists as changed on both sides. */
async function keysDecided(source: Source, commit: Commit, part: Part): Promise<Set<string>> {
  const conflicts = await listedConflicts(source, commit);
  return new Set(conflicts.filter(({ space }) => space === part).map(({ key }) => key));
}
