import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

const EVERY = 20;

/** Bytes of a process that are in memory. */
export function residentBytes(pid: number): number {
  if (process.platform === "linux") {
    return 1024 * Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
  }
  return 1024 * Number(execFileSync("ps", ["-o", "rss=", "-p", String(pid)], { encoding: "utf8" }));
}

/** How far a process's memory goes above what it has at the beginning. */
export class MemoryWatch {
  readonly idle: number;
  peak: number;
  readonly #timer: NodeJS.Timeout;

  constructor(pid: number) {
    this.idle = residentBytes(pid);
    this.peak = this.idle;
    this.#timer = setInterval(() => {
      this.peak = Math.max(this.peak, residentBytes(pid));
    }, EVERY);
  }

  /** Ends it; returns the bytes above idle. */
  stop(): number {
    clearInterval(this.#timer);
    return this.peak - this.idle;
  }
}
