import { type Chunk, getChunks, hashToHex, xorbHash } from "@huggingface/xetchunk-wasm";
import { lz4Frame } from "./lz4.ts";
import { insist } from "./refusal.ts";

export const MAX_XORB_BYTES = 64 << 20;
export const MAX_XORB_CHUNKS = 8192;
const MAX_CHUNK_BYTES = 128 << 10;
const HEADER = 8;

export interface XorbChunk {
  /** As the protocol writes hashes: four little-endian u64, each as 16 hex digits. */
  readonly hash: string;
  /** Raw bytes. */
  readonly length: number;
  /** Where its header begins in the xorb, and where its data ends. */
  readonly start: number;
  readonly end: number;
}

export interface Xorb {
  readonly hash: string;
  readonly chunks: readonly XorbChunk[];
  /** Serialized. */
  readonly bytes: number;
}

/** Reads a serialized xorb and checks all of it: every header, every chunk's data and bounds, the tree. @throws Refusal */
export function readXorb(body: Buffer, hash: string): Xorb {
  insist(body.length > 0, "an empty xorb");
  insist(body.length <= MAX_XORB_BYTES, `a xorb of ${body.length} bytes`);
  const chunks: XorbChunk[] = [];
  const hashes: Chunk[] = [];
  for (let start = 0; start < body.length;) {
    insist(start + HEADER <= body.length, "the header of a chunk is cut");
    insist(body[start] === 0, `a chunk of version ${body[start]}`);
    const packed = body.readUIntLE(start + 1, 3);
    const scheme = body[start + 4] as number;
    const length = body.readUIntLE(start + 5, 3);
    const end = start + HEADER + packed;
    insist(end <= body.length, "the data of a chunk is cut");
    insist(length > 0 && length <= MAX_CHUNK_BYTES, `a chunk of ${length} bytes`);
    const raw = unpack(body.subarray(start + HEADER, end), scheme, length);
    const cut = getChunks(raw);
    insist(cut.length === 1, `chunk ${chunks.length} holds ${cut.length} chunks`);
    const [only] = cut as [Chunk];
    chunks.push({ hash: hashToHex(only.hash), length, start, end });
    hashes.push(only);
    start = end;
  }
  insist(chunks.length <= MAX_XORB_CHUNKS, `a xorb of ${chunks.length} chunks`);
  const root = hashToHex(xorbHash(hashes));
  insist(root === hash, `the xorb's hash is ${root}, not ${hash}`);
  return { hash, chunks, bytes: body.length };
}

/** A xorb of these bytes, not compressed. */
export function plainXorb(bytes: Buffer): { readonly body: Buffer; readonly hash: string } {
  const chunks = getChunks(bytes);
  const parts: Buffer[] = [];
  let at = 0;
  for (const { length } of chunks) {
    const header = Buffer.alloc(HEADER);
    header.writeUIntLE(length, 1, 3);
    header.writeUIntLE(length, 5, 3);
    parts.push(header, bytes.subarray(at, at + length));
    at += length;
  }
  return { body: Buffer.concat(parts), hash: hashToHex(xorbHash(chunks)) };
}

function unpack(data: Buffer, scheme: number, length: number): Buffer {
  if (scheme === 0) {
    insist(data.length === length, "an uncompressed chunk with two lengths");
    return data;
  }
  insist(scheme === 1 || scheme === 2, `compression scheme ${scheme}`);
  const raw = lz4Frame(data, length);
  return scheme === 1 ? raw : ungroup(raw);
}

/** Byte grouping by 4: byte i was stored in group i % 4, one group after the other. */
function ungroup(grouped: Buffer): Buffer {
  const raw = Buffer.alloc(grouped.length);
  let from = 0;
  for (let group = 0; group < 4; group++) {
    for (let i = group; i < raw.length; i += 4) raw[i] = grouped[from++] as number;
  }
  return raw;
}
