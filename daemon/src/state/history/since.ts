import { type Commit, type Hash, invalid } from "@vlinder/protocol";
import { commitsBetween, isAncestor, timeOf } from "../ancestry.ts";
import { Breather } from "../breather.ts";
import type { Source } from "../source.ts";
import type { Segment } from "./segment.ts";

/** A commit on the way from one state to a later one. */
export interface Step {
  readonly hash: Hash;
  readonly commit: Commit;
  /** The parent that the way comes from. */
  readonly parent: Hash;
}

type SegmentAt = (top: Hash) => Segment | null;

/**
 * The way from a commit to one that it leads to, oldest first: its first `limit` steps, at least one unless both
 * are the same. Down from the later one it takes the first parent, unless only the second leads to
 * the earlier one. So each step's changes, one after the other, turn the one state into the other. @throws invalid, when there is no way
 */
export async function stepsSince(
  source: Source,
  segmentAt: SegmentAt,
  from: Hash,
  head: Hash,
  limit: number,
): Promise<Step[]> {
  return (await alongFirst(source, segmentAt, from, head, limit)) ?? (await alongAny(source, from, head, limit));
}

/** Along first parents alone; null when `from` is not on that line. */
async function alongFirst(
  source: Source,
  segmentAt: SegmentAt,
  from: Hash,
  head: Hash,
  limit: number,
): Promise<Step[] | null> {
  const floor = timeOf(await source.commit(from));
  const breather = new Breather();
  // Commits on the line, newest first; between two of them at most a segment. Only the oldest are of use.
  let places: Hash[] = [];
  for (let at = head; at !== from; ) {
    places.push(at);
    if (places.length > 2 * limit) places = places.slice(-limit);
    const segment = segmentAt(at);
    let parent: Hash | undefined;
    if (segment?.kind === "run" && segment.last.time > floor) {
      [parent] = segment.below;
    } else {
      const commit = await source.commit(at);
      if (timeOf(commit) < floor) return null;
      [parent] = commit.parents;
    }
    if (parent === undefined) return null;
    at = parent;
    await breather.breathe();
  }
  const steps: Step[] = [];
  for (let end = from, place = places.pop(); place !== undefined && steps.length < limit; place = places.pop()) {
    const piece: Step[] = [];
    for (let at = place; at !== end; at = (piece.at(-1) as Step).parent) {
      const commit = await source.commit(at);
      piece.push({ hash: at, commit, parent: commit.parents[0] as Hash });
    }
    steps.push(...piece.reverse());
    end = place;
    await breather.breathe();
  }
  return steps.slice(0, limit);
}

async function alongAny(source: Source, from: Hash, head: Hash, limit: number): Promise<Step[]> {
  const find = (hash: Hash): Promise<Commit | null> => source.findCommit(hash);
  if (!(await isAncestor(find, from, head))) {
    throw invalid(`the commit ${from} is not in the history of ${head}`, {
      details: { from, state: head },
      remedy: "name the branch that the commit is on; or read the state as it is now, and go on from there",
    });
  }
  const leads = new Map<Hash, Hash>();
  for (const hash of await commitsBetween(find, [head], [from])) {
    const { parents } = await source.commit(hash);
    const parent = parents.find((one) => one === from || leads.has(one));
    if (parent !== undefined) leads.set(hash, parent);
  }
  const line: Hash[] = [];
  for (let at = head; at !== from; at = leads.get(at) as Hash) line.push(at);
  const oldest = line.reverse().slice(0, limit);
  return Promise.all(
    oldest.map(async (hash) => ({ hash, commit: await source.commit(hash), parent: leads.get(hash) as Hash })),
  );
}
