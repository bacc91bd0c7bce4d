import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { AgentName, DeviceId, PullReply, PushReply } from "@vlinder/protocol";
import { onTestFinished } from "vitest";
import type { Exchange } from "../../src/state/api.ts";
import type { Bucket } from "../../src/sync/buckets/bucket.ts";
import { openBucket } from "../../src/sync/buckets/open.ts";
import type { DatabaseSource } from "../../src/sync/databases/settings.ts";
import type { PackPolicy } from "../../src/sync/packs/keeper.ts";
import { Sync } from "../../src/sync/sync.ts";
import { ModelExchange } from "./model-exchange.ts";
import { MEMORY_FOLDER } from "../../../test/harness/memory-folder.ts";

export const TODO = "todo" as AgentName;

export async function tempFolder(): Promise<string> {
  const folder = await mkdtemp(join(MEMORY_FOLDER, "vlinder-sync-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export async function tempBucket(): Promise<string> {
  return pathToFileURL(join(await tempFolder(), "vault")).href;
}

export interface MachineOptions<E extends Exchange> {
  readonly home?: string;
  readonly device?: DeviceId;
  readonly make?: (agent: string, device: DeviceId) => E | Promise<E>;
  /** Copies of its databases go to the bucket. */
  readonly databases?: (agent: AgentName) => DatabaseSource;
  /** Keeps the agents of a machine that was killed. */
  readonly agents?: Map<AgentName, E>;
  readonly packs?: Partial<PackPolicy>;
  readonly now?: () => Date;
  /** What config.toml names. */
  readonly bucket?: string;
}

/** A home with its agents and its sync, as the daemon would put them together. */
export class Machine<E extends Exchange = ModelExchange> {
  readonly home: string;
  readonly agents: Map<AgentName, E>;
  readonly removed = new Set<AgentName>();
  readonly log: string[] = [];
  device: DeviceId;
  sync!: Sync;
  /** Wraps the bucket that sync opens. */
  wrap: (bucket: Bucket) => Bucket = (bucket) => bucket;
  readonly #make: (agent: string, device: DeviceId) => E | Promise<E>;

  packs: Partial<PackPolicy>;
  readonly #options: MachineOptions<E>;

  private constructor(home: string, options: MachineOptions<E>) {
    const { device, make, agents } = options;
    this.home = home;
    this.#options = options;
    this.packs = options.packs ?? {};
    this.device = device ?? newDevice();
    this.agents = agents ?? new Map();
    this.#make = make ?? ((agent, id) => new ModelExchange(agent, id) as unknown as E);
  }

  static async start<E extends Exchange = ModelExchange>(options: MachineOptions<E> = {}): Promise<Machine<E>> {
    const machine = new Machine<E>(options.home ?? (await tempFolder()), options);
    await mkdir(machine.home, { recursive: true });
    await machine.restart();
    onTestFinished(() => machine.sync.close());
    return machine;
  }

  /** As after a kill: nothing is remembered but what is on disk (and, for the model, the agents' states). */
  async restart(): Promise<void> {
    await (this.sync as Sync | undefined)?.close();
    this.sync = await Sync.open({
      home: this.home,
      device: this.device,
      newDeviceId: async () => {
        this.device = newDevice();
        return this.device;
      },
      agents: {
        list: async () => [...this.agents].map(([name, exchange]) => ({ name, exchange })),
        adopt: (name) => this.add(name),
        isRemoved: (name) => this.removed.has(name),
      },
      log: {
        info: (_, message) => void this.log.push(message),
        warn: (_, message) => void this.log.push(message),
      },
      retries: [0, 0],
      packs: this.packs,
      bucket: this.#options.bucket ?? null,
      ...(this.#options.now === undefined ? {} : { now: this.#options.now }),
      ...(this.#options.databases === undefined ? {} : { databases: this.#options.databases }),
      openBucket: async (uri, options) => this.wrap(await openBucket(uri, options)),
    });
  }

  async add(name: AgentName = TODO): Promise<E> {
    const exchange = await this.#make(name, this.device);
    this.agents.set(name, exchange);
    return exchange;
  }

  async remove(name: AgentName): Promise<void> {
    await this.sync.release(name);
    this.agents.delete(name);
    this.removed.add(name);
  }

  get todo(): E {
    const exchange = this.agents.get(TODO);
    if (exchange === undefined) throw new Error("no agent todo here");
    return exchange;
  }

  async push(): Promise<PushReply["agents"][number]> {
    const { agents } = await this.sync.push(TODO);
    return agents[0] as PushReply["agents"][number];
  }

  async pull(): Promise<PullReply["agents"][number]> {
    const { agents } = await this.sync.pull(TODO);
    return agents[0] as PullReply["agents"][number];
  }

  /** The normal order: what others wrote, then what is owed. Both must succeed. */
  async syncAll(): Promise<void> {
    for (const { agents } of [await this.sync.pull(), await this.sync.push()]) {
      for (const { agent, error } of agents) if (error !== null) throw new Error(`${agent}: ${error.message}`);
    }
  }
}

export function newDevice(): DeviceId {
  return randomBytes(16).toString("hex") as DeviceId;
}
