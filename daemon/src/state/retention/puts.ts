import { type Hash, type Key, parseKey } from "@vlinder/protocol";
import type { ObjectStorage } from "../../storage/object-storage.ts";
import { sweepObjects } from "../../storage/sweep.ts";
import type { Space } from "../api.ts";
import { changesOf } from "./marks.ts";
import { CommitTable, type ParsedChange, type ParsedCommit, parsed } from "./commit-table.ts";
import { decodeErased, ERASED, type ErasedValue } from "./erased.ts";
import { Pace } from "./pace.ts";

/** A commit gave a key a value. */
export interface Put {
  readonly space: Space;
  readonly key: Key;
  readonly hash: Hash;
  readonly size: number;
  /** The commit's number. */
  readonly by: number;
}

/** A value that belongs to a commit and not to a key. */
export interface Recorded {
  readonly hash: Hash;
  readonly size: number;
}

/** All of a history that is asked for, in one pass over its commits. */
export interface PutsFound {
  readonly table: CommitTable;
  readonly puts: readonly Put[];
  /** Values of the events of recorded calls, each once. */
  readonly recorded: readonly Recorded[];
  /** Numbers of the `erase` commits. */
  readonly erases: readonly number[];
}

const RECORDS: ReadonlySet<string> = new Set(["invoke", "call", "effect", "complete", "fail"]);

/**
 * Every put that `wanted` wants. A merge hands on what others put: its changes count only where
 * nobody else put that value under that key (a conflict's copy, a merged document).
 */
export async function findPuts(
  storage: ObjectStorage,
  wanted: (space: Space, key: Key, hash: Hash) => boolean,
  progress: (commits: number) => void,
): Promise<PutsFound> {
  const puts: Put[] = [];
  const merged: Put[] = [];
  const recorded = new Map<Hash, Recorded>();
  const erases: number[] = [];
  const lists: [commit: ParsedCommit, by: number][] = [];
  const take = (
    by: number,
    joins: boolean,
    changes: { kv?: readonly ParsedChange[]; vectors?: readonly ParsedChange[] },
  ) => {
    for (const space of ["kv", "vectors"] as const) {
      for (const [text, hash, size] of changes[space] ?? []) {
        if (hash === null) continue;
        const key = parseKey(text);
        if (wanted(space, key, hash)) (joins ? merged : puts).push({ space, key, hash, size, by });
      }
    }
  };
  const table = await CommitTable.read(storage, progress, (commit, by) => {
    const { kind, values = {} } = commit.event;
    if (kind === "erase") erases.push(by);
    if (RECORDS.has(kind)) for (const [hash, size] of Object.values(values)) recorded.set(hash, { hash, size });
    if (typeof commit.changes === "string") lists.push([commit, by]);
    else if (commit.changes !== undefined) take(by, commit.parents.length > 1, commit.changes);
  });
  const pace = new Pace();
  for (const [commit, by] of lists) {
    take(by, commit.parents.length > 1, await changesOf(storage, commit));
    if (pace.due) await pace.rest();
  }
  const known = new Set(puts.map(pairOf));
  puts.push(...merged.filter((put) => !known.has(pairOf(put))));
  return { table, puts, recorded: [...recorded.values()], erases };
}

/** Of these values those that a commit names, for a key or beside its event. */
export async function namedValues(
  storage: ObjectStorage,
  hashes: ReadonlySet<Hash>,
  progress: (commits: number) => void,
): Promise<Set<Hash>> {
  const named = new Set<Hash>();
  const add = (hash: Hash | null): void => {
    if (hash !== null && hashes.has(hash)) named.add(hash);
  };
  const pace = new Pace();
  let done = 0;
  for await (const page of sweepObjects(storage, "commit")) {
    for (const { hash, bytes } of page) {
      const commit = parsed(hash, bytes);
      for (const [value] of Object.values(commit.event.values ?? {})) add(value);
      const { kv = [], vectors = [] } = await changesOf(storage, commit);
      for (const [, value] of [...kv, ...vectors]) add(value);
    }
    done += page.length;
    progress(done);
    if (pace.due) await pace.rest();
  }
  return named;
}

export function pairOf({ space, key, hash }: { space: Space; key: Key; hash: Hash }): string {
  return `${space} ${hash} ${key}`;
}

/** What an `erase` commit lists, and which commits it covers: those that whoever made it knew. */
export interface Erasure {
  readonly commit: Hash;
  readonly values: readonly ErasedValue[];
  readonly heads: readonly Hash[];
}

/** @throws DamagedObject, invalid */
export async function readErasure(
  storage: ObjectStorage,
  commit: Hash,
  value: (hash: Hash, size: number) => Promise<Uint8Array>,
): Promise<Erasure> {
  const [bytes] = await storage.read("commit", [commit]);
  const { event, parents } = parsed(commit, bytes as Uint8Array);
  const list = event.values?.[ERASED];
  const values = list === undefined ? [] : decodeErased(await value(...list));
  const heads = event.info?.["heads"];
  return { commit, values, heads: [...parents, ...((Array.isArray(heads) ? heads : []) as Hash[])] };
}

/**
 * The puts that still need their values: those that no erasure which lists their key and value
 * covers. So it is judged from commits alone, and comes out the same on every machine that has them.
 */
export function needed({ table, puts }: PutsFound, erasures: readonly Erasure[]): Put[] {
  let left = puts;
  for (const { values, heads } of erasures) {
    const pairs = new Set(values.flatMap(({ space, key, hash }) => (key && space ? pairOf({ space, key, hash }) : [])));
    if (!left.some((put) => pairs.has(pairOf(put)))) continue;
    const covered = new Uint8Array(table.size);
    table.walk(
      heads.map((head) => table.numberOf(head)),
      (number) => {
        if (covered[number] === 1) return false;
        covered[number] = 1;
        return true;
      },
    );
    left = left.filter((put) => covered[put.by] === 0 || !pairs.has(pairOf(put)));
  }
  return [...left];
}
