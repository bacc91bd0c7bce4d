import type { Progress } from "@vlinder/protocol";

/** What was done longer ago than this counts for a third, twice as long ago for a ninth; milliseconds. */
const MEMORY = 4000;
/** Before so much time has passed, a rate would be a guess. */
const WARM_UP = 1000;

/** How fast something goes, smoothed: packs and commits come in lumps. */
export class Pace {
  readonly #what: string;
  readonly #unit: Progress["unit"];
  readonly #total: number | null;
  #began: number | null = null;
  #last = 0;
  #done = 0;
  /** Weighted sums of what was done, and of the time that it took. */
  #amount = 0;
  #time = 0;

  constructor({ what, unit, total }: Progress) {
    this.#what = what;
    this.#total = total;
    this.#unit = unit;
  }

  /** Whether it goes on with the same thing, or with the next part of the same whole. */
  isOf({ what, unit, total, done }: Progress): boolean {
    const same = total === null ? what === this.#what : total === this.#total;
    return same && unit === this.#unit && done >= this.#done;
  }

  /** So much was done in all at this time, in milliseconds. */
  add(now: number, done: number): void {
    if (this.#began === null) this.#began = now;
    else if (now > this.#last) {
      const kept = 3 ** (-(now - this.#last) / MEMORY);
      this.#amount = this.#amount * kept + (done - this.#done);
      this.#time = this.#time * kept + (now - this.#last);
    } else return;
    this.#last = now;
    this.#done = done;
  }

  /** Units a second; null while it can't be said yet. */
  get rate(): number | null {
    if (this.#began === null || this.#last - this.#began < WARM_UP) return null;
    return (this.#amount * 1000) / this.#time;
  }
}
