import type { Hash } from "@vlinder/protocol";

/**
 * Kinds of objects, each a space of its own. All but `list` are stored under the SHA-256 of their
 * bytes; a `list` (chunk list) of the top level is stored under the hash of the value whose parts it
 * lists. A `snapshot` is there exactly when the trees that it names are stored whole.
 */
export const KINDS = ["value", "chunk", "list", "node", "changes", "snapshot", "commit"] as const;
export type Kind = (typeof KINDS)[number];

/**
 * The versions of one object that edits make of each other. A backend may store the next one as a difference, and keeps
 * here what it needs for that: so it goes from memory with the object, and is found without being looked up.
 */
export class Lineage {
  /** The version that was stored last; null: none is. */
  stored: Hash | null;
  /** A backend's own. Others may see it, for another agent's objects too: it must tell whether it is the reader's and still true. */
  base: unknown = null;

  constructor(stored: Hash | null) {
    this.stored = stored;
  }
}

export interface StoredObject {
  readonly kind: Kind;
  readonly hash: Hash;
  readonly bytes: Uint8Array;
  /** Of an object that resembles its earlier versions. */
  readonly lineage?: Lineage;
  /** Of one that a sweep gave: where it lies, for `readAt`. */
  readonly place?: number;
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

/** Something that this machine remembers of the agent: what was pruned, a removal that is under way. It is not synced. */
export interface Note {
  readonly name: string;
  /** Null, in a transaction: it is forgotten. */
  readonly bytes: Uint8Array | null;
}

/** A note that is there. */
export interface StoredNote extends Note {
  readonly bytes: Uint8Array;
}

export interface Transaction {
  readonly objects: readonly StoredObject[];
  readonly branches: readonly BranchMove[];
  readonly replies: readonly StoredReply[];
  /** Absent: none. Later ones of a name count. */
  readonly notes?: readonly Note[];
}

/** A small transaction that is to outlive this process, though it is not applied yet. */
export interface KeptTransaction extends Pick<Transaction, "objects" | "replies"> {
  readonly notes: readonly Note[];
  /** Of its objects: when this one is stored, it is applied already, or needed no more. */
  readonly commit: Hash;
  /** What it is built on: without this one, it is of another database. */
  readonly base: Hash;
}

export interface Kept {
  /** It is applied, or not needed any more. Twice is as once. */
  drop(): void;
}

/** An object's name, and about how many bytes it takes in the storage: as many as it has, or fewer. */
export interface ObjectName {
  readonly hash: Hash;
  readonly size: number;
}

/** Moves of branches in the order in which they were made. */
export interface Moves {
  readonly entries: readonly ReflogEntry[];
  /** Where to go on; null: that was the last one. */
  readonly next: number | null;
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

/** Told of an object that lies beside one that is read, and was read with it; its bytes are to be copied at once. */
export type Neighbour = (hash: Hash, bytes: Uint8Array) => void;

/** What only reads an agent's objects. */
export interface ObjectReader {
  /**
   * The bytes of each hash, in order, or null where there is none. Sees every transaction whose
   * `apply` has resolved, and never a part of one. The caller must not change the bytes.
   */
  read(kind: Kind, hashes: readonly Hash[]): Promise<(Uint8Array | null)[]>;

  /**
   * The same for one hash and at once, where the backend can do that; absent where it can't. What it finds may be
   * noted at the lineage, so that the next version need not look for it. Others of the kind that cost nothing more are
   * told to `beside`, behind what is answered now, unless objects are removed before.
   */
  readNow?(kind: Kind, hash: Hash, lineage?: Lineage, beside?: Neighbour): Uint8Array | null;

  /** The same of one that `sweep` gave, from where it lay then, with no look at an index; null: it is not there any more. */
  readAt?(kind: Kind, hash: Hash, place: number): Uint8Array | null;

  /**
   * Every object of some kinds, each once, some at a time, in the order that is fastest to read: as they lie there.
   * What is stored or removed while it runs may be among them or not. What lies there and would not be found by its
   * hash (an index is damaged) must not be among them: verify looks no object up again. Absent: `scan` from the start is as
   * good (`sweepObjects` does either).
   */
  sweep?(kinds: readonly Kind[]): AsyncIterable<readonly StoredObject[]>;

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
   * True: when `apply` has resolved, it needs no longer the bytes of objects without a lineage; whoever had them for nothing else can give their
   * memory back, which matters where they come in tens of megabytes.
   */
  readonly keepsCopies?: true;

  /**
   * All or nothing, and durable when it resolves. Objects that are there already are left as they
   * are. Moves are compare-and-set, later ones of a transaction see what earlier ones did, and each is recorded
   * in the reflog. A reply whose id is there
   * already is left as it is. A note takes the place of the one of its name. Transactions are applied in the order of
   * the calls; several may be under way. The caller hands the bytes over and must not change them afterwards.
   */
  apply(transaction: Transaction): Promise<void>;

  /**
   * Keeps a transaction, which the next opening applies when this process ends before it is dropped; after a power cut it may be gone. Null:
   * it is too large, or there is no room. Absent: this backend can't.
   */
  keep?(transaction: KeptTransaction): Kept | null;

  /** All branches, tombstones too, in the order of their ids. */
  branches(): Promise<StoredBranch[]>;

  /** Newest first; of one branch, or of all. */
  reflog(branch: Hash | null, limit: number): Promise<ReflogEntry[]>;

  /**
   * The moves behind a position (0: all), oldest first, at most `limit`. A position is a `next` that was given
   * before; it stays good. `limit` is at least 1.
   */
  moves(after: number, limit: number): Promise<Moves>;

  /** The notes whose names begin with `prefix`, by name. */
  notes(prefix: string): Promise<StoredNote[]>;

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

  /** As `sweep`, without the bytes, which it need not read, and whether or not they would be found. */
  names(kind: Kind): AsyncIterable<readonly ObjectName[]>;

  /**
   * Removes objects, all or none; those that are not there are no error. In order with `apply`: what a later one
   * stores again is there. For gc and erasure only.
   */
  remove(kind: Kind, hashes: readonly Hash[]): Promise<void>;

  /**
   * Gives back to the system some of the space that removals left, about `bytes` at most, so that others wait only
   * for that. Returns how many bytes it gave back. 0: there are no more, and nothing that was removed can be read in the
   * storage's files any longer. @throws unavailable: somebody else holds the files; ask again
   */
  reclaim(bytes: number): Promise<number>;

  /**
   * Deletes copies of the whole that lie beside it, as a migration leaves one: what is erased must not stay in them.
   * Returns what it deleted, for people. Absent: there are never any.
   */
  dropCopies?(): Promise<string[]>;

  usage(): Promise<Usage>;

  /** Waits for what is under way. May be called twice; nothing else may be called after it. */
  close(): Promise<void>;
}
