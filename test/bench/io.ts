import { existsSync, readFileSync, statSync } from "node:fs";

/** Bytes that this process has sent to the disk so far; null where the system does not count them. */
export function bytesWritten(): number | null {
  if (!existsSync("/proc/self/io")) return null;
  const found = /^write_bytes: (\d+)$/m.exec(readFileSync("/proc/self/io", "utf8"))?.[1];
  return found === undefined ? null : Number(found);
}

/** A database's file and its log. */
export function databaseBytes(path: string): number {
  return [path, `${path}-wal`].reduce((sum, file) => sum + (statSync(file, { throwIfNoEntry: false })?.size ?? 0), 0);
}

/** Memory that a process has now, in bytes; null where the system does not say. */
export function residentBytes(pid: number): number | null {
  const file = `/proc/${pid}/status`;
  if (!existsSync(file)) return null;
  const found = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(file, "utf8"))?.[1];
  return found === undefined ? null : Number(found) * 1024;
}
