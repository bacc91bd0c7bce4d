import { type BranchId, type Commit, type Hash, invalid } from "@vlinder/protocol";
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

/**
 * The way from an earlier commit to a branch's head: of a merge's two parents it comes from the one whose commit was made on
 * this branch, or else from the first, unless only the other one leads back to where it begins. So each
 * step's changes, one after the other, turn the one state into the other.
 */
export class Way {
  readonly #source: Source;
  readonly #segmentAt: (top: Hash) => Segment | null;
  readonly #branch: { readonly id: BranchId; readonly head: Hash };
  readonly #breather = new Breather();

  constructor(
    source: Source,
    segmentAt: (top: Hash) => Segment | null,
    branch: { readonly id: BranchId; readonly head: Hash },
  ) {
    this.#source = source;
    this.#segmentAt = segmentAt;
    this.#branch = branch;
  }

  /** The first steps, oldest first; none only when `from` is the head. @throws invalid, when there is no way */
  async since(from: Hash, limit: number): Promise<Step[]> {
    return (await this.#straight(from, limit)) ?? (await this.#searched(from, limit));
  }

  /** Taking the parent that is preferred each time; null when that does not lead back to `from`. */
  async #straight(from: Hash, limit: number): Promise<Step[] | null> {
    const floor = timeOf(await this.#source.commit(from));
    // Commits on the way, newest first; between two of them at most a segment. Only the oldest are of use.
    let places: Hash[] = [];
    for (let at = this.#branch.head; at !== from;) {
      places.push(at);
      if (places.length > 2 * limit) places = places.slice(-limit);
      const segment = this.#segmentAt(at);
      let parent: Hash | undefined;
      if (segment?.kind === "run" && segment.last.time > floor) {
        [parent] = segment.below;
      } else {
        const commit = await this.#source.commit(at);
        if (timeOf(commit) < floor) return null;
        [parent] = await this.#inOrder(commit);
      }
      if (parent === undefined) return null;
      at = parent;
      await this.#breather.breathe();
    }
    const steps: Step[] = [];
    for (let end = from, place = places.pop(); place !== undefined && steps.length < limit; place = places.pop()) {
      const piece: Step[] = [];
      for (let at = place; at !== end; at = (piece.at(-1) as Step).parent) {
        const commit = await this.#source.commit(at);
        const [parent] = await this.#inOrder(commit);
        piece.push({ hash: at, commit, parent: parent as Hash });
      }
      steps.push(...piece.reverse());
      end = place;
      await this.#breather.breathe();
    }
    return steps.slice(0, limit);
  }

  async #searched(from: Hash, limit: number): Promise<Step[]> {
    const { head } = this.#branch;
    const find = (hash: Hash): Promise<Commit | null> => this.#source.findCommit(hash);
    if (!(await isAncestor(find, from, head))) {
      throw invalid(`the commit ${from} is not in the history of ${head}`, {
        details: { from, state: head },
        remedy: "name the branch that the commit is on; or read the state as it is now, and go on from there",
      });
    }
    const leads = new Map<Hash, Hash>();
    for (const hash of await commitsBetween(find, [head], [from])) {
      const parents = await this.#inOrder(await this.#source.commit(hash));
      const parent = parents.find((one) => one === from || leads.has(one));
      if (parent !== undefined) leads.set(hash, parent);
      await this.#breather.breathe();
    }
    const line: Hash[] = [];
    for (let at = head; at !== from; at = leads.get(at) as Hash) line.push(at);
    return Promise.all(
      line
        .reverse()
        .slice(0, limit)
        .map(async (hash) => ({ hash, commit: await this.#source.commit(hash), parent: leads.get(hash) as Hash })),
    );
  }

  /** A commit's parents, those that were made on this branch first. */
  async #inOrder({ parents }: Commit): Promise<readonly Hash[]> {
    if (parents.length < 2) return parents;
    // The first commit is what main is named after.
    const branches = await Promise.all(parents.map(async (hash) => (await this.#source.commit(hash)).branch ?? hash));
    const own = parents.filter((_, i) => branches[i] === this.#branch.id);
    return [...own, ...parents.filter((hash) => !own.includes(hash))];
  }
}
