import type { AgentName, BranchId, Hash } from "@vlinder/protocol";

/** What this machine has of a branch as a drill begins. */
export interface ExpectedBranch {
  readonly id: BranchId;
  readonly name: string;
  readonly head: Hash;
}

/** What this machine has of an agent, and what of it it takes to be in the bucket. */
export interface ExpectedAgent {
  readonly agent: AgentName;
  readonly branches: readonly ExpectedBranch[];
  /** Commits that are in the bucket with all before them, as far as this machine knows. */
  readonly tips: readonly Hash[];
}

/** A branch that is expected, in the restored home. */
export interface RestoredBranch {
  readonly id: BranchId;
  /** Null: deleted there; absent: there is no such branch. */
  readonly head?: Hash | null;
  /** The snapshot of that head, as its trees give it. */
  readonly snapshot?: Hash;
  /** Whether the commit that is expected is there, on whatever branch. */
  readonly has: boolean;
  /** Commits of the branch that what is expected does not reach, as far as the restored home can tell. */
  readonly others: readonly Hash[];
}
