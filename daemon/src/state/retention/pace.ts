import { setImmediate as nextTurn } from "node:timers/promises";

/** How long long work may keep others waiting, in milliseconds. */
const SLICE = 3;

/** Long work on the thread that serves: `if (pace.due) await pace.rest()` lets others in between. */
export class Pace {
  #since = performance.now();

  get due(): boolean {
    return performance.now() - this.#since > SLICE;
  }

  async rest(): Promise<void> {
    await nextTurn();
    this.#since = performance.now();
  }
}
