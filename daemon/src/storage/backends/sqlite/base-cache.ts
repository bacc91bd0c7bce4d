import { asBuffer, type Hash } from "@vlinder/protocol";
import { KINDS } from "../../object-storage.ts";
import type { Base, Item } from "./blocks-of.ts";
import { locationOf } from "./location.ts";

const NODE_SHELF = KINDS.indexOf("node");
/** In each of two generations, of all databases of the process: about 10 MB. */
const KEPT = 16_384;

/** Of objects that were read or stored lately: what the next version of each can be a delta on. */
export class BaseCache {
  static readonly #all = new Set<BaseCache>();
  static #count = 0;
  #young = new Map<Hash, Base>();
  #old = new Map<Hash, Base>();

  constructor() {
    BaseCache.#all.add(this);
  }

  get(hash: Hash): Base | undefined {
    return this.#young.get(hash) ?? this.#old.get(hash);
  }

  set(hash: Hash, base: Base): void {
    if (++BaseCache.#count > KEPT) BaseCache.#turn();
    this.#young.set(hash, base);
  }

  static #turn(): void {
    BaseCache.#count = 0;
    for (const cache of BaseCache.#all) {
      cache.#old = cache.#young;
      cache.#young = new Map();
    }
  }

  /** Takes in what was stored in a block. */
  stored(block: number, items: readonly Item[]): void {
    for (let slot = 0; slot < items.length; slot++) {
      const { shelf, hash, bytes, base, like } = items[slot] as Item;
      if (shelf !== NODE_SHELF) continue;
      if (like !== undefined) this.#delete(like);
      this.set(hash, base ?? { location: locationOf(block, slot, shelf), bytes: asBuffer(bytes) });
    }
  }

  /** A version that has a newer one is hardly changed again. */
  #delete(hash: Hash): void {
    this.#young.delete(hash);
    this.#old.delete(hash);
  }

  close(): void {
    this.clear();
    BaseCache.#all.delete(this);
  }

  clear(): void {
    this.#young.clear();
    this.#old.clear();
  }
}
