import {
  type AgentName,
  asVlinderError,
  canonicalJson,
  type DeviceId,
  type ErrorBody,
  type Hash,
  sha256,
  type SyncBranchItem,
  type VlinderError,
} from "@vlinder/protocol";
import type { Exchange } from "../state/api.ts";
import { branchesBeside } from "./beside-others.ts";
import type { Bucket } from "./buckets/bucket.ts";
import { type CopiedAgent, copyNotes } from "./databases/database-copies.ts";
import { findHeads, type FoundHeads, type HeadTrust } from "./found-heads.ts";
import { publishedBranches, publishedCommits } from "./branches.ts";
import { headsIn } from "./head.ts";
import { foreignNotes, type Listing, packBytes } from "./listing.ts";
import { OwedCount } from "./owed.ts";
import type { PackJob, PackPolicy } from "./packs/keeper.ts";
import { forgetLost, isUnsure } from "./packs/lost.ts";
import { Marks } from "./packs/marks.ts";
import { reclaimNeeded } from "./packs/reclaim.ts";
import { resendLeft } from "./packs/resend.ts";
import { Route } from "./packs/route.ts";
import { type ErasedInBucket, erasedInBucket, erasedNotes } from "./packs/erased-in-bucket.ts";
import { tidyPacks } from "./packs/tidy.ts";
import { pullHeads, type Pulled } from "./pull.ts";
import { AgentPush, type Pushed, type PushJob } from "./push.ts";
import type { SyncAgentFacts } from "./schedule/schedule.ts";
import { type RetiredHeads, retiredHeads } from "./retire.ts";
import { retrying } from "./retry.ts";
import type { SeenHead, SyncState } from "./sync-state.ts";
import type { Sealer } from "./vault/sealer.ts";
import type { Vault } from "./vault/vault.ts";

/** An open bucket whose vault has been checked. */
export interface OpenVault {
  readonly bucket: Bucket;
  readonly vault: Vault;
  /** Null: a plain vault. */
  readonly sealer: Sealer | null;
  readonly trust: HeadTrust;
  /** Of the agents that the operation is about. */
  readonly listing: Listing;
}

export interface AgentSyncOptions extends Pick<PushJob, "device" | "renewDevice" | "now" | "retries"> {
  readonly agent: AgentName;
  readonly exchange: Exchange;
  readonly state: SyncState;
  readonly policy: PackPolicy;
}

export interface PushPart extends Pick<PushJob, "outbox" | "progress"> {
  /** For what is pulled or merged on the way, which is no part of what is owed; named by `doing`. */
  readonly aside: (doing: string) => (bytes: number) => void;
}

export interface PushSteps {
  /** Hands packs to the outbox. */
  sendPacks(): Promise<void>;
  /** All packs are there: hands the head to the outbox. */
  publish(): Promise<void>;
  /** The head is there: files that it replaces. */
  replaced(): string[];
  finish(): Promise<Pushed>;
  /** Merges and deletes packs where that is due; whether another push is to say so. What goes wrong is a note, and is done again. */
  tidy(): Promise<boolean>;
}

type Operation = "push" | "pull";

interface Failure {
  readonly operation: Operation;
  readonly body: ErrorBody;
  /** ISO 8601: since when it has been failing. */
  readonly since: string;
}

/** Sync of one agent: one push or pull at a time, and what is remembered of them. */
export class AgentSync {
  readonly #options: AgentSyncOptions;
  readonly #owed: OwedCount;
  #turn: Promise<unknown> = Promise.resolve();
  #closing = false;

  constructor(options: AgentSyncOptions) {
    this.#options = options;
    this.#owed = new OwedCount(options.exchange, options.state);
  }

  get exchange(): Exchange {
    return this.#options.exchange;
  }

  /** What copies of the databases go by. */
  get copied(): CopiedAgent {
    const { exchange, state } = this.#options;
    return { state, heads: sha256(canonicalJson(exchange.branches().map(({ id, head }) => [id, head]))) };
  }

  /** A vault was made in a bucket, by this home and at this time; see `SyncState.settle`. */
  settle(made: string | null): Promise<void> {
    return this.#alone("push", async () => this.#options.state.settle(made));
  }

