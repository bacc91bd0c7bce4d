import type { ErrorBody } from "../errors.ts";
import type { Hash } from "../hash.ts";
import type { Damage } from "./timeline.ts";

/** Objects of a restored agent that were read from its storage and hashed again. */
export interface DrillVerified {
  readonly commits: number;
  readonly objects: number;
  readonly bytes: number;
  /** How many are not intact, and some of them. */
  readonly damaged: number;
  readonly damage: readonly Damage[];
}
/** A branch of this machine beside the restored one. */
export interface DrillBranch {
  readonly name: string;
  /** Here, as the drill began. */
  readonly state: Hash;
  readonly restored: Hash | null;
  /**
   * `equal`: the same commit and snapshot. `behind`: it lacks commits; `ahead`: it has some that another machine pushed;
   * `diverged`: both. `missing`: there is no such branch; `deleted`: another machine deleted it. `other`: another snapshot.
   */
  readonly result: "equal" | "behind" | "ahead" | "diverged" | "missing" | "deleted" | "other";
  /** Commits that were not restored, and how many were not pushed yet: more missing than owed is a loss. */
  readonly missing: number;
  readonly owed: number;
  /** Commits of the restored one that are not here. */
  readonly more: number;
  readonly ok: boolean;
}
export interface DrillAgent {
  readonly agent: string;
  readonly ok: boolean;
  /** On this machine. */
  readonly here: boolean;
  readonly commits: number;
  readonly objects: number;
  /** Fetched from the bucket. */
  readonly bytes: number;
  /** Null: nothing was restored that could be verified. */
  readonly verified: DrillVerified | null;
  readonly branches: readonly DrillBranch[];
  readonly notes: readonly string[];
  readonly error: ErrorBody | null;
}
export interface DrillReply {
  /** All that this machine has pushed can be restored, and is intact. */
  readonly ok: boolean;
  readonly bucket: string;
  readonly vault: string;
  readonly agents: readonly DrillAgent[];
  /** Fetched from the bucket. */
  readonly bytes: number;
  readonly seconds: { readonly restore: number; readonly verify: number };
  /** The restored home, when it was to be kept. */
  readonly kept: string | null;
}
/** What is remembered of the last drill. */
export interface DrillRecord {
  /** ISO 8601. */
  readonly time: string;
  readonly bucket: string;
  /** Null: all. */
  readonly agent: string | null;
  readonly ok: boolean;
  /** Agents that could not be restored as they should be. */
  readonly failed: readonly string[];
  /** What kept the drill itself from its end; null: nothing. */
  readonly error: string | null;
}
