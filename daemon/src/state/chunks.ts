import { createHash } from "node:crypto";

const MIN = 4 * 1024;
/** Up to here a boundary is 4 times rarer than behind it, so that sizes spread less (FastCDC). */
const TURN = 12 * 1024;
export const LONGEST_CHUNK = 64 * 1024;
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

/** Where the chunk ends that begins here. Sure only when `LONGEST_CHUNK` bytes are there, or the value's end. */
export function chunkEnd(bytes: Uint8Array, start: number): number {
  const stop = Math.min(bytes.length, start + LONGEST_CHUNK);
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
