import { type DeviceId, VlinderError } from "@vlinder/protocol";
import type { Bucket } from "./buckets/bucket.ts";
import type { DevicePins } from "./device-pins.ts";
import { decodeHead, HEAD_BYTES, type Head, headPath, type HeadName } from "./head.ts";
import type { AgentListing } from "./listing.ts";
import { type Retries, retrying } from "./retry.ts";
import type { SeenHead, SyncState } from "./sync-state.ts";
import type { VaultId } from "./vault.ts";

export interface HeadSource {
  readonly bucket: Bucket;
  readonly vault: VaultId;
  readonly pins: DevicePins;
  /** Null for an agent that is not here yet: then nothing was seen before. */
  readonly state: SyncState | null;
  readonly retries: Retries;
}

export interface FoundHeads {
  /** Good heads of other machines that no later head of the same device replaces. */
  readonly heads: readonly Head[];
  /** A sentence for each head that was refused, and each device that is new. */
  readonly notes: readonly string[];
}

/**
 * The heads in a bucket that count. Whoever can write to the bucket can put files there, so each
 * is checked: form, hash, signature, vault, the device's pinned key, and that the device's counter did
 * not go back. One that is not good is refused and said, and the others are used.
 *
 * A head is replaced only by one of its own device: nobody can hide what another one wrote. A copy of
 * a home may have written two heads of one number; then both count.
 */
export async function findHeads(listing: AgentListing, source: HeadSource): Promise<FoundHeads> {
  const own = new Set((source.state?.ownHeads() ?? []).map(({ hash }) => hash));
  const notes: string[] = [];
  const good: Head[] = [];
  for (const name of listing.heads) {
    if (own.has(name.hash)) continue;
    try {
      const head = await readHead(name, source);
      if (head === null) continue;
      await checkKey(head, source.pins, notes);
      good.push(head);
    } catch (error) {
      if (!(error instanceof VlinderError) || error.code === "unavailable") throw error;
      notes.push(`refused a head: ${headPath(name)}: ${error.message}${error.remedy ? ` (${error.remedy})` : ""}`);
    }
  }
  source.state?.keepHeadFiles(good);
  const replaced = new Set(good.flatMap(({ body }) => body.predecessors.map((hash) => `${body.device} ${hash}`)));
  const current = good.filter(({ body, hash }) => !replaced.has(`${body.device} ${hash}`));
  const heads = dropRolledBack(current, good, source.state?.seenHeads() ?? [], notes);
  for (const { body, hash } of heads) source.state?.seeHead({ device: body.device, n: body.n, hash, time: body.time });
  return { heads, notes };
}

async function readHead(name: HeadName, { bucket, vault, state, retries }: HeadSource): Promise<Head | null> {
  const known = state?.headFile(name.hash) ?? null;
  if (known !== null) return decodeHead(known, name, vault);
  const bytes = await retrying(retries, () => bucket.get(headPath(name), { start: 0, end: HEAD_BYTES }));
  // Gone since it was listed: its device has replaced it.
  return bytes === null ? null : decodeHead(bytes, name, vault);
}

async function checkKey({ body }: Head, pins: DevicePins, notes: string[]): Promise<void> {
  const pinned = pins.get(body.device);
  if (pinned === null) {
    await pins.pin(body.device, body.key);
    notes.push(`device ${body.device} is new: its key ${body.key.slice(0, 16)} is trusted from now on`);
  } else if (pinned !== body.key) {
    throw new VlinderError("denied", `it is signed by another key than that of device ${body.device}`, {
      remedy: "somebody else may write to the bucket, or the device lost its key: see vlinder vault devices",
    });
  }
}

/**
 * A device whose newest head is older than one that was seen before was set back: by itself, which it
 * would say with a new id, or by whoever keeps the bucket. What it says is old, and is not used.
 */
function dropRolledBack(
  heads: readonly Head[],
  good: readonly Head[],
  seen: readonly SeenHead[],
  notes: string[],
): Head[] {
  const newest = new Map<DeviceId, number>();
  for (const { body } of good) newest.set(body.device, Math.max(body.n, newest.get(body.device) ?? 0));
  const last = new Map(seen.map(({ device, n }) => [device, n]));
  return heads.filter(({ body }) => {
    const before = last.get(body.device) ?? 0;
    if ((newest.get(body.device) as number) >= before) return true;
    notes.push(
      `refused a head: device ${body.device} was at ${before} and is at ${body.n} in the bucket: it was rolled back`,
    );
    return false;
  });
}
