import type { Hash } from "@vlinder/protocol";
import { BranchConflict, type BranchMove, type StoredBranch } from "./object-storage.ts";

/** What a move makes of a branch (undefined: it is not there yet). */
export function movedBranch(branch: StoredBranch | undefined, move: BranchMove): StoredBranch {
  return {
    id: move.id,
    name: move.name,
    head: move.next,
    sealed: move.sealed ?? branch?.sealed ?? false,
    deleted: deletedAfter(branch, move),
  };
}

function deletedAfter(branch: StoredBranch | undefined, { deleted, next }: BranchMove): readonly Hash[] {
  const before = branch?.deleted ?? [];
  if (deleted === undefined && next !== null) return before;
  const all = new Set([...before, ...(deleted ?? [])]);
  if (next === null && branch?.head != null) all.add(branch.head);
  return [...all].sort((a, b) => (a < b ? -1 : 1));
}

/** Later moves of a transaction see what earlier ones did. @throws BranchConflict */
export function checkMoves(moves: readonly BranchMove[], headOf: (id: Hash) => Hash | null): void {
  const heads = new Map<Hash, Hash | null>();
  for (const { id, expected, next } of moves) {
    const head = heads.has(id) ? (heads.get(id) ?? null) : headOf(id);
    if (head !== expected) throw new BranchConflict(id, head);
    heads.set(id, next);
  }
}