  /** The steps of a push: `Sync` takes each for all agents before the next. */
  push(open: OpenVault, { aside, ...part }: PushPart): PushSteps {
    const { bucket, vault, sealer, listing } = open;
    const { agent, state } = this.#options;
    const notes: string[] = [];
    const about = { bucket, vault: vault.id, sealer, listing: listing.of(agent) };
    const push = new AgentPush({ ...this.#options, ...part, ...about });
    const step = <T>(work: () => T | Promise<T>): Promise<T> => this.#alone("push", async () => await work());
    return {
      sendPacks: () =>
        step(async () => {
          state.bind(vault.id);
          notes.push(...(await this.#makeReady(open, aside("pulling"))));
          await push.sendPacks();
        }),
      publish: () => step(() => push.publish()),
      replaced: () => push.replaced(),
      finish: () =>
        step(() => {
          const pushed = push.finish();
          const all = [...notes, ...pushed.notes];
          // What a push says is an event (a new device id, packs that were lost): it stays until the next one.
          if (all.length > 0) this.#note("push", all);
          this.#succeeded("push");
          return { ...pushed, notes: all };
        }),
      tidy: () =>
        step(async () => {
          const tidied = await tidyPacks(this.#packJob(open, aside("merging packs of")), listing.of(agent));
          this.#note("packs", tidied.notes);
          return tidied.changed;
        }),
    };
  }

  /** What another machine did to the packs in the bucket is found out before anything is sent. */
  async #makeReady(open: OpenVault, progress: PushJob["progress"]): Promise<string[]> {
    const { agent, state, exchange } = this.#options;
    const listing = open.listing.of(agent);
    // Erasures that came are carried out first: what they name is not sent.
    await exchange.retention.settle();
    const setBack = await this.#setBack();
    if (setBack.length > 0 || isUnsure(listing, state)) {
      await this.#pull(open, progress);
      await exchange.retention.settle();
    }
    const job = this.#packJob(open, progress);
    const marks = new Marks({ ...job, listing });
    const notes = await forgetLost(job, listing, marks);
    await reclaimNeeded(job, listing, new Route(listing, marks, state));
    await resendLeft(job, listing.marks);
    return [...setBack, ...notes];
  }

  /**
   * Commits that were pushed or pulled stay for ever. Where one is not here any more, the state was brought back from a backup without
   * its bookkeeping, or a disk lost its last writes: then own heads in the bucket are those of who this machine was, and are pulled as any.
   */
  async #setBack(): Promise<string[]> {
    const { exchange, state } = this.#options;
    if ((await exchange.has(state.tips())).every(Boolean)) return [];
    state.forgetBucket();
    return [
      "the state was set back: it lacks commits that this machine had pushed or pulled (a storage file that was brought back, or " +
        "writes that a disk lost); what the bucket has of them is pulled again",
    ];
  }

  /** Deletes a device's heads, of which nothing is lost, and waits for it no more. @throws conflict: something would be */
  retire(open: OpenVault, device: DeviceId): Promise<RetiredHeads> {
    return this.#alone("push", async () => {
      const job = this.#packJob(open, () => undefined);
      const found = await retiredHeads(job, open.listing.of(job.agent), device);
      if (found.paths.length > 0) await retrying(job.retries, () => open.bucket.delete(found.paths));
      if (found.notes.length === 0) this.#setRetired([...new Set([...this.#retired(), device])]);
      return found;
    });
  }

  #packJob({ bucket, vault, sealer, trust }: OpenVault, progress: PushJob["progress"]): PackJob {
    const { exchange } = this.#options;
    return {
      ...this.#options,
      bucket,
      vault: vault.id,
      sealer,
      trust,
      progress,
      isRetired: (device) => this.#retired().includes(device),
      commits: () => publishedCommits(exchange, publishedBranches(exchange)),
    };
  }

  /** Bytes of packs in the bucket that are to be fetched, as far as names tell. */
  lacking({ listing }: OpenVault): number {
    const { agent, state } = this.#options;
    return packBytes(listing.of(agent), (pack) => state.hasPack(pack));
  }

  /** @param found heads that were read already, when the agent was found in the bucket */
  pull(open: OpenVault, progress: PushJob["progress"], found?: FoundHeads): Promise<Pulled> {
    return this.#alone("pull", () => this.#pull(open, progress, found));
  }

