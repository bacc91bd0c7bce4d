/** Time as the schedule sees it; tests have one of their own. */
export interface Clock {
  /** Milliseconds since 1970; never goes back. */
  now(): number;
  /** Does the work once, so many milliseconds from now. @returns takes it back */
  after(milliseconds: number, work: () => void): () => void;
  /** From 0 up to 1, for jitter. */
  random(): number;
}

/** setTimeout takes no more. */
const MOST = 2 ** 31 - 1;

export const SYSTEM_CLOCK: Clock = {
  // A wall clock that is set back must not make a backoff of hours.
  now: () => performance.timeOrigin + performance.now(),
  after: (milliseconds, work) => {
    const timer = setTimeout(work, Math.min(Math.max(0, Math.ceil(milliseconds)), MOST)).unref();
    return () => clearTimeout(timer);
  },
  random: Math.random,
};
