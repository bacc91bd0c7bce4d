import { setImmediate as nextTurn } from "node:timers/promises";

/** Computing longer than this without a break would keep requests waiting. */
const SLICE_MS = 2;

/** For long walks over what is at hand at once: lets others have their turn now and then. */
export class Breather {
  #since = performance.now();

  /** Null: go on at once. */
  breathe(): Promise<void> | null {
    if (performance.now() - this.#since < SLICE_MS) return null;
    return nextTurn().then(() => {
      this.#since = performance.now();
    });
  }
}
