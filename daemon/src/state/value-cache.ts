import { type Hash, ownBuffer } from "@vlinder/protocol";

/** Weight of one generation, in bytes; at most twice this is held. */
const LIMIT = 16 * 1024 * 1024;
/** Larger values are rare, and the storage reads them well. */
const LARGEST = 16 * 1024;
/** What an entry costs beside its bytes, about. */
const OVERHEAD = 400;

/** All of the process share one bound. */
const open = new Set<ValueCache>();
let weight = 0;

/**
 * Small values that were read lately, so that a get of them needs no promise and no storage. Each agent has
 * a cache of its own (what one has erased, another's reading must not bring back), within one bound
 * for all: what was used since the last turn of generations stays, the rest goes in one stroke.
 */
export class ValueCache {
  #young = new Map<Hash, Uint8Array>();
  #old = new Map<Hash, Uint8Array>();

  constructor() {
    open.add(this);
  }

  get(hash: Hash): Uint8Array | undefined {
    const young = this.#young.get(hash);
    if (young !== undefined) return young;
    const old = this.#old.get(hash);
    if (old !== undefined) this.set(hash, old);
    return old;
  }

  /** Keeps bytes that hash to this, and that nobody changes; a copy, where they are a part of a larger buffer. */
  set(hash: Hash, bytes: Uint8Array): void {
    if (bytes.length > LARGEST || !open.has(this)) return;
    if (weight >= LIMIT) {
      weight = 0;
      for (const cache of open) cache.#turn();
    }
    this.#young.set(hash, ownBuffer(bytes));
    weight += bytes.length + OVERHEAD;
  }

  /** To be called for what is removed from the storage. */
  delete(hash: Hash): void {
    this.#young.delete(hash);
    this.#old.delete(hash);
  }

  close(): void {
    open.delete(this);
    this.#young.clear();
    this.#old.clear();
  }

  #turn(): void {
    this.#old = this.#young;
    this.#young = new Map();
  }
}
