import {
  type AgentName,
  canonicalJson,
  type DeviceId,
  type Hash,
  type Json,
  type Progress,
  sha256,
  VlinderError,
} from "@vlinder/protocol";
import type { Exchange, TheirBranch } from "../state/api.ts";
import type { Kind } from "../storage/object-storage.ts";
import type { Bucket } from "./buckets/bucket.ts";
import type { Device } from "./device.ts";
import { publishedBranches, publishedCommits } from "./branches.ts";
import { decodeHead, encodeHead, HEAD_BYTES, headPath, type HeadName } from "./head.ts";
import { type AgentListing, listAgent, packPath } from "./listing.ts";
import { outgoingHistory, type Outgoing } from "./outgoing.ts";
import { PackWriter, type WrittenPack } from "./pack-writer.ts";
import { type Retries, retrying } from "./retry.ts";
import type { SyncState } from "./sync-state.ts";
import type { VaultId } from "./vault.ts";

export interface PushJob {
  readonly agent: AgentName;
  readonly exchange: Exchange;
  readonly bucket: Bucket;
  readonly vault: VaultId;
  readonly state: SyncState;
  readonly device: () => Device;
  /** The device's id is used by another home too: takes a new one, which `device` gives from then on. */
  readonly renewDevice: (old: DeviceId) => Promise<Device>;
  readonly now: () => Date;
  readonly retries: Retries;
  readonly progress: (progress: Progress) => void;
}

export interface Pushed {
  readonly commits: number;
  readonly objects: number;
  /** Of packs and the head. */
  readonly bytes: number;
  readonly notes: readonly string[];
}

/** How many own heads are remembered: a put whose reply was lost may come true later. */
const OWN_HEADS = 1000;

/**
 * Brings the bucket up to date with one agent: packs first, seen to be there, then a head that
 * names them, then the heads that it replaces are deleted. What was recorded after each step lets
 * the next push go on there; a crash in between leaves at most packs that no head names yet, which
 * the next head does. When the bucket has all of it, nothing is written.
 */
export async function pushAgent(job: PushJob): Promise<Pushed> {
  const { agent, bucket, exchange, state, retries } = job;
  const listing = await retrying(retries, () => listAgent(bucket, agent));
  const notes = [...forgetLost(listing, state), ...(await ensureOwnId(listing, job))];
  const branches = publishedBranches(exchange);
  const commits = await publishedCommits(exchange, branches);
  const sent = await sendPacks(job, commits);

  const packs = state.packs().map(({ name }) => name);
  const content = sha256(canonicalJson({ branches, packs } as unknown as Json));
  const written = new Map(state.ownHeads().map((head) => [head.hash, head]));
  const own = listing.heads.filter(({ hash }) => written.has(hash));
  const last = own.findLast(({ device }) => device === job.device().id);
  let bytes = sent.bytes;
  if (last === undefined || written.get(last.hash)?.content !== content) {
    bytes += await publish(job, { branches, packs, content, own });
  }
  state.setTips(commits);
  state.setFact("pushed", job.now().toISOString());
  return { commits: sent.commits, objects: sent.objects, bytes, notes };
}

/** Packs that were known and are not there any more: what they held counts as owed again. */
function forgetLost(listing: AgentListing, state: SyncState): string[] {
  const lost = state.packs().find(({ name, size }) => listing.packs.get(name) !== size);
  if (lost === undefined) return [];
  state.forgetFrom(lost.seq);
  return [`the bucket lacks pack ${lost.name}, which was there: what it and those after it held is sent again`];
}

/**
 * A head under this device's id and signed by its key that this home did not write: the home was
 * copied, or restored from a backup, or lost its sync.db. Two that write under one id would take each other's heads
 * for their own, so this one takes a new id. The other head stays, and the next pull merges it like any.
 */
async function ensureOwnId({ heads }: AgentListing, job: PushJob): Promise<string[]> {
  const { id } = job.device();
  const written = new Set(job.state.ownHeads().map(({ hash }) => hash));
  for (const name of heads) {
    if (name.device !== id || written.has(name.hash) || !(await isSignedByUs(name, job))) continue;
    const renewed = await job.renewDevice(id);
    return [
      `the bucket has a head of device ${id} that this home did not write (a copied home, or a restored backup): ` +
        `this machine is device ${renewed.id} from now on`,
    ];
  }
  return [];
}

