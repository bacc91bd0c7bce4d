import { type Commit, type Hash, type Key, VlinderError } from "@vlinder/protocol";
import type { Source } from "./source.ts";
import { getEntry } from "./tree/read.ts";

export interface HistoryEntry {
  readonly commit: Hash;
  readonly time: string | null;
  readonly event: string;
  /** Null: deleted. */
  readonly hash: Hash | null;
  readonly size: number;
}

/**
 * What a commit did to a key; null when it gave it no other value. A merge that took one parent's value did not: the
 * commit that made the value is in that parent's history. A promote did where the branch that it replaced had another.
 */
export async function keyChange(
  source: Source,
  key: Key,
  { hash, commit }: { readonly hash: Hash; readonly commit: Commit },
): Promise<HistoryEntry | null> {
  const entry = await change(source, key, hash, commit);
  if (entry === null) return null;
  return { commit: hash, time: commit.time ?? null, event: commit.event.kind, ...entry };
}

async function change(
  source: Source,
  key: Key,
  hash: Hash,
  commit: Commit,
): Promise<{ hash: Hash | null; size: number } | null> {
  const listed = (await source.changesOf(commit)).kv?.find(([changed]) => changed === key);
  if (commit.parents.length === 1 && commit.adopts === undefined) {
    return listed === undefined ? null : { hash: listed[1], size: listed[2] };
  }
  const isPromote = commit.event.kind === "promote";
  if (commit.adopts === undefined && listed === undefined && !isPromote) return null;
  try {
    const now = await valueAt(source, hash, key);
    const before = isPromote ? commit.parents.slice(1) : commit.parents;
    for (const parent of before) if ((await valueAt(source, parent, key)).hash === now.hash) return null;
    return now;
  } catch (error) {
    // Whether a merge, a rewind or a promote changed the key can't be told from dropped states: what others put is listed in any case.
    if (error instanceof VlinderError && error.code === "pruned") return null;
    throw error;
  }
}

async function valueAt(source: Source, commit: Hash, key: Key): Promise<{ hash: Hash | null; size: number }> {
  const head = await source.at(commit);
  return (await getEntry(head.nodes, head.snapshot.kv, key)) ?? { hash: null, size: 0 };
}
