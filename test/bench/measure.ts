/** Measuring: all times in milliseconds. */

export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

/** NaN of nothing. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export interface Latency {
  readonly p50: number;
  readonly p99: number;
}

export function latencyOf(times: readonly number[]): Latency {
  return { p50: percentile(times, 0.5), p99: percentile(times, 0.99) };
}

/** One after another, for so long. */
export async function oneAtATime(milliseconds: number, work: () => Promise<unknown>): Promise<Latency> {
  const times: number[] = [];
  for (let now = performance.now(), end = now + milliseconds; now < end;) {
    await work();
    const after = performance.now();
    times.push(after - now);
    now = after;
  }
  return latencyOf(times);
}

/** How many of something were done. */
export interface Done {
  readonly count: number;
  readonly perSecond: number;
}

/** Always so many under way, for so long. */
export async function inFlight(count: number, milliseconds: number, work: () => Promise<unknown>): Promise<Done> {
  const started = performance.now();
  let done = 0;
  const lane = async (): Promise<void> => {
    while (performance.now() - started < milliseconds) {
      await work();
      done++;
    }
  };
  await Promise.all(Array.from({ length: count }, lane));
  return { count: done, perSecond: (done * 1000) / (performance.now() - started) };
}

/** What each of so many calls took. */
export async function timesOf(count: number, work: () => Promise<unknown>): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const started = performance.now();
    await work();
    times.push(performance.now() - started);
  }
  return times;
}

/**
 * What is measured in turns, A, B, A, B: a machine that others use too is slow for both alike. What a ratio
 * says is the median of the rounds' ratios.
 */
export class Rounds<Name extends string> {
  readonly #values = new Map<Name, number[]>();

  add(name: Name, value: number): void {
    const values = this.#values.get(name);
    if (values === undefined) this.#values.set(name, [value]);
    else values.push(value);
  }

  addLatency(name: Name, what: { readonly p50: Name; readonly p99: Name }, latency: Latency): void {
    this.add(what.p50, latency.p50);
    this.add(what.p99, latency.p99);
  }

  median(name: Name): number {
    return median(this.#values.get(name) ?? []);
  }

  sum(name: Name): number {
    return (this.#values.get(name) ?? []).reduce((sum, value) => sum + value, 0);
  }

  ratio(a: Name, b: Name): number {
    const over = this.#values.get(b) ?? [];
    return median((this.#values.get(a) ?? []).flatMap((value, round) => value / (over[round] ?? Number.NaN)));
  }
}
