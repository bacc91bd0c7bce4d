import type { InitReply } from "@vlinder/protocol";
import type { Bucket } from "./buckets/bucket.ts";
import type { OpenBucketOptions } from "./buckets/open.ts";
import { foreignNotes } from "./listing.ts";
import { probeBucket } from "./probe.ts";
import type { VaultDoor } from "./vault/vault-door.ts";
import { type InitOptions, initVault, lookAtVault } from "./vault/vault-init.ts";

/** Of an empty bucket's files so many are looked at, to say whose they are. */
const LOOKED_AT = 1000;
/** What a trial, the making of a vault that was cut off, or a vault before this one left. */
const LEFT = /^(?:probe-|members\/|agents\/[^/]+\/(?:heads|packs|databases)\/)/;

/**
 * Makes the vault of a bucket or joins it. What can be refused is, before anything is written: another vault than this home's, and
 * with `join` a bucket that has none. Then all that sync will ask of it is tried, but for a `join`, which may only read.
 *
 * @throws not_found: nothing to join; denied, conflict, invalid: another vault than is asked for; what the trial throws
 */
export async function initBucket(
  open: (how: OpenBucketOptions) => Promise<Bucket>,
  door: VaultDoor,
  options: InitOptions,
): Promise<Omit<InitReply, "bucket">> {
  const isJoin = options.join === true;
  const bucket = await open({ create: !isJoin });
  try {
    const { there } = await lookAtVault(bucket, door, options);
    const probe = isJoin ? [] : await probeBucket(bucket);
    const notes = there === null ? foreignNotes(await filesOf(bucket)) : [];
    const { vault, created, recovery } = await initVault(bucket, door, options);
    return { vault: vault.id, created, encrypted: vault.founder !== null, recovery, probe, notes };
  } finally {
    await bucket.close();
  }
}

async function filesOf(bucket: Bucket): Promise<string[]> {
  const files: string[] = [];
  for await (const { path } of bucket.list("")) {
    if (!LEFT.test(path)) files.push(path);
    if (files.length === LOOKED_AT) break;
  }
  return files.toSorted();
}
