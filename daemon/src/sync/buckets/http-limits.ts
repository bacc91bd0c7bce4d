/** How long and how often a bucket's HTTP requests are tried; times in milliseconds. */
export interface HttpLimits {
  /** Tries of one request, the first included. */
  readonly tries: number;
  /** No try begins later than this after the first, and no wait goes beyond it. */
  readonly total: number;
  /** From the start of a try to the reply's headers, beside the time that its body takes at `slowest`. */
  readonly reply: number;
  /** Between two pieces of a reply's body. The whole may take as long as it wants. */
  readonly idle: number;
  /** Bytes a second of an upload; a slower one counts as hanging. Node's own limit of 5 minutes holds, too. */
  readonly slowest: number;
  /** Before the second try; doubles with each, with jitter, unless the service says how long. */
  readonly pause: number;
}

export const HTTP_LIMITS: HttpLimits = {
  tries: 5,
  total: 60_000,
  reply: 30_000,
  idle: 30_000,
  slowest: 64 * 1024,
  pause: 300,
};
