import type { Hash } from "@vlinder/protocol";
import type { Kind, ObjectReader, StoredObject } from "../../object-storage.ts";
import { Reader } from "./reader.ts";

/** Reads a database that this process has open for writing on other threads. @throws unavailable */
export function openSqliteReader(path: string): ObjectReader & { close(): void } {
  const reader = new Reader(path);
  return {
    read: async (kind: Kind, hashes: readonly Hash[]) => reader.objects(kind, hashes),
    scan: async (kind: Kind, after: Hash | null, limit: number) => reader.scan(kind, after, limit),
    sweep: (kind: Kind): AsyncIterable<readonly StoredObject[]> => reader.sweep(kind),
    close: () => reader.close(),
  };
}
