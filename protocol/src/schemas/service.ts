import { z } from "zod";
import { VlinderError } from "../errors.ts";
import type { Hash } from "../hash.ts";
import { LIMITS } from "../limits.ts";
import { branchField, bytesOf, idField, parsed } from "./fields.ts";

/** Text of all headers together. */
const HEADER_BYTES = 16 * 1024;

/**
 * A path as HTTP has it, with or without a query. Segments are plain: no `.` and `..`, no empty ones, and nothing that a
 * server could read as another path once it has decoded it.
 */
export const callPathField = z
  .string()
  .max(1024)
  .regex(
    /^(?:\/(?!\.{1,2}(?:\/|\?|$))(?:[\w.~:@+-]|%(?!2[eE]|2[fF]|5[cC]|[01]|7[fF])[0-9A-Fa-f]{2})+)+(?:\?[\w.~:@+&=%-]*)?$/,
    "a path begins with / and has plain segments, like /v1/chat/completions: no scheme or host, no . or .., no encoded slash",
  );

const headersField = z
  .record(
    z.string().regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$/, "not a header's name"),
    // A line break in a value would begin another header.
    z
      .string()
      .max(8192)
      .regex(/^[\t\x20-\x7e]*$/, "a header's value is one line of printable ASCII"),
  )
  .refine((headers) => Object.keys(headers).length <= 64, "at most 64 headers")
  .refine(
    (headers) =>
      Object.entries(headers).reduce((sum, [name, value]) => sum + name.length + value.length, 0) <= HEADER_BYTES,
    `headers have at most ${HEADER_BYTES} characters together`,
  );

const bodyField: z.ZodType<Uint8Array, unknown> = parsed((value) => {
  const bytes = bytesOf(value);
  if (bytes.length <= LIMITS.callBytes) return bytes;
  throw new VlinderError("too_large", `a request of ${bytes.length} bytes is larger than ${LIMITS.callBytes}`, {
    details: { limit: LIMITS.callBytes, size: bytes.length },
    remedy: "send less at once: fewer or smaller images, fewer inputs, a shorter conversation",
  });
});

const callRequest = z
  .strictObject({
    method: z.enum(["GET", "POST"]),
    path: callPathField,
    headers: headersField.optional(),
    body: bodyField.optional(),
    /** The answer comes in parts, as it arrives. Then `call` is needed. */
    stream: z.boolean().optional(),
    /** Names the call in `service.ack`. Chosen by the client; the agent's own, whoever else uses the same. */
    call: idField.optional(),
    branch: branchField.optional(),
    turn: idField.optional(),
    session: idField.optional(),
    progress: z.boolean().optional(),
  })
  .refine(({ stream, call }) => stream !== true || call !== undefined, {
    path: ["call"],
    message: "a streamed call needs a name, to acknowledge its parts",
  })
  .refine(({ method, body }) => method === "POST" || body === undefined, {
    path: ["body"],
    message: "a GET has no body",
  });

/** Requests of `vlinder.v1.<agent>.service.*`: HTTP that is passed to the provider that agent.toml declares. */
export const serviceRequests = {
  "service.infer": callRequest,
  "service.embed": callRequest,
  /** Says how many parts were taken, so that more may come, and that somebody is still there; or that nobody is. */
  "service.ack": z.strictObject({
    call: idField,
    /** Parts from 0 on that were taken. */
    received: z.int().min(0).max(Number.MAX_SAFE_INTEGER),
    /** Break the call off. */
    cancel: z.boolean().optional(),
  }),
};

/** Tokens that a provider counted. */
export interface Tokens {
  /** Of all that was sent, also what the provider had in its cache. */
  readonly input: number;
  readonly output: number;
}

/** Part 0 of a streamed answer. */
export interface CallHead {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
}

/** Every further part, at most 512 KiB. */
export interface CallPart {
  readonly body: Uint8Array;
}

/** The reply, when the call is over and recorded. */
export interface CallReply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Absent where it came in parts. */
  readonly body?: Uint8Array;
  /** How many parts came, the head with them. */
  readonly parts?: number;
  /** Bytes of the whole body. */
  readonly size: number;
  /** Null where the provider did not say. */
  readonly tokens: Tokens | null;
  /** The `call` commit; null: what it belongs to keeps no record. */
  readonly state: Hash | null;
}

export interface ServiceReplies {
  "service.infer": CallReply;
  "service.embed": CallReply;
  /** `open` is false when there is no such call any more. */
  "service.ack": { readonly open: boolean };
}
