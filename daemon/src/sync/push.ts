import {
  type AgentName,
  canonicalJson,
  type DeviceId,
  type Hash,
  type Json,
  sha256,
  VlinderError,
} from "@vlinder/protocol";
import type { Exchange, TheirBranch } from "../state/api.ts";
import type { Kind } from "../storage/object-storage.ts";
import type { Bucket } from "./buckets/bucket.ts";
import type { Device } from "./vault/device.ts";
import { publishedBranches, publishedCommits } from "./branches.ts";
import { encodeHead, HEAD_BYTES, headPath, type HeadName } from "./head.ts";
import { type AgentListing, packPath } from "./listing.ts";
import { outgoingHistory, type Outgoing } from "./outgoing.ts";
import type { Outbox } from "./outbox.ts";
import { packRawLength } from "./pack.ts";
import { PackWriter, type WrittenPack } from "./pack-writer.ts";
import { withFreshName } from "./packs/fresh-name.ts";
import { type Retries, retrying } from "./retry.ts";
import { SentFilter } from "./sent-filter.ts";
import type { SyncState } from "./sync-state.ts";
import { openHead, type Sealer, sealHead } from "./vault/sealer.ts";
import type { VaultId } from "./vault/vault.ts";

export interface PushJob {
  readonly agent: AgentName;
  readonly exchange: Exchange;
  readonly bucket: Bucket;
  /** Of this agent, as the push began. */
  readonly listing: AgentListing;
  readonly outbox: Outbox;
  readonly vault: VaultId;
  /** Null: a plain vault. */
  readonly sealer: Sealer | null;
  readonly state: SyncState;
  readonly device: () => Device;
  /** The device's id is used by another home too: takes a new one, which `device` gives from then on. */
  readonly renewDevice: (old: DeviceId) => Promise<Device>;
  readonly now: () => Date;
  readonly retries: Retries;
  /** Told the bytes of commits and values that are in the bucket so far, before compression. */
  readonly progress: (bytes: number) => void;
}

export interface Pushed {
  readonly commits: number;
  readonly objects: number;
  /** Of packs and the head. */
  readonly bytes: number;
  readonly notes: readonly string[];
}

/** What is counted as owed, and so as done. */
const COUNTED: ReadonlySet<Kind> = new Set(["commit", "value", "chunk"]);

/** How many own heads are remembered: a put whose reply was lost may come true later. */
const OWN_HEADS = 1000;

/**
 * Brings the bucket up to date with one agent, in steps that `Sync` takes for all agents together: packs first, seen to be
 * there, then a head that names them, then the heads that it replaces are deleted. What was recorded after each step lets
 * the next push go on there; a crash in between leaves at most packs that no head names yet, which
 * the next head does. When the bucket has all of it, nothing is written.
 */
export class AgentPush {
  readonly #job: PushJob;
  readonly #total = { commits: 0, objects: 0, bytes: 0 };
  #notes: readonly string[] = [];
  #branches: readonly TheirBranch[] = [];
  #commits: readonly Hash[] = [];
  #own: readonly HeadName[] = [];
  #published = false;
  #counted = 0;

  constructor(job: PushJob) {
    this.#job = job;
  }

  /** Hands what the bucket lacks to the outbox. What is written here meanwhile is for the next push. */
  async sendPacks(): Promise<void> {
    const { exchange } = this.#job;
    this.#notes = await ensureOwnId(this.#job);
    this.#branches = publishedBranches(exchange);
    this.#commits = await publishedCommits(exchange, this.#branches);
    await this.#sendPacks();
  }

