import { LIMITS, VlinderError } from "@vlinder/protocol";

/** Bytes as they come, once. */
export type ByteStream = AsyncIterable<Uint8Array> | ReadableStream<Uint8Array>;

/** What gives its bytes as often as it is asked: a `Blob`, or a file as `{ size, stream: () => createReadStream(path) }`. */
export interface ByteSource {
  readonly size: number;
  stream(): ByteStream;
}

/** What can be stored: text as its UTF-8 bytes, bytes as they are. What is large, a source or a stream travels in parts. */
export type Content = string | Uint8Array | ByteSource | ByteStream;

/** Whether it goes in one message; what is in memory and small does. */
export function isSmall(value: Content): value is string | Uint8Array {
  if (typeof value === "string")
    return 3 * value.length <= LIMITS.valueBytes || Buffer.byteLength(value) <= LIMITS.valueBytes;
  return value instanceof Uint8Array && value.length <= LIMITS.valueBytes;
}

/** Text as its UTF-8, bytes as they are. @throws invalid */
export function bytesOf(value: unknown): Uint8Array {
  if (typeof value === "string") return textBytes(value);
  if (value instanceof Uint8Array) return value;
  throw noContent();
}

/** Whether it can be read a second time. */
export function isRepeatable(value: Content): boolean {
  return typeof value === "string" || value instanceof Uint8Array || isSource(value);
}

function isSource(value: object): value is ByteSource {
  return "stream" in value && typeof value.stream === "function";
}

/** @throws invalid: nothing that can be stored, or text that is not well-formed */
export function checkContent(value: unknown): void {
  if (typeof value === "string") {
    if (!value.isWellFormed()) throw loneSurrogate();
    return;
  }
  if (value instanceof Uint8Array) return;
  if (typeof value === "object" && value !== null && (Symbol.asyncIterator in value || isSource(value))) return;
  throw noContent();
}

/** Its bytes in order, in new buffers of `size`, the last one apart. Holds one of them. */
export async function* partsOf(value: Content, size: number): AsyncGenerator<Uint8Array> {
  let part = Buffer.allocUnsafeSlow(size);
  let filled = 0;
  for await (const piece of piecesOf(value)) {
    if (!(piece instanceof Uint8Array)) {
      throw new VlinderError("invalid", `a stream gave ${typeof piece} where bytes were expected`, {
        remedy: "encode text before: new TextEncoderStream(), or Buffer.from(text)",
      });
    }
    for (let from = 0; from < piece.length;) {
      const taken = Math.min(size - filled, piece.length - from);
      part.set(piece.subarray(from, from + taken), filled);
      from += taken;
      filled += taken;
      if (filled < size) continue;
      yield part;
      part = Buffer.allocUnsafeSlow(size);
      filled = 0;
    }
  }
  if (filled > 0) yield part.subarray(0, filled);
}

function piecesOf(value: Content): AsyncIterable<Uint8Array> | Iterable<Uint8Array> {
  if (typeof value === "string") return [textBytes(value)];
  if (value instanceof Uint8Array) return [value];
  return isSource(value) ? value.stream() : value;
}

/** Bytes; null when only its end will tell. */
export function sizeOf(value: Content): number | null {
  if (typeof value === "string") return Buffer.byteLength(value);
  if (value instanceof Uint8Array) return value.length;
  return isSource(value) ? value.size : null;
}

function textBytes(text: string): Uint8Array {
  if (!text.isWellFormed()) throw loneSurrogate();
  return Buffer.from(text, "utf8");
}

function noContent(): VlinderError {
  return new VlinderError("invalid", "a value is text, bytes, a Blob or a stream of bytes", {
    remedy: "use putJson for anything else",
  });
}

function loneSurrogate(): VlinderError {
  return new VlinderError("invalid", "a value's text has a lone surrogate", { remedy: "store well-formed text" });
}
