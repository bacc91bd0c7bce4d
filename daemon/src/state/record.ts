import type { BranchName, CommitEvent, EventKind, Hash } from "@vlinder/protocol";
import { andThen } from "./and-then.ts";
import type { Draft } from "./draft.ts";
import { recorded, storeValues } from "./turns/recorded.ts";

/** Something that happened and changed no key: a call of a model. */
export interface RecordRequest {
  readonly kind: EventKind;
  readonly branch: BranchName;
  readonly info: NonNullable<CommitEvent["info"]>;
  /** Values that belong to the commit; at least one. */
  readonly values: Readonly<Record<string, Uint8Array>>;
  readonly session?: string;
  readonly turn?: string;
}

/** A commit without changes, whose event has the values. @throws not_found, sealed */
export function record(draft: Draft, request: RecordRequest): { state: Hash } | Promise<{ state: Hash }> {
  const { session, turn } = request;
  const branch = draft.writable(request.branch);
  const made = recorded(request);
  storeValues(draft, made);
  const { event } = made;
  const told = { event, ...(session === undefined ? {} : { session }), ...(turn === undefined ? {} : { turn }) };
  return andThen(draft.commit(branch, {}, told), ({ commit }) => ({ state: commit }));
}
