import {
  type AgentName,
  canonicalJson,
  type DeviceId,
  type Hash,
  isHash,
  type Json,
  parseAgentName,
  parseCanonicalJson,
  parseDeviceId,
} from "@vlinder/protocol";
import { type Device, isPublicKey, isSignature, isSignedBy, type PublicKey } from "../vault/device.ts";
import { isVaultId, type VaultId } from "../vault/vault.ts";
import { fileForm } from "../file-form.ts";

const { bad, newer, fields } = fileForm("mark");

/** A pack that a mark names as a replacement. */
export interface Replacement {
  readonly name: Hash;
  /** Bytes of its raw payload. */
  readonly raw: number;
}

/**
 * A mark says that packs were replaced by others, which hold all that they held but the nodes and
 * snapshots, and but what is `left`. The same mark lies beside each of the packs that it replaces. docs/formats.md has the form.
 */
export interface Mark {
  /** What stood before the replaced packs where they were replaced: what the replacements need is in these. */
  readonly after: readonly Hash[];
  readonly agent: AgentName;
  /** In the order in which they can be taken. None: nothing is left of the packs, or nobody named them. */
  readonly by: readonly Replacement[];
  readonly device: DeviceId;
  readonly key: PublicKey;
  /**
   * Values, chunks and lists that the replacements lack, as they were erased, in an order in which they can be taken; null: too many to list, or not
   * known, so that what the packs held says nothing about the replacements.
   */
  readonly left: readonly Hash[] | null;
  /** In the order in which they stood. */
  readonly packs: readonly Hash[];
  /** ISO 8601. */
  readonly time: string;
  readonly vault: VaultId;
}

/** A mark file larger than this is refused. */
export const MARK_BYTES = 1 << 20;
/** How many objects a mark lists as left out. */
export const LEFT_LISTED = 512;

const DOMAIN = "vlinder mark 1\n";
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const BODY = "after,agent,by,device,key,left,packs,time,vault";

export function markPath(agent: AgentName, pack: Hash): string {
  return `agents/${agent}/packs/${pack}.dropped`;
}

/** The bytes of a mark, signed by the device that it names. */
export function encodeMark(mark: Mark, device: Device): Buffer {
  const body = mark as unknown as Json;
  const signature = device.sign(DOMAIN + canonicalJson(body));
  return Buffer.from(canonicalJson({ body, encryption: "none", signature, v: 1 }), "utf8");
}

/**
 * Reads the mark beside a pack and checks form, signature, agent, vault, and that it speaks of the pack. Whether its key is that
 * of its device is for the caller to say. @throws invalid
 */
export function decodeMark(bytes: Buffer, agent: AgentName, pack: Hash, vault: VaultId): Mark {
  const envelope = fields(parseCanonicalJson(bytes, "mark"), "body,encryption,signature,v", "envelope");
  if (envelope["v"] !== 1) throw newer(`format ${JSON.stringify(envelope["v"])}`);
  if (envelope["encryption"] !== "none") throw newer(`encryption ${JSON.stringify(envelope["encryption"])}`);
  const { signature } = envelope;
  const mark = parseMark(envelope["body"]);
  if (!isSignature(signature) || !isSignedBy(mark.key, DOMAIN + canonicalJson(envelope["body"] as Json), signature)) {
    throw bad("its signature is wrong");
  }
  if (mark.agent !== agent) throw bad(`it is of agent ${mark.agent}`);
  if (mark.vault !== vault) throw bad(`it is of vault ${mark.vault}`);
  if (!mark.packs.includes(pack)) throw bad("it does not speak of the pack that it lies beside");
  return mark;
}

function parseMark(value: unknown): Mark {
  const { after, agent, by, device, key, left, packs, time, vault } = fields(value, BODY, "body");
  if (!isPublicKey(key)) throw bad("its key is no key");
  if (!isNames(after) || !isNames(packs) || packs.length === 0) throw bad("its packs are no list of names");
  if (left !== null && !isNames(left)) throw bad("what it leaves out is no list of hashes");
  if (!Array.isArray(by)) throw bad("its replacements are no list");
  const replacements = by.map(parseReplacement);
  const names = [...after, ...packs, ...replacements.map(({ name }) => name)];
  if (new Set(names).size !== names.length) throw bad("it names a pack twice");
  if (typeof time !== "string" || !TIME.test(time) || Number.isNaN(Date.parse(time))) throw bad("its time is none");
  if (!isVaultId(vault)) throw bad("its vault is none");
  return {
    after,
    agent: parseAgentName(agent),
    by: replacements,
    device: parseDeviceId(device),
    key,
    left,
    packs,
    time,
    vault,
  };
}

function parseReplacement(value: unknown): Replacement {
  const { name, raw } = fields(value, "name,raw", "replacement");
  if (!isHash(name) || !Number.isSafeInteger(raw) || (raw as number) < 1) throw bad("a replacement is none");
  return { name, raw: raw as number };
}

function isNames(value: unknown): value is Hash[] {
  return Array.isArray(value) && value.every(isHash) && new Set(value).size === value.length;
}
