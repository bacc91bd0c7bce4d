import {
  asBuffer,
  ByteReader,
  type Hash,
  hashFromBytes,
  hashToBytes,
  invalid,
  sha256,
  uvarintLength,
  writeUvarint,
} from "@vlinder/protocol";
import { HashedObject } from "../state/hashed-object.ts";
import type { Kind, StoredObject } from "../storage/object-storage.ts";
import { AGE_OVERHEAD } from "./vault/age-file.ts";
import type { Sealer } from "./vault/sealer.ts";
import { compressInto, decompressInto } from "./zstd-buffer.ts";
import { zstdFrameLength } from "./zstd-frame.ts";

/**
 * A pack is an immutable bundle of objects, named by the SHA-256 of its stored bytes; docs/formats.md has
 * the bytes. Its records stand in an order in which a reader can take them front to back: what a
 * record needs is before it, in the pack or in an earlier one.
 *
 * A pack comes from outside, so everything that it could make a reader allocate has a limit
 * that is known before: stored bytes, raw bytes (the header says how many, and decompression stops
 * there) and the number of records.
 */
export const PACK_LIMITS = {
  /** Raw payload, in bytes. */
  raw: 64 << 20,
  /** The file, in bytes: a pack that compression makes larger is stored as it is. */
  stored: 16 + (64 << 20),
  /** The same of an encrypted one. */
  sealed: 16 + (64 << 20) + AGE_OVERHEAD,
  records: 1 << 18,
} as const;

const MAGIC = Buffer.from("VLPACK", "latin1");
const HEADER = 16;
const VERSION = 1;
const COMPRESSION = { none: 0, zstd: 1 } as const;
const ENCRYPTION = { none: 0, age: 1 } as const;

/** Stable: these numbers are in every pack that was ever written. */
const CODES: Readonly<Record<Kind, number>> = {
  value: 1,
  chunk: 2,
  list: 3,
  node: 4,
  changes: 5,
  snapshot: 6,
  commit: 7,
};
const KIND_OF: ReadonlyMap<number, Kind> = new Map(Object.entries(CODES).map(([kind, code]) => [code, kind as Kind]));

export interface EncodedPack {
  /** SHA-256 of `bytes`. */
  readonly name: Hash;
  readonly bytes: Buffer;
}

/** Bytes of an object's record in the raw payload. */
export function recordLength({ kind, bytes }: StoredObject): number {
  return 1 + (kind === "list" ? 32 : 0) + uvarintLength(bytes.length) + bytes.length;
}

/**
 * The objects in this order; for an encrypted vault, compressed and then encrypted. @throws too much for one pack: a
 * bug of the caller, who splits
 */
export async function encodePack(
  objects: readonly StoredObject[],
  packed = true,
  sealer: Sealer | null = null,
): Promise<EncodedPack> {
  const length = objects.reduce((sum, object) => sum + recordLength(object), 0);
  if (length === 0 || length > PACK_LIMITS.raw || objects.length > PACK_LIMITS.records) {
    throw new RangeError(`a pack can't hold ${objects.length} records of ${length} bytes`);
  }
  // Room for the header in front: what does not get smaller is the file as it is, without another copy.
  const plain = Buffer.allocUnsafeSlow(HEADER + length);
  const raw = plain.subarray(HEADER);
  let offset = 0;
  for (const { kind, hash, bytes } of objects) {
    raw[offset++] = CODES[kind];
    if (kind === "list") offset += hashToBytes(hash).copy(raw, offset);
    offset = writeUvarint(raw, offset, bytes.length);
    raw.set(bytes, offset);
    offset += bytes.length;
  }
  const smaller = packed ? await compressed(raw) : null;
  const header = plain.subarray(0, HEADER).fill(0);
  MAGIC.copy(header);
  header[6] = VERSION;
  header[7] = smaller === null ? COMPRESSION.none : COMPRESSION.zstd;
  header[8] = sealer === null ? ENCRYPTION.none : ENCRYPTION.age;
  header.writeUInt32LE(length, 12);
  const body = sealer === null ? smaller : await sealer.seal(smaller ?? raw);
  const bytes = body === null ? plain : Buffer.concat([header, body]);
  if (smaller !== null) for (const used of [smaller, plain]) free(used);
  return { name: sha256(bytes), bytes };
}

/** Null: it does not become smaller. */
async function compressed(raw: Buffer): Promise<Buffer<ArrayBuffer> | null> {
  // Of what is not filled, the system gives no memory.
  const room = Buffer.allocUnsafeSlow(raw.length - 1);
  const length = await compressInto(room, raw);
  if (length !== null) return room.subarray(0, length);
  free(room);
  return null;
}

