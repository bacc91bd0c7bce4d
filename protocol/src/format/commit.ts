import { parseJson } from "../parse-json.ts";
import { invalid, VlinderError } from "../errors.ts";
import { canonicalJson, canonicalString, type Json } from "../canonical.ts";
import { type Hash, isHash, sha256 } from "../hash.ts";
import { type AgentName, type DeviceId, type Key, keyText, parseAgentName, parseDeviceId, parseKey } from "../names.ts";
import { LIMITS } from "../limits.ts";
import { refuseNewerFormat } from "./version.ts";

/** `[key, value hash, size in bytes]`; a delete is `[key, null, 0]`. */
export type Change = readonly [key: Key, hash: Hash | null, size: number];

/** What a commit changed against its first parent. Keys are unique and in order. */
export interface Changes {
  readonly kv?: readonly Change[];
  readonly vectors?: readonly Change[];
  /** The hash of the new contract, which is a value. */
  readonly contract?: Hash;
}

/** A branch's id: main's is the first commit's hash, a fork's is 32 random bytes. */
export type BranchId = Hash;

export const EVENT_KINDS = [
  "init",
  "contract",
  "kv.put",
  "kv.delete",
  "kv.batch",
  "vector.put",
  "vector.delete",
  "invoke",
  "call",
  "effect",
  "complete",
  "fail",
  "promote",
  "rewind",
  "merge",
  "erase",
] as const;
export type EventKind = (typeof EVENT_KINDS)[number];

/**
 * Why a commit was made. `values` names values that belong to the commit and not to a key (a
 * model's request and response, the list of a merge's conflicts): they are reachable from it as
 * the keys' values are. `info` is what the kind wants to say in plain JSON.
 */
export interface CommitEvent {
  readonly kind: EventKind;
  readonly info?: { readonly [name: string]: Json };
  readonly values?: { readonly [name: string]: readonly [hash: Hash, size: number] };
}

export interface Commit {
  readonly v: 1;
  readonly agent: AgentName;
  /** Absent only in the first commit, which is its own branch's id. */
  readonly branch?: BranchId;
  readonly parents: readonly Hash[];
  readonly snapshot: Hash;
  readonly event: CommitEvent;
  /** Over 256 changes it is the hash of a change list. */
  readonly changes?: Changes | Hash;
  /** A rewind takes this commit's keys and vectors; the contract stays. */
  readonly adopts?: Hash;
  /** ISO 8601 with milliseconds, UTC; never before a parent's. Absent where no clock was asked. */
  readonly time?: string;
  readonly device?: DeviceId;
  readonly session?: string;
  readonly turn?: string;
}

/** Over this many changes they go to a change list of their own. */
export const INLINE_CHANGES = 256;

export function changeCount(changes: Changes): number {
  return (changes.kv?.length ?? 0) + (changes.vectors?.length ?? 0) + (changes.contract === undefined ? 0 : 1);
}

function encodeChangeArray(list: readonly Change[]): string {
  let text = "[";
  for (const [key, hash, size] of list) {
    if (text.length > 1) text += ",";
    text += `[${canonicalString(keyText(key))},${hash === null ? "null" : `"${hash}"`},${size}]`;
  }
  return `${text}]`;
}

/** Canonical JSON of changes: in a commit, and as the bytes of a change list. */
export function encodeChanges(changes: Changes): string {
  let text = "{";
  if (changes.contract !== undefined) text += `"contract":"${changes.contract}"`;
  if (changes.kv !== undefined && changes.kv.length > 0) {
    text += `${text.length > 1 ? "," : ""}"kv":${encodeChangeArray(changes.kv)}`;
  }
  if (changes.vectors !== undefined && changes.vectors.length > 0) {
    text += `${text.length > 1 ? "," : ""}"vectors":${encodeChangeArray(changes.vectors)}`;
  }
  return `${text}}`;
}

/** Canonical JSON (RFC 8785) of a commit; its SHA-256 is the commit's hash. */
export function encodeCommit(commit: Commit): string {
  let text = "{";
  if (commit.adopts !== undefined) text += `"adopts":"${commit.adopts}",`;
  text += `"agent":"${commit.agent}",`;
  if (commit.branch !== undefined) text += `"branch":"${commit.branch}",`;
  if (typeof commit.changes === "string") text += `"changes":"${commit.changes}",`;
  else if (commit.changes !== undefined) text += `"changes":${encodeChanges(commit.changes)},`;
  if (commit.device !== undefined) text += `"device":"${commit.device}",`;
  text += `"event":${encodeEvent(commit.event)},"parents":[${commit.parents.map((p) => `"${p}"`).join(",")}],`;
  if (commit.session !== undefined) text += `"session":${canonicalString(commit.session)},`;
  text += `"snapshot":"${commit.snapshot}",`;
  if (commit.time !== undefined) text += `"time":"${commit.time}",`;
  if (commit.turn !== undefined) text += `"turn":${canonicalString(commit.turn)},`;
  return `${text}"v":1}`;
}

function encodeEvent(event: CommitEvent): string {
  if (event.info === undefined && event.values === undefined) return `{"kind":"${event.kind}"}`;
  return canonicalJson(event as unknown as Json);
}

export function hashCommit(commit: Commit): Hash {
  return sha256(encodeCommit(commit));
}

