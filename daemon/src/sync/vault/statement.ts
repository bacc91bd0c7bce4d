import {
  canonicalJson,
  type DeviceId,
  type Hash,
  isHash,
  type Json,
  parseCanonicalJson,
  parseDeviceId,
  sha256,
} from "@vlinder/protocol";
import { AGE_RECIPIENTS, type AgeRecipient, isAgeRecipient } from "./age-file.ts";
import { isPublicKey, isSignature, isSignedBy, type PublicKey } from "./device.ts";
import type { Authority } from "./keys.ts";
import { type Founder, isTime } from "./vault.ts";
import { fileForm } from "../file-form.ts";

const { bad, newer, fields } = fileForm("statement about members");

/** A device as a member of a vault. */
export interface MemberKeys {
  readonly device: DeviceId;
  readonly key: PublicKey;
  readonly recipient: AgeRecipient;
}

/** What a member says of who belongs to the vault; docs/formats.md has the form. */
export interface StatementBody {
  /** In the order of their keys. */
  readonly add: readonly MemberKeys[];
  /** The newest statements that the signer knew, in order. With all before them, they are what it stands on. */
  readonly after: readonly Hash[];
  /** Who signs. */
  readonly by: PublicKey;
  /** Recipients of the vault's keys that `sealed` holds, in order. */
  readonly keys: readonly AgeRecipient[];
  /** The recovery key from now on; null: as it was. */
  readonly recovery: Founder | null;
  /** In order. */
  readonly remove: readonly PublicKey[];
  /** An age file as base64: the vault's keys, and names of the devices. */
  readonly sealed: string;
  /** ISO 8601. */
  readonly time: string;
  /** Whose recipients `sealed` is encrypted to, in order. */
  readonly to: readonly PublicKey[];
  /** SHA-256 of vault.json. */
  readonly vault: Hash;
}

export interface Statement {
  readonly body: StatementBody;
  /** SHA-256 of the file's bytes. */
  readonly hash: Hash;
  readonly bytes: Buffer;
}

/** A statement file larger than this is refused. */
export const STATEMENT_BYTES = 1 << 20;
/** Of each list in it: the keys that a vault ever had. */
const MOST = 2048;

const DOMAIN = "vlinder members 1\n";
/** Signed by a new recovery key: that this, and all that it stands on, is its vault. */
const RECOVERY_DOMAIN = "vlinder recovery 1\n";
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

export function statementPath(hash: Hash): string {
  return `members/${hash}.json`;
}

/** @param recovery the new recovery key, if the body names one */
export function encodeStatement(body: StatementBody, by: Authority, recovery: Authority | null = null): Statement {
  const text = canonicalJson(body as unknown as Json);
  const proof = recovery === null ? null : recovery.sign(RECOVERY_DOMAIN + text);
  const file = { body: body as unknown as Json, proof, signature: by.sign(DOMAIN + text), v: 1 };
  const bytes = Buffer.from(canonicalJson(file), "utf8");
  return { body, hash: sha256(bytes), bytes };
}

/**
 * Reads a statement and checks all that it says about itself: form, hash, vault and signatures by the keys that it names.
 * Whether that key may say so is `Membership`'s to judge. @throws invalid
 */
export function decodeStatement(bytes: Buffer, hash: Hash, vault: Hash): Statement {
  if (sha256(bytes) !== hash) throw bad("its bytes are not what its name says");
  const file = fields(parseCanonicalJson(bytes, "statement"), "body,proof,signature,v", "file");
  if (file["v"] !== 1) throw newer(`format ${JSON.stringify(file["v"])}`);
  const { signature, proof } = file;
  const body = parseBody(file["body"]);
  const text = canonicalJson(file["body"] as Json);
  if (!isSignature(signature) || !isSignedBy(body.by, DOMAIN + text, signature)) throw bad("its signature is wrong");
  if (body.recovery === null ? proof !== null : !isSignature(proof)) throw bad("its proof is none");
  if (body.recovery !== null && isSignature(proof) && !isSignedBy(body.recovery.key, RECOVERY_DOMAIN + text, proof)) {
    throw bad("the recovery key that it names has not signed it");
  }
  if (body.vault !== vault) throw bad("it is of another vault");
  return { body, hash, bytes };
}

const BODY = "add,after,by,keys,recovery,remove,sealed,time,to,vault";

function parseBody(value: unknown): StatementBody {
  const { add, after, by, keys, recovery, remove, sealed, time, to, vault } = fields(value, BODY, "body");
  if (!Array.isArray(add) || add.length > AGE_RECIPIENTS) throw bad("whom it adds is no list");
  const added = add.map(parseMember);
  if (!isSorted(added.map(({ key }) => key))) throw bad("whom it adds is not in order");
  if (!isList(after, isHash)) throw bad("what it stands on is no list in order");
  if (!isPublicKey(by)) throw bad("who signs is no key");
  if (!isList(keys, isAgeRecipient) || keys.length === 0) throw bad("the vault's keys are no list in order");
  if (!isList(remove, isPublicKey)) throw bad("whom it removes is no list in order");
  if (!isList(to, isPublicKey) || to.length > AGE_RECIPIENTS) throw bad("who can open it is no list in order");
  if (typeof sealed !== "string" || !BASE64.test(sealed)) throw bad("what is sealed is no base64");
  if (!isTime(time)) throw bad("its time is none");
  if (!isHash(vault)) throw bad("its vault is none");
  return { add: added, after, by, keys, recovery: parseRecovery(recovery), remove, sealed, time, to, vault };
}

function parseMember(value: unknown): MemberKeys {
  const { device, key, recipient } = fields(value, "device,key,recipient", "member");
  if (!isPublicKey(key) || !isAgeRecipient(recipient)) throw bad("a member has no good keys");
  return { device: parseDeviceId(device), key, recipient };
}

function parseRecovery(value: unknown): Founder | null {
  if (value === null) return null;
  const { key, recipient } = fields(value, "key,recipient", "recovery key");
  if (!isPublicKey(key) || !isAgeRecipient(recipient)) throw bad("its recovery key is none");
  return { key, recipient };
}

/** Each once and in order. */
function isList<T extends string>(value: unknown, is: (one: unknown) => one is T): value is T[] {
  return Array.isArray(value) && value.length <= MOST && value.every((one) => is(one)) && isSorted(value);
}

function isSorted(list: readonly string[]): boolean {
  return list.every((item, i) => i === 0 || (list[i - 1] as string) < item);
}
