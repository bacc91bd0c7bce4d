import { createHash, randomBytes } from "node:crypto";
import { closeSync, fstatSync, openSync, readSync, writevSync } from "node:fs";
import type { AgeStart } from "./age-file.ts";
import { CHUNK, NONCE, PayloadSealer } from "./age-stream.ts";

const SLICE = 16 * CHUNK;

/** Encrypts a file into a new one, of any size in 2 MB of memory. Blocks while it works: for a thread of its own. */
export function sealLargeFile(
  { header, key }: AgeStart,
  source: string,
  target: string,
  onBytes: (done: number, total: number) => void,
): { bytes: number; sha256: string } {
  const from = openSync(source, "r");
  const to = openSync(target, "wx", 0o600);
  try {
    const { size } = fstatSync(from);
    const nonce = randomBytes(NONCE);
    const sealer = new PayloadSealer(key, nonce, size);
    const sum = createHash("sha256");
    let bytes = 0;
    const write = (parts: readonly Uint8Array[]): void => {
      for (const part of parts) sum.update(part);
      const length = parts.reduce((all, part) => all + part.length, 0);
      if (writevSync(to, parts) !== length) throw new Error(`${target} could not be written in whole`);
      bytes += length;
    };
    write([header, nonce]);
    const slice = Buffer.alloc(SLICE);
    for (let at = 0; at === 0 || at < size; at += SLICE) {
      const length = Math.min(SLICE, size - at);
      if (readSync(from, slice, 0, length, at) !== length) throw new Error(`${source} became shorter meanwhile`);
      write(sealer.next(slice.subarray(0, length)));
      onBytes(at + length, size);
    }
    return { bytes, sha256: sum.digest("hex") };
  } finally {
    closeSync(from);
    closeSync(to);
  }
}
