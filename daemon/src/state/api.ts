import type { BranchId, Changes, Commit, Contract, Hash, Key, Snapshot } from "@vlinder/protocol";
import type { Kind, StoredBranch, StoredObject } from "../storage/object-storage.ts";

/** The two trees of a snapshot. */
export type Space = "kv" | "vectors";

export interface Entry {
  readonly key: Key;
  readonly hash: Hash;
  /** Bytes of the value, or of the vector record. */
  readonly size: number;
}

export interface Page {
  readonly prefix?: Key;
  /** Keys greater than this one. */
  readonly after?: Key;
  readonly limit: number;
}

export interface DiffEntry {
  readonly key: Key;
  readonly from: Entry | null;
  readonly to: Entry | null;
}

/** The state at one commit. Immutable; may be kept as long as it is useful. */
export interface View {
  readonly commit: Hash;
  readonly snapshot: Snapshot;
  get(space: Space, key: Key): Promise<Entry | null>;
  /** In key order. */
  list(space: Space, page: Page): Promise<Entry[]>;
  /** Every entry in key order, without holding them all. */
  entries(space: Space): AsyncIterable<Entry>;
  totals(space: Space): Promise<{ readonly count: number; readonly bytes: number }>;
  /** What changed from this state to another of the same agent, in key order; equal subtrees are skipped. */
  diff(space: Space, to: View): AsyncIterable<DiffEntry>;
  contract(): Promise<Contract | null>;
}

export interface ReadCommit {
  readonly hash: Hash;
  readonly commit: Commit;
  readonly bytes: Uint8Array;
}

/** How a branch of another machine is, as its head file says. */
export interface TheirBranch {
  readonly id: BranchId;
  readonly name: string;
  /** Null: deleted there. */
  readonly head: Hash | null;
  /** The commits that it had when it was deleted, in order; also of one that came back. */
  readonly deleted: readonly Hash[];
  readonly sealed: boolean;
}

export interface Integrated {
  /** The name here; `<name>-<short id>` when another branch has the name. */
  readonly name: string;
  readonly result: "unchanged" | "fast-forward" | "merged" | "new" | "deleted" | "kept";
  readonly head: Hash;
  readonly conflicts: number;
  /** What a person should know, in a sentence each. */
  readonly notes: readonly string[];
}

/** What sync and the vector index see of an agent's state. */
export interface History {
  /** Durable now, tombstones too. */
  branches(): readonly StoredBranch[];
  /** Whether each commit is here with its whole history. */
  has(commits: readonly Hash[]): Promise<boolean[]>;
  view(commit: Hash): Promise<View>;
  /** Commits reachable from `heads` and not from `bases` (unknown bases are ignored), parents before children. */
  newCommits(heads: readonly Hash[], bases: readonly Hash[]): AsyncIterable<ReadCommit>;
  /** What a commit changed, read from its change list where it has one; of a rewind, nothing. */
  changesOf(commit: Commit): Promise<Changes>;
  /** The bytes of a value or vector record; null when they are not here. */
  value(hash: Hash, size: number): Promise<Uint8Array | null>;
}

/** For what takes objects in several calls of which the next begins before the last one ends. */
export interface Beside {
  /** Ends with the call before, whose objects these may need: only values are stored earlier than that. Its error is thrown. */
  readonly earlier?: Promise<void>;
  /** All but the commits is stored, or can't be: the next call may begin. */
  readonly onValues?: () => void;
}

export interface Exchange extends History {
  /** The objects that a commit brings besides itself: change list, contract, values, chunk lists, then their chunks. */
  objectsOf(commit: Commit): AsyncIterable<{ readonly kind: Kind; readonly hash: Hash }>;
  /** Nodes and snapshot of the trees at a commit, as `StoredObject`s. */
  treeObjects(commit: Hash): AsyncIterable<StoredObject>;
  read(kind: Kind, hashes: readonly Hash[]): Promise<(Uint8Array | null)[]>;
  /** Whether retention has dropped states here, so that values of old commits may be missing. */
  isPruned(): boolean;
  readonly retention: {
    /** Carries out `erase` commits that are owed: what of their values is here then is needed. */
    settle(): Promise<unknown>;
    /** Of these values those that commits need, whether they are here or not: some commit gave one to a key, and no `erase` commit covers that. */
    needed(hashes: readonly Hash[]): Promise<Hash[]>;
  };
  /** True: what `receive` was given it needs no longer when it has resolved, so that its memory can be given back. */
  readonly keepsCopies?: boolean;
  /**
   * Takes objects from outside: every hash is checked, nodes, lists, snapshots and commits must be
   * canonical, a commit's parents must be here or earlier in the call, its values must be here or in the call, and its changes must
   * give its snapshot. Nothing is visible on a branch yet. @throws invalid, saying which object is wrong; it
   * and what needs it are not stored then
   *
   * @param erasures `erase` commits that are to come in later calls, with their lists: values that they list may be missing
   */
  receive(
    objects: readonly StoredObject[],
    erasures?: readonly StoredObject[],
    beside?: Beside,
  ): Promise<{ readonly commits: number; readonly objects: number }>;
  /** Moves branches as sync.md's rules say: fast-forward, merge, take over, tombstones, seals. `theirs` may hold several heads of one branch. */
  integrate(theirs: readonly TheirBranch[]): Promise<Integrated[]>;
}
