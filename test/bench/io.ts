import { existsSync, readFileSync, statSync } from "node:fs";

/** Bytes that a process has sent to the disk so far; NaN where the system does not count them. */
export function bytesWritten(pid: number | "self" = "self"): number {
  return numberIn(`/proc/${pid}/io`, /^write_bytes: (\d+)$/m);
}

/** A database's file and its log. */
export function databaseBytes(path: string): number {
  return [path, `${path}-wal`].reduce((sum, file) => sum + (statSync(file, { throwIfNoEntry: false })?.size ?? 0), 0);
}

/** Memory of a process, in bytes; NaN where the system does not say. */
export interface Memory {
  readonly now: number;
  readonly peak: number;
  /** Of what it has now: without pages of files. */
  readonly anonymous: number;
}

export function memoryOf(pid: number): Memory {
  const kilobytes = (name: string): number =>
    1024 * numberIn(`/proc/${pid}/status`, new RegExp(`^${name}:\\s+(\\d+) kB$`, "m"));
  return { now: kilobytes("VmRSS"), peak: kilobytes("VmHWM"), anonymous: kilobytes("RssAnon") };
}

function numberIn(file: string, pattern: RegExp): number {
  if (!existsSync(file)) return Number.NaN;
  return Number(pattern.exec(readFileSync(file, "utf8"))?.[1] ?? Number.NaN);
}
