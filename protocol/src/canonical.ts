import { parseJson } from "./parse-json.ts";
import { invalid } from "./errors.ts";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

/** Deeper documents are refused: what comes from a bucket must not overflow the stack. */
const MAX_DEPTH = 64;

/**
 * Canonical JSON, RFC 8785: members sorted by UTF-16 units, no white space, numbers and strings as
 * ECMAScript prints them. What has no canonical form is refused: lone surrogates, numbers that are
 * not finite, `undefined`; and what is nested more than 64 deep.
 * @throws invalid
 */
export function canonicalJson(value: Json): string {
  return write(value, 0);
}

function write(value: Json, depth: number): string {
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "string") return canonicalString(value);
  if (typeof value === "number") {
    if (!Number.isFinite(value)) throw invalid(`${value} has no JSON form`, { remedy: "use finite numbers" });
    return JSON.stringify(value);
  }
  if (depth >= MAX_DEPTH) throw invalid(`a document is nested more than ${MAX_DEPTH} deep`);
  if (Array.isArray(value)) return `[${value.map((item: Json) => write(item, depth + 1)).join(",")}]`;
  if (typeof value !== "object") throw invalid(`a ${typeof value} has no JSON form`, { remedy: "send plain JSON" });
  const object = value as { readonly [name: string]: Json };
  let text = "{";
  for (const name of Object.keys(object).sort()) {
    if (text.length > 1) text += ",";
    text += `${canonicalString(name)}:${write(object[name] as Json, depth + 1)}`;
  }
  return `${text}}`;
}

export function canonicalString(text: string): string {
  if (!text.isWellFormed()) {
    throw invalid("text must be valid Unicode: it has a lone surrogate", { remedy: "send well-formed UTF-8" });
  }
  return JSON.stringify(text);
}

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Parses bytes that must be canonical JSON, as everything that is hashed: another spelling of the
 * same document is another hash, and is refused. @throws invalid
 */
export function parseCanonicalJson(bytes: Uint8Array, what: string): Json {
  let value: Json;
  let text: string;
  try {
    text = strict.decode(bytes);
    value = parseJson(text) as Json;
  } catch (cause) {
    throw invalid(`a ${what} must be canonical JSON`, { cause });
  }
  if (canonicalJson(value) !== text) throw invalid(`a ${what} must be canonical JSON (RFC 8785)`);
  return value;
}