/** Any other file under our id is a forgery, which the next pull refuses and says. */
async function isSignedByUs(name: HeadName, { bucket, device, retries, vault }: PushJob): Promise<boolean> {
  const bytes = await retrying(retries, () => bucket.get(headPath(name), { start: 0, end: HEAD_BYTES }));
  if (bytes === null) return false;
  try {
    return decodeHead(bytes, name, vault).body.key === device().key;
  } catch (error) {
    if (error instanceof VlinderError && error.code === "invalid") return false;
    throw error;
  }
}

async function sendPacks(
  job: PushJob,
  heads: readonly Hash[],
): Promise<{ commits: number; objects: number; bytes: number }> {
  const { exchange, state, progress } = job;
  const writer = new PackWriter();
  const underway = new Set<string>();
  const has = (kind: Kind, hash: Hash): boolean => underway.has(`${kind} ${hash}`) || state.has(kind, hash);
  const total = { commits: 0, objects: 0, bytes: 0 };
  const send = async (pack: WrittenPack | null): Promise<void> => {
    if (pack === null) return;
    await sendPack(job, pack);
    for (const { kind, hash } of pack.objects) underway.delete(`${kind} ${hash}`);
    total.objects += pack.objects.length;
    total.bytes += pack.bytes.length;
    progress({ what: `pushing ${job.agent}`, done: total.objects, total: null, unit: "objects" });
  };
  for await (const item of outgoing(exchange, state, heads, has)) {
    if ("end" in item) {
      total.commits += item.end;
      await send(await writer.boundary());
      continue;
    }
    underway.add(`${item.object.kind} ${item.object.hash}`);
    await send(await writer.add(item.object));
  }
  await send(await writer.finish());
  return total;
}

async function* outgoing(
  exchange: Exchange,
  state: SyncState,
  heads: readonly Hash[],
  has: (kind: Kind, hash: Hash) => boolean,
): AsyncIterable<Outgoing> {
  // The first packs of an agent carry the trees, so that a new machine need not replay the whole history.
  if (state.packs().length === 0) {
    for (const head of heads) {
      for await (const object of exchange.treeObjects(head)) if (!has(object.kind, object.hash)) yield { object };
      yield { end: 0 };
    }
  }
  yield* outgoingHistory(exchange, exchange.newCommits(heads, state.tips()), has);
}

async function sendPack({ agent, bucket, state, retries }: PushJob, pack: WrittenPack): Promise<void> {
  const path = packPath(agent, pack.name);
  await retrying(retries, () => bucket.put([{ path, bytes: pack.bytes }]));
  await retrying(retries, () => seenThere(bucket, path, pack.bytes.length));
  await state.addPack(pack.name, pack.bytes.length, pack.objects);
}

async function publish(
  { agent, bucket, vault, state, device, now, retries }: PushJob,
  what: {
    readonly branches: readonly TheirBranch[];
    readonly packs: readonly Hash[];
    readonly content: Hash;
    readonly own: readonly HeadName[];
  },
): Promise<number> {
  const self = device();
  const used = state.ownHeads().filter((head) => head.device === self.id);
  const n = 1 + Math.max(0, ...used.map((head) => head.n));
  const body = {
    agent,
    branches: what.branches,
    device: self.id,
    key: self.key,
    n,
    packs: what.packs,
    predecessors: what.own.map(({ hash }) => hash).toSorted(),
    time: now().toISOString(),
    vault,
  };
  const head = encodeHead(body, self);
  const name = { agent, device: self.id, n, hash: head.hash };
  state.addOwnHead({ device: self.id, n, hash: head.hash, content: what.content });
  await retrying(retries, () => bucket.put([{ path: headPath(name), bytes: head.bytes }]));
  await retrying(retries, () => seenThere(bucket, headPath(name), head.bytes.length));
  await retrying(retries, () => bucket.delete(what.own.map(headPath)));
  state.pruneOwnHeads(OWN_HEADS);
  return head.bytes.length;
}

async function seenThere(bucket: Bucket, path: string, size: number): Promise<void> {
  if ((await bucket.sizes([path])).get(path) === size) return;
  throw new VlinderError("unavailable", `${path} was written to ${bucket.uri} and is not there`, {
    remedy: "it is tried again; if it stays so, the bucket does not keep what is written to it",
    details: { bucket: bucket.uri, path },
  });
}
