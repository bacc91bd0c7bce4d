import { byScore, type Scored } from "./score.ts";

/** The best `limit` of what is offered, without holding all of it. */
export class Top<T extends Scored> {
  readonly #limit: number;
  #items: T[] = [];
  /** The worst of the best `limit` at the last cut: what is not better than it can be forgotten at once. */
  #bar: T | null = null;

  constructor(limit: number) {
    this.#limit = limit;
  }

  offer(item: T): void {
    if (this.#bar !== null && byScore(item, this.#bar) >= 0) return;
    this.#items.push(item);
    // Cutting at twice the limit makes a sort of 2n pay for n offers.
    if (this.#items.length >= 2 * this.#limit + 16) this.#cut();
  }

  /** Nearest first. */
  items(): T[] {
    this.#cut();
    return this.#items;
  }

  #cut(): void {
    this.#items.sort(byScore);
    if (this.#items.length < this.#limit) return;
    this.#items.length = this.#limit;
    this.#bar = this.#items.at(-1) ?? null;
  }
}
