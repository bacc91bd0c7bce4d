import { parseJson } from "./parse-json.ts";
import type { z } from "zod";
import { invalid } from "./errors.ts";
import { asBuffer } from "./hash.ts";
import { LIMITS } from "./limits.ts";
import { readMsgpack, reservedName, tooDeep } from "./msgpack-reader.ts";
import { loneSurrogate, MsgpackWriter } from "./msgpack-writer.ts";
import { requestError } from "./request-error.ts";

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

/**
 * The object in a body; an empty body is `{}`. Text in it is well-formed, numbers are finite, it is
 * at most `LIMITS.depth` deep, and no field is named `__proto__`. Of two equal field names in JSON
 * the last one counts, as everywhere in JSON; in MessagePack they are refused.
 * @throws invalid
 */
export function decodeBody(body: Uint8Array): Record<string, unknown> {
  if (body.length === 0) return {};
  const value = encodingOf(body) === "json" ? readJson(body) : readMsgpack(body);
  if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Uint8Array) {
    throw invalid("the body is not an object", { remedy: "send one JSON object or one MessagePack map" });
  }
  return value as Record<string, unknown>;
}

function readJson(body: Uint8Array): unknown {
  let value: unknown;
  try {
    value = parseJson(utf8.decode(body));
  } catch (cause) {
    throw invalid("the body is neither a JSON object nor a MessagePack map", {
      cause,
      remedy: "send one JSON object or one MessagePack map",
    });
  }
  checkJson(value, 0);
  return value;
}

/** Valid UTF-8 can still spell a lone surrogate (`\ud800`) or an endless number (`1e999`). */
function checkJson(value: unknown, depth: number): void {
  if (typeof value === "string") {
    if (!value.isWellFormed()) throw loneSurrogate();
  } else if (typeof value === "number") {
    if (!Number.isFinite(value)) throw invalid("a number is too large", { remedy: "send finite numbers" });
  } else if (typeof value === "object" && value !== null) {
    if (depth >= LIMITS.depth) throw tooDeep();
    if (Array.isArray(value)) {
      for (const item of value) checkJson(item, depth + 1);
      return;
    }
    for (const name of Object.keys(value)) {
      if (name === "__proto__") throw reservedName();
      if (!name.isWellFormed()) throw loneSurrogate();
      checkJson((value as Record<string, unknown>)[name], depth + 1);
    }
  }
}

const writer = new MsgpackWriter();

/**
 * A reply or request as bytes. In JSON, bytes become text where they are valid UTF-8, else base64.
 * @throws invalid, when text in it is not well-formed: it would arrive as other text
 */
export function encodeBody(value: unknown, encoding: Encoding): Uint8Array {
  if (encoding === "json") return Buffer.from(JSON.stringify(forJson(value)), "utf8");
  writer.begin();
  writer.value(value);
  return writer.take();
}

function wellFormed(text: string): string {
  if (!text.isWellFormed()) throw loneSurrogate();
  return text;
}

function forJson(value: unknown): unknown {
  if (typeof value === "string") return wellFormed(value);
  if (value instanceof Float32Array) return Array.from(value);
  if (value instanceof Uint8Array) {
    try {
      return utf8.decode(value);
    } catch {
      // Not text: that is what base64 is for.
      return { base64: asBuffer(value).toString("base64") };
    }
  }
  if (Array.isArray(value)) return value.map(forJson);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [wellFormed(name), forJson(member)]));
}

/** Checks a decoded body against its schema, once, at the edge. @throws invalid, too_large */
export function checkRequest<T extends z.ZodType>(schema: T, body: unknown): z.output<T> {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  throw requestError(result.error);
}
