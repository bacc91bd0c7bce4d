import type { Hash, Key } from "@vlinder/protocol";

/** Sets a key, or removes it when `hash` is null. */
export interface Edit {
  readonly key: Key;
  readonly hash: Hash | null;
  readonly size: number;
}
