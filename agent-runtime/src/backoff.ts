const FIRST = 100;
const LONGEST = 2_000;

/** Milliseconds before try `attempt + 1`: doubling up to 2 s, the upper half of it random so that clients spread. */
export function backoff(attempt: number): number {
  const full = Math.min(LONGEST, FIRST * 2 ** attempt);
  return full / 2 + (Math.random() * full) / 2;
}
