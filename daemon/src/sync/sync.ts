import { join } from "node:path";
import {
  type AgentName,
  asVlinderError,
  type DeviceId,
  type Hash,
  type InitReply,
  parseDeviceId,
  type PullReply,
  type PushReply,
  type RetireReply,
  type SyncOwed,
} from "@vlinder/protocol";
import { AgentSync, type OpenVault } from "./agent-sync.ts";
import { type BucketChoice, readBucketChoice } from "./bucket-choice.ts";
import type { Bucket } from "./buckets/bucket.ts";
import { openBucket } from "./buckets/open.ts";
import { DatabaseCopies, openPlace } from "./databases/database-copies.ts";
import { type Device, openDevice } from "./vault/device.ts";
import { DevicePins } from "./vault/device-pins.ts";
import { lastDrill } from "./drill-record.ts";
import { findHeads, type FoundHeads } from "./found-heads.ts";
import { HomeBucket } from "./home-bucket.ts";
import { foreignNotes, listBucket, packBytes } from "./listing.ts";
import { Meter } from "./meter.ts";
import { NewNotes } from "./new-notes.ts";
import { erasedNotes } from "./packs/erased-in-bucket.ts";
import { DEFAULT_POLICY } from "./packs/keeper.ts";
import { type PullItem, pulledItem, unpulledItem } from "./pull-items.ts";
import { pushAgents } from "./push-agents.ts";
import { deviceToRetire, requireDone, retireFrom } from "./retire.ts";
import { DEFAULT_RETRIES, type Retries, retrying } from "./retry.ts";
import { oneOf, type Which } from "./schedule/operations.ts";
import type { SyncFacts } from "./schedule/schedule.ts";
import { notHere, removedHere } from "./sync-errors.ts";
import { agentFacts, lastSeen, trustedDevices } from "./sync-facts.ts";
import type { OnProgress, SyncAgent, SyncOptions } from "./sync-options.ts";
import { SyncState } from "./sync-state.ts";
import { pinnedVault } from "./vault/vault.ts";
import { VaultAdmin } from "./vault/vault-admin.ts";
import { VaultDoor } from "./vault/vault-door.ts";
import type { InitOptions } from "./vault/vault-init.ts";

type PushItem = PushReply["agents"][number];

const silent: OnProgress = () => undefined;

/**
 * One memory on every machine: pushes what agents wrote here to a bucket and brings in what other
 * machines wrote. The door of this folder.
 *
 * An error of one agent is in the reply, remembered in `status`, and does not keep the others. An
 * error of the bucket itself is remembered with each agent and thrown. Agents go on with their
 * local state in any case.
 */
export class Sync {
  readonly #options: SyncOptions;
  readonly #retries: Retries;
  readonly #now: () => Date;
  readonly #pins: DevicePins;
  readonly #agents = new Map<AgentName, AgentSync>();
  readonly #notes = new NewNotes();
  readonly #door: VaultDoor;
  /** Who can read and who can write. */
  readonly vault: VaultAdmin;
  /** Copies of agents' databases, for people. */
  readonly copies: DatabaseCopies;
  #device: Device;
  #renewing: Promise<Device> | null = null;
  readonly #bucket: HomeBucket;
  #pushing: Promise<unknown> = Promise.resolve();

