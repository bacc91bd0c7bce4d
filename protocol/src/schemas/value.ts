import { z } from "zod";
import type { Hash } from "../hash.ts";
import { LIMITS } from "../limits.ts";
import { bytesField, hashField, idField, keyField, readFields } from "./fields.ts";

const position = z.int().min(0).max(Number.MAX_SAFE_INTEGER);

/** Which bytes of a value are asked for. */
export const rangeFields = {
  /** Where in the value to begin; default 0. */
  offset: position.optional(),
  /** At most so many bytes; default as many as a reply holds. 0 asks for hash and size only. */
  length: z.int().min(0).max(LIMITS.valueBytes).optional(),
};

/** Requests of `vlinder.v1.<agent>.value.*`: parts of values that are too large for one message. */
export const valueRequests = {
  "value.put": z.strictObject({
    /** Chosen by the client; the agent's own, whoever else uses the same. The part at offset 0 begins it. */
    upload: idField,
    /** Where in the value the part belongs. */
    offset: position,
    bytes: bytesField,
    /** The value ends with this part. */
    last: z.boolean().optional(),
    /** With `last`: the SHA-256 that the whole must have. */
    hash: hashField.optional(),
  }),
  "value.get": z.strictObject({
    key: keyField,
    ...rangeFields,
    ...readFields,
  }),
  /** Forgets an upload. */
  "value.drop": z.strictObject({ upload: idField }),
};

export interface ValuePutReply {
  readonly upload: string;
  /** Bytes from the beginning that are here. */
  readonly received: number;
  /** Of the whole value; after the last part. */
  readonly hash?: Hash;
}
export interface ValueGetReply {
  /** The value's bytes from `offset` on; fewer than were asked for at its end, or where a reply holds no more. */
  readonly bytes: Uint8Array;
  readonly offset: number;
  /** Of the whole value. */
  readonly hash: Hash;
  /** Of the whole value, in bytes. */
  readonly size: number;
  readonly state: Hash;
}
/** `dropped` is false when there was no such upload. */
export interface DropReply {
  readonly dropped: boolean;
}

export interface ValueReplies {
  "value.put": ValuePutReply;
  "value.get": ValueGetReply;
  "value.drop": DropReply;
}