  async #sendPacks(): Promise<void> {
    const { agent, exchange, listing, outbox, sealer, state, progress } = this.#job;
    const total = this.#total;
    const writer = new PackWriter(sealer);
    const underway = new Set<string>();
    const sent = state.packs().length === 0 ? new SentFilter() : null;
    const has = (kind: Kind, hash: Hash): boolean =>
      (sent === null || sent.mayHave(hash)) && (underway.has(`${kind} ${hash}`) || state.has(kind, hash));
    const send = async (pack: WrittenPack | null): Promise<void> => {
      if (pack === null) return;
      const { name, bytes, objects: whole } = await withFreshName(pack, listing.marks, sealer);
      const counted = whole.reduce((sum, one) => sum + (COUNTED.has(one.kind) ? one.bytes.length : 0), 0);
      // Their own bytes need not wait for the bucket, too.
      const objects = whole.splice(0).map(({ kind, hash }) => ({ kind, hash }));
      state.comesBack(objects);
      const done = async (): Promise<void> => {
        await state.addPack(name, bytes.length, objects, { raw: packRawLength(bytes, sealer !== null) });
        for (const { kind, hash } of objects) underway.delete(`${kind} ${hash}`);
        total.objects += objects.length;
        total.bytes += bytes.length;
        this.#counted += counted;
        progress(this.#counted);
      };
      await outbox.add({ agent, file: { path: packPath(agent, name), bytes }, done });
    };
    for await (const item of outgoing(exchange, state, this.#commits, has)) {
      if ("end" in item) {
        total.commits += item.end;
        await send(await writer.boundary());
        continue;
      }
      underway.add(`${item.object.kind} ${item.object.hash}`);
      sent?.add(item.object.hash);
      await send(await writer.add(item.object));
    }
    await send(await writer.finish());
  }

  /** Hands the head to the outbox, when it would say something new. All packs are there. */
  async publish(): Promise<void> {
    const { agent, device, listing, now, outbox, sealer, state, vault } = this.#job;
    const branches = this.#branches;
    const packs = state.packs().map(({ name }) => name);
    const content = sha256(canonicalJson({ branches, packs } as unknown as Json));
    const written = new Map(state.ownHeads().map((head) => [head.hash, head]));
    this.#own = listing.heads.filter(({ hash }) => written.has(hash));
    const self = device();
    const last = this.#own.findLast((head) => head.device === self.id);
    if (last !== undefined && written.get(last.hash)?.content === content) return;
    const used = state.ownHeads().filter((head) => head.device === self.id);
    const n = 1 + Math.max(0, ...used.map((head) => head.n));
    const predecessors = this.#own.map(({ hash }) => hash).toSorted();
    const time = now().toISOString();
    const body = { agent, branches, device: self.id, key: self.key, n, packs, predecessors, time, vault };
    const { bytes, hash } = await sealHead(encodeHead(body, self), sealer);
    state.addOwnHead({ device: self.id, n, hash, content });
    const done = (): void => {
      this.#total.bytes += bytes.length;
      this.#published = true;
    };
    await outbox.add({ agent, file: { path: headPath({ agent, device: self.id, n, hash }), bytes }, done });
  }

  /** Own heads in the bucket that the new one names as replaced. */
  replaced(): string[] {
    return this.#published ? this.#own.map(headPath) : [];
  }

  /** All of it is there. */
  finish(): Pushed {
    const { now, state } = this.#job;
    if (this.#published) state.pruneOwnHeads(OWN_HEADS);
    state.setTips(this.#commits);
    state.setFact("pushed", now().toISOString());
    return { ...this.#total, notes: this.#notes };
  }
}

/**
 * A head under this device's id and signed by its key that this home did not write: the home was
 * copied, or restored from a backup, or lost its sync.db. Two that write under one id would take each other's heads
 * for their own, so this one takes a new id. The other head stays, and the next pull merges it like any.
 */
async function ensureOwnId(job: PushJob): Promise<string[]> {
  const { id } = job.device();
  const { heads } = job.listing;
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
async function isSignedByUs(name: HeadName, { bucket, device, retries, vault, sealer }: PushJob): Promise<boolean> {
  const bytes = await retrying(retries, () => bucket.get(headPath(name), { start: 0, end: HEAD_BYTES }));
  if (bytes === null) return false;
  try {
    return (await openHead(bytes, name, vault, sealer)).body.key === device().key;
  } catch (error) {
    if (error instanceof VlinderError && (error.code === "invalid" || error.code === "denied")) return false;
    throw error;
  }
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
