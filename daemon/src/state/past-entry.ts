import { asBuffer, type Change, type Changes, type Hash, type Key, keyInCommit, linkPast } from "@vlinder/protocol";
import type { Entry, Space } from "./api.ts";
import { STORE_AFTER_COMMITS } from "./head.ts";
import type { Objects } from "./objects.ts";
import { getEntry } from "./tree/read.ts";
import { type Step, Ways } from "./ways.ts";

/** Longer commits are decoded. */
const LONGEST = 65_536;
/** A way ends when it has so many bytes; it goes on in another. */
const WAY_BYTES = 500_000;

/** What keys held at commits of the past, without computing the trees there. */
export class PastEntries {
  readonly #objects: Objects;
  readonly #ways = new Ways();

  constructor(objects: Objects) {
    this.#objects = objects;
  }

  /**
   * What a key holds at a commit: the changes since the stored tree are looked through, then
   * that tree. For a commit that nobody has read before this costs a tenth of a replay. Undefined: there is more to it
   * (a rewind on the way, a state that is not kept), and the state itself has to be asked.
   */
  async find(at: Hash, space: Space, key: Key): Promise<Entry | null | undefined> {
    const objects = this.#objects;
    const wanted = keyInCommit(key);
    let hash = at;
    // Each time a commit at least is passed, or a way forgotten.
    for (let steps = 0; steps <= STORE_AFTER_COMMITS; steps++) {
      if (!this.#ways.has(hash)) await this.#explore(hash, wanted);
      const passage = this.#ways.from(hash, wanted);
      if (passage !== null) {
        const { to, names, snapshot } = passage;
        const stored = snapshot === null ? null : await objects.storedSnapshot(snapshot);
        if (stored !== null) return await getEntry(objects, stored[space], key);
        if (snapshot !== null) {
          this.#ways.drop(hash);
          continue;
        }
        hash = to;
        if (!names) continue;
      }
      const commit = await objects.findCommit(hash);
      if (commit === null) return undefined;
      const snapshot = await objects.storedSnapshot(commit.snapshot);
      if (snapshot !== null) return await getEntry(objects, snapshot[space], key);
      const [parent] = commit.parents;
      if (parent === undefined || commit.adopts !== undefined) return undefined;
      const change = changeOf(await objects.changesOf(commit), space, key);
      if (change !== undefined) return change[1] === null ? null : { key, hash: change[1], size: change[2] };
      hash = parent;
    }
    return undefined;
  }

  /** Goes from a commit to one whose trees are stored, as far as that is without a decoded commit, and notes the way. */
  async #explore(from: Hash, key: string): Promise<void> {
    const steps: Step[] = [];
    let size = 0;
    let hash = from;
    while (steps.length < STORE_AFTER_COMMITS && size < WAY_BYTES && !this.#ways.has(hash)) {
      const bytes = this.#objects.commitBytesNow(hash);
      const link = bytes === null || bytes.length > LONGEST ? null : linkPast(bytes, key);
      if (bytes === null || link === null) break;
      if ((await this.#objects.storedSnapshot(link.snapshot)) !== null) {
        this.#ways.add(steps, hash, link.snapshot);
        return;
      }
      steps.push({ commit: hash, text: asBuffer(bytes).toString("latin1") });
      size += bytes.length;
      hash = link.parent;
    }
    this.#ways.add(steps, hash, null);
  }
}

function changeOf(changes: Changes, space: Space, key: Key): Change | undefined {
  return changes[space]?.find(([changed]) => changed === key);
}
