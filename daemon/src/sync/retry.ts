import { setTimeout as sleep } from "node:timers/promises";
import { VlinderError } from "@vlinder/protocol";

/** Pauses before the second try, the third, … in milliseconds; so there is one try more than pauses. */
export type Retries = readonly number[];

export const DEFAULT_RETRIES: Retries = [100, 400, 1600];

/** Does it again after errors that say that this may help; the last one is thrown. */
export async function retrying<T>(pauses: Retries, work: () => Promise<T>): Promise<T> {
  for (let i = 0; ; i++) {
    try {
      return await work();
    } catch (error) {
      const pause = pauses[i];
      if (pause === undefined || !(error instanceof VlinderError) || !error.retryable) throw error;
      // Jitter: machines that failed together don't come back together.
      await sleep(pause * (0.5 + Math.random()));
    }
  }
}
