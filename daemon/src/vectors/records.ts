import { decodeVectorRecord, type Hash, type Key, type VectorRecord, VlinderError } from "@vlinder/protocol";
import type { History } from "./history.ts";

/** Where a record is: an entry of a tree, or a change that set one. */
export interface RecordName {
  readonly key: Key;
  readonly hash: Hash;
  readonly size: number;
}

export interface NamedRecord extends RecordName {
  readonly record: VectorRecord;
}

const TOGETHER = 64;

/**
 * The records of some names, in their order, read some at a time. Left out, and counted in
 * `skipped`, are those whose bytes are not here (erased) or are not a record; `verify` tells which.
 */
export async function* readRecords(
  history: History,
  names: AsyncIterable<RecordName> | Iterable<RecordName>,
  skipped: (name: RecordName) => void,
): AsyncGenerator<NamedRecord> {
  let batch: RecordName[] = [];
  for await (const name of names) {
    batch.push(name);
    if (batch.length < TOGETHER) continue;
    yield* readBatch(history, batch, skipped);
    batch = [];
    // Storage in memory answers without ever letting other requests in between.
    await new Promise((resolve) => setImmediate(resolve));
  }
  yield* readBatch(history, batch, skipped);
}

async function* readBatch(
  history: History,
  batch: readonly RecordName[],
  skipped: (name: RecordName) => void,
): AsyncGenerator<NamedRecord> {
  const records = await Promise.all(batch.map((name) => readRecord(history, name)));
  for (const [i, name] of batch.entries()) {
    const record = records[i] ?? null;
    if (record === null) skipped(name);
    else yield { ...name, record };
  }
}

/** Null when its bytes are not here or are not a record. */
export async function readRecord(
  history: History,
  { hash, size }: Omit<RecordName, "key">,
): Promise<VectorRecord | null> {
  const bytes = await history.value(hash, size);
  if (bytes === null) return null;
  try {
    return decodeVectorRecord(bytes);
  } catch (error) {
    if (error instanceof VlinderError && error.code === "invalid") return null;
    throw error;
  }
}
