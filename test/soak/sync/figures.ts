import { lstatSync, readdirSync } from "node:fs";
import path from "node:path";
import { residentBytes } from "../../harness/memory.ts";

/** What one machine has, at one moment. */
export interface Sample {
  /** Milliseconds since the beginning. */
  readonly at: number;
  readonly memory: number;
  /** Open files, sockets and pipes; null where the system does not tell. */
  readonly handles: number | null;
}

export function sampleOf(pid: number, at: number): Sample | null {
  try {
    const memory = residentBytes(pid);
    // One that was killed and not waited for yet has none.
    return Number.isNaN(memory) ? null : { at, memory, handles: handlesOf(pid) };
  } catch {
    return null; // it has just been killed
  }
}

function handlesOf(pid: number): number | null {
  return process.platform === "linux" ? readdirSync(`/proc/${pid}/fd`).length : null;
}

/** Bytes of all files below a folder; what goes away meanwhile counts for nothing. */
export function bytesBelow(folder: string): number {
  let sum = 0;
  for (const name of readdirSync(folder, { recursive: true }) as string[]) {
    try {
      const found = lstatSync(path.join(folder, name));
      if (found.isFile()) sum += found.size;
    } catch {
      // deleted since it was listed
    }
  }
  return sum;
}

/** The median of the first third of these samples, and of the last. */
export function thirds(samples: readonly Sample[], figure: (sample: Sample) => number): readonly [number, number] {
  const third = Math.ceil(samples.length / 3);
  return [median(samples.slice(0, third).map(figure)), median(samples.slice(-third).map(figure))];
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
}
