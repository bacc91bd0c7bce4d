import {
  type AgentName,
  type BranchId,
  canonicalJson,
  type DeviceId,
  type Hash,
  isHash,
  type Json,
  parseAgentName,
  parseBranchName,
  parseCanonicalJson,
  parseDeviceId,
  sha256,
} from "@vlinder/protocol";
import type { TheirBranch } from "../state/api.ts";
import { type Device, isPublicKey, isSignature, isSignedBy, type PublicKey } from "./vault/device.ts";
import { isVaultId, type VaultId } from "./vault/vault.ts";
import { fileForm } from "./file-form.ts";

const { bad, newer, fields } = fileForm("head");

/**
 * A head is one device's statement of where its branches are and which packs hold all that they
 * reach. It is immutable and signed; the next one is a new file that names it. docs/formats.md
 * has the form.
 */
export interface HeadBody {
  readonly agent: AgentName;
  /** In the order of their ids. */
  readonly branches: readonly TheirBranch[];
  readonly device: DeviceId;
  readonly key: PublicKey;
  /** Counts up with each head of the device for this agent, from 1. */
  readonly n: number;
  /** In an order in which they can be taken: what a pack needs is in those before it. */
  readonly packs: readonly Hash[];
  /** Hashes of the device's own head files that this one replaces, in order. */
  readonly predecessors: readonly Hash[];
  /** ISO 8601. */
  readonly time: string;
  readonly vault: VaultId;
}

export interface Head {
  readonly body: HeadBody;
  /** SHA-256 of the file's bytes. */
  readonly hash: Hash;
  readonly bytes: Buffer;
}

/** What a head's path says: the contents must say the same. */
export interface HeadName {
  readonly agent: AgentName;
  readonly device: DeviceId;
  readonly n: number;
  readonly hash: Hash;
}

/** A head file larger than this is refused. */
export const HEAD_BYTES = 16 << 20;

/** Before what is signed, so that no signature made for another purpose can pass for a head's. */
const DOMAIN = "vlinder head 1\n";
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

export function headPath({ agent, device, n, hash }: HeadName): string {
  return `agents/${agent}/heads/${device}/${n}-${hash}.json`;
}

/** @throws never for a body of this type; canonical JSON refuses what has no form */
export function encodeHead(body: HeadBody, device: Device): Head {
  const json = body as unknown as Json;
  const signature = device.sign(DOMAIN + canonicalJson(json));
  const bytes = Buffer.from(canonicalJson({ body: json, encryption: "none", signature, v: 1 }), "utf8");
  return { body, hash: sha256(bytes), bytes };
}

/**
 * Reads a head file and checks everything that it says about itself: form, hash, path, vault and the
 * signature by the key that it names. Whether that key is the device's is `DevicePins`' to say. @throws invalid
 */
export function decodeHead(bytes: Buffer, name: HeadName, vault: VaultId): Head {
  if (sha256(bytes) !== name.hash) throw bad("its bytes are not what its name says");
  const envelope = fields(parseCanonicalJson(bytes, "head"), "body,encryption,signature,v", "head");
  if (envelope["v"] !== 1) throw newer(`format ${JSON.stringify(envelope["v"])}`);
  if (envelope["encryption"] !== "none") throw newer(`encryption ${JSON.stringify(envelope["encryption"])}`);
  const { signature } = envelope;
  if (!isSignature(signature)) throw bad("its signature is no signature");
  const body = parseBody(envelope["body"]);
  if (!isSignedBy(body.key, DOMAIN + canonicalJson(envelope["body"] as Json), signature)) {
    throw bad("its signature is wrong");
  }
  if (body.agent !== name.agent) throw bad(`it is a head of agent ${body.agent}`);
  if (body.device !== name.device) throw bad(`it is a head of device ${body.device}`);
  if (body.n !== name.n) throw bad(`its number is ${body.n}`);
  if (body.vault !== vault) throw bad(`it is of vault ${body.vault}`);
  return { body, hash: name.hash, bytes };
}

/** What a head file says that was decoded before. */
export function bodyOf(bytes: Buffer): HeadBody {
  return (parseCanonicalJson(bytes, "head") as unknown as { readonly body: HeadBody }).body;
}

/** The branch heads in a head file that was decoded before. */
export function headsIn(bytes: Buffer): Hash[] {
  return bodyOf(bytes).branches.flatMap(({ head }) => head ?? []);
}

/** The packs that a head file names which was decoded before. */
export function namedPacks(bytes: Buffer): readonly Hash[] {
  return bodyOf(bytes).packs;
}

const BODY = "agent,branches,device,key,n,packs,predecessors,time,vault";

function parseBody(value: unknown): HeadBody {
  const body = fields(value, BODY, "body");
  const { key, n, packs, predecessors, time, vault, branches } = body;
  if (!isPublicKey(key)) throw bad("its key is no key");
  if (!isCounter(n)) throw bad("its number is none");
  if (!isHashes(packs) || new Set(packs).size !== packs.length) throw bad("its packs are no list of names");
  if (!isHashes(predecessors) || !isSorted(predecessors)) throw bad("its predecessors are no list in order");
  if (typeof time !== "string" || !TIME.test(time) || Number.isNaN(Date.parse(time))) throw bad("its time is none");
  if (!isVaultId(vault)) throw bad("its vault is none");
  return {
    agent: parseAgentName(body["agent"]),
    branches: parseBranches(branches),
    device: parseDeviceId(body["device"]),
    key,
    n,
    packs,
    predecessors,
    time,
    vault,
  };
}

/** Each id once, in order. @throws invalid */
export function parseBranches(value: unknown): TheirBranch[] {
  if (!Array.isArray(value)) throw bad("its branches are no list");
  const parsed = value.map(parseBranch);
  if (!isSorted(parsed.map(({ id }) => id))) throw bad("its branches are not in the order of their ids");
  return parsed;
}

function parseBranch(value: unknown): TheirBranch {
  const { deleted, head, id, name, sealed } = fields(value, "deleted,head,id,name,sealed", "branch");
  if (!isHash(id)) throw bad("a branch's id is none");
  if (typeof sealed !== "boolean") throw bad("a branch is neither sealed nor not");
  if (!isHashes(deleted) || !isSorted(deleted)) throw bad("a branch's deletions are no list in order");
  if (head !== null && !isHash(head)) throw bad("a branch's head is none");
  if (head === null && deleted.length === 0) throw bad("a branch has neither a head nor a tombstone");
  return { id: id as BranchId, name: parseBranchName(name), head, deleted, sealed };
}

function isHashes(value: unknown): value is Hash[] {
  return Array.isArray(value) && value.every(isHash);
}

function isSorted(list: readonly string[]): boolean {
  return list.every((item, i) => i === 0 || (list[i - 1] as string) < item);
}

export function isCounter(n: unknown): n is number {
  return Number.isSafeInteger(n) && (n as number) > 0;
}
