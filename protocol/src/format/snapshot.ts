import { invalid } from "../errors.ts";
import { parseCanonicalJson } from "../canonical.ts";
import { type Hash, isHash, sha256 } from "../hash.ts";

/** All that an agent holds at one commit: a function of the contents alone. */
export interface Snapshot {
  /** The contract's value, or null before the first one. */
  readonly contract: Hash | null;
  /** Root of the tree of keys, or null when there are none. */
  readonly kv: Hash | null;
  /** Root of the tree of vectors, or null when there are none. */
  readonly vectors: Hash | null;
}

export const EMPTY_SNAPSHOT: Snapshot = { contract: null, kv: null, vectors: null };

const quote = (hash: Hash | null): string => (hash === null ? "null" : `"${hash}"`);

/** Canonical JSON; its SHA-256 is the snapshot's hash. */
export function encodeSnapshot(snapshot: Snapshot): string {
  return `{"contract":${quote(snapshot.contract)},"kv":${quote(snapshot.kv)},"vectors":${quote(snapshot.vectors)}}`;
}

const scratch = Buffer.alloc(256);

export function hashSnapshot(snapshot: Snapshot): Hash {
  // Hashing bytes costs half of hashing text.
  const length = scratch.write(encodeSnapshot(snapshot), "latin1");
  return sha256(scratch.subarray(0, length));
}

/** @throws invalid */
export function decodeSnapshot(bytes: Uint8Array): Snapshot {
  const value = parseCanonicalJson(bytes, "snapshot") as Record<string, unknown> | null;
  const names = value === null || typeof value !== "object" ? [] : Object.keys(value);
  if (value === null || names.join() !== "contract,kv,vectors") {
    throw invalid("not a snapshot", { remedy: "a newer vlinder may have written it: update this one" });
  }
  for (const name of names) {
    if (value[name] !== null && !isHash(value[name])) throw invalid(`not a snapshot: ${name} is not a hash`);
  }
  return value as unknown as Snapshot;
}
