import { hostname } from "node:os";
import { VlinderError } from "@vlinder/protocol";
import type { Bucket } from "../buckets/bucket.ts";
import { retrying } from "../retry.ts";
import { type AgeIdentity } from "./age-file.ts";
import { deviceAuthority, newIdentity, parseRecovery } from "./keys.ts";
import {
  isEncrypted,
  isPlain,
  needsKey,
  noMember,
  nothingToJoin,
  otherVault,
  takenOut,
  wrongRecovery,
} from "./refusals.ts";
import type { JoinRequest } from "./request.ts";
import {
  checkPin,
  decodeVault,
  encodeVault,
  newVaultId,
  pinnedVault,
  pinVault,
  putVault,
  readVault,
  unpinVault,
  type Vault,
} from "./vault.ts";
import type { VaultDoor } from "./vault-door.ts";

export interface InitOptions {
  /** It must be there already, and this home joins it or belongs to it; nothing else is written. */
  readonly join?: boolean | undefined;
  /** A new vault is to be encrypted. */
  readonly encrypt?: boolean | undefined;
  /** The recovery key of an encrypted vault: joins it. A secret. */
  readonly key?: string | undefined;
  /** At least 32 digits of the hash of the vault that a member has let this device into: joins it. */
  readonly vault?: string | undefined;
  /** What people call this machine; default: its host name. */
  readonly name?: string | undefined;
}

export interface Initialised {
  readonly vault: Vault;
  readonly created: boolean;
  /** The recovery key of a new encrypted vault: it is kept nowhere. A secret. */
  readonly recovery: AgeIdentity | null;
}

/**
 * Makes the vault, or joins the one that is there, and pins it. A home that has a vault brings that
 * one to an empty bucket, so that memory can move to a new place.
 */
export async function initVault(bucket: Bucket, door: VaultDoor, options: InitOptions): Promise<Initialised> {
  const { home } = door.options;
  const { pinned, there } = await lookAtVault(bucket, door, options);
  const made = there === null ? await makeVault(bucket, door, options, pinned) : { created: false, recovery: null };
  const found = there ?? (await readVault(bucket));
  if (found === null) {
    throw new VlinderError("unavailable", `vault.json was written to ${bucket.uri} and is not there`, {
      remedy: "try again; if it stays so, the bucket does not keep what is written to it",
    });
  }
  const isKnown = made.recovery !== null || pinned !== null;
  // Another machine may have been faster.
  if (there === null) refuse(found, pinned, { bucket, home, options, isKnown });
  if (found.founder !== null && made.recovery === null) await join(bucket, door, options, found, isKnown);
  if (pinned === null) await pinVault(home, found);
  return { vault: found, ...made };
}

/**
 * What can be refused before anything is written, is: another vault than this home's, none where one is to be joined, one of another
 * kind, one that this home was not told how to know. @throws denied, conflict, invalid, not_found
 */
export async function lookAtVault(
  bucket: Bucket,
  { options: { home, retries } }: VaultDoor,
  options: InitOptions,
): Promise<{ readonly pinned: Vault | null; readonly there: Vault | null }> {
  const pinned = await pinnedVault(home);
  if (options.encrypt === true && pinned !== null && pinned.founder === null) throw isPlain(bucket.uri);
  const there = await retrying(retries, () => readVault(bucket));
  if (there !== null) refuse(there, pinned, { bucket, home, options, isKnown: pinned !== null });
  else if (options.join === true || (pinned === null && (options.key ?? options.vault) !== undefined)) {
    throw nothingToJoin(bucket.uri);
  }
  return { pinned, there };
}

interface Joining {
  readonly bucket: Bucket;
  readonly home: string;
  readonly options: InitOptions;
  /** By this home: it belongs to the vault, or has just made it. */
  readonly isKnown: boolean;
}

function refuse(found: Vault, pinned: Vault | null, { bucket, home, options, isKnown }: Joining): void {
  const { encrypt, key, vault } = options;
  if (pinned !== null) checkPin(found, pinned, bucket, home);
  if (found.founder === null) {
    if (encrypt === true || key !== undefined || vault !== undefined) throw isPlain(bucket.uri);
    return;
  }
  if (encrypt === true && !isKnown) throw isEncrypted(bucket.uri);
  if (vault !== undefined && !(vault.length >= 32 && found.hash.startsWith(vault))) {
    throw otherVault(bucket.uri, found.hash);
  }
  // What a bucket says of itself is not enough: whoever keeps it could put a vault of his own there.
  if (!isKnown && key === undefined && vault === undefined) throw needsKey(bucket.uri);
}

async function makeVault(
  bucket: Bucket,
  door: VaultDoor,
  { encrypt = false, name }: InitOptions,
  pinned: Vault | null,
): Promise<Omit<Initialised, "vault">> {
  const { home, now, retries } = door.options;
  if (pinned !== null) {
    if (pinned.founder !== null) await (await door.refreshed(bucket, pinned)).restore(bucket, retries);
    return { created: await putVault(bucket, pinned.bytes), recovery: null };
  }
  if (!encrypt) {
    return { created: await putVault(bucket, encodeVault(newVaultId(), now().toISOString())), recovery: null };
  }
  const recovery = await newIdentity();
  const founder = await parseRecovery(recovery);
  const { key: signing, recipient } = founder;
  const fresh = decodeVault(encodeVault(newVaultId(), now().toISOString(), { key: signing, recipient }));
  const encrypted = await door.encrypted(fresh);
  await encrypted.change(bucket, retries, founder, { add: [await newcomer(door, name)] }, now());
  // Before it is in the bucket: a vault.json whose maker does not know it again could be opened by nobody.
  await pinVault(home, fresh);
  if (await putVault(bucket, fresh.bytes)) return { created: true, recovery };
  await unpinVault(home);
  throw isEncrypted(bucket.uri);
}

async function join(
  bucket: Bucket,
  door: VaultDoor,
  options: InitOptions,
  vault: Vault,
  isKnown: boolean,
): Promise<void> {
  const { retries, now } = door.options;
  const encrypted = await door.refreshed(bucket, vault);
  const { key } = await deviceAuthority(door.options.device());
  // A home that belongs to the vault and only wants it back gives the bucket nothing: its next push does.
  if (options.join !== true || !isKnown) await encrypted.restore(bucket, retries);
  if (encrypted.isMember(key)) return;
  const removed = encrypted.membership.removed.get(key);
  if (removed !== undefined) throw takenOut(removed.until);
  if (options.key !== undefined) {
    const recovery = await parseRecovery(options.key);
    const named = encrypted.membership.recovery.find((one) => one.key === recovery.key);
    if (named === undefined) throw wrongRecovery(bucket.uri);
    // The recipient beside the key could be somebody else's, in a vault.json that is not the true one.
    if (named.recipient !== recovery.recipient) throw otherVault(bucket.uri, vault.hash);
    await encrypted.change(bucket, retries, recovery, { add: [await newcomer(door, options.name)] }, now());
  } else if (!isKnown) throw noMember(bucket.uri);
}

async function newcomer({ options: { device } }: VaultDoor, name = hostname()): Promise<JoinRequest> {
  const { key, recipient } = await deviceAuthority(device());
  return { device: device().id, key, name, recipient };
}
