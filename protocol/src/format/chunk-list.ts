import { invalid } from "../errors.ts";
import { asBuffer, type Hash, hashFromBytes } from "../hash.ts";
import { refuseNewerFormat } from "./version.ts";

/** A part of a large value, and the bytes of the value that are under it. */
export interface ChunkListPart {
  readonly hash: Hash;
  readonly size: number;
}

/** The order of a large value's parts. Level 1 lists chunks, every level above it lists of the one below. */
export interface ChunkList {
  readonly level: number;
  readonly parts: readonly ChunkListPart[];
}

/** A value over this many bytes is stored as chunks. */
export const CHUNKED_OVER = 64 * 1024;
/** Entries of one list at most. */
export const LIST_ENTRIES = 1024;
/** Levels of lists at most: with 16 entries a list or more, far beyond the largest value. */
export const LIST_LEVELS = 8;

const HEADER = 16;
const ENTRY = 40;

/** `u8 version=1, u8 level, u16 0, u32 n, u64 total`, then n times `32-byte hash, u64 size`; little-endian. */
export function encodeChunkList(list: ChunkList): Buffer {
  const buffer = Buffer.alloc(HEADER + ENTRY * list.parts.length);
  buffer[0] = 1;
  buffer[1] = list.level;
  buffer.writeUInt32LE(list.parts.length, 4);
  let total = 0;
  list.parts.forEach(({ hash, size }, i) => {
    const at = HEADER + ENTRY * i;
    buffer.write(hash, at, "hex");
    buffer.writeBigUInt64LE(BigInt(size), at + 32);
    total += size;
  });
  buffer.writeBigUInt64LE(BigInt(total), 8);
  return buffer;
}

/** @throws invalid */
export function decodeChunkList(bytes: Uint8Array): ChunkList {
  const buffer = asBuffer(bytes);
  refuseNewerFormat("a chunk list", buffer[0]);
  if (buffer.length < HEADER || buffer[0] !== 1) throw invalid("not a chunk list of format 1");
  const level = buffer[1] ?? 0;
  const n = buffer.readUInt32LE(4);
  if (level < 1 || level > LIST_LEVELS || buffer.readUInt16LE(2) !== 0 || n === 0 || n > LIST_ENTRIES) {
    throw invalid("not a chunk list");
  }
  if (buffer.length !== HEADER + ENTRY * n) throw invalid("not a chunk list: its length is wrong");
  let total = 0n;
  const parts = Array.from({ length: n }, (_, i) => {
    const at = HEADER + ENTRY * i;
    const size = buffer.readBigUInt64LE(at + 32);
    if (size === 0n || size > BigInt(Number.MAX_SAFE_INTEGER)) throw invalid("not a chunk list: a bad size");
    total += size;
    return { hash: hashFromBytes(buffer, at), size: Number(size) };
  });
  if (total !== buffer.readBigUInt64LE(8)) throw invalid("not a chunk list: sizes do not add up");
  return { level, parts };
}
