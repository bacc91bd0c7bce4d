import { MemorySegments, type SegmentStorage } from "./segment-storage.ts";
import { SqliteSegments } from "./sqlite-segments.ts";

/** Opens the file of an agent's history index; null: it is kept in memory. Never fails: without it history is only slower. */
export function openSegments(path: string | null, warn: (error: unknown, message: string) => void): SegmentStorage {
  return path === null ? new MemorySegments() : new SqliteSegments(path, warn);
}
