import { type Change, type Changes, type Hash, type Key, keyInCommit, linkPast } from "@vlinder/protocol";
import type { Entry, Space } from "./api.ts";
import { STORE_AFTER_COMMITS } from "./head.ts";
import type { Objects } from "./objects.ts";
import { getEntry } from "./tree/read.ts";

/**
 * What a key holds at a commit, without computing its trees: the changes since the stored tree are looked through, then
 * that tree. For a commit that nobody has read before this costs a tenth of a replay. Undefined: there is more to it
 * (a rewind on the way, a state that is not kept), and the state itself has to be asked.
 */
export async function pastEntry(objects: Objects, at: Hash, space: Space, key: Key): Promise<Entry | null | undefined> {
  let hash = at;
  const text = keyInCommit(key);
  for (let steps = 0; steps <= STORE_AFTER_COMMITS; steps++) {
    const bytes = objects.commitBytesNow(hash);
    const link = bytes === null ? null : linkPast(bytes, text);
    if (link !== null) {
      const found = objects.storedSnapshot(link.snapshot);
      const stored = found instanceof Promise ? await found : found;
      if (stored !== null) return await getEntry(objects, stored[space], key);
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

function changeOf(changes: Changes, space: Space, key: Key): Change | undefined {
  return changes[space]?.find(([changed]) => changed === key);
}
