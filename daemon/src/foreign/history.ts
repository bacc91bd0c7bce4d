import { parseKey, type Key } from "@vlinder/protocol";
import { type ForeignCommit, foreignHash, type VlinderCliSource } from "../storage/foreign/vlindercli-source.ts";
import type { ImportFindings } from "./findings.ts";

/** Key → hash of its value as VlinderCLI knows it. */
export type Entries = ReadonlyMap<Key, string>;

/**
 * The flat snapshot of a commit; null when it is not here or can't be read. What of it is no key, or no hash, is left
 * out and said.
 */
export function entriesOf(source: VlinderCliSource, commit: ForeignCommit, findings: ImportFindings): Entries | null {
  const text = source.snapshot(commit.snapshot);
  if (text === null) {
    findings.add("missing snapshot", commit.hash);
    return null;
  }
  if (foreignHash(text) !== commit.snapshot) findings.add("snapshot of another hash", commit.snapshot);
  const flat = flatMap(text);
  if (flat === null) {
    findings.add("unreadable snapshot", commit.snapshot);
    return null;
  }
  const entries = new Map<Key, string>();
  for (const [path, hash] of flat) {
    const key = keyOrNull(path);
    if (key === null) findings.add("path that is no key", path.slice(0, 200));
    else if (typeof hash !== "string" || !/^[0-9a-fA-F]{64}$/.test(hash)) findings.add("entry without a hash", path);
    else entries.set(key, hash.toLowerCase());
  }
  return entries;
}

/** Null: no JSON object. */
function flatMap(text: string): [string, unknown][] | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  return typeof value === "object" && value !== null && !Array.isArray(value) ? Object.entries(value) : null;
}

function keyOrNull(path: string): Key | null {
  try {
    return parseKey(path);
  } catch {
    return null;
  }
}

/** What differs, in no order; a null hash: the key is gone. */
export function differences(before: Entries, after: Entries): [key: Key, hash: string | null][] {
  const changes: [Key, string | null][] = [];
  for (const [key, hash] of after) if (before.get(key) !== hash) changes.push([key, hash]);
  for (const key of before.keys()) if (!after.has(key)) changes.push([key, null]);
  return changes;
}
