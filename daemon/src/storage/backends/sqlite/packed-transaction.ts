import { type Hash, VlinderError } from "@vlinder/protocol";
import type { BranchMove, Note } from "../../object-storage.ts";
import { reflogTime } from "../reflog-time.ts";
import { SLOT, SLOT_BYTES } from "./block.ts";
import { type NewBlock, tooLarge } from "./blocks-of.ts";
import { FLAG } from "./unpacked-transaction.ts";

/*
 * A transaction on its way to the writer thread: one ArrayBuffer that is handed over, not copied. (Cloning
 * its hundreds of small Buffers costs more than storing them, and a view of a pooled Buffer
 * clones the whole pool.) It never leaves the process, so it has no version. Little-endian:
 *
 *   u32 blocks, u32 branches, u32 notes
 *   blocks:   u32 bytes of head, u32 bytes of data, head, data
 *   branches: 32 id, u8 flags, 32 expected, 32 next, f64 time, text name, text why, u32 n, n times 32 deleted
 *   notes:    text name, u8 1 where there are bytes, u32 length, bytes
 *
 * where a text is u32 length and UTF-8.
 */
const BLOCK_HEAD = 8;
const BRANCH_HEAD = 32 + 1 + 32 + 32 + 8 + 4 + 4 + 4;
const NOTE_HEAD = 4 + 1 + 4;
const MAX_TRANSACTION = 2 ** 31 - 1;

/** @throws too_large, invalid (a time or hash that is none) */
export function packTransaction(
  blocks: readonly NewBlock[],
  branches: readonly BranchMove[],
  notes: readonly Note[],
): ArrayBuffer {
  let size = 12;
  for (const { items, size: data } of blocks) size += BLOCK_HEAD + items.length * SLOT_BYTES + data;
  for (const { name, why, deleted = [] } of branches) {
    size += BRANCH_HEAD + Buffer.byteLength(name) + Buffer.byteLength(why) + 32 * deleted.length;
  }
  for (const { name, bytes } of notes) size += NOTE_HEAD + Buffer.byteLength(name) + (bytes?.length ?? 0);
  if (size > MAX_TRANSACTION) throw tooLarge(size, MAX_TRANSACTION, "a transaction");

  const packer = new Packer(size);
  packer.uint32(blocks.length);
  packer.uint32(branches.length);
  packer.uint32(notes.length);
  for (const { items, size: data } of blocks) {
    packer.uint32(items.length * SLOT_BYTES);
    packer.uint32(data);
    for (const { shelf, hash, delta, bytes } of items) {
      packer.byte(delta === null ? shelf : shelf | SLOT.delta);
      packer.hash(hash);
      packer.uint32((delta ?? bytes).length);
    }
    for (const { delta, bytes } of items) packer.bytes(delta ?? bytes);
  }
  for (const { id, name, expected, next, sealed, deleted = [], why, time } of branches) {
    packer.hash(id);
    packer.byte(
      (expected === null ? 0 : FLAG.expected) |
        (next === null ? 0 : FLAG.next) |
        (sealed === undefined ? 0 : FLAG.sealedGiven) |
        (sealed === true ? FLAG.sealed : 0),
    );
    packer.hash(expected);
    packer.hash(next);
    packer.double(reflogTime(time));
    packer.text(name);
    packer.text(why);
    packer.uint32(deleted.length);
    for (const hash of deleted) packer.hash(hash);
  }
  for (const { name, bytes } of notes) {
    packer.text(name);
    packer.byte(bytes === null ? 0 : 1);
    packer.uint32(bytes?.length ?? 0);
    if (bytes !== null) packer.bytes(bytes);
  }
  return packer.buffer;
}

const NO_HASH = Buffer.alloc(32);

class Packer {
  readonly buffer: ArrayBuffer;
  readonly #bytes: Buffer;
  #at = 0;

  constructor(size: number) {
    this.buffer = new ArrayBuffer(size);
    this.#bytes = Buffer.from(this.buffer);
  }

  byte(value: number): void {
    this.#bytes[this.#at++] = value;
  }

  uint32(value: number): void {
    this.#at = this.#bytes.writeUInt32LE(value, this.#at);
  }

  double(value: number): void {
    this.#at = this.#bytes.writeDoubleLE(value, this.#at);
  }

  hash(hash: Hash | null): void {
    if (hash === null) return this.bytes(NO_HASH);
    const written = hash.length === 64 ? this.#bytes.write(hash, this.#at, 32, "hex") : 0;
    if (written !== 32) throw new VlinderError("invalid", `not a hash: ${JSON.stringify(hash).slice(0, 80)}`);
    this.#at += 32;
  }

  text(text: string): void {
    const length = this.#bytes.write(text, this.#at + 4, "utf8");
    this.uint32(length);
    this.#at += length;
  }

  bytes(bytes: Uint8Array): void {
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }
}
