import { hash as hashOnce } from "node:crypto";
import { type Hash, VlinderError } from "@vlinder/protocol";
import { KINDS, type Transaction } from "../../object-storage.ts";
import { reflogTime } from "../reflog-time.ts";
import { FLAG } from "./unpacked-transaction.ts";

/*
 * A transaction on its way to the writer thread: one ArrayBuffer that is handed over, not copied. (Cloning
 * its hundreds of small Buffers costs more than storing them, and a view of a pooled Buffer
 * clones the whole pool.) It never leaves the process, so it has no version. Little-endian:
 *
 *   u32 objects, u32 branches, u32 replies, u32 notes
 *   objects:  u8 kind, 32 hash, u32 length
 *   branches: 32 id, u8 flags, 32 expected, 32 next, f64 time, text name, text why, u32 n, n times 32 deleted
 *   replies:  32 SHA-256 of the id, 32 request, f64 time, text reply
 *   notes:    text name, u8 1 where there are bytes, u32 length
 *   the objects' bytes, one after another, then the notes'
 *
 * where a text is u32 length and UTF-8.
 */
const OBJECT_HEAD = 37;
const BRANCH_HEAD = 32 + 1 + 32 + 32 + 8 + 4 + 4 + 4;
const REPLY_HEAD = 32 + 32 + 8 + 4;
const NOTE_HEAD = 4 + 1 + 4;
/** SQLite refuses rows of 1,000,000,000 bytes. */
const MAX_OBJECT = 999_000_000;
const MAX_TRANSACTION = 2 ** 31 - 1;

/** Where a reply is found. */
export function replyKey(id: string): Hash {
  return hashOnce("sha256", id, "hex") as Hash;
}

/** @throws too_large, invalid (a time or hash that is none) */
export function packTransaction({ objects, branches, replies, notes = [] }: Transaction): ArrayBuffer {
  let size = 16;
  for (const { bytes } of objects) {
    if (bytes.length > MAX_OBJECT) throw tooLarge(bytes.length, MAX_OBJECT, "an object");
    size += OBJECT_HEAD + bytes.length;
  }
  for (const { name, why, deleted = [] } of branches) {
    size += BRANCH_HEAD + Buffer.byteLength(name) + Buffer.byteLength(why) + 32 * deleted.length;
  }
  for (const { reply } of replies) size += REPLY_HEAD + Buffer.byteLength(reply);
  for (const { name, bytes } of notes) size += NOTE_HEAD + Buffer.byteLength(name) + (bytes?.length ?? 0);
  if (size > MAX_TRANSACTION) throw tooLarge(size, MAX_TRANSACTION, "a transaction");

  const packer = new Packer(size);
  packer.uint32(objects.length);
  packer.uint32(branches.length);
  packer.uint32(replies.length);
  packer.uint32(notes.length);
  for (const { kind, hash, bytes } of objects) {
    packer.byte(KINDS.indexOf(kind));
    packer.hash(hash);
    packer.uint32(bytes.length);
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
  for (const { id, request, reply, time } of replies) {
    packer.hash(replyKey(id));
    packer.hash(request);
    packer.double(time);
    packer.text(reply);
  }
  for (const { name, bytes } of notes) {
    packer.text(name);
    packer.byte(bytes === null ? 0 : 1);
    packer.uint32(bytes?.length ?? 0);
  }
  for (const { bytes } of objects) packer.bytes(bytes);
  for (const { bytes } of notes) if (bytes !== null) packer.bytes(bytes);
  return packer.buffer;
}

function tooLarge(size: number, limit: number, what: string): VlinderError {
  return new VlinderError("too_large", `${what} of ${size} bytes is larger than ${limit}`, {
    remedy: "store it in parts",
    details: { size, limit },
  });
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
    this.#at = this.#bytes.writeUInt8(value, this.#at);
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
