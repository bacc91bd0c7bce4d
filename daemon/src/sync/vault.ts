import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { canonicalJson, invalid, parseCanonicalJson, VlinderError } from "@vlinder/protocol";
import type { Bucket } from "./buckets/bucket.ts";
import { readHomeFile, writeHomeFile } from "./home-file.ts";

/** 128 random bits as 32 hex digits: which vault a bucket holds, and a head belongs to. */
export type VaultId = string & { readonly __brand: "VaultId" };

export interface Vault {
  readonly id: VaultId;
  /** ISO 8601. */
  readonly created: string;
  /** The bytes of `vault.json`: what is pinned. */
  readonly bytes: Buffer;
}

const PATH = "vault.json";
const MAX_BYTES = 64 * 1024;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

export function isVaultId(text: unknown): text is VaultId {
  return typeof text === "string" && /^[0-9a-f]{32}$/.test(text);
}

/** The bytes of a new `vault.json`. */
export function encodeVault(id: VaultId, created: string): Buffer {
  return Buffer.from(canonicalJson({ created, format: 1, id, join: "open" }), "utf8");
}

/** @throws invalid: another form, or one of a newer release */
export function decodeVault(bytes: Buffer): Vault {
  const value = parseCanonicalJson(bytes, "vault.json") as Record<string, unknown> | null;
  const remedy = "a newer vlinder may have made the vault: update this one";
  if (value === null || typeof value !== "object" || Array.isArray(value)) throw invalid("vault.json is no object");
  if (value["format"] !== 1) {
    const version = value["format"];
    throw invalid(`vault.json has format ${JSON.stringify(version)}; this release knows 1`, {
      remedy,
      details: { version },
    });
  }
  if (value["join"] !== "open") throw invalid(`a vault to join by ${JSON.stringify(value["join"])}`, { remedy });
  if (Object.keys(value).join() !== "created,format,id,join")
    throw invalid("vault.json has unknown fields", { remedy });
  const { id, created } = value;
  if (!isVaultId(id) || typeof created !== "string" || !TIME.test(created)) throw invalid("vault.json is damaged");
  return { id, created, bytes };
}

async function readVault(bucket: Bucket): Promise<Vault | null> {
  const bytes = await bucket.get(PATH, { start: 0, end: MAX_BYTES });
  return bytes === null ? null : decodeVault(bytes);
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

function checkPin(found: Vault, pinned: Vault, bucket: Bucket, home: string): void {
  if (found.bytes.equals(pinned.bytes)) return;
  throw new VlinderError("denied", `the bucket ${bucket.uri} holds another vault than the one of this home`, {
    remedy: `check the bucket; to leave vault ${pinned.id} for good, remove ${pinFile(home)} and run vlinder init again`,
    details: { bucket: bucket.uri, pinned: pinned.id, found: found.id },
  });
}

/**
 * Makes the vault, or joins the one that is there, and pins it. A home that has a vault brings that
 * one to an empty bucket, so that memory can move to a new place.
 */
export async function initVault(bucket: Bucket, home: string, now: Date): Promise<{ vault: Vault; created: boolean }> {
  const pinned = await pinnedVault(home);
  let found = await readVault(bucket);
  let created = false;
  if (found === null) {
    const fresh = encodeVault(randomBytes(16).toString("hex") as VaultId, now.toISOString());
    try {
      await bucket.put([{ path: PATH, bytes: pinned?.bytes ?? fresh }]);
      created = true;
    } catch (error) {
      // Another machine was faster: then its vault is read below and joined.
      if (!(error instanceof VlinderError && error.code === "conflict")) throw error;
    }
    found = await readVault(bucket);
  }
  if (found === null) {
    throw new VlinderError("unavailable", `vault.json was written to ${bucket.uri} and is not there`, {
      remedy: "try again; if it stays so, the bucket does not keep what is written to it",
    });
  }
  if (pinned !== null) checkPin(found, pinned, bucket, home);
  else await writeHomeFile(pinFile(home), found.bytes);
  return { vault: found, created };
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