const COMMIT_FIELDS = new Set([
  "adopts",
  "agent",
  "branch",
  "changes",
  "device",
  "event",
  "parents",
  "session",
  "snapshot",
  "time",
  "turn",
  "v",
]);
const KINDS: ReadonlySet<string> = new Set(EVENT_KINDS);
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

type Loose = Record<string, unknown>;

function fail(what: string): never {
  throw invalid(`not a commit: ${what}`);
}

function isObject(value: unknown): value is Loose {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function hashField(value: unknown, name: string): Hash {
  return isHash(value) ? value : fail(`${name} is not a hash`);
}

function shortText(value: unknown, name: string): string {
  if (typeof value !== "string" || value.length === 0 || value.length > LIMITS.idChars) fail(`bad ${name}`);
  return value;
}

function parseChangeArray(value: unknown, name: string): Change[] {
  if (!Array.isArray(value) || value.length === 0) fail(`changes.${name} is not a list of changes`);
  let last = "";
  return value.map((item: unknown) => {
    if (!Array.isArray(item) || item.length !== 3) fail(`changes.${name} holds something else than a change`);
    const [text, hash, size] = item as [unknown, unknown, unknown];
    if (typeof text !== "string") fail("a key is not text");
    const key = parseKey(text);
    if (key <= last) fail(`changes.${name} is not in the order of keys`);
    last = key;
    if (!Number.isSafeInteger(size) || (size as number) < 0) fail("a size is not a number of bytes");
    if (hash === null ? size !== 0 : !isHash(hash)) fail("a change is neither a hash nor a delete");
    return [key, hash as Hash | null, size as number];
  });
}

/** Checks the shape of changes, in a commit or in a change list. @throws invalid */
export function parseChanges(value: unknown): Changes {
  if (!isObject(value)) fail("changes is not an object");
  const changes: { kv?: Change[]; vectors?: Change[]; contract?: Hash } = {};
  for (const name of Object.keys(value)) {
    if (name === "kv" || name === "vectors") changes[name] = parseChangeArray(value[name], name);
    else if (name === "contract") changes.contract = hashField(value[name], "contract");
    else fail(`unknown field changes.${name}`);
  }
  return changes;
}

function parseEvent(value: unknown): CommitEvent {
  if (!isObject(value) || typeof value["kind"] !== "string" || !KINDS.has(value["kind"])) {
    // A kind from a newer release must not be taken for damage: it is refused by name.
    throw new VlinderError("invalid", `unknown kind of commit: ${JSON.stringify((value as Loose | null)?.["kind"])}`, {
      remedy: "a newer vlinder may have written it: update this one",
    });
  }
  for (const name of Object.keys(value)) if (!["kind", "info", "values"].includes(name)) fail(`unknown event.${name}`);
  const { info, values } = value;
  if (info !== undefined && !isObject(info)) fail("event.info is not an object");
  if (values !== undefined) {
    if (!isObject(values) || Object.keys(values).length === 0) fail("event.values is not an object");
    for (const ref of Object.values(values)) {
      if (!Array.isArray(ref) || ref.length !== 2 || !isHash(ref[0]) || !Number.isSafeInteger(ref[1]) || ref[1] < 0) {
        fail("event.values holds something else than [hash, size]");
      }
    }
  }
  return value as unknown as CommitEvent;
}

/** Reads a commit and checks its shape; whether the bytes are canonical is checked where they come from outside. @throws invalid */
export function decodeCommit(bytes: Uint8Array): Commit {
  let value: unknown;
  try {
    value = parseJson(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (cause) {
    throw invalid("not a commit: not JSON", { cause });
  }
  if (!isObject(value)) fail("not an object");
  // First: a newer one may have other fields.
  refuseNewerFormat("a commit", value["v"]);
  if (value["v"] !== 1) fail(`format ${JSON.stringify(value["v"])}`);
  for (const name of Object.keys(value)) if (!COMMIT_FIELDS.has(name)) fail(`unknown field ${name}`);
  const { adopts, branch, changes, device, parents, session, time, turn } = value;
  if (!Array.isArray(parents) || parents.length > 2 || !parents.every(isHash)) fail("parents are not 0 to 2 hashes");
  if ((parents.length === 0) !== (branch === undefined)) fail("only the first commit has no branch");
  if (time !== undefined && (typeof time !== "string" || !TIME.test(time) || Number.isNaN(Date.parse(time)))) {
    fail("time is not like 2026-11-20T21:40:00.123Z");
  }
  if (adopts !== undefined && changes !== undefined) fail("both adopts and changes");
  return {
    v: 1,
    agent: parseAgentName(value["agent"]),
    parents: parents as Hash[],
    snapshot: hashField(value["snapshot"], "snapshot"),
    event: parseEvent(value["event"]),
    ...(branch === undefined ? {} : { branch: hashField(branch, "branch") }),
    ...(changes === undefined ? {} : { changes: isHash(changes) ? changes : parseChanges(changes) }),
    ...(adopts === undefined ? {} : { adopts: hashField(adopts, "adopts") }),
    ...(time === undefined ? {} : { time: time as string }),
    ...(device === undefined ? {} : { device: parseDeviceId(device) }),
    ...(session === undefined ? {} : { session: shortText(session, "session") }),
    ...(turn === undefined ? {} : { turn: shortText(turn, "turn") }),
  };
}
