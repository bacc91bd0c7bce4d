/**
 * Ends work that waits for somebody else for too long. The time in which it is at our own side that nothing goes on (a
 * caller that reads slowly) does not count.
 */
export class Watchdog {
  readonly signal: AbortSignal;
  readonly #controller = new AbortController();
  readonly #idle: number;
  readonly #late: () => Error;
  readonly #outer: AbortSignal;
  #timer: NodeJS.Timeout | undefined;

  /** Begins to count. @param late why the work is ended */
  constructor(idle: number, outer: AbortSignal, late: () => Error) {
    this.#idle = idle;
    this.#late = late;
    this.#outer = outer;
    this.signal = this.#controller.signal;
    outer.addEventListener("abort", this.#abort);
    if (outer.aborted) this.#abort();
    this.#wait();
  }

  /** Why the work was ended; null: it was not. */
  get reason(): unknown {
    return this.signal.aborted ? (this.signal.reason as unknown) : null;
  }

  /** Counts no more until something is waited for again. */
  rest(): void {
    clearTimeout(this.#timer);
  }

  /** Counts while the next piece is waited for, and not while it is worked on. */
  async *watched<T>(pieces: AsyncIterable<T>): AsyncGenerator<T, void> {
    this.#wait();
    for await (const piece of pieces) {
      this.rest();
      this.signal.throwIfAborted();
      yield piece;
      this.signal.throwIfAborted();
      this.#wait();
    }
  }

  end(): void {
    this.rest();
    this.#outer.removeEventListener("abort", this.#abort);
  }

  readonly #abort = (): void => this.#controller.abort(this.#outer.reason);

  #wait(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#controller.abort(this.#late()), this.#idle);
  }
}
