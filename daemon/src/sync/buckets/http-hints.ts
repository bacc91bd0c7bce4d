/** What a service says about when to come back. */

const MAX_WAIT = 24 * 60 * 60 * 1000;

/** `Retry-After` in milliseconds from `now`: seconds or a date (RFC 9110). Undefined when there is none. */
function retryAfter(headers: Headers, now: number): number | undefined {
  const text = headers.get("retry-after")?.trim();
  if (text === undefined || text === "") return undefined;
  if (/^\d+(\.\d+)?$/.test(text)) return clamp(Number(text) * 1000);
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : clamp(date - now);
}

export interface Quota {
  /** Requests left in the window. */
  readonly remaining: number;
  /** Milliseconds until the window ends. */
  readonly resets: number;
}

/** `RateLimit: "api";r=12;t=34`, as the IETF draft has it and Hugging Face sends it; the tightest of several. */
export function rateLimit(headers: Headers): Quota | undefined {
  const found: Quota[] = [];
  for (const item of (headers.get("ratelimit") ?? "").split(",")) {
    const remaining = /;\s*r=(\d+)/.exec(item)?.[1];
    const resets = /;\s*t=(\d+)/.exec(item)?.[1];
    if (remaining === undefined || resets === undefined) continue;
    found.push({ remaining: Number(remaining), resets: clamp(Number(resets) * 1000) });
  }
  return found.toSorted((a, b) => a.remaining - b.remaining)[0];
}

/** How long the service asks to wait after this reply, in milliseconds. */
export function askedToWait({ headers, status }: Response, now = Date.now()): number | undefined {
  const asked = retryAfter(headers, now);
  if (asked !== undefined || status !== 429) return asked;
  return rateLimit(headers)?.resets;
}

function clamp(ms: number): number {
  return Math.min(MAX_WAIT, Math.max(0, Math.ceil(ms)));
}
