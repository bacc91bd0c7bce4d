import { type ChunkList, type Hash } from "@vlinder/protocol";

/** A chunk of a large value, and where in the value it begins. */
export interface ChunkPlace {
  readonly hash: Hash;
  readonly size: number;
  readonly at: number;
}

/** Chunks that are read at once. */
const BATCH = 16;

/**
 * The chunks that hold the bytes from `start` to `end`, in order: only the lists on the way to them are
 * read. Null: a list is not here.
 */
export async function* chunksOf(
  list: (hash: Hash, top: boolean) => Promise<ChunkList | null>,
  value: Hash,
  start: number,
  end: number,
): AsyncGenerator<ChunkPlace | null> {
  async function* walk(hash: Hash, from: number, top: boolean): AsyncGenerator<ChunkPlace | null> {
    const found = await list(hash, top);
    if (found === null) {
      yield null;
      return;
    }
    let at = from;
    for (const part of found.parts) {
      if (at >= end) return;
      if (at + part.size > start) {
        if (found.level === 1) yield { ...part, at };
        else yield* walk(part.hash, at, false);
      }
      at += part.size;
    }
  }
  yield* walk(value, 0, true);
}

/** Items in groups, for reads that go out together. */
export async function* inBatches<T>(items: AsyncIterable<T>): AsyncGenerator<T[]> {
  let batch: T[] = [];
  for await (const item of items) {
    batch.push(item);
    if (batch.length < BATCH) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}
