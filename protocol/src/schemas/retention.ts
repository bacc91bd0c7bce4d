import { z } from "zod";
import type { Hash } from "../hash.ts";
import { keyField, prefixField } from "./fields.ts";

/** Requests that drop or erase; for the administrator, as agents are not trusted with their own history. */
export const retentionRequests = {
  "timeline.gc": z
    .strictObject({
      /** Do it; else it is only said what would be dropped. */
      run: z.boolean().optional(),
      /** Bring back what the last collection dropped. */
      undo: z.boolean().optional(),
      progress: z.boolean().optional(),
    })
    .refine(({ run, undo }) => run !== true || undo !== true, { message: "run and undo at once", path: ["undo"] }),
  "timeline.forget": z
    .strictObject({
      key: keyField.optional(),
      /** All keys that begin with it. Not empty. */
      prefix: prefixField.optional(),
      /** Do it; else it is only said what would be erased. */
      run: z.boolean().optional(),
      progress: z.boolean().optional(),
    })
    .refine(({ key, prefix }) => (key === undefined) !== (prefix === undefined), { message: "either key or prefix" })
    .refine(({ prefix }) => prefix !== "", {
      message: "an empty prefix is every key; remove the agent with purge instead",
      path: ["prefix"],
    }),
};

/** What one collection put aside. */
export interface QuarantineItem {
  readonly time: string;
  /** Until then it can be undone; then it is deleted. */
  readonly until: string;
  readonly commits: number;
  readonly objects: number;
  readonly bytes: number;
}

/** The space that an agent takes. */
export interface SpaceItem {
  /** Bytes on disk; quarantines and the vector index apart. */
  readonly used: number;
  /** Null: none. */
  readonly limit: number | null;
  /** Null: it has not been watched for long enough. */
  readonly bytesPerDay: number | null;
  /** When the limit is reached if it goes on like that; null: not within ten years, or there is no limit. */
  readonly reached: string | null;
  /** Commits whose states retention has dropped. */
  readonly pruned: number;
  /** Oldest first; `undo` takes the last. */
  readonly quarantine: readonly QuarantineItem[];
}

export interface GcReply {
  readonly run: boolean;
  /** What an undo brought back. */
  readonly undone: QuarantineItem | null;
  /** `pruned`: states that are dropped, all in all; `dropped`: those of them by this collection. */
  readonly commits: { readonly all: number; readonly pruned: number; readonly dropped: number };
  readonly objects: number;
  readonly bytes: number;
  /** Bytes that the files shrank by. */
  readonly reclaimed: number;
  readonly space: SpaceItem;
  readonly notes: readonly string[];
}

export interface ForgetReply {
  /** The erase commit; null for a dry run, and where nothing was left to erase. */
  readonly state: Hash | null;
  readonly keys: number;
  /** Distinct values that are erased, and their bytes. */
  readonly values: number;
  readonly bytes: number;
  /** Values that stay, as another key holds them too; at most 100. */
  readonly kept: readonly { readonly key: string; readonly hash: Hash }[];
  readonly notes: readonly string[];
}

export interface RetentionReplies {
  "timeline.gc": GcReply;
  "timeline.forget": ForgetReply;
}
