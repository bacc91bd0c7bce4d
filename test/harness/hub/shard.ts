import { fileHash, hashToHex, hexToBytes, hmac, verificationHash } from "@huggingface/xetchunk-wasm";
import { insist } from "./refusal.ts";
import type { Xorb, XorbChunk } from "./xorb.ts";

const TAG = Buffer.concat([
  Buffer.from("HFRepoMetaData\0", "latin1"),
  Buffer.from([85, 105, 103, 69, 106, 123, 129, 87, 131, 165, 189, 217, 92, 205, 209, 74, 169]),
]);
const RECORD = 48;
const FOOTER = 200;
const BOOKEND = Buffer.concat([Buffer.alloc(32, 0xff), Buffer.alloc(16)]);
const WITH_VERIFICATION = 0x80000000;
const WITH_METADATA = 0x40000000;
const MAX_SHARD_BYTES = 64 << 20;
const ZERO_HASH = "0".repeat(64);

/** Chunks `start` up to and without `end` of a xorb. */
export interface Term {
  readonly xorb: string;
  readonly start: number;
  readonly end: number;
  /** Raw bytes. */
  readonly length: number;
}

export interface XetFile {
  readonly hash: string;
  readonly size: number;
  readonly terms: readonly Term[];
}

/** Reads a shard and checks all that it says against the xorbs that are there. @throws Refusal */
export function readShard(body: Buffer, xorbOf: (hash: string) => Xorb | undefined): XetFile[] {
  insist(body.length <= MAX_SHARD_BYTES, `a shard of ${body.length} bytes`);
  insist(body.length >= RECORD * 3 && body.subarray(0, 32).equals(TAG), "not a shard");
  insist(body.readBigUInt64LE(32) === 2n, "a shard of another version");
  const footer = Number(body.readBigUInt64LE(40));
  // The specification wants none in an upload; the JavaScript client sends one.
  insist(footer === 0 || footer === FOOTER, `a footer of ${footer} bytes`);
  const reader = new RecordReader(body.subarray(0, body.length - footer), RECORD);
  const files: XetFile[] = [];
  for (let record = reader.next(); !record.equals(BOOKEND); record = reader.next()) {
    files.push(readFile(record, reader, xorbOf));
  }
  const casOffset = reader.offset;
  for (let record = reader.next(); !record.equals(BOOKEND); record = reader.next()) {
    checkXorb(record, reader, xorbOf);
  }
  insist(reader.offset === body.length - footer, "bytes behind the sections of a shard");
  if (footer > 0) checkFooter(body.subarray(body.length - FOOTER), casOffset, body.length - FOOTER);
  insist(files.length > 0, "a shard without a file");
  return files;
}

class RecordReader {
  offset: number;
  readonly #bytes: Buffer;

  constructor(bytes: Buffer, offset: number) {
    this.#bytes = bytes;
    this.offset = offset;
  }

