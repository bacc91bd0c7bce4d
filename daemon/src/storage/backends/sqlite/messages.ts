import type { WriterOptions } from "./connection.ts";
import type { Failure } from "./failure.ts";
import type { FoundConflict } from "./writer-branches.ts";

/** Makes a database known by a number of the caller's; has no answer. */
export interface Attachment {
  readonly op: "attach";
  readonly database: number;
  readonly options: WriterOptions;
}

/** A transaction, made by what its maker knows to be in the file. */
export interface MadeTransaction {
  readonly packed: ArrayBuffer;
  /** The view of the writer's session in which nobody else has written since that was known; null: apply it in any. */
  readonly view: number | null;
}

/** What the writer thread is asked; `call` comes back with the answer. */
export type WriterRequest = { readonly database: number; readonly call: number } & (
  | { readonly op: "open" }
  | ({ readonly op: "apply" } & MadeTransaction)
  | { readonly op: "remove"; readonly locations: Float64Array }
  | { readonly op: "dropReplies"; readonly before: number; readonly limit: number }
  | { readonly op: "dropBases" }
  | { readonly op: "reclaim"; readonly bytes: number }
  | { readonly op: "close" }
);

export type WriterMessage = Attachment | WriterRequest;

/**
 * What became of a transaction. `first`: the id of its first block, of which the others follow. `behind`: it was not applied, as
 * somebody else may have written since what it was made by; the view to make it by now.
 */
export type Outcome =
  | { readonly first: number }
  | { readonly conflict: FoundConflict }
  | { readonly behind: number }
  | { readonly failure: Failure };

export interface WriterAnswer {
  readonly call: number;
  /** Null: done, and there is nothing to say. */
  readonly outcome: Outcome | null;
  /** Of `open`: the session's view. Of `dropReplies`: blocks looked at. Of `dropBases`: 1 when there is more to do. Of `reclaim`: bytes given back; -1: somebody stands in the way. */
  readonly count: number;
}

/**
 * Answers of one round; why a checkpoint could not be made (which loses nothing, and is tried again); or what is being
 * done to the file at opening.
 */
export type WriterReport =
  | { readonly answers: readonly WriterAnswer[] }
  | { readonly database: number; readonly warning: Failure }
  | { readonly database: number; readonly notice: string };

export interface CheckpointRequest {
  readonly database: number;
  readonly path: string;
}

export interface CheckpointReport {
  readonly database: number;
  readonly failure: Failure | null;
}
