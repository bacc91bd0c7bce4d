/**
 * Every limit of the protocol, with its number, in one place. PROTOCOL.md has the same table and a
 * test holds them together.
 */
export const LIMITS = {
  /** A key, in bytes of UTF-8. Over it: `invalid`. */
  keyBytes: 1024,
  /** A value in one message, or a part of a larger one, in bytes. Over it: `too_large`. */
  valueBytes: 512 * 1024,
  /** A value that is sent in parts, and all of an agent's uploads that are not put yet, in bytes. Over it: `too_large`, `quota_exceeded`. */
  uploadBytes: 16 * 1024 ** 3,
  /** Uploads of an agent that are open at the same time. Over it: `unavailable`. */
  uploads: 64,
  /** Bytes of an agent's parts that wait to be worked on. Over it: `unavailable`. */
  uploadWindow: 8 * 1024 * 1024,
  /** An upload to which no part comes for so long is forgotten, in milliseconds. */
  uploadIdle: 60 * 60 * 1000,
  /** Operations in one `kv.batch` or `kv.pipeline`. Over it: `too_large`. */
  operations: 1000,
  /** Components of a vector. Over it: `invalid`. */
  dimension: 4096,
  /** A vector's metadata, as canonical JSON, in bytes. Over it: `too_large`. */
  metadataBytes: 16 * 1024,
  /** Name of an embedding model, in bytes. Over it: `invalid`. */
  modelBytes: 200,
  /** Items of one page of a list; more are reached with `after`. */
  page: 1000,
  /** Items of a page when the request names no limit. */
  defaultPage: 100,
  /** How long `agents.logs` may wait for lines, in milliseconds. Over it: `invalid`. */
  logWait: 30_000,
  /** Results of one vector search. */
  searchResults: 1000,
  /** An idempotency id, in characters. Over it: `invalid`. */
  idChars: 128,
  /** Why a turn failed, in characters. Over it: `invalid`. */
  reasonChars: 2000,
  /** An effect's key, in characters. Over it: `invalid`. */
  effectKeyChars: 512,
  /** Body of a request to a provider, in bytes. Over it: `too_large`. */
  callBytes: 900 * 1024,
  /** A provider's answer, in bytes; what is longer is cut off. Over it: `too_large`. */
  answerBytes: 32 * 1024 * 1024,
  /** Bytes of a streamed answer that are sent ahead of what the caller has acknowledged. */
  callWindow: 2 * 1024 * 1024,
  /** A streamed call of which nothing was acknowledged for so long is broken off, in milliseconds. */
  callIdle: 30 * 1000,
  /** Calls of an agent that are under way at the same time. Over it: `unavailable`. */
  calls: 32,
  /** How deep objects and arrays of a body may be nested. Over it: `invalid`. */
  depth: 32,
  /** Payload of one NATS message that the daemon sends, in bytes, headers apart. */
  replyBytes: 1000 * 1024,
  /** How long an idempotency id is remembered, in milliseconds. */
  replyMemory: 24 * 60 * 60 * 1000,
} as const;