  private constructor(options: SyncOptions, device: Device, pins: DevicePins, choice: BucketChoice | null) {
    this.#options = options;
    this.#retries = options.retries ?? DEFAULT_RETRIES;
    this.#now = options.now ?? (() => new Date());
    this.#device = device;
    this.#pins = pins;
    this.#door = new VaultDoor({
      home: options.home,
      device: () => this.#device,
      pins,
      now: this.#now,
      retries: this.#retries,
      say: (note) => options.log.warn({}, note),
    });
    this.#bucket = new HomeBucket(
      {
        home: options.home,
        door: this.#door,
        open: options.openBucket ?? openBucket,
        now: this.#now,
        wish: options.bucket ?? null,
        changed: async ({ made }) => {
          for (const one of this.#agents.values()) await one.settle(made);
          options.joined?.();
        },
      },
      choice,
    );
    this.vault = new VaultAdmin({
      door: this.#door,
      bucket: () => this.#bucket.open(),
      seen: async () => lastSeen(this.bucket === null ? [] : await options.agents.list(), (one) => this.#agent(one)),
    });
    this.copies = this.#databaseCopies();
  }

  static async open(options: SyncOptions): Promise<Sync> {
    const device = await openDevice(options.home, options.device);
    const pins = await DevicePins.open(options.home, device);
    const sync = new Sync(options, device, pins, await readBucketChoice(options.home));
    if (pins.lostKey) await sync.#renew(device.id, "the device's key was lost");
    else await pins.become(device);
    return sync;
  }

  /** The bucket's URI, also while it has not been joined; null: memory is kept only here. */
  get bucket(): string | null {
    return this.#bucket.uri;
  }

  /** Whether the home belongs to the bucket; else it is joined when it is first asked for, or by `join`. */
  get isJoined(): boolean {
    return this.#bucket.joined !== null;
  }

  /** @throws unavailable: there is no bucket; what keeps the home from it */
  join(): Promise<void> {
    return this.#bucket.join();
  }

  /** May change: see `newDeviceId`. */
  get device(): DeviceId {
    return this.#device.id;
  }

  /** Makes the bucket or joins it, and uses it from now on; see `initBucket`. */
  init(uri: string, options: InitOptions = {}): Promise<InitReply> {
    return this.#bucket.init(uri, options);
  }

  /** One at a time: a commit on a hub takes much memory, and a second push finds less to do after the first. */
  push(which?: Which, progress: OnProgress = silent): Promise<PushReply> {
    const run = (): Promise<PushReply> => this.#push(which, progress);
    const next = this.#pushing.then(run, run);
    this.#pushing = next;
    return next;
  }

  async #push(which: Which, progress: OnProgress): Promise<PushReply> {
    const local = await this.#local(which);
    if (typeof which === "string" && local.length === 0) throw notHere(which);
    return await this.#withVault("push", local, which, async (open) => {
      const agents = local.map((one) => ({ name: one.name, sync: this.#agent(one) }));
      const relist = (): ReturnType<typeof listBucket> => listBucket(open.bucket, oneOf(which));
      const pushed = await pushAgents(agents, open, { retries: this.#retries, progress, now: this.#now, relist });
      this.copies.consider(pushed.flatMap((one) => (one.error === null ? [one.agent] : [])));
      return {
        agents: pushed.map(({ agent: name, error, notes, ...counts }): PushItem => {
          this.#say(name, notes);
          return { agent: name, ...counts, error: error?.toBody() ?? null };
        }),
      };
    });
  }

  async pull(which?: Which, progress: OnProgress = silent): Promise<PullReply> {
    const local = await this.#local(which);
    const agent = oneOf(which);
    return await this.#withVault("pull", local, which, async (open) => {
      const { listing } = open;
      this.#say(null, foreignNotes(listing.foreign));
      const agents: PullItem[] = [];
      const offered = which === undefined ? listing.agents : agent === undefined ? [] : [agent];
      const others = offered.filter((name) => !local.some((one) => one.name === name));
      const meter = new Meter(progress);
      for (const one of local) meter.expect(one.name, this.#agent(one).lacking(open));
      for (const name of others) {
        if (!this.#options.agents.isRemoved(name)) meter.expect(name, packBytes(listing.of(name)));
      }
      for (const one of local) agents.push(await this.#pullOne(one, open, meter));
      for (const name of others) {
        if (!this.#options.agents.isRemoved(name)) {
          const item = await this.#pullNew(name, open, meter);
          if (item !== null) agents.push(item);
          else if (agent !== undefined) throw notHere(agent);
        } else if (agent !== undefined) throw removedHere(agent);
      }
      return { agents };
    });
  }

  /** Ends the claim of a lost machine, after a pull and a push of everything. @throws conflict: something would be lost; invalid, not_found */
  async retire(text: string, pull: () => Promise<PullReply>, progress: OnProgress = silent): Promise<RetireReply> {
    requireDone(await pull());
    const known = (await this.vault.devices()).items.map((item) => parseDeviceId(item.device));
    const device = deviceToRetire(text, this.#device.id, known);
    requireDone(await this.push(undefined, progress));
    const local = await this.#local(undefined);
    return await this.#withVault("push", local, undefined, async (open) => {
      const reply = await retireFrom(device, open.listing, local, (one) => this.#agent(one).retire(open, device));
      this.#options.log.info(reply, "a device was retired");
      return reply;
    });
  }

  /** @param agent only this one, with each branch beside what other machines have published of it */
  async status(agent?: AgentName): Promise<SyncFacts> {
    const { home } = this.#options;
    const local = await this.#local(agent);
    if (agent !== undefined && local.length === 0) throw notHere(agent);
    const open = (one: SyncAgent): AgentSync => this.#agent(one);
    return {
      bucket: this.bucket,
      vault: (await pinnedVault(home))?.id ?? null,
      device: this.#device.id,
      devices: trustedDevices(await this.vault.devices()),
      agents: this.bucket === null ? [] : await agentFacts(local, open, agent !== undefined),
      drill: await lastDrill(home, this.bucket),
    };
  }

  /** What the bucket lacks of an agent; null when nothing, or when there is no bucket. Cheap. */
  owed(agent: AgentName): Promise<SyncOwed | null> {
    return this.#of(agent, (sync) => sync.owed(), null);
  }

  /** Commits that are in the bucket with all before them, as far as is known. */
  pushedTips(agent: AgentName): Promise<Hash[]> {
    return this.#of(agent, (sync) => sync.tips(), []);
  }

  /** Branch heads of other machines, as they were last seen in the bucket. */
  knownHeads(agent: AgentName): Promise<Hash[]> {
    return this.#of(agent, (sync) => sync.knownHeads(), []);
  }

  /** Values were erased here: packs that hold them are remembered as owed. */
  async erased(agent: AgentName, hashes: readonly Hash[]): Promise<void> {
    const erased = (sync: AgentSync): void => {
      sync.erased(hashes);
      this.copies.erased(sync.copied.state);
    };
    await this.#of(agent, erased, undefined);
  }

  /** What the bucket still has of values that were erased, and until when: a sentence each. */
  erasedInBucket(agent: AgentName): Promise<string[]> {
    return this.#of(agent, (sync) => erasedNotes(sync.erasedInBucket()), []);
  }

  /** Lets go of an agent that is closed or removed, after what is under way. */
  async release(agent: AgentName): Promise<void> {
    await this.copies.stop(agent);
    const sync = this.#agents.get(agent);
    this.#agents.delete(agent);
    await sync?.close();
  }

  async close(): Promise<void> {
    this.copies.close();
    for (const agent of this.#agents.keys()) await this.release(agent);
    await this.#bucket.close();
  }

  #databaseCopies(): DatabaseCopies {
    const { agents, databases = () => ({ mode: "off", files: [] }), home, log } = this.#options;
    return new DatabaseCopies({
      home,
      log,
      now: this.#now,
      retries: this.#retries,
      device: () => this.#device,
      bucket: () => this.#bucket.joined,
      agents: async () => (await agents.list()).map(({ name }) => name),
      source: databases,
      open: (operation) => openPlace(this.#bucket.open(), this.#door, operation),
      agent: (name) => this.#of(name, ({ copied }) => copied, null),
    });
  }

  /** What an agent's sync says; `otherwise` where there is no bucket or no such agent. */
  async #of<T>(agent: AgentName, ask: (sync: AgentSync) => T | Promise<T>, otherwise: T): Promise<T> {
    const [one] = this.bucket === null ? [] : await this.#local(agent);
    return one === undefined ? otherwise : await ask(this.#agent(one));
  }

  async #local(which: Which): Promise<readonly SyncAgent[]> {
    const all = await this.#options.agents.list();
    return which === undefined ? all : all.filter(({ name }) => [which].flat().includes(name));
  }

  #agent({ name, exchange }: SyncAgent): AgentSync {
    const open = this.#agents.get(name);
    if (open !== undefined) {
      if (open.exchange === exchange) return open;
      throw new Error(`agent ${name} was opened again without release()`);
    }
    const state = SyncState.open(join(this.#options.home, "agents", name, "sync.db"));
    if (state.note !== null) this.#options.log.warn({ agent: name }, state.note);
    state.settle(this.#bucket.made);
    const sync = new AgentSync({
      agent: name,
      exchange,
      state,
      device: () => this.#device,
      renewDevice: (old) => this.#renew(old, "another home writes under the device's id"),
      now: this.#now,
      retries: this.#retries,
      policy: { ...DEFAULT_POLICY, ...this.#options.packs },
    });
    this.#agents.set(name, sync);
    return sync;
  }

  /** Opens the bucket, checks its vault and lists it; an error of these is each agent's, and thrown. */
  async #withVault<T>(
    operation: "push" | "pull",
    agents: readonly SyncAgent[],
    which: Which,
    work: (open: OpenVault) => Promise<T>,
  ): Promise<T> {
    await this.join();
    let bucket: Bucket | null = null;
    try {
      let opened: OpenVault;
      try {
        const here = (bucket = await this.#bucket.open());
        const door = await this.#door.open(here, operation);
        const listing = await retrying(this.#retries, () => listBucket(here, oneOf(which)));
        opened = { bucket, ...door, listing };
      } catch (thrown) {
        const error = asVlinderError(thrown);
        for (const one of agents) this.#agent(one).fail(operation, error);
        throw error;
      }
      return await work(opened);
    } finally {
      await bucket?.close();
    }
  }

  async #pullOne(one: SyncAgent, open: OpenVault, meter: Meter, found?: FoundHeads): Promise<PullItem> {
    const created = found !== undefined;
    try {
      const pulled = await this.#agent(one).pull(open, meter.of(one.name, "pulling"), found);
      this.#say(one.name, pulled.notes);
      return pulledItem(one.name, created, pulled);
    } catch (thrown) {
      return unpulledItem(one.name, created, thrown, []);
    }
  }

  /** An agent that the bucket has and this home does not; null when nothing of it can be trusted or is whole. */
  async #pullNew(name: AgentName, open: OpenVault, meter: Meter): Promise<PullItem | null> {
    const listing = open.listing.of(name);
    const found = await findHeads(listing, { ...open, vault: open.vault.id, state: null, retries: this.#retries });
    // Before anything is made here: a bucket that is still being copied gives no agent yet.
    if (!found.heads.some(({ body }) => body.packs.every((pack) => listing.packs.has(pack)))) {
      this.#say(name, found.notes);
      if (found.heads.length > 0) this.#say(name, ["its packs are not all in the bucket yet: not taken over"]);
      return null;
    }
    try {
      const exchange = await this.#options.agents.adopt(name);
      return await this.#pullOne({ name, exchange }, open, meter, found);
    } catch (thrown) {
      return unpulledItem(name, false, thrown, found.notes);
    }
  }

  /** One new id, also when several agents find out at once. */
  #renew(old: DeviceId, why: string): Promise<Device> {
    if (this.#device.id !== old) return Promise.resolve(this.#device);
    this.#renewing ??= this.#takeNewId(why).finally(() => {
      this.#renewing = null;
    });
    return this.#renewing;
  }

  async #takeNewId(why: string): Promise<Device> {
    const old = this.#device.id;
    // The id first: a key belongs to its id, so a crash in between gives the new id a new key at the next start.
    const device = await openDevice(this.#options.home, await this.#options.newDeviceId());
    await this.#pins.become(device);
    this.#device = device;
    await this.#door.renewed();
    this.#options.log.warn({ old, device: device.id }, `this machine has a new device id: ${why}`);
    return device;
  }

  #say(agent: AgentName | null, notes: readonly string[]): void {
    for (const note of this.#notes.of(agent, notes)) this.#options.log.warn({ agent }, note);
  }
}
