import { type Commit, type Hash, isHash, VlinderError } from "@vlinder/protocol";
import { isNewer, timeOf } from "./ancestry.ts";
import { Heap } from "./heap.ts";
import type { Source } from "./source.ts";

/** Commits reachable from one, newest first: by (time, hash), and never a commit before one of its children that the walk has met. */
export async function* walkBack(source: Source, from: Hash): AsyncGenerator<{ hash: Hash; commit: Commit }> {
  const seen = new Set<Hash>([from]);
  const open = new Heap<{ hash: Hash; time: string; commit: Commit }>(isNewer);
  const push = async (hash: Hash): Promise<void> => {
    const commit = await source.commit(hash);
    open.push({ hash, time: timeOf(commit), commit });
  };
  await push(from);
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    yield { hash: at.hash, commit: at.commit };
    for (const parent of at.commit.parents) {
      if (seen.has(parent)) continue;
      seen.add(parent);
      await push(parent);
    }
  }
}

/** A commit by its hash or a unique prefix of it. `prefixed` lists what the storage has with that prefix. @throws not_found, invalid */
export async function resolveCommit(
  text: string,
  find: (hash: Hash) => Promise<Commit | null>,
  prefixed: (prefix: string) => Promise<Hash[]>,
): Promise<Hash> {
  if (isHash(text)) {
    if ((await find(text)) !== null) return text;
  } else {
    const found = await prefixed(text);
    if (found.length === 1) return found[0] as Hash;
    if (found.length > 1) {
      throw new VlinderError("invalid", `the prefix ${text} fits more than one commit`, {
        details: { candidates: found.slice(0, 10) },
        remedy: "give more digits",
      });
    }
  }
  throw new VlinderError("not_found", `there is no commit ${text}`, {
    details: { commit: text },
    remedy: "`vlinder log` shows the commits",
  });
}
