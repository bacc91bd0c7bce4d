import { createHash } from "node:crypto";
import { type Hash, hashFromBytes, hashToBytes, type Key } from "@vlinder/protocol";

/**
 * What a stretch of history changed, so that a search for one key can step over it. A `run` is a chain of commits
 * that each have one parent and list their changes. All others (merges, promotes, rewinds, the first commit) are
 * each a segment by itself, `one`, which says where to go on and is never stepped over.
 *
 * A segment follows from its top commit alone, which names all that is below: a row of another agent's or an
 * older file is right or is never asked for.
 */
export interface Segment {
  readonly kind: "run" | "one";
  /** The newest commit's time; empty: it has none. */
  readonly time: string;
  readonly commits: number;
  /** Parents of its oldest commit. */
  readonly below: readonly Hash[];
  /** Of its commits, the one that comes last by (time, hash). */
  readonly last: { readonly time: string; readonly hash: Hash };
  /** Whether a commit in it may have changed a key: no is certain. */
  may(key: number): boolean;
}

/** Hash of a key, 32 bits: FNV-1a, mixed at the end. Two keys with the same one cost time, and nothing else. */
export function keyNumber(key: Key): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  return (hash ^ (hash >>> 13)) >>> 0;
}

const KINDS = ["run", "one"] as const;
const CHECK = 8;
const TIME = 24;
/** Kind, number of parents, commits; the two times; the last commit. The parents and keys follow. */
const FIXED = CHECK + 4 + TIME + TIME + 32;

/** The row of a segment: a check over all of it and its top, then its fields, then the keys' numbers in order. */
export function encodeSegment(top: Hash, segment: Omit<Segment, "may">, keys: ReadonlySet<number>): Uint8Array {
  const { kind, time, commits, below, last } = segment;
  const bytes = Buffer.alloc(FIXED + 32 * below.length + 4 * keys.size);
  bytes[CHECK] = KINDS.indexOf(kind);
  bytes[CHECK + 1] = below.length;
  bytes.writeUInt16LE(commits, CHECK + 2);
  bytes.write(time, CHECK + 4, "latin1");
  bytes.write(last.time, CHECK + 4 + TIME, "latin1");
  bytes.set(hashToBytes(last.hash), FIXED - 32);
  let at = FIXED;
  for (const parent of below) {
    bytes.set(hashToBytes(parent), at);
    at += 32;
  }
  for (const key of Uint32Array.from(keys).sort()) at = bytes.writeUInt32LE(key, at);
  bytes.set(checkOf(top, bytes), 0);
  return bytes;
}

/** Null: damaged. */
export function decodeSegment(top: Hash, row: Uint8Array): Segment | null {
  const bytes = Buffer.from(row.buffer, row.byteOffset, row.byteLength);
  if (bytes.length < FIXED || !checkOf(top, bytes).equals(bytes.subarray(0, CHECK))) return null;
  const parents = bytes[CHECK + 1] as number;
  const keys = FIXED + 32 * parents;
  const text = (at: number): string => (bytes[at] === 0 ? "" : bytes.toString("latin1", at, at + TIME));
  const hash = (at: number): Hash => hashFromBytes(bytes.subarray(at, at + 32));
  return {
    kind: KINDS[bytes[CHECK] as number] as Segment["kind"],
    time: text(CHECK + 4),
    commits: bytes.readUInt16LE(CHECK + 2),
    below: Array.from({ length: parents }, (_, i) => hash(FIXED + 32 * i)),
    last: { time: text(CHECK + 4 + TIME), hash: hash(FIXED - 32) },
    may: (key) => {
      let [low, high] = [0, (bytes.length - keys) / 4];
      while (low < high) {
        const middle = (low + high) >>> 1;
        const found = bytes.readUInt32LE(keys + 4 * middle);
        if (found === key) return true;
        if (found < key) low = middle + 1;
        else high = middle;
      }
      return false;
    },
  };
}

function checkOf(top: Hash, bytes: Buffer): Buffer {
  return createHash("sha256").update(hashToBytes(top)).update(bytes.subarray(CHECK)).digest().subarray(0, CHECK);
}
