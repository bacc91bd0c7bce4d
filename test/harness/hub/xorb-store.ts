import { closeSync, mkdirSync, openSync, readSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Serialized xorbs by hash, in memory or in a folder. */
export class XorbStore {
  readonly #folder: string | undefined;
  readonly #memory = new Map<string, Buffer>();

  constructor(folder: string | undefined) {
    this.#folder = folder;
    if (folder !== undefined) mkdirSync(folder, { recursive: true });
  }

  put(hash: string, bytes: Buffer): void {
    if (this.#folder === undefined) this.#memory.set(hash, bytes);
    else writeFileSync(join(this.#folder, hash), bytes);
  }

  /** Bytes `start` up to and without `end`, of a xorb that is there. */
  read(hash: string, start: number, end: number): Buffer {
    if (this.#folder === undefined) return (this.#memory.get(hash) as Buffer).subarray(start, end);
    const file = openSync(join(this.#folder, hash), "r");
    try {
      const bytes = Buffer.alloc(end - start);
      readSync(file, bytes, 0, bytes.length, start);
      return bytes;
    } finally {
      closeSync(file);
    }
  }
}
