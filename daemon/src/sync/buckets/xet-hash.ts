import { setImmediate as yieldToOthers } from "node:timers/promises";

const SLICE = 1 << 20;

/** The hash by which Hugging Face knows these bytes (`xetHash`), as 64 hex digits. */
export async function xetHash(bytes: Uint8Array): Promise<string> {
  const { createChunker, fileHash, finalize, hashToHex, nextBlock } = await import("@huggingface/xetchunk-wasm");
  const chunker = createChunker();
  const chunks = [];
  for (let at = 0; at < bytes.length; at += SLICE) {
    for (const chunk of nextBlock(chunker, bytes.subarray(at, at + SLICE))) chunks.push(chunk);
    if (at > 0) await yieldToOthers();
  }
  const last = finalize(chunker);
  if (last !== null) chunks.push(last);
  return hashToHex(fileHash(chunks));
}
