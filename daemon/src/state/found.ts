import { type Hash, LIMITS } from "@vlinder/protocol";
import { andThen } from "./and-then.ts";
import type { Entry } from "./api.ts";
import type { FindObject } from "./find-object.ts";
import type { Objects } from "./objects.ts";

/** What a key holds at a state; null: nothing. Without its bytes when it is over `LIMITS.valueBytes`: those are read in parts. */
export interface Found {
  readonly state: Hash;
  readonly value: { readonly hash: Hash; readonly size: number; readonly bytes: Uint8Array | null } | null;
}

/** An entry of a state with its value; at once where it can be: a promise costs as much as all the rest of a get. */
export function foundAt(
  objects: Objects,
  state: Hash,
  entry: Entry | null,
  unsaved?: FindObject,
): Found | Promise<Found> {
  if (entry === null) return { state, value: null };
  const { hash, size } = entry;
  if (size > LIMITS.valueBytes) return { state, value: { hash, size, bytes: null } };
  return andThen(objects.askedValue(hash, size, unsaved), (bytes) => ({ state, value: { hash, size, bytes } }));
}
