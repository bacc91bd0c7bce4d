import { canonicalJson, type Hash, type Key, keyText } from "@vlinder/protocol";
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
    return Buffer.from(
      `{"kv":${list(this.#seen.kv)},"more":${this.#more},"vectors":${list(this.#seen.vectors)}}`,
      "utf8",
    );
  }
}

/** In the order of the keys, as canonical JSON. */
function list(seen: ReadonlyMap<Key, Hash | null>): string {
  const items = [...seen.keys()].sort().map((key) => {
    const hash = seen.get(key) ?? null;
    return `[${canonicalJson(keyText(key))},${hash === null ? "null" : `"${hash}"`}]`;
  });
  return `[${items.join(",")}]`;
}
