import type { Hash } from "@vlinder/protocol";

/**
 * Kinds of objects, each a space of its own. All but `list` are stored under the SHA-256 of their
 * bytes; a `list` (chunk list) of the top level is stored under the hash of the value whose parts it
 * lists. A `snapshot` is there exactly when the trees that it names are stored whole.
 */
export const KINDS = ["value", "chunk", "list", "node", "changes", "snapshot", "commit"] as const;
export type Kind = (typeof KINDS)[number];

export interface StoredObject {
  readonly kind: Kind;
  readonly hash: Hash;
  readonly bytes: Uint8Array;
  /** A stored object of the kind that this one resembles, where one is known: a backend may store the difference. */
  readonly like?: Hash;
}

/** A branch as it is stored. `head` null: it is deleted, a tombstone. */
export interface StoredBranch {
  readonly id: Hash;
  readonly name: string;
  readonly head: Hash | null;
  readonly sealed: boolean;
  /** The commits that it had when it was deleted, here or elsewhere, in order; also of one that came back. */
  readonly deleted: readonly Hash[];
}

export interface BranchMove {
  readonly id: Hash;
  readonly name: string;
  /** The head that the branch must have now; null: it must not exist, or be a tombstone. */
  readonly expected: Hash | null;
  /** The new head; null leaves a tombstone. */
  readonly next: Hash | null;
  /** Absent: as it was; a new branch is not. */
  readonly sealed?: boolean;
  /** Commits at which it was deleted elsewhere: they join those that are known. */
  readonly deleted?: readonly Hash[];
  /** For the reflog. */
  readonly why: string;
  /** When it moved here, ISO 8601; the reflog gives it in UTC with milliseconds, as `toISOString` writes it. */
  readonly time: string;
}

export interface ReflogEntry {
  readonly branch: Hash;
  readonly name: string;
  readonly from: Hash | null;
  readonly to: Hash | null;
  readonly time: string;
  readonly why: string;
}

/** The reply that was given to an idempotency id, kept so that a retry gets it again. */
export interface StoredReply {
  readonly id: string;
  /** Hash of what was asked; the same id with another one is a conflict. */
  readonly request: Hash;
  /** The reply, as canonical JSON. */
  readonly reply: string;
  /** Milliseconds since 1970; records older than `LIMITS.replyMemory` may be dropped. */
  readonly time: number;
}

export interface Transaction {
  readonly objects: readonly StoredObject[];
  readonly branches: readonly BranchMove[];
  readonly replies: readonly StoredReply[];
}

export interface Usage {
  /** Bytes on disk, or in memory. */
  readonly bytes: number;
  readonly counts: Readonly<Record<Kind, number>>;
}

/** A branch was not where a move expected it. Nothing of the transaction was applied. */
export class BranchConflict extends Error {
  override readonly name = "BranchConflict";
  readonly branch: Hash;
  readonly actual: Hash | null;
  constructor(branch: Hash, actual: Hash | null) {
    super(`branch ${branch} is at ${actual ?? "nothing"}`);
    this.branch = branch;
    this.actual = actual;
  }
}

/** What only reads an agent's objects. */
export interface ObjectReader {
  /**
   * The bytes of each hash, in order, or null where there is none. Sees every transaction whose
   * `apply` has resolved, and never a part of one. The caller must not change the bytes.
   */
  read(kind: Kind, hashes: readonly Hash[]): Promise<(Uint8Array | null)[]>;

  /** The same for one hash and at once, where the backend can do that; absent where it can't. */
  readNow?(kind: Kind, hash: Hash): Uint8Array | null;

  /**
   * Every object of a kind, each once, some at a time, in the order that is fastest to read: as they lie there.
   * What is stored or removed while it runs may be among them or not. What lies there and would not be found by its
   * hash (an index is damaged) must not be among them: verify looks no object up again. Absent: `scan` from the start is as
   * good (`sweepObjects` does either).
   */
  sweep?(kind: Kind): AsyncIterable<readonly StoredObject[]>;

  /** As `ObjectStorage` has it. */
  scan(kind: Kind, after: Hash | null, limit: number): Promise<StoredObject[]>;
}

/** What another thread of this process opens the same objects with, to read them: see `openObjectReader`. */
export interface ReaderAddress {
  readonly scheme: "sqlite";
  readonly path: string;
}

/**
 * Where an agent's values, tree nodes, commits and branches live. One instance is one agent; agents
 * never share. It knows nothing of what the objects mean.
 *
 * Errors: `apply` rejects with BranchConflict, or with a VlinderError `unavailable` (disk full, I/O,
 * connection lost), after which nothing of the transaction is visible. One exception: when the connection or the
 * writing thread is lost in the midst (`retryable`, and its message says so), the transaction may have been
 * applied as a whole, so that whoever goes on reads the branches again first. Every other method may
 * reject with `unavailable`.
 */
export interface ObjectStorage extends ObjectReader {
  /** What `status` and errors show; no secrets. */
  readonly uri: string;

  /** Absent: only this instance can read the objects, on the thread that has it. */
  readonly readerAddress?: ReaderAddress;

  /**
   * All or nothing, and durable when it resolves. Objects that are there already are left as they
   * are. Moves are compare-and-set, later ones of a transaction see what earlier ones did, and each is recorded
   * in the reflog. A reply whose id is there
   * already is left as it is. Transactions are applied in the order of the calls; several may be
   * under way. The caller hands the bytes over and must not change them afterwards.
   */
  apply(transaction: Transaction): Promise<void>;

  /** All branches, tombstones too, in the order of their ids. */
  branches(): Promise<StoredBranch[]>;

  /** Newest first; of one branch, or of all. */
  reflog(branch: Hash | null, limit: number): Promise<ReflogEntry[]>;

  reply(id: string): Promise<StoredReply | null>;

  /** The same at once, where the backend can do that; absent where it can't. */
  replyNow?(id: string): StoredReply | null;

  /** Forgets replies older than this time (milliseconds since 1970). */
  dropReplies(before: number): Promise<void>;

  /**
   * Objects of a kind with a hash greater than `after` (null: from the start), in the order of their hashes, at
   * most `limit`. For verify, gc, and copying to another backend.
   */
  scan(kind: Kind, after: Hash | null, limit: number): Promise<StoredObject[]>;

  /** Removes objects; those that are not there are no error. For gc and erasure only. */
  remove(kind: Kind, hashes: readonly Hash[]): Promise<void>;

  usage(): Promise<Usage>;

  /** Waits for what is under way. May be called twice; nothing else may be called after it. */
  close(): Promise<void>;
}
