import { type BranchName, type CommitEvent, type EventKind, type Hash, sha256 } from "@vlinder/protocol";
import { andThen } from "./and-then.ts";
import type { Draft } from "./draft.ts";

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
  const { kind, info, values, session, turn } = request;
  const branch = draft.writable(request.branch);
  const event: CommitEvent = { kind, info, values: storeValues(draft, values) };
  const told = { event, ...(session === undefined ? {} : { session }), ...(turn === undefined ? {} : { turn }) };
  return andThen(draft.commit(branch, {}, told), ({ commit }) => ({ state: commit }));
}

/** Stores what an event names, and says how it names it. */
function storeValues(draft: Draft, values: Readonly<Record<string, Uint8Array>>): NonNullable<CommitEvent["values"]> {
  return Object.fromEntries(
    Object.entries(values).map(([name, bytes]) => {
      const hash = sha256(bytes);
      draft.value(hash, bytes);
      return [name, [hash, bytes.length]];
    }),
  );
}
