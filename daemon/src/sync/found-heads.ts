import { type AgentName, type DeviceId, VlinderError } from "@vlinder/protocol";
import type { Bucket } from "./buckets/bucket.ts";
import { HEAD_BYTES, type Head, type HeadBody, headPath, type HeadName } from "./head.ts";
import { type AgentListing, listAgent } from "./listing.ts";
import { type Retries, retrying } from "./retry.ts";
import type { SeenHead, SyncState } from "./sync-state.ts";
import { openHead, reopenHead, type Sealer } from "./vault/sealer.ts";
import type { PublicKey } from "./vault/device.ts";
import type { VaultId } from "./vault/vault.ts";

/** Who says which device signs with which key. */
export interface HeadTrust {
  /** A sentence when the device is new and trusted from now on. @throws denied */
  check(body: HeadBody): Promise<string | null>;
  /** Whether the key is that of a device which is trusted already. */
  knows(device: DeviceId, key: PublicKey): boolean;
}

export interface HeadSource {
  readonly bucket: Bucket;
  readonly vault: VaultId;
  readonly sealer: Sealer | null;
  readonly trust: HeadTrust;
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
      const note = await source.trust.check(head.body);
      if (note !== null) notes.push(note);
      good.push(head);
    } catch (error) {
      if (!(error instanceof VlinderError) || error.code === "unavailable") throw error;
      notes.push(`refused a head: ${headPath(name)}: ${error.message}${error.remedy ? ` (${error.remedy})` : ""}`);
    }
  }
  source.state?.keepHeadFiles(good);
  const replaced = new Set(good.flatMap(({ body }) => body.predecessors.map((hash) => `${body.device} ${hash}`)));
  const current = good.filter(({ body, hash }) => !replaced.has(`${body.device} ${hash}`));
  const heads = await dropSetBack(current, good, source, notes);
  for (const { body, hash } of heads) source.state?.seeHead({ device: body.device, n: body.n, hash, time: body.time });
  return { heads, notes };
}

async function readHead(name: HeadName, { bucket, vault, sealer, state, retries }: HeadSource): Promise<Head | null> {
  const known = state?.headFile(name.hash) ?? null;
  if (known !== null) return reopenHead(known, name, vault, sealer);
  const bytes = await retrying(retries, () => bucket.get(headPath(name), { start: 0, end: HEAD_BYTES }));
  // Gone since it was listed: its device has replaced it.
  return bytes === null ? null : openHead(bytes, name, vault, sealer);
}

/**
 * A device whose newest head is older than one that was seen before was set back: by itself, which it
 * would say with a new id, or by whoever keeps the bucket. What it says is old, and is not used. It is not said
 * where only the list is old: it came behind, or another pull has read a newer one meanwhile.
 */
async function dropSetBack(
  heads: readonly Head[],
  good: readonly Head[],
  source: HeadSource,
  notes: string[],
): Promise<Head[]> {
  const newest = new Map<DeviceId, number>();
  for (const { body } of good) newest.set(body.device, Math.max(body.n, newest.get(body.device) ?? 0));
  const last = new Map((source.state?.seenHeads() ?? []).map((seen) => [seen.device, seen]));
  const used: Head[] = [];
  for (const head of heads) {
    const { body } = head;
    const seen = last.get(body.device);
    if (seen === undefined || (newest.get(body.device) as number) >= seen.n) used.push(head);
    else if (!(await isThere(seen, body.agent, source))) {
      notes.push(
        `refused a head: device ${body.device} was at ${seen.n} and is at ${body.n} in the bucket: it was rolled back`,
      );
    }
  }
  return used;
}

/** Whether a head that was seen is in the bucket now, or a later one of its device. */
async function isThere(seen: SeenHead, agent: AgentName, { bucket, retries }: HeadSource): Promise<boolean> {
  const path = headPath({ ...seen, agent });
  if ((await retrying(retries, () => bucket.get(path, { start: 0, end: 1 }))) !== null) return true;
  const { heads } = await retrying(retries, () => listAgent(bucket, agent));
  return heads.some(({ device, n }) => device === seen.device && n >= seen.n);
}