  async #pull(open: OpenVault, progress: PushJob["progress"], found?: FoundHeads): Promise<Pulled> {
    const { agent, state } = this.#options;
    const listing = open.listing.of(agent);
    state.bind(open.vault.id);
    const setBack = await this.#setBack();
    const job = this.#packJob(open, progress);
    const { heads, notes } = await findHeads(listing, job);
    this.#setRetired(this.#retired().filter((device) => !heads.some(({ body }) => body.device === device)));
    const marks = new Marks({ ...job, listing });
    const route = new Route(listing, marks, state);
    const pulled = await pullHeads({ ...job, sizes: listing.packs, route }, heads);
    if (pulled.objects > 0) {
      await job.exchange.retention.settle();
      await reclaimNeeded(job, listing, route);
    }
    const all = [
      ...new Set([
        ...setBack,
        ...(found?.notes ?? []),
        ...notes,
        ...marks.notes,
        ...pulled.notes,
        ...pulled.branches.flatMap((branch) => branch.notes),
        ...foreignNotes(listing.foreign),
      ]),
    ];
    this.#note("pull", all);
    if (pulled.error === null) this.#succeeded("pull");
    else this.fail("pull", pulled.error);
    return { ...pulled, notes: all };
  }

  /** Null when the bucket has it all. */
  async owed(): ReturnType<OwedCount["read"]> {
    const owed = await this.#owed.read();
    const failure = this.#failure();
    return owed === null || failure === null ? owed : { ...owed, error: failure.body };
  }

  async status(): Promise<SyncAgentFacts> {
    const { agent, state } = this.#options;
    const owed = await this.#owed.read();
    const failure = this.#failure();
    const notes = this.#notes();
    return {
      agent,
      owed: owed?.owed ?? { commits: 0, bytes: 0 },
      since: owed?.since ?? null,
      pushed: state.fact("pushed"),
      pulled: state.fact("pulled"),
      error: failure === null ? null : withDetails(failure),
      notes: [
        ...notes.push,
        ...notes.pull,
        ...notes.packs,
        ...(state.note === null ? [] : [state.note]),
        ...erasedNotes(this.erasedInBucket()),
        ...copyNotes(state),
      ],
      heads: state
        .seenHeads()
        .filter((one) => !this.#retired().includes(one.device))
        .map(({ device: id, n, time }) => ({ device: id, n, time })),
    };
  }

  /** Each branch beside what other machines have published of it, as far as heads were seen. Asks no bucket. */
  besideOthers(): Promise<SyncBranchItem[]> {
    const { exchange, state } = this.#options;
    return branchesBeside(exchange, state.headFiles());
  }

  /** Commits whose whole history the bucket has, as far as is known. */
  tips(): Hash[] {
    return this.#options.state.tips();
  }

  /** The newest head of each other device. */
  seen(): SeenHead[] {
    return this.#options.state.seenHeads();
  }

  /** Branch heads in the newest head files of other machines. */
  knownHeads(): Hash[] {
    const heads = this.#options.state.headFiles().flatMap((bytes) => headsIn(bytes));
    return [...new Set(heads)];
  }

  /** Values were erased here that nothing needs: the next push takes them out of the bucket. */
  erased(hashes: readonly Hash[]): void {
    this.#options.state.forget(hashes);
  }

  /** What the bucket still has of values that were erased. */
  erasedInBucket(): ErasedInBucket {
    return erasedInBucket(this.#options.state, this.#options.policy.grace);
  }

  #retired(): readonly DeviceId[] {
    return this.#options.state.fact<DeviceId[]>("retired") ?? [];
  }

  #setRetired(devices: readonly DeviceId[]): void {
    if (devices.length !== this.#retired().length) this.#options.state.setFact("retired", devices);
  }

  /** Remembers an error until the same operation succeeds. */
  fail(operation: Operation, error: VlinderError): void {
    // What is cut off because the daemon stops says nothing about the bucket.
    if (this.#closing) return;
    const before = this.#failure();
    const since = before?.operation === operation ? before.since : this.#options.now().toISOString();
    const failure: Failure = { operation, body: error.toBody(), since };
    this.#options.state.setFact("error", failure);
  }

  /** Waits for what is under way. */
  async close(): Promise<void> {
    this.#closing = true;
    await this.#turn.then(
      () => undefined,
      () => undefined,
    );
    this.#options.state.close();
  }

  #alone<T>(operation: Operation, work: () => Promise<T>): Promise<T> {
    const run = async (): Promise<T> => {
      try {
        return await work();
      } catch (thrown) {
        const error = asVlinderError(thrown);
        this.fail(operation, error);
        throw error;
      }
    };
    const next = this.#turn.then(run, run);
    this.#turn = next;
    return next;
  }

  #succeeded(operation: Operation): void {
    if (this.#failure()?.operation === operation) this.#options.state.setFact("error", null);
  }

  #failure(): Failure | null {
    return this.#options.state.fact<Failure>("error");
  }

  #notes(): Readonly<Record<Operation | "packs", readonly string[]>> {
    return {
      push: [],
      pull: [],
      packs: [],
      ...this.#options.state.fact<Record<Operation, readonly string[]>>("notes"),
    };
  }

  #note(operation: Operation | "packs", notes: readonly string[]): void {
    this.#options.state.setFact("notes", { ...this.#notes(), [operation]: notes });
  }
}

function withDetails({ body, operation, since }: Failure): ErrorBody {
  return { ...body, details: { ...body.details, operation, since } };
}
