import { asBuffer, type Change, type Changes, type Hash, type Key, keyInCommit, linkPast } from "@vlinder/protocol";
import type { Entry, Space } from "./api.ts";
import { STORE_AFTER_COMMITS } from "./head.ts";
import type { Objects } from "./objects.ts";
import { getEntry } from "./tree/read.ts";
import { TwoGenerations } from "./two-generations.ts";

/** Commits that are remembered: twice as many at most, so two megabytes of usual ones. */
const REMEMBERED = 1024;
/** Longer ones are not remembered. */
const LONGEST = 2048;

/** A commit whose trees are not stored, and that has one parent and no change list. */
interface Step {
  /** Its bytes, a character each. */
  readonly text: string;
  readonly parent: Hash;
}

/** What keys held at commits of the past, without computing the trees there. */
export class PastEntries {
  readonly #objects: Objects;
  /** Lately stepped over: who looks into the past looks at more than one commit there. It is true of them for good; trees that are stored later make the way shorter. */
  readonly #steps = new TwoGenerations<Hash, Step>(REMEMBERED);

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
    let hash = at;
    const wanted = keyInCommit(key);
    for (let steps = 0; steps <= STORE_AFTER_COMMITS; steps++) {
      const known = this.#steps.get(hash);
      if (known !== undefined && !known.text.includes(wanted)) {
        hash = known.parent;
        continue;
      }
      const bytes = objects.commitBytesNow(hash);
      const link = bytes === null ? null : linkPast(bytes, wanted);
      if (bytes !== null && link !== null) {
        const found = objects.storedSnapshot(link.snapshot);
        const stored = found instanceof Promise ? await found : found;
        if (stored !== null) return await getEntry(objects, stored[space], key);
        if (bytes.length <= LONGEST) {
          this.#steps.set(hash, { text: asBuffer(bytes).toString("latin1"), parent: link.parent });
        }
        hash = link.parent;
        continue;
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
}

function changeOf(changes: Changes, space: Space, key: Key): Change | undefined {
  return changes[space]?.find(([changed]) => changed === key);
}
