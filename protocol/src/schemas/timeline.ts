import { z } from "zod";
import type { CommitEvent } from "../format/commit.ts";
import type { Proof } from "../format/proof.ts";
import type { Hash } from "../hash.ts";
import { LIMITS } from "../limits.ts";
import { branchField, idField, keyField, limitField, prefixField, refField } from "./fields.ts";
import { rangeFields, type ValueGetReply } from "./value.ts";

/** Requests of `vlinder.v1.<agent>.timeline.*`. A `ref` is a branch's name, a commit, a turn or a time. */
export const timelineRequests = {
  "timeline.log": z.strictObject({
    /** Where to start; default `main`. */
    from: refField.optional(),
    /** Start at the heads of all branches. */
    all: z.boolean().optional(),
    /** Continue behind this commit, from a reply's `next`. */
    after: refField.optional(),
    limit: limitField.optional(),
  }),
  "timeline.show": z.strictObject({ ref: refField }),
  /** A value of a commit's event, which belongs to no key: of a `call` the request and the response. */
  "timeline.value": z.strictObject({
    ref: refField,
    /** As `event.values` of the commit has it. */
    name: z.string().min(1).max(LIMITS.keyBytes),
    ...rangeFields,
  }),
  "timeline.diff": z.strictObject({
    from: refField,
    to: refField,
    prefix: prefixField.optional(),
    after: z
      .string()
      .max(LIMITS.keyBytes + 16)
      .optional(),
    limit: limitField.optional(),
  }),
  "timeline.branches": z.strictObject({
    /** The `next` of the reply before. */
    after: branchField.optional(),
    /** Default: as many as fit in one reply. */
    limit: limitField.optional(),
  }),
  "timeline.delete_branch": z.strictObject({ branch: branchField }),
  "timeline.reflog": z.strictObject({ branch: branchField.optional(), limit: limitField.optional() }),
  "timeline.fork": z.strictObject({ from: refField.optional(), name: branchField, id: idField.optional() }),
  "timeline.promote": z.strictObject({
    branch: branchField,
    /** Whose place it takes; default `main`. */
    into: branchField.optional(),
    id: idField.optional(),
  }),
  "timeline.rewind": z.strictObject({ to: refField, branch: branchField.optional(), id: idField.optional() }),
  "timeline.merge": z.strictObject({
    from: refField,
    into: branchField.optional(),
    /** Whose values stay where both sides changed a key, deletions too. Absent: the contract's policies decide. */
    prefer: z.enum(["ours", "theirs"]).optional(),
    /** Says what the merge would do, and writes nothing. */
    dry: z.boolean().optional(),
    id: idField.optional(),
  }),
  "timeline.verify": z.strictObject({ at: refField.optional(), progress: z.boolean().optional() }),
  "timeline.prove": z.strictObject({
    key: keyField,
    space: z.enum(["kv", "vectors"]).optional(),
    /** Default `main`. */
    at: refField.optional(),
  }),
};

export interface ChangeItem {
  readonly space: "kv" | "vectors";
  readonly key: string;
  readonly hash: Hash | null;
  readonly size: number;
}

