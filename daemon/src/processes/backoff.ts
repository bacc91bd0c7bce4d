const FIRST_MS = 500;
const LONGEST_MS = 60_000;
/** A process that ran this long did not fail because of its start: the delays begin anew. */
const WELL_MS = 60_000;

/** How long to wait before the next start: half a second, doubled each time, a minute at most. */
export class Backoff {
  #next = FIRST_MS;

  /** In milliseconds, after a run of so many. */
  after(ran: number): number {
    if (ran >= WELL_MS) this.#next = FIRST_MS;
    const delay = this.#next;
    this.#next = Math.min(delay * 2, LONGEST_MS);
    return delay;
  }

  reset(): void {
    this.#next = FIRST_MS;
  }
}
