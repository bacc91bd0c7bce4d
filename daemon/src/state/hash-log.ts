import { type Hash, hashFromBytes } from "@vlinder/protocol";

const BLOCK = 2048;

/** Many hashes, 32 bytes each: of a value of a gigabyte there are 80,000. */
export class HashLog {
  readonly #blocks: Buffer[] = [];
  #count = 0;

  add(hash: Hash): void {
    const at = this.#count++ % BLOCK;
    if (at === 0) this.#blocks.push(Buffer.alloc(32 * BLOCK));
    this.#blocks.at(-1)?.write(hash, 32 * at, "hex");
  }

  *[Symbol.iterator](): Generator<Hash> {
    for (let i = 0; i < this.#count; i++)
      yield hashFromBytes(this.#blocks[Math.floor(i / BLOCK)] as Buffer, 32 * (i % BLOCK));
  }
}
