import { z } from "zod";
import type { Metadata } from "../format/vector-record.ts";
import type { Hash } from "../hash.ts";
import { LIMITS } from "../limits.ts";
import { expectField, keyField, limitField, prefixField, readFields, vectorField, writeFields } from "./fields.ts";
import type { DeleteReply, ListReply, PutReply } from "./kv.ts";

const scalar = z.union([z.string(), z.number(), z.boolean(), z.null()]);
const number = z.number();
const range = z
  .strictObject({ gt: number.optional(), gte: number.optional(), lt: number.optional(), lte: number.optional() })
  .refine((r) => Object.keys(r).length > 0, "a range needs gt, gte, lt or lte");

/**
 * A filter on metadata: all members must hold. `{"lang": "en"}` is equality, `{"year": {"gte":
 * 2020}}` a range, `{"tag": {"in": ["a", "b"]}}` one of several.
 */
export const filterField = z.record(
  z.string().min(1).max(200),
  z.union([scalar, range, z.strictObject({ in: z.array(scalar).min(1).max(100) })]),
);
export type VectorFilter = z.infer<typeof filterField>;

const metadataField = z.record(z.string(), z.json());

/** Requests of `vlinder.v1.<agent>.vector.*`. */
export const vectorRequests = {
  "vector.put": z.strictObject({
    key: keyField,
    vector: vectorField,
    metadata: metadataField.optional(),
    /** Name of the embedding model. */
    model: z.string().max(LIMITS.modelBytes).optional(),
    expect: expectField,
    ...writeFields,
  }),
  "vector.get": z.strictObject({ key: keyField, ...readFields }),
  "vector.list": z.strictObject({
    prefix: prefixField.optional(),
    after: prefixField.optional(),
    limit: limitField.optional(),
    ...readFields,
  }),
  "vector.delete": z.strictObject({ key: keyField, expect: expectField, ...writeFields }),
  "vector.search": z.strictObject({
    vector: vectorField,
    limit: z.int().min(1).max(LIMITS.searchResults).optional(),
    prefix: prefixField.optional(),
    filter: filterField.optional(),
    ...readFields,
  }),
  /** Drops the index and builds it again from the records. */
  "vector.reindex": z.strictObject({ progress: z.boolean().optional() }),
};

export interface VectorReply {
  readonly key: string;
  /** float32; in MessagePack its little-endian bytes, in JSON an array. */
  readonly vector: Float32Array;
  readonly metadata: Metadata;
  readonly model: string;
  /** The record's hash. */
  readonly hash: Hash;
  readonly state: Hash;
}
export interface SearchItem {
  readonly key: string;
  /** cosine: similarity, 1 is the same direction. dot: the product. l2: the distance negated. More is nearer. */
  readonly score: number;
  readonly metadata: Metadata;
  readonly hash: Hash;
}
export interface SearchReply {
  /** Nearest first; equal scores in key order. */
  readonly items: readonly SearchItem[];
  readonly state: Hash;
}

export interface VectorReplies {
  "vector.put": PutReply;
  "vector.get": VectorReply;
  "vector.list": ListReply;
  "vector.delete": DeleteReply;
  "vector.search": SearchReply;
  "vector.reindex": { readonly vectors: number };
}
