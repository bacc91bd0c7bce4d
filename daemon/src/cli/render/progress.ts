import type { Progress } from "@vlinder/protocol";
import { plain } from "./text.ts";
import { Pace } from "./pace.ts";
import { count, size } from "./size.ts";
import { duration } from "./time.ts";

const CELLS = 24;
const INTERVAL = 100;

export interface ProgressStream {
  readonly isTTY?: boolean | undefined;
  write(text: string): unknown;
}

/** A bar on one line of a terminal, gone when the work is done. On anything else it shows nothing. */
export class ProgressBar {
  readonly #stream: ProgressStream;
  readonly #now: () => number;
  #shown = Number.NEGATIVE_INFINITY;
  #drawn = false;
  #pace: Pace | null = null;

  constructor(stream: ProgressStream, now: () => number = () => performance.now()) {
    this.#stream = stream;
    this.#now = now;
  }

  readonly show = (progress: Progress): void => {
    if (this.#stream.isTTY !== true) return;
    const now = this.#now();
    if (this.#pace?.isOf(progress) !== true) this.#pace = new Pace(progress);
    this.#pace.add(now, progress.done);
    if (now - this.#shown < INTERVAL) return;
    this.#shown = now;
    this.#drawn = true;
    this.#stream.write(`\r\x1b[K${barOf(progress)}${paceOf(progress, this.#pace.rate)}`);
  };

  end(): void {
    if (this.#drawn) this.#stream.write("\r\x1b[K");
    this.#drawn = false;
  }
}

export function barOf({ what, done, total, unit }: Progress): string {
  const amount = (number: number): string => (unit === "bytes" ? size(number) : count(number));
  const noun = unit === "bytes" ? "" : ` ${unit}`;
  if (total === null || total <= 0) return `${plain(what)}  ${amount(done)}${noun}`;
  const part = Math.min(1, Math.max(0, done / total));
  const full = Math.round(part * CELLS);
  const bar = "█".repeat(full) + "░".repeat(CELLS - full);
  return `${plain(what)}  ${bar} ${String(Math.floor(part * 100)).padStart(3)} %  ${amount(done)} of ${amount(total)}${noun}`;
}

/** How fast it goes and how long it will take, as far as that can be said. */
export function paceOf({ done, total, unit }: Progress, rate: number | null): string {
  // Of what counts seconds, a rate says nothing.
  if (rate === null || rate <= 0 || unit === "seconds") return "";
  const speed = unit === "bytes" ? `${size(Math.round(rate))}/s` : `${count(Math.round(rate))}/s`;
  const left = total === null || total <= done ? "" : `  ${duration(Math.ceil((total - done) / rate))} left`;
  return `  ${speed}${left}`;
}
