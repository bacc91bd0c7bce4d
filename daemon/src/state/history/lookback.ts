import type { BranchId, Commit, Hash } from "@vlinder/protocol";
import { isNewer, timeOf } from "../ancestry.ts";
import { Breather } from "../breather.ts";
import type { Source } from "../source.ts";
import type { Segment } from "./segment.ts";

export interface Found {
  /** Null: the branch has nothing from then or before. */
  readonly found: Hash | null;
  /** The time of the oldest commit that was met. */
  readonly oldest: string | null;
}

/** The newest commit of a branch's line at or before a time. `isHidden`: not to be taken, though it is as old. */
export type Lookback = (
  branch: { readonly id: BranchId; readonly head: Hash },
  time: string,
  isHidden: (commit: Commit) => Promise<boolean>,
) => Promise<Found>;

/**
 * Looks back along the line of a branch: at a commit with two parents to those that were made on the branch, else to
 * those that were made where the commit was, else to both. When two machines wrote on the branch there are two lines for a
 * while, and the newer of what they come to is taken. The times are the commits' own, so that every machine with the same
 * history finds the same. Since no commit is older than its parents, nothing below one that is old enough matters.
 *
 * A million commits are some thousand steps: stretches of the history index that are newer are stepped over.
 */
export function lookingBack(source: Source, segmentAt: (top: Hash) => Segment | null): Lookback {
  return async ({ id, head }, time, isHidden) => {
    const breather = new Breather();
    const seen = new Set<Hash>([head]);
    const open = [head];
    let best: { hash: Hash; time: string } | null = null;
    let oldest: string | null = null;
    for (let hash = open.pop(); hash !== undefined; hash = open.pop()) {
      const segment = segmentAt(hash);
      let next: readonly Hash[];
      if (segment?.kind === "run" && segment.last.time > time) {
        oldest = older(oldest, segment.last.time);
        next = segment.below;
      } else {
        const commit = await source.commit(hash);
        const at = { hash, time: timeOf(commit) };
        if (at.time !== "") oldest = older(oldest, at.time);
        if (at.time !== "" && at.time <= time && !(await isHidden(commit))) {
          if (best === null || isNewer(at, best)) best = at;
          continue;
        }
        next = await lineOf(source, id, commit);
      }
      for (const parent of next) {
        if (seen.has(parent)) continue;
        seen.add(parent);
        open.push(parent);
      }
      await breather.breathe();
    }
    return { found: best?.hash ?? null, oldest };
  };
}

function older(one: string | null, other: string): string {
  return one === null || other < one ? other : one;
}

async function lineOf(source: Source, id: BranchId, { branch, parents }: Commit): Promise<readonly Hash[]> {
  if (parents.length < 2) return parents;
  // The first commit is what main is named after.
  const branches = await Promise.all(parents.map(async (hash) => (await source.commit(hash)).branch ?? hash));
  for (const wanted of [id, branch]) {
    const made = parents.filter((_, i) => branches[i] === wanted);
    if (made.length > 0) return made;
  }
  return parents;
}
