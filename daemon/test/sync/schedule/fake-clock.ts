import { setImmediate } from "node:timers/promises";
import type { Clock } from "../../../src/sync/schedule/clock.ts";

/** What has been set in motion has come to where it waits for time or for another. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 3; i++) await setImmediate();
}

/** Time that passes when it is told to. */
export class FakeClock implements Clock {
  #now = Date.parse("2026-11-26T00:00:00Z");
  #timers: { readonly at: number; readonly work: () => void }[] = [];
  /** What `random` gives. */
  chance = 0.5;
  /** By so many milliseconds timers come too soon, as Node's do by a part of one; they take one at least. */
  early = 0;

  now(): number {
    return this.#now;
  }

  after(milliseconds: number, work: () => void): () => void {
    const timer = { at: this.#now + (this.early === 0 ? milliseconds : Math.max(1, milliseconds) - this.early), work };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((one) => one !== timer);
    };
  }

  random(): number {
    return this.chance;
  }

  /** Timers that wait. */
  get waiting(): number {
    return this.#timers.length;
  }

  /** Lets time pass; what comes due is done in its order. */
  async pass(milliseconds: number): Promise<void> {
    const end = this.#now + milliseconds;
    await settled();
    for (;;) {
      const [next] = this.#timers.filter(({ at }) => at <= end).toSorted((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.#timers = this.#timers.filter((one) => one !== next);
      this.#now = Math.max(this.#now, next.at);
      next.work();
      await settled();
    }
    this.#now = end;
  }
}
