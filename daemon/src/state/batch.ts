import type { Hash } from "@vlinder/protocol";
import type { BranchMove, Note, StoredObject, StoredReply } from "../storage/object-storage.ts";
import type { Draft } from "./draft.ts";
import type { Retiring } from "./head.ts";

/** A retry of a request finds it by its id and must ask for the same. */
export interface Idempotency {
  readonly id: string;
  /** Hash of all that was asked. */
  readonly request: Hash;
}

/** At once where it can be. */
export type Work<T> = (draft: Draft) => T | Promise<T>;

/** A request that is to be computed. */
export interface Job {
  readonly work: Work<unknown>;
  readonly once: Idempotency | undefined;
  readonly resolve: (reply: unknown) => void;
  readonly reject: (error: unknown) => void;
  attempts: number;
}

/** Requests that share a transaction, and what it is to store. */
export interface Batch {
  readonly jobs: Job[];
  /** Answers the jobs, once all is durable. */
  readonly settle: (() => void)[];
  readonly objects: StoredObject[];
  readonly replies: StoredReply[];
  readonly notes: Note[];
  /** For each branch one move, from where it was before the batch to where it ends; a deletion is a move of its own. */
  readonly moves: Map<Hash, BranchMove[]>;
  readonly retiring: Retiring[];
  readonly commits: Hash[];
  bytes: number;
}

export function newBatch(): Batch {
  return {
    jobs: [],
    settle: [],
    objects: [],
    replies: [],
    notes: [],
    moves: new Map(),
    retiring: [],
    commits: [],
    bytes: 0,
  };
}

/** A tombstone has the commit that the branch had last: so what moved before a deletion is not left out. */
export function addMove(moves: Map<Hash, BranchMove[]>, move: BranchMove): void {
  const earlier = moves.get(move.id);
  if (earlier === undefined) {
    moves.set(move.id, [move]);
    return;
  }
  const last = earlier.at(-1);
  if (last === undefined || last.next === null || move.next === null) {
    earlier.push(move);
    return;
  }
  const sealed = move.sealed ?? last.sealed;
  const deleted = move.deleted === undefined ? last.deleted : [...(last.deleted ?? []), ...move.deleted];
  earlier[earlier.length - 1] = {
    ...move,
    expected: last.expected,
    ...(deleted === undefined ? {} : { deleted }),
    ...(sealed === undefined ? {} : { sealed }),
  };
}
