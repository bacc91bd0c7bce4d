import { z } from "zod";
import { asVlinderError, VlinderError } from "../errors.ts";
import { type Hash, isHash } from "../hash.ts";
import { LIMITS } from "../limits.ts";
import {
  type AgentName,
  type BranchName,
  type Key,
  parseAgentName,
  parseBranchName,
  parseKey,
  parseKeyPrefix,
} from "../names.ts";
import { CAUSE } from "../request-error.ts";

/** A Zod field from a parser that throws VlinderError; the issue carries the error, and Zod adds where it was. */
export function parsed<T>(parse: (value: unknown) => T): z.ZodType<T, unknown> {
  return z.unknown().transform((value, context) => {
    try {
      return parse(value);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      context.issues.push({ code: "custom", message, input: value, params: { [CAUSE]: asVlinderError(error) } });
      return z.NEVER;
    }
  }) as unknown as z.ZodType<T, unknown>;
}

function text(value: unknown, what: string): string {
  if (typeof value === "string") return value;
  throw new VlinderError("invalid", `${what} must be text`);
}

export const keyField: z.ZodType<Key, unknown> = parsed((value) => parseKey(text(value, "key")));
export const prefixField: z.ZodType<Key, unknown> = parsed((value) => parseKeyPrefix(text(value, "a prefix")));
export const agentField: z.ZodType<AgentName, unknown> = parsed(parseAgentName);
export const branchField: z.ZodType<BranchName, unknown> = parsed(parseBranchName);

/** Of a POSIX system or of Windows: this package knows no platform. */
export const absolutePathField = z
  .string()
  .min(1)
  .max(4096)
  .refine(isAbsolutePath, "must be an absolute path on the daemon's machine");

function isAbsolutePath(path: string): boolean {
  return !path.includes("\0") && /^(?:\/|[A-Za-z]:[\\/])/.test(path);
}

export const hashField: z.ZodType<Hash, unknown> = parsed((value) => {
  if (isHash(value)) return value;
  throw new VlinderError("invalid", "a hash is 64 lower-case hex digits");
});

/** A device that is meant by its id, or how it begins. */
export const devicePrefixField: z.ZodType<string, unknown> = parsed((value) => {
  if (typeof value === "string" && /^[0-9a-f]{4,32}$/.test(value)) return value;
  throw new VlinderError("invalid", "a device is its id, or the first 4 to 32 hex digits of it", {
    remedy: "vlinder vault devices and vlinder sync status list the devices by their ids",
  });
});

/**
 * A branch's name, a commit (its hash, or 4 digits or more of it), a turn, or a time, also one on a branch (`fix@2026-11-20`);
 * which one is found out by the daemon.
 */
export const refField = z.string().min(1).max(160);

/**
 * A value's bytes. MessagePack: binary (or text, as its UTF-8). JSON: text, or `{"base64": "…"}`.
 */
export const bytesField: z.ZodType<Uint8Array, unknown> = parsed((value) => checkSize(bytesOf(value)));

/** @throws too_large */
export function checkSize(bytes: Uint8Array): Uint8Array {
  if (bytes.length <= LIMITS.valueBytes) return bytes;
  throw new VlinderError("too_large", `a value of ${bytes.length} bytes is larger than ${LIMITS.valueBytes}`, {
    details: { limit: LIMITS.valueBytes, size: bytes.length },
    remedy: "send it in parts with value.put and name the upload; the SDK and the command line do so by themselves",
  });
}

/** @throws invalid */
export function bytesOf(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (typeof value === "string") {
    if (!value.isWellFormed()) throw new VlinderError("invalid", "a value's text has a lone surrogate");
    return Buffer.from(value, "utf8");
  }
  const base64 = (value as { base64?: unknown } | null)?.base64;
  if (typeof base64 === "string" && Object.keys(value as object).length === 1) {
    const bytes = Buffer.from(base64, "base64");
    if (bytes.toString("base64") === base64) return bytes;
  }
  throw new VlinderError("invalid", 'a value is bytes, text, or {"base64": "…"} with standard padded base64');
}

/** A vector: an array of numbers, or in MessagePack float32 little-endian bytes. */
export const vectorField: z.ZodType<Float32Array, unknown> = parsed((value) => {
  if (value instanceof Uint8Array) {
    if (value.length % 4 !== 0) throw new VlinderError("invalid", "a vector's bytes are not whole float32 numbers");
    const copy = new Uint8Array(value);
    return checkVector(new Float32Array(copy.buffer));
  }
  // As a client has it before it is encoded.
  if (value instanceof Float32Array) return checkVector(value);
  if (Array.isArray(value) && value.every((x) => typeof x === "number")) return checkVector(Float32Array.from(value));
  throw new VlinderError("invalid", "a vector is an array of numbers, or float32 little-endian bytes");
});

function checkVector(vector: Float32Array): Float32Array {
  if (vector.length === 0 || vector.length > LIMITS.dimension) {
    throw new VlinderError("invalid", `a vector of ${vector.length} components`, {
      details: { limit: LIMITS.dimension },
      remedy: `a vector has 1 to ${LIMITS.dimension} components`,
    });
  }
  if (!vector.every((x) => Number.isFinite(x))) {
    throw new VlinderError("invalid", "a vector's component is not a finite float32");
  }
  return vector;
}

export const idField = z.string().min(1).max(LIMITS.idChars);
export const limitField = z.int().min(1).max(LIMITS.page);

/** On every write. */
export const writeFields = {
  branch: branchField.optional(),
  turn: idField.optional(),
  session: idField.optional(),
  id: idField.optional(),
};

/** On every read. */
export const readFields = {
  branch: branchField.optional(),
  turn: idField.optional(),
  at: refField.optional(),
};

/** The value's hash that the key must have now, or null for "must not exist". */
export const expectField = hashField.nullable().optional();
