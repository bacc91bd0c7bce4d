import { type Hash, hashFromBytes } from "@vlinder/protocol";

const WIDTH = 32;

/**
 * Many hashes in little memory: about 40 bytes each, where a Set of texts takes over 150. A hash gets
 * a number, counted from 0, when it is added.
 */
export class HashTable {
  #size = 0;
  #hashes = Buffer.alloc(64 * WIDTH);
  /** Open addressing: a hash's number and 1 more; 0 is free. At most half of it is used. */
  #slots = new Int32Array(128);
  readonly #probe = Buffer.alloc(WIDTH);

  get size(): number {
    return this.#size;
  }

  /** The hash's number; it is added where it is not there. */
  add(hash: Hash): number {
    const slot = this.#find(hash);
    const known = this.#slots[slot] as number;
    if (known > 0) return known - 1;
    const number = this.#size++;
    if (this.#size * WIDTH > this.#hashes.length) {
      const larger = Buffer.alloc(2 * this.#hashes.length);
      this.#hashes.copy(larger);
      this.#hashes = larger;
    }
    this.#probe.copy(this.#hashes, number * WIDTH);
    this.#slots[slot] = number + 1;
    if (2 * this.#size > this.#slots.length) this.#grow();
    return number;
  }

  /** -1: it is not there. */
  numberOf(hash: Hash): number {
    return (this.#slots[this.#find(hash)] as number) - 1;
  }

  has(hash: Hash): boolean {
    return this.numberOf(hash) >= 0;
  }

  at(number: number): Hash {
    return hashFromBytes(this.#hashes, number * WIDTH);
  }

  /** Good until the next `add`. */
  bytes(number: number): Buffer {
    return this.#hashes.subarray(number * WIDTH, (number + 1) * WIDTH);
  }

  *[Symbol.iterator](): Generator<Hash> {
    for (let number = 0; number < this.#size; number++) yield this.at(number);
  }

  /** The slot where the hash is, or would be. It is in `#probe` then. */
  #find(hash: Hash): number {
    this.#probe.write(hash, 0, WIDTH, "hex");
    const mask = this.#slots.length - 1;
    // Whoever stores chooses hashes only by trying: no part of one is better than another.
    let slot = this.#probe.readUInt32LE(0) & mask;
    for (;;) {
      const number = (this.#slots[slot] as number) - 1;
      if (number < 0) return slot;
      if (this.#hashes.compare(this.#probe, 0, WIDTH, number * WIDTH, (number + 1) * WIDTH) === 0) return slot;
      slot = (slot + 1) & mask;
    }
  }

  #grow(): void {
    const slots = new Int32Array(2 * this.#slots.length);
    const mask = slots.length - 1;
    for (let number = 0; number < this.#size; number++) {
      let slot = this.#hashes.readUInt32LE(number * WIDTH) & mask;
      while (slots[slot] !== 0) slot = (slot + 1) & mask;
      slots[slot] = number + 1;
    }
    this.#slots = slots;
  }
}