  next(): Buffer {
    insist(this.offset + RECORD <= this.#bytes.length, "a shard that is cut");
    this.offset += RECORD;
    return this.#bytes.subarray(this.offset - RECORD, this.offset);
  }
}

const hashAt = (record: Buffer): string => hashToHex(record.subarray(0, 32));
const isZero = (bytes: Buffer): boolean => bytes.every((byte) => byte === 0);

function readFile(record: Buffer, reader: RecordReader, xorbOf: (hash: string) => Xorb | undefined): XetFile {
  const hash = hashAt(record);
  const flags = record.readUInt32LE(32);
  const count = record.readUInt32LE(36);
  insist((flags & ~(WITH_VERIFICATION | WITH_METADATA)) === 0 && flags >>> 31 === 1, `a file with flags ${flags}`);
  insist(isZero(record.subarray(40)), "reserved bytes of a file are not zero");
  const terms: Term[] = [];
  const chunks: XorbChunk[][] = [];
  for (let i = 0; i < count; i++) {
    const { term, covered } = readTerm(reader.next(), xorbOf);
    terms.push(term);
    chunks.push(covered);
  }
  for (const covered of chunks) {
    const verification = reader.next();
    const range = hashToHex(verificationHash(covered.map((chunk) => hexToBytes(chunk.hash))));
    insist(hashAt(verification) === range, "the hash of a range is wrong: the client did not have its chunks");
    insist(isZero(verification.subarray(32)), "reserved bytes of a verification are not zero");
  }
  if ((flags & WITH_METADATA) !== 0) reader.next();
  const all = chunks.flat().map((chunk) => ({ hash: hexToBytes(chunk.hash), length: chunk.length }));
  const real = count === 0 ? ZERO_HASH : hashToHex(fileHash(all));
  insist(real === hash, `the file's hash is ${real}, not ${hash}`);
  return { hash, terms, size: terms.reduce((sum, { length }) => sum + length, 0) };
}

function readTerm(
  record: Buffer,
  xorbOf: (hash: string) => Xorb | undefined,
): { readonly term: Term; readonly covered: XorbChunk[] } {
  const hash = hashAt(record);
  const xorb = xorbOf(hash);
  insist(xorb !== undefined, `a term of the unknown xorb ${hash}`);
  insist(record.readUInt32LE(32) === 0, "a term with flags");
  const [length, start, end] = [record.readUInt32LE(36), record.readUInt32LE(40), record.readUInt32LE(44)];
  insist(start < end && end <= xorb.chunks.length, `chunks ${start} to ${end} of a xorb of ${xorb.chunks.length}`);
  const covered = xorb.chunks.slice(start, end);
  const real = covered.reduce((sum, chunk) => sum + chunk.length, 0);
  insist(real === length, `a term of ${length} bytes, which are ${real}`);
  return { term: { xorb: hash, start, end, length }, covered };
}

function checkXorb(record: Buffer, reader: RecordReader, xorbOf: (hash: string) => Xorb | undefined): void {
  const hash = hashAt(record);
  const xorb = xorbOf(hash);
  insist(xorb !== undefined, `the shard describes the unknown xorb ${hash}`);
  insist(record.readUInt32LE(32) === 0, "a xorb with flags");
  insist(record.readUInt32LE(36) === xorb.chunks.length, "another number of chunks than the xorb has");
  const raw = xorb.chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  insist(record.readUInt32LE(40) === raw, "another raw size than the xorb has");
  insist(record.readUInt32LE(44) === xorb.bytes, "another serialized size than the xorb has");
  let offset = 0;
  for (const chunk of xorb.chunks) {
    const described = reader.next();
    insist(hashAt(described) === chunk.hash, "another chunk than the xorb has");
    insist(described.readUInt32LE(32) === offset, "a chunk at another offset than in the xorb");
    insist(described.readUInt32LE(36) === chunk.length, "a chunk of another length than in the xorb");
    insist(isZero(described.subarray(40)), "reserved bytes of a chunk are not zero");
    offset += chunk.length;
  }
}

function checkFooter(footer: Buffer, casOffset: number, offset: number): void {
  insist(footer.readBigUInt64LE(0) === 1n, "a footer of another version");
  insist(Number(footer.readBigUInt64LE(8)) === RECORD, "the footer's offset of the files is wrong");
  insist(Number(footer.readBigUInt64LE(16)) === casOffset, "the footer's offset of the xorbs is wrong");
  insist(Number(footer.readBigUInt64LE(192)) === offset, "the footer's offset of itself is wrong");
}

/** The shard that answers a dedup query: these xorbs, their chunks' hashes keyed, no files. */
export function dedupShard(xorbs: readonly Xorb[], key: Buffer, now: number): Buffer {
  const records: Buffer[] = [];
  for (const xorb of xorbs) {
    const raw = xorb.chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    records.push(recordOf(hexToBytes(xorb.hash), [0, xorb.chunks.length, raw, xorb.bytes]));
    let offset = 0;
    for (const chunk of xorb.chunks) {
      records.push(recordOf(hmac(hexToBytes(chunk.hash), key), [offset, chunk.length, 0, 0]));
      offset += chunk.length;
    }
  }
  const header = Buffer.alloc(RECORD);
  TAG.copy(header);
  header.writeBigUInt64LE(2n, 32);
  header.writeBigUInt64LE(BigInt(FOOTER), 40);
  const body = Buffer.concat([header, BOOKEND, ...records, BOOKEND]);
  const footer = Buffer.alloc(FOOTER);
  const offsets = [1, RECORD, RECORD * 2, body.length, 0, body.length, 0, body.length, 0];
  for (const [i, value] of offsets.entries()) footer.writeBigUInt64LE(BigInt(value), i * 8);
  key.copy(footer, 72);
  footer.writeBigUInt64LE(BigInt(Math.floor(now / 1000)), 104);
  footer.writeBigUInt64LE(BigInt(Math.floor(now / 1000) + 3600), 112);
  footer.writeBigUInt64LE(BigInt(body.length), 192);
  return Buffer.concat([body, footer]);
}

function recordOf(hash: Uint8Array, numbers: readonly number[]): Buffer {
  const record = Buffer.alloc(RECORD);
  record.set(hash);
  for (const [i, value] of numbers.entries()) record.writeUInt32LE(value, 32 + i * 4);
  return record;
}
