import { asBuffer, type Hash } from "@vlinder/protocol";
import { KINDS } from "../../object-storage.ts";
import type { Base, Item } from "./blocks-of.ts";
import { locationOf } from "./location.ts";

const NODE_SHELF = KINDS.indexOf("node");
/** In each of two generations. */
const KEPT = 16_384;

/** Of objects that were read or stored lately: what the next version of each can be a delta on. */
export class BaseCache {
  #young = new Map<Hash, Base>();
  #old = new Map<Hash, Base>();

  get(hash: Hash): Base | undefined {
    return this.#young.get(hash) ?? this.#old.get(hash);
  }

  set(hash: Hash, base: Base): void {
    if (this.#young.size >= KEPT) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(hash, base);
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

  clear(): void {
    this.#young.clear();
    this.#old.clear();
  }
}
