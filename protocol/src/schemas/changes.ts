import { z } from "zod";
import type { EventKind } from "../format/commit.ts";
import type { Hash } from "../hash.ts";
import { LIMITS } from "../limits.ts";
import { branchField, keyField, limitField, prefixField, readFields, refField } from "./fields.ts";

const oneOf = ({ key, prefix }: { key?: unknown; prefix?: unknown }): boolean =>
  key === undefined || prefix === undefined;

/** Who wrote what is there now, and what has happened since a commit. */
export const changesRequests = {
  "kv.blame": z
    .strictObject({
      /** One key; or all that begin with `prefix`, without either all that there are. */
      key: keyField.optional(),
      prefix: prefixField.optional(),
      after: prefixField.optional(),
      limit: limitField.optional(),
      branch: readFields.branch,
      at: readFields.at,
    })
    .refine(oneOf, { path: ["key"], error: "a key and a prefix are two questions" }),
  "kv.changes": z.strictObject({
    /** A commit in the branch's history. */
    from: refField,
    branch: branchField.optional(),
    prefix: prefixField.optional(),
    /** The `next` of the reply before. */
    after: z
      .string()
      .max(LIMITS.keyBytes + 160)
      .optional(),
    limit: limitField.optional(),
  }),
};

/** A commit as the origin of something. */
export interface Origin {
  readonly state: Hash;
  readonly time: string | null;
  readonly event: EventKind;
  readonly turn: string | null;
  readonly session: string | null;
  readonly device: string | null;
}
/** A key that is there, and the commit that gave it its value. */
export interface BlameItem extends Origin {
  readonly key: string;
  readonly hash: Hash;
  readonly size: number;
}
export interface BlameReply {
  /** In key order. */
  readonly items: readonly BlameItem[];
  readonly next: string | null;
  /** The state that was read. */
  readonly state: Hash;
}
export interface KeyChange {
  readonly key: string;
  /** Null: it is gone. */
  readonly hash: Hash | null;
  readonly size: number;
}
/** What one commit changed. */
export interface ChangesItem extends Origin {
  /** In key order. */
  readonly changes: readonly KeyChange[];
  /** On an item that did not fit: the next page begins with the rest of it. */
  readonly more?: true;
}
export interface ChangesReply {
  /** Oldest first. */
  readonly items: readonly ChangesItem[];
  readonly next: string | null;
  /** The branch's commit up to which this, with its further pages, goes. */
  readonly state: Hash;
}

export interface ChangesReplies {
  "kv.blame": BlameReply;
  "kv.changes": ChangesReply;
}
