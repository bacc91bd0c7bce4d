import type { Hash } from "@vlinder/protocol";
import { type FindCommit, isNewer, timeOf } from "./ancestry.ts";
import { Breather } from "./breather.ts";
import { Heap } from "./heap.ts";

/**
 * What a commit has in its history. However many are asked for, history is read once, and only as far back as the oldest
 * of them: no commit is older than its parents.
 */
export class Lineage {
  readonly #find: FindCommit;
  readonly #seen = new Set<Hash>();
  readonly #open = new Heap<{ readonly hash: Hash; readonly time: string; readonly parents: readonly Hash[] }>(isNewer);
  readonly #breather = new Breather();

  private constructor(find: FindCommit) {
    this.#find = find;
  }

  static async of(find: FindCommit, commit: Hash): Promise<Lineage> {
    const lineage = new Lineage(find);
    await lineage.#add(commit);
    return lineage;
  }

  /** Whether a commit is in the history, or is the commit itself. One that is not here is not. */
  async has(hash: Hash): Promise<boolean> {
    if (this.#seen.has(hash)) return true;
    const commit = await this.#find(hash);
    if (commit === null) return false;
    const floor = timeOf(commit);
    for (let link = this.#open.peek(); link !== undefined && link.time >= floor; link = this.#open.peek()) {
      this.#open.pop();
      for (const parent of link.parents) await this.#add(parent);
      if (this.#seen.has(hash)) return true;
      await this.#breather.breathe();
    }
    return false;
  }

  async #add(hash: Hash): Promise<void> {
    if (this.#seen.has(hash)) return;
    const commit = await this.#find(hash);
    if (commit === null) return;
    this.#seen.add(hash);
    this.#open.push({ hash, time: timeOf(commit), parents: commit.parents });
  }
}
