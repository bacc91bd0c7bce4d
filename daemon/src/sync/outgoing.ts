import { type Hash, VlinderError } from "@vlinder/protocol";
import type { Exchange, ReadCommit } from "../state/api.ts";
import type { Kind, StoredObject } from "../storage/object-storage.ts";

/** An object to send; `end` after the last one of a commit, where a pack may be cut. */
export type Outgoing = { readonly object: StoredObject } | { readonly end: number };

interface Ref {
  readonly kind: Kind;
  readonly hash: Hash;
}

/** Objects that are read at once: at 64 KiB each at most 16 MiB are held. */
const READ = 256;

/**
 * What the bucket lacks of these commits' history, in the order in which a reader can take it:
 * parents first, and before each commit what it needs. `objectsOf` lists downwards (a list before its
 * chunks), so it is turned round. `has` is asked once for each object, and says whether it is in the
 * bucket or on its way.
 */
export async function* outgoingHistory(
  exchange: Exchange,
  commits: AsyncIterable<ReadCommit>,
  has: (kind: Kind, hash: Hash) => boolean,
): AsyncIterable<Outgoing> {
  for await (const group of grouped(commits)) {
    const refs: (Ref & { readonly commit?: ReadCommit })[] = [];
    const inGroup = new Set<string>();
    const wanted = ({ kind, hash }: Ref): boolean => {
      if (inGroup.has(`${kind} ${hash}`) || has(kind, hash)) return false;
      inGroup.add(`${kind} ${hash}`);
      return true;
    };
    for (const commit of group) {
      const ref = { kind: "commit", hash: commit.hash, commit } as const;
      if (!wanted(ref)) continue;
      const parts: Ref[] = [];
      for await (const part of exchange.objectsOf(commit.commit)) if (wanted(part)) parts.push(part);
      refs.push(...parts.reverse(), ref);
      if (refs.length >= READ) yield* readAll(exchange, refs.splice(0));
    }
    yield* readAll(exchange, refs);
  }
}

async function* grouped(commits: AsyncIterable<ReadCommit>): AsyncIterable<ReadCommit[]> {
  let group: ReadCommit[] = [];
  for await (const commit of commits) {
    group.push(commit);
    if (group.length < READ) continue;
    yield group;
    group = [];
  }
  yield group;
}

async function* readAll(
  exchange: Exchange,
  refs: readonly (Ref & { readonly commit?: ReadCommit })[],
): AsyncIterable<Outgoing> {
  for (let i = 0; i < refs.length; i += READ) {
    const slice = refs.slice(i, i + READ);
    const bytes = await readSlice(exchange, slice);
    for (const { kind, hash, commit } of slice) {
      const object = commit?.bytes ?? bytes.get(`${kind} ${hash}`) ?? null;
      // Whoever takes it may be done with it before the rest of the slice is asked for.
      bytes.delete(`${kind} ${hash}`);
      if (object === null) throw exchange.isPruned() ? pruned(kind, hash) : damaged(kind, hash);
      yield { object: { kind, hash, bytes: object } };
      if (commit !== undefined) yield { end: 1 };
    }
  }
}

async function readSlice(exchange: Exchange, slice: readonly Ref[]): Promise<Map<string, Uint8Array | null>> {
  const found = new Map<string, Uint8Array | null>();
  for (const kind of new Set(slice.map((ref) => ref.kind))) {
    if (kind === "commit") continue;
    const hashes = slice.filter((ref) => ref.kind === kind).map(({ hash }) => hash);
    const bytes = await exchange.read(kind, hashes);
    hashes.forEach((hash, i) => found.set(`${kind} ${hash}`, bytes[i] ?? null));
  }
  return found;
}

function pruned(kind: Kind, hash: Hash): VlinderError {
  return new VlinderError(
    "pruned",
    `the ${kind} ${hash} is not here: retention has dropped states of this agent, so its whole history can't be sent or exported`,
    {
      remedy:
        "a new bucket or an archive must get the whole history: go on with the bucket that has it, or bring the states back with " +
        "`vlinder gc AGENT --undo`; if nothing was dropped that this could be, run `vlinder verify AGENT`",
      details: { kind, hash },
    },
  );
}

function damaged(kind: Kind, hash: Hash): VlinderError {
  return new VlinderError(
    "internal",
    `the ${kind} ${hash} is missing from the state, so it can't be sent or exported`,
    {
      remedy: "run vlinder verify, which says what is damaged; another machine or a backup may have it",
      details: { kind, hash },
    },
  );
}
