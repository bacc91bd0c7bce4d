import { type Hash, hashToBytes } from "@vlinder/protocol";
import { type Kind, KINDS, type ObjectReader, type StoredObject } from "../../object-storage.ts";
import { Reader } from "./reader.ts";

/** Reads a database that this process has open for writing on other threads. @throws unavailable */
export function openSqliteReader(path: string): ObjectReader & { close(): void } {
  const reader = new Reader(path);
  return {
    read: async (kind: Kind, hashes: readonly Hash[]) =>
      hashes.map((hash) => reader.find(KINDS.indexOf(kind), hashToBytes(hash))?.bytes ?? null),
    scan: async (kind: Kind, after: Hash | null, limit: number) => reader.scan(kind, after, limit),
    sweep: (kind: Kind): AsyncIterable<readonly StoredObject[]> => reader.sweep(kind),
    close: () => reader.close(),
  };
}
