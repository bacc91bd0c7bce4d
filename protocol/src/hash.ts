import { createHash, hash as hashOnce } from "node:crypto";
import { invalid } from "./errors.ts";

/** A SHA-256 as 64 lower-case hex digits; 32 bytes in storage and in binary formats. */
export type Hash = string & { readonly __brand: "Hash" };

const HEX64 = /^[0-9a-f]{64}$/;

export function isHash(text: unknown): text is Hash {
  return typeof text === "string" && HEX64.test(text);
}

/** @throws invalid, when the text is not 64 lower-case hex digits */
export function parseHash(text: unknown): Hash {
  if (isHash(text)) return text;
  throw invalid(`not a hash: ${JSON.stringify(text)?.slice(0, 80)}`, {
    remedy: "a hash is 64 lower-case hex digits",
  });
}

export function sha256(data: Uint8Array | string): Hash {
  return hashOnce("sha256", data, "hex") as Hash;
}

/** The hash of parts, as if they were one. */
export function sha256Of(parts: Iterable<Uint8Array | string>): Hash {
  const sum = createHash("sha256");
  for (const part of parts) sum.update(part);
  return sum.digest("hex") as Hash;
}

export function hashFromBytes(bytes: Uint8Array, offset = 0): Hash {
  return asBuffer(bytes).toString("hex", offset, offset + 32) as Hash;
}

export function hashToBytes(hash: Hash): Buffer {
  return Buffer.from(hash, "hex");
}

/** The same bytes in memory that holds nothing else (small Buffers share pools, of 64 KB in Node 24): what is kept for long keeps only itself. */
export function ownBuffer(bytes: Uint8Array): Buffer {
  if (bytes.length === bytes.buffer.byteLength) return asBuffer(bytes);
  const own = Buffer.allocUnsafeSlow(bytes.length);
  own.set(bytes);
  return own;
}

/** The same memory as a Buffer, without a copy. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
