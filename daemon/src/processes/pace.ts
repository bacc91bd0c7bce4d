import { setTimeout as sleep } from "node:timers/promises";

/** Holds a steady rate, with bursts: who spends more than there is waits. */
export class Pace {
  readonly #rate: number;
  readonly #burst: number;
  #left: number;
  #then = performance.now();

  /** So many a second, and so many at once. */
  constructor(rate: number, burst: number) {
    this.#rate = rate;
    this.#burst = burst;
    this.#left = burst;
  }

  async spend(amount: number): Promise<void> {
    const now = performance.now();
    this.#left = Math.min(this.#burst, this.#left + ((now - this.#then) * this.#rate) / 1000) - amount;
    this.#then = now;
    if (this.#left < 0) await sleep((-this.#left / this.#rate) * 1000);
  }
}
