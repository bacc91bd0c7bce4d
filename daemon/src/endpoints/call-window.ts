import { LIMITS, VlinderError } from "@vlinder/protocol";

/** How often it is looked whether anybody is there, in milliseconds. */
const LOOK = 5_000;
/** With a full window and nothing taken, in milliseconds. */
const STALLED = 10 * 60 * 1000;

/**
 * How far a streamed answer may be ahead of who reads it. NATS delivers whatever comes, or drops it, so the caller
 * acknowledges what it took; and while it does, it is there.
 */
export class CallWindow {
  /** Bytes of each part that is not acknowledged, oldest first. */
  readonly #sizes: number[] = [];
  readonly #abort: (reason: VlinderError) => void;
  readonly #look: NodeJS.Timeout;
  /** Parts that were acknowledged. */
  #taken = 0;
  #ahead = 0;
  #heard = performance.now();
  #moved = performance.now();
  #wake: (() => void) | null = null;

  constructor(abort: (reason: VlinderError) => void) {
    this.#abort = abort;
    this.#look = setInterval(() => this.#check(), LOOK);
  }

  /** A part is on its way; resolves when there may be another one, at once where that is so now. */
  sent(bytes: number): void | Promise<void> {
    this.#sizes.push(bytes);
    this.#ahead += bytes;
    if (this.#ahead < LIMITS.callWindow) return;
    return new Promise<void>((resolve) => (this.#wake = resolve));
  }

  /** The caller has taken the first `received` parts; what was taken before stays so. */
  acknowledge(received: number): void {
    this.#heard = performance.now();
    while (this.#taken < received && this.#sizes.length > 0) {
      this.#ahead -= this.#sizes.shift() as number;
      this.#taken++;
      this.#moved = this.#heard;
    }
    if (this.#ahead < LIMITS.callWindow) this.#go();
  }

  /** Waits for nobody any more. */
  close(): void {
    clearInterval(this.#look);
    this.#go();
  }

  #go(): void {
    this.#wake?.();
    this.#wake = null;
  }

  #check(): void {
    const now = performance.now();
    if (now - this.#heard > LIMITS.callIdle) this.#abort(gone("nobody acknowledged"));
    else if (this.#wake !== null && now - this.#moved > STALLED) this.#abort(gone("nobody took"));
  }
}

function gone(what: string): VlinderError {
  return new VlinderError("timeout", `the call was broken off: ${what} the parts of its answer`, {
    retryable: false,
    remedy: `acknowledge them with service.ack, at least every ${LIMITS.callIdle / 2000} s`,
  });
}
