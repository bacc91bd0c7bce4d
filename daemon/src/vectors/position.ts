import {
  type BranchId,
  canonicalJson,
  type Hash,
  isHash,
  keyText,
  parseHash,
  parseKey,
  VlinderError,
} from "@vlinder/protocol";
import type { History } from "./history.ts";
import type { RecordName } from "./records.ts";

/** The head of each branch; deleted branches have none. */
export type Heads = ReadonlyMap<BranchId, Hash>;

export function headsOf(history: History): Heads {
  const heads = new Map<BranchId, Hash>();
  for (const { id, head } of history.branches()) if (head !== null) heads.set(id, head);
  return heads;
}

export function sameHeads(a: Heads, b: Heads): boolean {
  return a.size === b.size && [...a].every(([id, head]) => b.get(id) === head);
}

/**
 * Up to where an index is complete: every record that a commit reachable from `heads` put in place
 * has a row, but for those in `absent`, whose bytes were not here. They may come back: what was
 * erased can be put again, and a pull can bring what was missing.
 */
export interface Position {
  readonly heads: Heads;
  readonly absent: readonly RecordName[];
}

export function encodePosition({ heads, absent }: Position): string {
  const names = absent.map(({ key, hash, size }) => [keyText(key), hash, size]);
  return canonicalJson({ v: 1, heads: Object.fromEntries(heads), absent: names });
}

/** Null when it is not a position of this format: the index is built again then. */
export function decodePosition(text: string | null): Position | null {
  if (text === null) return null;
  let value: { v?: unknown; heads?: unknown; absent?: unknown } | null;
  try {
    value = JSON.parse(text) as typeof value;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
  if (value?.v !== 1 || typeof value.heads !== "object" || value.heads === null) return null;
  const heads = Object.entries(value.heads);
  if (!heads.every(([id, head]) => isHash(id) && isHash(head)) || !Array.isArray(value.absent)) return null;
  const absent = value.absent.map(([key, hash, size]) => ({
    key: parseKey(key),
    hash: parseHash(hash),
    size: Number(size),
  }));
  return { heads: new Map(heads as [BranchId, Hash][]), absent };
}

/** Whether an error says that a commit's state can't be read any more, as after a restored backup or retention. */
export function isGone(error: unknown): boolean {
  return error instanceof VlinderError && (error.code === "not_found" || error.code === "pruned");
}
