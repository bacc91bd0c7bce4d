import type { BranchName, Hash } from "@vlinder/protocol";

/** How a turn ended well. */
export interface Completed {
  readonly kind: "completed";
  /** The turn's final state: the commit before its `complete`. */
  readonly state: Hash;
  /** The `complete` commit. */
  readonly commit: Hash;
  /** The branch's head after it: `commit`, or a merge. */
  readonly head: Hash;
  readonly merged: boolean;
  /** Keys that both the turn and the branch changed. */
  readonly conflicts: number;
}

/** A turn that moved no branch; what it did is kept on one of its own. */
export interface Kept {
  readonly kind: "failed" | "conflict";
  readonly state: Hash;
  readonly commit: Hash;
  readonly branch: BranchName;
  readonly reason: string;
  /** Of a conflict. */
  readonly expected?: { readonly key: string; readonly expected: Hash | null; readonly actual: Hash | null };
}

export type Ended = Completed | Kept;
