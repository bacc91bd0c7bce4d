import { type Hash, sha256 } from "@vlinder/protocol";
import { Ring } from "./ring.ts";

/** Larger values are rare, and the storage reads them well. */
const LARGEST = 16 * 1024;

/** All of the process share 2 MB, and up to 40 where that is of use. */
const ring = new Ring("hex", 2, 40);
let owners = 0;

/**
 * Small values that were written or read lately, so that a get of them needs no promise and no storage. Each agent
 * has a cache of its own (what one has erased, another's reading must not bring back), within one bound for all.
 */
export class ValueCache {
  readonly #owner = ++owners;
  #isOpen = true;

  /** The caller's own. */
  get(hash: Hash): Buffer | undefined {
    // What is damaged the storage reads again, and says what is wrong with it.
    return this.#isOpen ? ring.get(this.#owner, hash, (bytes) => sha256(bytes) === hash) : undefined;
  }

  /** Keeps bytes that hash to this; a copy. */
  set(hash: Hash, bytes: Uint8Array): void {
    if (this.#isOpen && bytes.length <= LARGEST) ring.add(this.#owner, hash, bytes);
  }

  /** The same of bytes that were only read: their hash is computed when they are asked for. */
  offer(hash: Hash, bytes: Uint8Array): void {
    if (this.#isOpen && bytes.length <= LARGEST) ring.add(this.#owner, hash, bytes, true);
  }

  /** Nothing at a branch's head has it any more, most likely: other values may be kept in its place. */
  yield(hash: Hash): void {
    ring.yield(this.#owner, hash);
  }

  /** To be called for what is removed from the storage. */
  delete(hash: Hash): void {
    ring.delete(this.#owner, hash);
  }

  close(): void {
    this.#isOpen = false;
  }
}
