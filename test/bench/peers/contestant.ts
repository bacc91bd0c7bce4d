import { BIG_BYTES, BIG_KEYS, bigKeyAt, keyAt, Values } from "../values.ts";
import type { Measured, Task } from "./measure-lane.ts";

/** One of those that are measured over the same keys and values. */
export interface Contestant {
  readonly name: string;
  /** Fills its state of so many keys where that is not done yet. */
  measure(task: Task): Promise<Measured>;
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
