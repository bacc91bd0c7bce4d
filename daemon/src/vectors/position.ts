import { type BranchId, canonicalJson, type Hash, isHash, VlinderError } from "@vlinder/protocol";
import type { History } from "./history.ts";

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

export function encodePosition(heads: Heads): string {
  return canonicalJson({ v: 1, heads: Object.fromEntries(heads) });
}

/** Null when it is not a position of this format: the index is built again then. */
export function decodePosition(text: string | null): Heads | null {
  if (text === null) return null;
  let value: { v?: unknown; heads?: unknown } | null;
  try {
    value = JSON.parse(text) as typeof value;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
  if (value?.v !== 1 || typeof value.heads !== "object" || value.heads === null) return null;
  const entries = Object.entries(value.heads);
  return entries.every(([id, head]) => isHash(id) && isHash(head)) ? new Map(entries as [BranchId, Hash][]) : null;
}

/** Whether an error says that a commit's state can't be read any more, as after a restored backup or retention. */
export function isGone(error: unknown): boolean {
  return error instanceof VlinderError && (error.code === "not_found" || error.code === "pruned");
}