/** A commit as people and programs read it. */
export interface CommitItem {
  readonly hash: Hash;
  readonly parents: readonly Hash[];
  readonly branch: Hash | null;
  readonly snapshot: Hash;
  readonly event: CommitEvent;
  readonly time: string | null;
  readonly device: string | null;
  readonly session: string | null;
  readonly turn: string | null;
  readonly adopts: Hash | null;
  /** Number of changed keys and vectors. */
  readonly changed: number;
}
export interface LogReply {
  /** Newest first; every commit after its children. */
  readonly items: readonly CommitItem[];
  readonly next: Hash | null;
}
export interface ShowReply extends CommitItem {
  /** At most 1,000 changes; `changed` is the whole number. */
  readonly changes: readonly ChangeItem[];
  readonly contract: Hash | null;
  /** Totals of the state at this commit. */
  readonly keys: number;
  readonly bytes: number;
  readonly vectors: number;
  /** Of a merge that had any: the keys that both sides changed, as many as fit. */
  readonly conflicts?: readonly ConflictItem[];
}
/** A key that both sides of a merge changed, and how it was decided. */
export interface ConflictItem {
  readonly space: "kv" | "vectors";
  readonly key: string;
  /** The value that stays; of a document that was merged, the newer one. Null: somebody chose the deletion. */
  readonly winner: Hash | null;
  readonly loser: Hash;
  /** The commit at which the key has the other value: `kv.get` with it as `at`. */
  readonly at: Hash;
  /** Where the other value is kept beside it; null: in history only. */
  readonly kept: string | null;
  /** Where both changed the same in a merged document, and the newer stands: JSON pointers, or `first,count` of lines. */
  readonly places?: readonly string[];
  /** Why the policy could not be followed, and `keep-both` was: `not-json`, `not-text`, `too-large`, `erased`. */
  readonly why?: string;
}
export interface DiffItem {
  readonly space: "kv" | "vectors";
  readonly key: string;
  readonly from: { readonly hash: Hash; readonly size: number } | null;
  readonly to: { readonly hash: Hash; readonly size: number } | null;
}
export interface DiffReply {
  readonly from: Hash;
  readonly to: Hash;
  readonly items: readonly DiffItem[];
  readonly contractChanged: boolean;
  readonly next: string | null;
}
export interface BranchItem {
  readonly id: Hash;
  readonly name: string;
  readonly head: Hash;
  readonly sealed: boolean;
  /** Time of the head's commit. */
  readonly time: string | null;
}
export interface ReflogItem {
  readonly branch: string;
  readonly from: Hash | null;
  /** Null: deleted. */
  readonly to: Hash | null;
  /** When it moved here, ISO 8601. */
  readonly time: string;
  readonly why: string;
}
/** Something that `verify` found damaged or missing. */
export interface Damage {
  readonly kind: "value" | "chunk" | "list" | "node" | "changes" | "snapshot" | "commit" | "branch";
  readonly hash: Hash;
  readonly problem: "missing" | "damaged" | "wrong";
  readonly message: string;
  /** Some of the commits and keys that need it. */
  readonly commits: readonly Hash[];
  readonly keys: readonly string[];
  /** How many these are in all; a key counts once in each commit. */
  readonly affects: { readonly commits: number; readonly keys: number };
}
export interface VerifyReply {
  readonly ok: boolean;
  readonly counts: {
    readonly branches: number;
    readonly commits: number;
    readonly nodes: number;
    readonly values: number;
  };
  /** Objects that nothing reaches: no error. */
  readonly unreachable: number;
  readonly bytes: number;
  readonly seconds: number;
  /** How many objects are not intact; `damage` has the first of them. */
  readonly damaged: number;
  readonly damage: readonly Damage[];
}

export interface ProveReply {
  /** The commit whose hash is to be trusted, to believe the proof. */
  readonly state: Hash;
  readonly snapshot: Hash;
  readonly present: boolean;
  /** What the key had; null and 0 when it was not there. */
  readonly hash: Hash | null;
  readonly size: number;
  readonly proof: Proof;
}

export interface TimelineReplies {
  "timeline.log": LogReply;
  "timeline.show": ShowReply;
  /** `state`: the commit. */
  "timeline.value": ValueGetReply;
  "timeline.diff": DiffReply;
  /** In the order of their names. */
  "timeline.branches": { readonly items: readonly BranchItem[]; readonly next: string | null };
  "timeline.delete_branch": { readonly state: Hash };
  "timeline.reflog": { readonly items: readonly ReflogItem[] };
  "timeline.fork": { readonly branch: Hash; readonly name: string; readonly state: Hash };
  "timeline.promote": {
    readonly state: Hash;
    /** The sealed branch that keeps the old head, and its id. */
    readonly sealed: string;
    readonly branchId: Hash;
  };
  "timeline.rewind": { readonly state: Hash };
  "timeline.merge": {
    readonly state: Hash;
    readonly kind: "nothing" | "fast-forward" | "merge";
    /** The heads that were merged: the branch's before it, and the one that came in. */
    readonly ours: Hash;
    readonly theirs: Hash;
    /** Keys that both sides changed and that did not merge by themselves. `from`: whose value stays. */
    readonly conflicts: readonly (ConflictItem & { readonly policy: string; readonly from: "ours" | "theirs" })[];
  };
  "timeline.verify": VerifyReply;
  "timeline.prove": ProveReply;
}
