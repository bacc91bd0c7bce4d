import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { canonicalJson, type Hash, invalid, parseCanonicalJson, sha256, VlinderError } from "@vlinder/protocol";
import type { Bucket } from "../buckets/bucket.ts";
import { readHomeFile, writeHomeFile } from "../home-file.ts";
import { type AgeRecipient, isAgeRecipient } from "./age-file.ts";
import { isPublicKey, type PublicKey } from "./device.ts";

/** 128 random bits as 32 hex digits: which vault a bucket holds, and a head belongs to. */
export type VaultId = string & { readonly __brand: "VaultId" };

/** Of an encrypted vault: the recovery key that it began with, and with it the trust in all others. */
export interface Founder {
  readonly key: PublicKey;
  readonly recipient: AgeRecipient;
}

export interface Vault {
  readonly id: VaultId;
  /** ISO 8601. */
  readonly created: string;
  /** The bytes of `vault.json`: what is pinned. */
  readonly bytes: Buffer;
  /** SHA-256 of the bytes: what members sign for, and what two people can compare. */
  readonly hash: Hash;
  /** Null: a plain vault. */
  readonly founder: Founder | null;
}

const PATH = "vault.json";
const MAX_BYTES = 64 * 1024;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
/** By what a format is joined. */
const FORMATS = { 1: "open", 2: "members" } as const;

export function isVaultId(text: unknown): text is VaultId {
  return typeof text === "string" && /^[0-9a-f]{32}$/.test(text);
}

export function isTime(text: unknown): text is string {
  return typeof text === "string" && TIME.test(text) && !Number.isNaN(Date.parse(text));
}

/** The bytes of a new `vault.json`. */
export function encodeVault(id: VaultId, created: string, founder: Founder | null = null): Buffer {
  const form = founder === null ? { format: 1, join: FORMATS[1] } : { format: 2, join: FORMATS[2], ...founder };
  return Buffer.from(canonicalJson({ created, id, ...form }), "utf8");
}

/** @throws invalid: another form, or one of a newer release */
export function decodeVault(bytes: Buffer): Vault {
  const value = parseCanonicalJson(bytes, "vault.json") as Record<string, unknown> | null;
  const remedy = "a newer vlinder may have made the vault: update this one";
  if (value === null || typeof value !== "object" || Array.isArray(value)) throw invalid("vault.json is no object");
  const { format, join: by } = value;
  if (format !== 1 && format !== 2) {
    throw invalid(`vault.json has format ${JSON.stringify(format)}; this release knows 1 and 2`, {
      remedy,
      details: { version: format },
    });
  }
  if (by !== FORMATS[format]) throw invalid(`a vault of format ${format} to join by ${JSON.stringify(by)}`, { remedy });
  const names = format === 1 ? "created,format,id,join" : "created,format,id,join,key,recipient";
  if (Object.keys(value).join() !== names) throw invalid("vault.json has unknown fields", { remedy });
  const { id, created, key, recipient } = value;
  if (!isVaultId(id) || typeof created !== "string" || !TIME.test(created)) throw invalid("vault.json is damaged");
  const vault = { id, created, bytes, hash: sha256(bytes) };
  if (format === 1) return { ...vault, founder: null };
  if (!isPublicKey(key) || !isAgeRecipient(recipient)) throw invalid("vault.json has no good keys");
  return { ...vault, founder: { key, recipient } };
}

/** The vault in a bucket; null where there is none. @throws invalid */
export async function readVault(bucket: Bucket): Promise<Vault | null> {
  const bytes = await bucket.get(PATH, { start: 0, end: MAX_BYTES });
  if (bytes === null) return null;
  try {
    return decodeVault(bytes);
  } catch (error) {
    if (!(error instanceof VlinderError)) throw error;
    throw invalid(`the bucket ${bucket.uri} has no good vault.json: ${error.message}`, {
      remedy:
        error.remedy ??
        "it was damaged or replaced: move it away, and run `vlinder init` again on a machine that used this bucket, which writes it as it was",
      details: { ...error.details, bucket: bucket.uri },
      cause: error,
    });
  }
}

/**
 * The vault that this home belongs to, as a copy of its `vault.json` in `<home>/sync/vault.json`. A
 * bucket with another one is never mixed in: it may be somebody else's, or a forgery.
 */
export async function pinnedVault(home: string): Promise<Vault | null> {
  const bytes = await readHomeFile(pinFile(home));
  return bytes === null ? null : decodeVault(bytes);
}

const pinFile = (home: string): string => join(home, "sync", "vault.json");

/** @throws denied: it is another one */
export function checkPin(found: Vault, pinned: Vault, bucket: Bucket, home: string): void {
  if (found.bytes.equals(pinned.bytes)) return;
  throw new VlinderError("denied", `the bucket ${bucket.uri} holds another vault than the one of this home`, {
    remedy: `check the bucket; to leave vault ${pinned.id} for good, remove ${pinFile(home)} and run vlinder init again`,
    details: { bucket: bucket.uri, pinned: pinned.id, found: found.id },
  });
}

/** Makes a file of a vault: where another machine was faster, its file stays. */
export async function putVault(bucket: Bucket, bytes: Uint8Array): Promise<boolean> {
  try {
    await bucket.put([{ path: PATH, bytes }]);
    return true;
  } catch (error) {
    if (error instanceof VlinderError && error.code === "conflict") return false;
    throw error;
  }
}

/** This home belongs to the vault from now on. */
export async function pinVault(home: string, vault: Vault): Promise<void> {
  await writeHomeFile(pinFile(home), vault.bytes);
}

export async function unpinVault(home: string): Promise<void> {
  await rm(pinFile(home), { force: true });
}

export function newVaultId(): VaultId {
  return randomBytes(16).toString("hex") as VaultId;
}

/** The vault of a bucket in use: there, and the pinned one. @throws unavailable, denied, invalid */
export async function checkVault(bucket: Bucket, home: string): Promise<Vault> {
  const pinned = await pinnedVault(home);
  if (pinned === null) {
    throw new VlinderError("unavailable", "this home has no vault", {
      remedy: `vlinder init ${bucket.uri}`,
      retryable: false,
    });
  }
  const found = await readVault(bucket);
  if (found === null) {
    throw new VlinderError("unavailable", `there is no vault in the bucket ${bucket.uri}`, {
      remedy: `mount the drive or bring the folder back; for a new start there, run vlinder init ${bucket.uri}`,
      details: { bucket: bucket.uri },
    });
  }
  checkPin(found, pinned, bucket, home);
  return found;
}
