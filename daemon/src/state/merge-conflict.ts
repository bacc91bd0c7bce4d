import {
  canonicalJson,
  type Commit,
  type Hash,
  isHash,
  type Json,
  type Key,
  keyText,
  parseKey,
} from "@vlinder/protocol";
import type { MergePolicy } from "@vlinder/protocol";
import type { Space } from "./api.ts";
import type { Why } from "./documents/merged-document.ts";
import { requiredBytes, type Source } from "./source.ts";

/** A key that both sides changed, and how it was decided. */
export interface MergeConflict {
  readonly space: Space;
  readonly key: Key;
  readonly policy: MergePolicy;
  /** Where the other value is kept; null: in history only. */
  readonly kept: Key | null;
  /** The value that stays, or of a merged document the newer one. Null: it was deleted, by somebody's choice. */
  readonly winner: Hash | null;
  readonly loser: Hash;
  /** The parent that the winner is from. */
  readonly winnerFrom: 0 | 1;
  /** Of a document that was merged: where both changed the same, and the winner's stands. */
  readonly places?: readonly string[];
  /** Why its policy could not be followed: then it is `keep-both`. */
  readonly why?: Why;
}

/** What a merge commit's list says of a conflict. */
export type ListedConflict = Pick<MergeConflict, "space" | "kept" | "winner" | "loser" | "places" | "why"> & {
  readonly key: Key;
};

/** Larger lists are not looked into, in bytes. */
const MOST_BYTES = 16 * 1024 * 1024;

/** The list of a merge commit: a value of its own. */
export function encodeConflicts(conflicts: readonly MergeConflict[]): Buffer {
  const items = conflicts.map(({ space, key, kept, winner, loser, places, why }): Json => ({
    space,
    key: keyText(key),
    kept: kept === null ? null : keyText(kept),
    winner,
    loser,
    ...(places === undefined ? {} : { places }),
    ...(why === undefined ? {} : { why }),
  }));
  return Buffer.from(canonicalJson(items), "utf8");
}

/** The conflicts that a commit lists. It may be from anywhere: what is no such list counts as none. */
export async function listedConflicts(source: Pick<Source, "value">, commit: Commit): Promise<ListedConflict[]> {
  const [hash, size] = commit.event.values?.["conflicts"] ?? [null, 0];
  if (commit.event.kind !== "merge" || hash === null || size > MOST_BYTES) return [];
  const bytes = await requiredBytes(source, hash, size);
  try {
    const list: unknown = JSON.parse(Buffer.from(bytes).toString("utf8"));
    return Array.isArray(list) ? list.map(listed) : [];
  } catch {
    return [];
  }
}

/** @throws when it is none */
function listed(item: unknown): ListedConflict {
  const { space, key, kept, winner, loser, places, why } = item as Record<string, unknown>;
  if (space !== "kv" && space !== "vectors") throw new Error("not a space");
  if (!isHash(loser) || (winner !== null && !isHash(winner))) throw new Error("not a hash");
  if (typeof key !== "string" || (kept !== null && typeof kept !== "string")) throw new Error("not a key");
  return {
    space,
    key: parseKey(key),
    kept: kept === null ? null : parseKey(kept),
    winner,
    loser,
    ...(Array.isArray(places) ? { places: places.map(String) } : {}),
    ...(typeof why === "string" ? { why: why as Why } : {}),
  };
}

/** The parent whose values somebody chose where both had changed a key; null: nobody did. */
export function preferredBy({ event }: Commit): Hash | null {
  const prefer = event.kind === "merge" ? event.info?.["prefer"] : undefined;
  return isHash(prefer) ? prefer : null;
}
