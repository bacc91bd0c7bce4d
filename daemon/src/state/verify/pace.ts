import { setImmediate as nextTurn } from "node:timers/promises";

/** Told of objects that are done; where it returns a promise, that is a break for other work of the thread. */
export type Step = (objects: number) => Promise<void> | void;

/** Work without a break, where other work waits on the thread, and between two messages of progress; in milliseconds. */
const SLICE = 3;
const BETWEEN = 100;

/** @param shared whether other work of the thread waits meanwhile */
export function pace(total: number, progress: (done: number, total: number) => void, shared: boolean): Step {
  let done = 0;
  let slice = performance.now();
  let told = Number.NEGATIVE_INFINITY;
  return (objects) => {
    done += objects;
    const now = performance.now();
    if (now - told > BETWEEN) {
      told = now;
      progress(Math.min(done, total), total);
    }
    if (!shared || now - slice < SLICE) return undefined;
    return nextTurn().then(() => {
      slice = performance.now();
    });
  };
}
