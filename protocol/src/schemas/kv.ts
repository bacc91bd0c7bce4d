import { z } from "zod";
import type { ErrorBody } from "../errors.ts";
import type { Hash } from "../hash.ts";
import { LIMITS } from "../limits.ts";
import {
  bytesField,
  expectField,
  idField,
  keyField,
  limitField,
  prefixField,
  readFields,
  refField,
  writeFields,
} from "./fields.ts";

/** The value itself, or the upload that brought it in parts. */
const put = { key: keyField, value: bytesField.optional(), upload: idField.optional(), expect: expectField };
const oneOf = ({ value, upload }: { value?: unknown; upload?: unknown }): boolean =>
  (value === undefined) !== (upload === undefined);
const oneValue = { path: ["value"], error: 'a value is bytes, text, or {"base64": "…"}, or else an upload is named' };
const del = { key: keyField, expect: expectField };

/** Requests of `vlinder.v1.<agent>.kv.*`. Unknown fields are refused. */
export const kvRequests = {
  "kv.put": z.strictObject({ ...put, ...writeFields }).refine(oneOf, oneValue),
  "kv.get": z.strictObject({ key: keyField, ...readFields }),
  "kv.list": z.strictObject({
    prefix: prefixField.optional(),
    after: prefixField.optional(),
    limit: limitField.optional(),
    ...readFields,
  }),
  "kv.delete": z.strictObject({ ...del, ...writeFields }),
  "kv.batch": z.strictObject({
    ops: z
      .array(
        z.discriminatedUnion("op", [
          z.strictObject({ op: z.literal("put"), ...put }).refine(oneOf, oneValue),
          z.strictObject({ op: z.literal("delete"), ...del }),
        ]),
      )
      .min(1)
      .max(LIMITS.operations),
    ...writeFields,
  }),
  "kv.pipeline": z.strictObject({
    ops: z
      .array(
        z.discriminatedUnion("op", [
          z.strictObject({ op: z.literal("put"), ...put, ...writeFields }).refine(oneOf, oneValue),
          z.strictObject({ op: z.literal("get"), key: keyField, ...readFields }),
          z.strictObject({ op: z.literal("delete"), ...del, ...writeFields }),
        ]),
      )
      .min(1)
      .max(LIMITS.operations),
  }),
  "kv.history": z.strictObject({
    key: keyField,
    branch: readFields.branch,
    at: readFields.at,
    /** Continue behind this commit, from a reply's `next`. */
    after: refField.optional(),
    limit: limitField.optional(),
  }),
};

/** What is owed to the bucket: on the reply of a write when it is not empty. */
export interface SyncOwed {
  readonly owed: { readonly commits: number; readonly bytes: number };
  /** When the oldest owed commit was made, ISO 8601. */
  readonly since: string;
  /** Why it stands still, while it does; not in a pipeline's replies. `details.remedy` says what to do. */
  readonly error?: ErrorBody;
  /** While it stands still. */
  readonly lock?: SyncLock;
}

/** `retry`: time may mend it, and it is tried again by itself. `person`: somebody has to do something. */
export type LockClass = "retry" | "person";

/** The safety lock: pushes or pulls of an agent fail. It works on with what this machine has, and other machines don't see it. */
export interface SyncLock {
  readonly class: LockClass;
  /** Since when, ISO 8601. */
  readonly since: string;
  /** When it is tried again by itself; null: not before something happens or somebody asks. */
  readonly next: string | null;
}

export interface PutReply {
  readonly state: Hash;
  readonly hash: Hash;
  readonly sync?: SyncOwed;
}
export interface GetReply {
  readonly value: Uint8Array;
  readonly hash: Hash;
  readonly size: number;
  readonly state: Hash;
}
export interface ListItem {
  readonly key: string;
  readonly hash: Hash;
  readonly size: number;
}
export interface ListReply {
  readonly items: readonly ListItem[];
  /** Pass as `after` for the next page; null at the end. */
  readonly next: string | null;
  readonly state: Hash;
}
/** `deleted` is false when there was nothing to delete; then no commit is made. */
export interface DeleteReply {
  readonly state: Hash;
  readonly deleted: boolean;
  readonly sync?: SyncOwed;
}
export interface BatchReply {
  readonly state: Hash;
  /** The value's hash of each operation, null for a delete. */
  readonly hashes: readonly (Hash | null)[];
  readonly sync?: SyncOwed;
}
export type PipelineResult = { readonly ok: PutReply | GetReply | DeleteReply } | { readonly error: ErrorBody };
export interface PipelineReply {
  /** One for each operation, in the request's order. */
  readonly results: readonly PipelineResult[];
}
export interface HistoryItem {
  /** The commit after which the key held this. */
  readonly state: Hash;
  readonly time: string | null;
  readonly event: string;
  /** Null: deleted by this commit. */
  readonly hash: Hash | null;
  readonly size: number;
}
export interface HistoryReply {
  /** Newest first. */
  readonly items: readonly HistoryItem[];
  readonly next: Hash | null;
  readonly state: Hash;
}

export interface KvReplies {
  "kv.put": PutReply;
  "kv.get": GetReply;
  "kv.list": ListReply;
  "kv.delete": DeleteReply;
  "kv.batch": BatchReply;
  "kv.pipeline": PipelineReply;
  "kv.history": HistoryReply;
}