/**
 * Gives the memory of a buffer back at once: the collector may leave several of this size. Nobody may use it any more, the
 * compressor in its thread neither, which reads what it was given until it ends.
 */
function free({ buffer }: Buffer<ArrayBuffer>): void {
  buffer.transfer(0);
}

/**
 * The objects of a pack whose stored bytes have been checked against its name. Their hashes are
 * computed here; whether the objects are what their kind asks for is the engine's to check.
 *
 * @param sealer of the vault that it is from: with one, the pack must be encrypted, without one it must not
 * @throws invalid; denied: encrypted to another key than the vault's
 */
export async function decodePack(stored: Uint8Array, sealer: Sealer | null = null): Promise<StoredObject[]> {
  const raw = await payload(asBuffer(stored), sealer);
  const reader = new ByteReader(raw);
  const objects: StoredObject[] = [];
  while (!reader.done) {
    if (objects.length === PACK_LIMITS.records) throw invalid(`a pack holds more than ${PACK_LIMITS.records} records`);
    const code = reader.u8();
    const kind = KIND_OF.get(code);
    if (kind === undefined) throw newer(`a record of kind ${code}`);
    if (kind === "list") {
      const hash = hashFromBytes(reader.take(32));
      objects.push({ kind, hash, bytes: reader.take(reader.uvarint()) });
    } else objects.push(new HashedObject(kind, reader.take(reader.uvarint())));
  }
  return objects;
}

/** From so many bytes on a buffer is a pack's own, and no part of a pool. */
const OWN_BUFFER = 1 << 20;

/** Gives the memory of a pack's objects back at once; they, and the bytes that it was decoded from, may not be used any more. */
export function freePack(objects: readonly StoredObject[]): void {
  for (const buffer of new Set(objects.map(({ bytes }) => bytes.buffer))) {
    if (buffer instanceof ArrayBuffer && buffer.byteLength >= OWN_BUFFER) buffer.transfer(0);
  }
}

/** Checks a pack's header; the length that it gives its raw payload. @throws invalid */
export function packRawLength(stored: Buffer, isSealed = false): number {
  if (stored.length < HEADER || !stored.subarray(0, 6).equals(MAGIC)) throw invalid("not a pack");
  if (stored[6] !== VERSION) throw newer(`format ${stored[6]}`);
  if (stored[8] !== ENCRYPTION.none && stored[8] !== ENCRYPTION.age) throw newer(`encryption ${stored[8]}`);
  if ((stored[8] === ENCRYPTION.age) !== isSealed) {
    throw invalid(isSealed ? "the pack is not encrypted, and its vault is" : "the pack is encrypted with age", {
      remedy: isSealed
        ? "somebody else may write to the bucket"
        : "only a member of the vault that it is from can read it, from that vault's bucket",
    });
  }
  if (stored.readUIntLE(9, 3) !== 0) throw newer("something in reserved bytes");
  const length = stored.readUInt32LE(12);
  if (length === 0 || length > PACK_LIMITS.raw) throw invalid(`a pack's payload can't have ${length} bytes`);
  if (stored[7] !== COMPRESSION.none && stored[7] !== COMPRESSION.zstd) throw newer(`compression ${stored[7]}`);
  return length;
}

async function payload(stored: Buffer, sealer: Sealer | null): Promise<Buffer> {
  const length = packRawLength(stored, sealer !== null);
  const most = sealer === null ? PACK_LIMITS.stored : PACK_LIMITS.sealed;
  if (stored.length > most) throw invalid(`a pack of ${stored.length} bytes is over the limit`);
  const rest = stored.subarray(HEADER);
  const body = sealer === null ? rest : await sealer.open(rest);
  const raw = stored[7] === COMPRESSION.zstd ? await inflate(body, length) : body;
  if (raw.length !== length) throw invalid(`a pack's payload has ${raw.length} bytes where its header says ${length}`);
  return raw;
}

async function inflate(body: Buffer, length: number): Promise<Buffer> {
  if (zstdFrameLength(body) !== body.length) throw invalid("a pack has bytes behind its payload");
  const raw = Buffer.allocUnsafeSlow(length);
  let written: number | null;
  try {
    written = await decompressInto(raw, body);
  } catch (cause) {
    throw notThatLong(cause);
  }
  if (written === null) throw notThatLong();
  return raw.subarray(0, written);
}

function notThatLong(cause?: unknown): Error {
  return invalid("a pack can't be decompressed to the length that its header says", { cause });
}

function newer(what: string): Error {
  return invalid(`the pack has ${what}, which this release does not know`, {
    remedy: "a newer vlinder may have written it: update this one",
  });
}
