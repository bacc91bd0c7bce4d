import { type Hash, hashToBytes } from "@vlinder/protocol";
import { type Kind, KINDS, type ObjectReader, type StoredObject } from "../../object-storage.ts";
import { Reader } from "./reader.ts";
import { SoundIndex } from "./sound-index.ts";

/** Who reads all of a database meets the same bases of deltas again and again. */
const BLOCKS_KEPT = 2048;

/** Reads a database that this process has open for writing on other threads. @throws unavailable */
export function openSqliteReader(path: string): ObjectReader & { close(): void } {
  const reader = new Reader(path, BLOCKS_KEPT);
  const index = new SoundIndex();
  const readNow = (kind: Kind, hash: Hash): Uint8Array | null =>
    reader.find(KINDS.indexOf(kind), hashToBytes(hash))?.bytes ?? null;
  return {
    read: async (kind: Kind, hashes: readonly Hash[]) => hashes.map((hash) => readNow(kind, hash)),
    readNow,
    readAt: (kind: Kind, hash: Hash, place: number) =>
      reader.at(place, KINDS.indexOf(kind), hashToBytes(hash))?.bytes ?? null,
    scan: async (kind: Kind, after: Hash | null, limit: number) => reader.scan(kind, after, limit),
    sweep: (kinds: readonly Kind[]): AsyncIterable<readonly StoredObject[]> => reader.sweep(kinds, index),
    close: () => reader.close(),
  };
}
