import { type CommitEvent, type Hash, sha256 } from "@vlinder/protocol";
import type { Draft } from "../draft.ts";
import type { TurnEvent } from "./turn-ground.ts";

/** An event as its commit has it, and the values that belong to it. */
export interface Recorded {
  readonly event: CommitEvent;
  readonly values: readonly { readonly hash: Hash; readonly bytes: Uint8Array }[];
}

export function recorded({ kind, info, values = {} }: TurnEvent): Recorded {
  const named = Object.entries(values).map(([name, bytes]) => ({ name, bytes, hash: sha256(bytes) }));
  const refs = Object.fromEntries(named.map(({ name, hash, bytes }) => [name, [hash, bytes.length] as const]));
  const event: CommitEvent = {
    kind,
    ...(info === undefined ? {} : { info }),
    ...(named.length === 0 ? {} : { values: refs }),
  };
  return { event, values: named.map(({ hash, bytes }) => ({ hash, bytes })) };
}

/** Makes its values part of a transaction. */
export function storeValues(draft: Draft, { values }: Recorded): void {
  for (const { hash, bytes } of values) draft.value(hash, bytes);
}
