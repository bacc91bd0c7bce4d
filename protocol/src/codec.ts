import { decode, encode } from "@msgpack/msgpack";
import type { z } from "zod";
import { type ErrorCode, invalid, VlinderError } from "./errors.ts";
import { asBuffer } from "./hash.ts";
import { LIMITS } from "./limits.ts";

/** How a body is written. The first byte tells: a MessagePack map never starts with `{`. */
export type Encoding = "json" | "msgpack";

export function encodingOf(body: Uint8Array): Encoding {
  // White space before a JSON document is JSON too; as MessagePack it would be a bare number.
  for (const byte of body) {
    if (byte === 0x7b) return "json";
    if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d) return "msgpack";
  }
  return "json";
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The object in a body; an empty body is `{}`. @throws invalid */
export function decodeBody(body: Uint8Array): Record<string, unknown> {
  if (body.length === 0) return {};
  let value: unknown;
  try {
    value = encodingOf(body) === "json" ? JSON.parse(utf8.decode(body)) : decode(body);
  } catch (cause) {
    throw invalid("the body is neither a JSON object nor a MessagePack map", {
      cause,
      remedy: "send one JSON object or one MessagePack map",
    });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Uint8Array) {
    throw invalid("the body is not an object", { remedy: "send one JSON object or one MessagePack map" });
  }
  return value as Record<string, unknown>;
}

/** A reply or request as bytes. In JSON, bytes become text where they are valid UTF-8, else base64. */
export function encodeBody(value: unknown, encoding: Encoding): Uint8Array {
  if (encoding === "json") return Buffer.from(JSON.stringify(forJson(value)), "utf8");
  return encode(forMsgpack(value), { ignoreUndefined: true });
}

function forJson(value: unknown): unknown {
  if (value instanceof Float32Array) return Array.from(value);
  if (value instanceof Uint8Array) {
    try {
      return utf8.decode(value);
    } catch {
      return { base64: asBuffer(value).toString("base64") };
    }
  }
  if (Array.isArray(value)) return value.map(forJson);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, forJson(member)]));
}

function forMsgpack(value: unknown): unknown {
  if (value instanceof Float32Array) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  if (value instanceof Uint8Array || typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(forMsgpack);
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, forMsgpack(member)]));
}

/** Checks a decoded body against its schema, once, at the edge. @throws invalid, too_large */
export function checkRequest<T extends z.ZodType>(schema: T, body: unknown): z.output<T> {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = issue?.path.join(".") ?? "";
  const code: ErrorCode = issue?.code === "too_big" && path.endsWith("ops") ? "too_large" : "invalid";
  throw new VlinderError(code, `${path === "" ? "the request" : path}: ${issue?.message ?? "is not valid"}`, {
    details: { path, ...(code === "too_large" ? { limit: LIMITS.operations } : {}) },
    remedy: "see the operation in PROTOCOL.md",
  });
}
