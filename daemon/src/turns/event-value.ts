import { type Hash, VlinderError } from "@vlinder/protocol";
import type { StateEngine } from "../state/engine.ts";

/** A value that a commit names. */
export interface ValueRef {
  readonly hash: Hash;
  readonly size: number;
}

/** A value of a commit's event. @throws erased; pruned: retention has dropped it with the commit's state */
export async function eventValue(engine: StateEngine, commit: Hash, { hash, size }: ValueRef): Promise<Uint8Array> {
  if (size === 0) return new Uint8Array();
  return await orPruned(engine, commit, engine.requiredValue(hash, size));
}

/** Whether it is there, without reading it. @throws erased, pruned */
export async function requireEventValue(engine: StateEngine, commit: Hash, { hash, size }: ValueRef): Promise<void> {
  if (size > 0) await orPruned(engine, commit, engine.range(hash, size, 0, 1));
}

async function orPruned<T>(engine: StateEngine, commit: Hash, read: Promise<T>): Promise<T> {
  try {
    return await read;
  } catch (error) {
    // Of a state that was dropped it is no damage that the value is not there.
    if (error instanceof VlinderError && error.code === "internal") await engine.view(commit);
    throw error;
  }
}
