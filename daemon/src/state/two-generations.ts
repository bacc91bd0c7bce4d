/**
 * A bounded cache: what was used since the last turn of generations stays, the rest goes in one
 * stroke. Close to LRU, and a hit in the young generation costs one map lookup.
 */
export class TwoGenerations<K, V> {
  readonly #limit: number;
  readonly #weigh: ((value: V) => number) | null;
  /** Of the young generation. */
  #weight = 0;
  #young = new Map<K, V>();
  #old = new Map<K, V>();

  /**
   * @param limit entries of one generation, or what they weigh together; about twice this is held at most
   * @param weigh what a value weighs, always the same; null: 1
   */
  constructor(limit: number, weigh: ((value: V) => number) | null = null) {
    this.#limit = limit;
    this.#weigh = weigh;
  }

  get(key: K): V | undefined {
    const young = this.#young.get(key);
    if (young !== undefined) return young;
    const old = this.#old.get(key);
    if (old !== undefined) this.set(key, old);
    return old;
  }

  delete(key: K): void {
    this.#lighten(key);
    this.#young.delete(key);
    this.#old.delete(key);
  }

  set(key: K, value: V): void {
    if ((this.#weigh === null ? this.#young.size : this.#weight) >= this.#limit) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#weight = 0;
    }
    this.#lighten(key);
    if (this.#weigh !== null) this.#weight += this.#weigh(value);
    this.#young.set(key, value);
  }

  /** What a key has in the young generation is about to go. */
  #lighten(key: K): void {
    if (this.#weigh === null) return;
    const value = this.#young.get(key);
    if (value !== undefined) this.#weight -= this.#weigh(value);
  }
}
