import {
  type AgentName,
  asVlinderError,
  type ErrorBody,
  type Hash,
  type Progress,
  type VlinderError,
} from "@vlinder/protocol";
import type { Exchange } from "../state/api.ts";
import type { Bucket } from "./buckets/bucket.ts";
import { findHeads, type FoundHeads, type HeadTrust } from "./found-heads.ts";
import { headsIn } from "./head.ts";
import { foreignNotes, type Listing } from "./listing.ts";
import { OwedCount } from "./owed.ts";
import { pullHeads, type Pulled } from "./pull.ts";
import { AgentPush, type Pushed, type PushJob } from "./push.ts";
import type { SyncAgentFacts } from "./schedule/schedule.ts";
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
}

export interface PushSteps {
  /** Hands packs to the outbox. */
  sendPacks(): Promise<void>;
  /** All packs are there: hands the head to the outbox. */
  publish(): Promise<void>;
  /** The head is there: files that it replaces. */
  replaced(): string[];
  finish(): Promise<Pushed>;
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

  /** The steps of a push: `Sync` takes each for all agents before the next. */
  push({ bucket, vault, sealer, listing }: OpenVault, part: Pick<PushJob, "outbox" | "progress">): PushSteps {
    const { agent, state } = this.#options;
    const about = { bucket, vault: vault.id, sealer, listing: listing.of(agent) };
    const push = new AgentPush({ ...this.#options, ...part, ...about });
    const step = <T>(work: () => T | Promise<T>): Promise<T> => this.#alone("push", async () => await work());
    return {
      sendPacks: () =>
        step(async () => {
          state.bind(vault.id);
          await push.sendPacks();
        }),
      publish: () => step(() => push.publish()),
      replaced: () => push.replaced(),
      finish: () =>
        step(() => {
          const pushed = push.finish();
          // What a push says is an event (a new device id, packs that were lost): it stays until the next one.
          if (pushed.notes.length > 0) this.#note("push", pushed.notes);
          this.#succeeded("push");
          return pushed;
        }),
    };
  }

  /** @param found heads that were read already, when the agent was found in the bucket */
  pull(open: OpenVault, progress: (progress: Progress) => void, found?: FoundHeads): Promise<Pulled> {
    const { bucket, vault, sealer, trust } = open;
    return this.#alone("pull", async () => {
      const { agent, state, retries } = this.#options;
      const listing = open.listing.of(agent);
      state.bind(vault.id);
      const { heads, notes } = await findHeads(listing, { bucket, vault: vault.id, sealer, trust, state, retries });
      const pulled = await pullHeads({ ...this.#options, bucket, sealer, sizes: listing.packs, progress }, heads);
      const all = [
        ...new Set([
          ...(found?.notes ?? []),
          ...notes,
          ...pulled.notes,
          ...pulled.branches.flatMap((branch) => branch.notes),
          ...foreignNotes(listing.foreign),
        ]),
      ];
      this.#note("pull", all);
      if (pulled.error === null) this.#succeeded("pull");
      else this.fail("pull", pulled.error);
      return { ...pulled, notes: all };
    });
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
      notes: [...notes.push, ...notes.pull, ...(state.note === null ? [] : [state.note]), ...this.#erasedNote()],
    };
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

  /** Remembers which packs in the bucket hold values that were erased. */
  erased(hashes: readonly Hash[]): void {
    const { state } = this.#options;
    const packs = new Set([...this.erasedPacks(), ...hashes.flatMap((hash) => state.packsOf(hash))]);
    state.setFact("erased", [...packs].sort());
  }

  erasedPacks(): Hash[] {
    const { state } = this.#options;
    return (state.fact<Hash[]>("erased") ?? []).filter((pack) => state.hasPack(pack));
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

  #erasedNote(): string[] {
    const packs = this.erasedPacks().length;
    if (packs === 0) return [];
    return [`${packs} packs in the bucket hold values that were erased: this release does not rewrite packs`];
  }

  #failure(): Failure | null {
    return this.#options.state.fact<Failure>("error");
  }

  #notes(): Readonly<Record<Operation, readonly string[]>> {
    return { push: [], pull: [], ...this.#options.state.fact<Record<Operation, readonly string[]>>("notes") };
  }

  #note(operation: Operation, notes: readonly string[]): void {
    this.#options.state.setFact("notes", { ...this.#notes(), [operation]: notes });
  }
}

function withDetails({ body, operation, since }: Failure): ErrorBody {
  return { ...body, details: { ...body.details, operation, since } };
}
