import { createHash } from "node:crypto";
import { CHUNKED_OVER, encodeChunkList, type Hash, LIST_ENTRIES, sha256 } from "@vlinder/protocol";
import type { StoredObject } from "../storage/object-storage.ts";

const MIN = 4 * 1024;
/** Up to here a boundary is 4 times rarer than behind it, so that sizes spread less (FastCDC). */
const TURN = 12 * 1024;
const MAX = 64 * 1024;
/** 14 bits, then 12: chunks of 13 KiB in the mean, and 1 KiB changed makes under 64 KiB of new ones (p99). */
const MASK_EARLY = 0xfffc_0000;
const MASK_LATE = 0xfff0_0000;

/** 256 words: the first 4 bytes (big-endian, as int32) of SHA-256("vlinder gear " + i). */
const GEAR = Int32Array.from({ length: 256 }, (_, i) =>
  createHash("sha256").update(`vlinder gear ${i}`).digest().readInt32BE(0),
);

/**
 * Content-defined chunking: a rolling hash over the last 32 bytes decides where a chunk ends, so
 * that an insertion in the middle of a large value changes a chunk or two and not all behind it.
 */
export function* cutChunks(bytes: Uint8Array): Generator<Uint8Array> {
  let start = 0;
  while (start < bytes.length) {
    const end = chunkEnd(bytes, start);
    yield bytes.subarray(start, end);
    start = end;
  }
}

function chunkEnd(bytes: Uint8Array, start: number): number {
  const stop = Math.min(bytes.length, start + MAX);
  if (stop - start <= MIN) return stop;
  const middle = Math.min(stop, start + TURN);
  let hash = 0;
  // The first bytes only fill the window: a boundary before the minimum is none.
  let i = start + MIN - 32;
  for (const from = start + MIN; i < from; i++) hash = ((hash << 1) + (GEAR[bytes[i] as number] as number)) | 0;
  for (; i < middle; i++) {
    hash = ((hash << 1) + (GEAR[bytes[i] as number] as number)) | 0;
    if ((hash & MASK_EARLY) === 0) return i + 1;
  }
  for (; i < stop; i++) {
    hash = ((hash << 1) + (GEAR[bytes[i] as number] as number)) | 0;
    if ((hash & MASK_LATE) === 0) return i + 1;
  }
  return stop;
}

/** The objects that store a value: its bytes, or for a large one chunks and the list of them. */
export function valueObjects(hash: Hash, bytes: Uint8Array): StoredObject[] {
  if (bytes.length <= CHUNKED_OVER) return [{ kind: "value", hash, bytes }];
  const objects: StoredObject[] = [];
  const parts: { hash: Hash; size: number }[] = [];
  for (const chunk of cutChunks(bytes)) {
    const chunkHash = sha256(chunk);
    objects.push({ kind: "chunk", hash: chunkHash, bytes: chunk });
    parts.push({ hash: chunkHash, size: chunk.length });
  }
  if (parts.length <= LIST_ENTRIES) {
    objects.push({ kind: "list", hash, bytes: encodeChunkList({ level: 1, parts }) });
    return objects;
  }
  const lists: { hash: Hash; size: number }[] = [];
  for (let i = 0; i < parts.length; i += LIST_ENTRIES) {
    const group = parts.slice(i, i + LIST_ENTRIES);
    const list = encodeChunkList({ level: 1, parts: group });
    const listHash = sha256(list);
    objects.push({ kind: "list", hash: listHash, bytes: list });
    lists.push({ hash: listHash, size: group.reduce((sum, part) => sum + part.size, 0) });
  }
  objects.push({ kind: "list", hash, bytes: encodeChunkList({ level: 2, parts: lists }) });
  return objects;
}
