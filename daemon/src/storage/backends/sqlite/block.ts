import { hashPrefix } from "./prefix-table.ts";

/*
 * A block is a row with several objects: `head` has one slot of 37 bytes for each, `data` their bytes one after
 * another. Small objects of a transaction share blocks that fill a page of SQLite, which makes a put cost a
 * fraction of a row. A slot, little-endian:
 *
 *   u8 shelf (3 bits) and flags, 32 hash, u32 length in data
 *
 * A delta's data: u48 location of its base, then `u16 offset, u8 length, bytes` for each stretch that differs from
 * the base, which has as many bytes and is no delta itself.
 */
export const SLOT_BYTES = 37;

export const SLOT = {
  shelf: 0x07,
  delta: 0x08,
  /** Nobody finds it any more. */
  removed: 0x10,
  /** Its bytes are still there, since deltas may rest on them. Only with `removed`. */
  base: 0x20,
} as const;

export const LOCATION_BYTES = 6;
const STRETCH_HEAD = 3;
/** Of a stretch: its length is one byte. */
const WORDS_MAX = 63;

export interface Block {
  readonly head: Buffer;
  readonly data: Buffer;
}

export function slotCount({ head }: { readonly head: Buffer }): number {
  return head.length / SLOT_BYTES;
}

export function slotFlags(head: Buffer, slot: number): number {
  return head[slot * SLOT_BYTES] as number;
}

export function slotHash(head: Buffer, slot: number): Buffer {
  return head.subarray(slot * SLOT_BYTES + 1, slot * SLOT_BYTES + 33);
}

export function slotPrefix(head: Buffer, slot: number): number {
  return hashPrefix(head, slot * SLOT_BYTES + 1);
}

export function slotLength(head: Buffer, slot: number): number {
  return head.readUInt32LE(slot * SLOT_BYTES + 33);
}

export function slotHas(head: Buffer, slot: number, hash: Buffer): boolean {
  const at = slot * SLOT_BYTES + 1;
  return hash.compare(head, at, at + 32) === 0;
}

export function writeSlot(head: Buffer, slot: number, flags: number, length: number): void {
  head[slot * SLOT_BYTES] = flags;
  head.writeUInt32LE(length, slot * SLOT_BYTES + 33);
}

/** A view of what a slot has in the block's data. */
export function slotData({ head, data }: Block, slot: number): Buffer {
  let start = 0;
  for (let i = 0; i < slot; i++) start += slotLength(head, i);
  return data.subarray(start, start + slotLength(head, slot));
}

/** What is compared, as words, and where it differs: made once, as a put compares several nodes, and three objects for each are for the collector to find. */
const LONGEST = 0xffff;
const left = new Int32Array((LONGEST + 1) / 4);
const right = new Int32Array((LONGEST + 1) / 4);
const leftBytes = Buffer.from(left.buffer);
const rightBytes = Buffer.from(right.buffer);
/** Starts and ends, in turn. A stretch takes 7 bytes and more of at most half of the whole, so there are fewer than 4,700, and one at the end. */
const stretches = new Int32Array((LONGEST + 1) / 4);

/**
 * Stretches in which two byte strings of one length differ, when that is worth it: at most half of the whole. Else null. They are
 * compared by four bytes at a time, and a stretch is as many.
 */
export function deltaOf(base: Buffer, location: number, bytes: Uint8Array): Buffer | null {
  const size = bytes.length;
  if (base.length !== size || size > LONGEST) return null;
  leftBytes.set(base);
  rightBytes.set(bytes);
  const words = size >>> 2;
  let count = 0;
  let total = LOCATION_BYTES;
  for (let at = 0; at < words; at++) {
    // Nearly all of it is the same.
    while (at + 4 <= words && isSame4(at)) at += 4;
    // Behind the last word is what was compared before.
    if (at >= words || left[at] === right[at]) continue;
    let end = at + 1;
    while (end < words && end - at < WORDS_MAX && left[end] !== right[end]) end++;
    stretches[count++] = at * 4;
    stretches[count++] = end * 4;
    total += STRETCH_HEAD + (end - at) * 4;
    if (total > size / 2) return null;
    at = end - 1;
  }
  const tail = words * 4;
  if (tail < size && leftBytes.compare(rightBytes, tail, size, tail, size) !== 0) {
    stretches[count++] = tail;
    stretches[count++] = size;
    total += STRETCH_HEAD + size - tail;
  }
  const delta = Buffer.allocUnsafe(total);
  let to = delta.writeUIntLE(location, 0, LOCATION_BYTES);
  for (let i = 0; i < count; i += 2) {
    const [start, end] = [stretches[i] as number, stretches[i + 1] as number];
    delta[to] = start & 0xff;
    delta[to + 1] = start >>> 8;
    delta[to + 2] = end - start;
    for (let from = start, at = to + STRETCH_HEAD; from < end; from++, at++) delta[at] = rightBytes[from] as number;
    to += STRETCH_HEAD + end - start;
  }
  return delta;
}

function isSame4(at: number): boolean {
  const differ =
    ((left[at] as number) ^ (right[at] as number)) |
    ((left[at + 1] as number) ^ (right[at + 1] as number)) |
    ((left[at + 2] as number) ^ (right[at + 2] as number)) |
    ((left[at + 3] as number) ^ (right[at + 3] as number));
  return differ === 0;
}

export function baseOf(delta: Buffer): number {
  return delta.readUIntLE(0, LOCATION_BYTES);
}

export function applyDelta(base: Buffer, delta: Buffer): Buffer {
  const bytes = Buffer.from(base);
  for (let at = LOCATION_BYTES; at < delta.length;) {
    const length = delta[at + 2] as number;
    delta.copy(bytes, delta.readUInt16LE(at), at + STRETCH_HEAD, at + STRETCH_HEAD + length);
    at += STRETCH_HEAD + length;
  }
  return bytes;
}

/** What makes the base of what a delta makes of the base. */
export function undoOf(base: Buffer, delta: Buffer): Buffer {
  const undo = Buffer.from(delta);
  for (let at = LOCATION_BYTES; at < delta.length;) {
    const length = delta[at + 2] as number;
    const start = delta.readUInt16LE(at);
    base.copy(undo, at + STRETCH_HEAD, start, start + length);
    at += STRETCH_HEAD + length;
  }
  return undo;
}
