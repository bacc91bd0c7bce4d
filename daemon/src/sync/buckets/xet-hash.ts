import { setImmediate as yieldToOthers } from "node:timers/promises";

const SLICE = 1 << 20;

/** The hash by which Hugging Face knows these bytes (`xetHash`), as 64 hex digits. */
export function xetHash(bytes: Uint8Array): Promise<string> {
  return xetHashOf(slices(bytes));
}

/** The same of the parts of a file, in order. */
export async function xetHashOf(parts: AsyncIterable<Uint8Array>): Promise<string> {
  const { createChunker, fileHash, finalize, hashToHex, nextBlock } = await import("@huggingface/xetchunk-wasm");
  const chunker = createChunker();
  const chunks = [];
  for await (const part of parts) for (const chunk of nextBlock(chunker, part)) chunks.push(chunk);
  const last = finalize(chunker);
  if (last !== null) chunks.push(last);
  return hashToHex(fileHash(chunks));
}

async function* slices(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += SLICE) {
    yield bytes.subarray(at, at + SLICE);
    await yieldToOthers();
  }
}
