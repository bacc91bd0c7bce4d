import { BIG_BYTES, BIG_KEYS, bigKeyAt, keyAt, Values } from "../values.ts";

/** Keys and values at one size of state. */
export interface Lane {
  put(key: string, value: Uint8Array): Promise<unknown>;
  /** Rejects when there is no such key. */
  get(key: string): Promise<unknown>;
}

/** One of those that are measured over the same keys and values. */
export interface Contestant {
  readonly name: string;
  /** Its state of so many keys, which it has filled. */
  lane(keys: number): Promise<Lane>;
  /** Bytes that it has sent to the disk so far; NaN: not known. */
  written(): number;
  stop(): Promise<void>;
}

/** A peer that is only here where it can be had, or why it is not. */
export type Optional = { readonly peer: Contestant } | { readonly missing: string };

export async function optional(start: () => Promise<Contestant>): Promise<Optional> {
  try {
    return { peer: await start() };
  } catch (error) {
    return { missing: error instanceof Error ? error.message : String(error) };
  }
}

/** All keys that a peer must have before it is measured, with the sizes of their values. */
export function* keysToFill(keys: number): Generator<{ readonly key: string; readonly value: Uint8Array }> {
  const [values, large] = [new Values(), new Values(BIG_BYTES)];
  for (let n = 0; n < keys; n++) yield { key: keyAt(n), value: values.next() };
  for (let n = 0; n < BIG_KEYS; n++) yield { key: bigKeyAt(n, keys), value: large.next() };
}
