import { invalid } from "./errors.ts";
import { isHash } from "./hash.ts";
import { LIMITS } from "./limits.ts";

/**
 * A key in the form that the engine uses: its UTF-8 bytes, one per UTF-16 unit (latin1). So `<`,
 * `sort()` and `startsWith` on keys go by UTF-8 bytes, which is the order of everything in
 * vlinder. For ASCII it looks like the text; `keyText` gives the text.
 */
export type Key = string & { readonly __brand: "Key" };

/** `[a-z0-9-]{1,64}`, and not `admin`: it is a subject token and a folder name. */
export type AgentName = string & { readonly __brand: "AgentName" };

/** A branch's label: `[A-Za-z0-9._/-]{1,100}`. The branch's id is what commits carry. */
export type BranchName = string & { readonly __brand: "BranchName" };

/** 128 random bits as 32 hex digits, made in a home. */
export type DeviceId = string & { readonly __brand: "DeviceId" };

export const MAIN = "main" as BranchName;

// oxlint-disable-next-line no-control-regex
const ASCII = /^[\x01-\x7f]*$/;

/** @throws invalid: empty, over 1,024 bytes of UTF-8, NUL, or lone surrogates */
export function parseKey(text: string): Key {
  const key = encodeText(text, "key");
  if (key.length === 0) throw invalid("a key must not be empty", { remedy: "a key is 1 to 1,024 bytes of UTF-8" });
  if (key.length > LIMITS.keyBytes) {
    throw invalid(`a key of ${key.length} bytes is longer than ${LIMITS.keyBytes}`, {
      details: { limit: LIMITS.keyBytes, size: key.length },
      remedy: "shorten the key, or store the long part in the value",
    });
  }
  return key as Key;
}

/** Whether it is a key that reads the same in both forms. */
export function isAsciiKey(text: unknown): text is Key {
  return typeof text === "string" && text.length > 0 && text.length <= LIMITS.keyBytes && ASCII.test(text);
}

/** A prefix or position in the key space: like a key, but it may be empty. @throws invalid */
export function parseKeyPrefix(text: string): Key {
  return text === "" ? ("" as Key) : parseKey(text);
}

function encodeText(text: string, what: string): string {
  if (ASCII.test(text)) return text;
  if (text.includes("\0")) throw invalid(`a ${what} must not contain NUL`, { remedy: "remove the NUL character" });
  if (!text.isWellFormed()) {
    throw invalid(`a ${what} must be valid Unicode: it has a lone surrogate`, { remedy: "send well-formed UTF-8" });
  }
  return Buffer.from(text, "utf8").toString("latin1");
}

/** The key as people write it. */
export function keyText(key: Key): string {
  return ASCII.test(key) ? key : Buffer.from(key, "latin1").toString("utf8");
}

export function keyBytes(key: Key): Buffer {
  return Buffer.from(key, "latin1");
}

/** Bytes that are a key: UTF-8, 1 to 1,024 bytes, no NUL. `null` when they are not. */
export function keyFromBytes(bytes: Buffer): Key | null {
  if (bytes.length === 0 || bytes.length > LIMITS.keyBytes) return null;
  const key = bytes.toString("latin1");
  if (ASCII.test(key)) return key as Key;
  if (key.includes("\0")) return null;
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
  return key as Key;
}

const AGENT_NAME = /^[a-z0-9-]{1,64}$/;
const RESERVED = new Set(["admin"]);

/** @throws invalid */
export function parseAgentName(text: unknown): AgentName {
  if (typeof text !== "string" || !AGENT_NAME.test(text)) {
    throw invalid(`not an agent's name: ${JSON.stringify(text)?.slice(0, 80)}`, {
      remedy: "an agent's name is 1 to 64 of a-z, 0-9 and -",
    });
  }
  if (RESERVED.has(text)) throw invalid(`the name "${text}" is reserved`, { remedy: "choose another name" });
  return text as AgentName;
}

const BRANCH_NAME = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$/;

export function isBranchName(text: unknown): text is BranchName {
  return typeof text === "string" && BRANCH_NAME.test(text) && !isHash(text);
}

/** @throws invalid */
export function parseBranchName(text: unknown): BranchName {
  if (isBranchName(text)) return text;
  throw invalid(`not a branch name: ${JSON.stringify(text)?.slice(0, 120)}`, {
    remedy: "a branch name is 1 to 100 of A-Z, a-z, 0-9, . _ / - and starts with a letter or digit",
  });
}

/** @throws invalid */
export function parseDeviceId(text: unknown): DeviceId {
  if (typeof text === "string" && /^[0-9a-f]{32}$/.test(text)) return text as DeviceId;
  throw invalid(`not a device id: ${JSON.stringify(text)?.slice(0, 80)}`, { remedy: "a device id is 32 hex digits" });
}
