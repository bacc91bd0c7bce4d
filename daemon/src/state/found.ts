import type { Hash, Key } from "@vlinder/protocol";
import type { Entry } from "./api.ts";
import type { Head } from "./head.ts";
import type { Objects } from "./objects.ts";
import { getEntry } from "./tree/read.ts";

/** What a key holds at a state; null: nothing. */
export interface Found {
  readonly state: Hash;
  readonly value: { readonly hash: Hash; readonly size: number; readonly bytes: Uint8Array } | null;
}

/** At once, without a promise, where nodes and value are in memory: so are most of what agents ask for. */
export function findValue(objects: Objects, head: Head, key: Key): Found | Promise<Found> {
  const entry = getEntry(head.nodes, head.snapshot.kv, key);
  if (entry instanceof Promise) return entry.then((late) => withBytes(objects, head, late));
  return withBytes(objects, head, entry);
}

function withBytes(objects: Objects, { commit: state }: Head, entry: Entry | null): Found | Promise<Found> {
  if (entry === null) return { state, value: null };
  const { hash, size } = entry;
  const bytes = objects.recentValue(hash);
  if (bytes !== undefined) return { state, value: { hash, size, bytes } };
  return objects.requiredValue(hash, size).then((read) => ({ state, value: { hash, size, bytes: read } }));
}
