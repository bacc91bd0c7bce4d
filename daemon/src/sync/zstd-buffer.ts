import type { Transform } from "node:stream";
import { constants, createZstdCompress, createZstdDecompress } from "node:zlib";

/** Bytes that come from the library at a time. */
const CHUNK = 256 << 10;

/**
 * Zstandard from one buffer into another. What `node:zlib` offers for buffers collects what comes and then joins it, which takes
 * memory for it twice.
 */
export function compressInto(to: Buffer, from: Buffer): Promise<number | null> {
  return through(createZstdCompress({ chunkSize: CHUNK, pledgedSrcSize: from.length }), from, to);
}

/** Bytes that were written to `to`; null: there are more than it has room for. @throws what the library says of damaged bytes */
export function decompressInto(to: Buffer, from: Buffer): Promise<number | null> {
  const params = { [constants.ZSTD_d_windowLogMax]: 26 };
  return through(createZstdDecompress({ chunkSize: CHUNK, params }), from, to);
}

async function through(stream: Transform, from: Buffer, to: Buffer): Promise<number | null> {
  let at = 0;
  stream.end(from);
  // Left early, the loop destroys the stream.
  for await (const part of stream as AsyncIterable<Buffer>) {
    if (at + part.length > to.length) return null;
    at += part.copy(to, at);
  }
  return at;
}
