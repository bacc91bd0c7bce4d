/**
 * What is under way: few, and each soon over. In an array and no Set, for the garbage collector's sake. A Set or Map that has become old
 * has its next table made among old objects, too; and there the one before it, which nothing refers to, keeps alive all that
 * was under way when it was replaced, with what hangs on it, until all of memory is collected (docs/decisions/0129).
 */
export class UnderWay<T> implements Iterable<T> {
  readonly #all: T[] = [];

  get size(): number {
    return this.#all.length;
  }

  add(one: T): void {
    this.#all.push(one);
  }

  delete(one: T): void {
    const at = this.#all.indexOf(one);
    if (at < 0) return;
    const last = this.#all.pop() as T;
    if (at < this.#all.length) this.#all[at] = last;
  }

  /** As they are now. */
  [Symbol.iterator](): ArrayIterator<T> {
    return [...this.#all].values();
  }
}
