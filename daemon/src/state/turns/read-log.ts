import { canonicalJson, type Hash, type Json, type Key, keyText } from "@vlinder/protocol";
import type { Space } from "../api.ts";

/** Keys of a turn's reads that are remembered; of more only the number. */
const MOST = 100_000;

/**
 * What a turn read of the state that it began from: each key once, with what it held. What the turn
 * wrote itself before says nothing of that state, and is left out.
 */
export class ReadLog {
  readonly #seen: Readonly<Record<Space, Map<Key, Hash | null>>> = { kv: new Map(), vectors: new Map() };
  #size = 0;
  #more = 0;

  /** Null: the key was not there. */
  saw(space: Space, key: Key, hash: Hash | null): void {
    const seen = this.#seen[space];
    if (seen.has(key)) return;
    if (this.#size >= MOST) {
      this.#more++;
      return;
    }
    this.#size++;
    seen.set(key, hash);
  }

  /** Canonical JSON, keys in order: `{"kv":[["/key","<hash>"],["/absent",null]],"more":0,"vectors":[]}`; null: it read nothing. */
  encode(): Buffer | null {
    if (this.#size === 0) return null;
    const list = (space: Space): Json =>
      [...this.#seen[space]].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, hash]) => [keyText(key), hash]);
    return Buffer.from(canonicalJson({ kv: list("kv"), more: this.#more, vectors: list("vectors") }), "utf8");
  }
}
