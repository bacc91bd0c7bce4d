import { cp } from "node:fs/promises";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type AgentName, asBuffer, type DeviceId, type Hash } from "@vlinder/protocol";
import { expect, onTestFinished } from "vitest";
import { StateEngine } from "../../src/state/engine.ts";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";
import { openSqliteObjects } from "../../src/storage/backends/sqlite/sqlite-objects.ts";
import type { Kind, ObjectStorage } from "../../src/storage/object-storage.ts";
import { openBucket } from "../../src/sync/buckets/open.ts";
import { packPath } from "../../src/sync/listing.ts";
import { decodePack } from "../../src/sync/pack.ts";
import { openDevice } from "../../src/sync/vault/device.ts";
import { EncryptedVault } from "../../src/sync/vault/encrypted-vault.ts";
import { deviceAuthority } from "../../src/sync/vault/keys.ts";
import { pinnedVault, type Vault } from "../../src/sync/vault/vault.ts";
import { contract, TestClock } from "../state/harness.ts";
import { Machine, tempBucket, tempFolder, TODO } from "./machine.ts";

export type Box = Machine<StateEngine>;

export const GRACE = 7 * 24 * 3_600_000;

interface FleetOptions {
  readonly encrypt?: boolean;
  /** Packs are merged where there are more. */
  readonly over?: number;
  /** Homes hold all that a machine is, so that they can be copied; else states are in memory. */
  readonly isStored?: boolean;
}

/** Machines with the real engine on one bucket and one clock, in a plain or an encrypted vault. */
export class EngineFleet {
  readonly clock = new TestClock();
  readonly uri: string;
  readonly #options: FleetOptions;
  readonly #storages = new Map<StateEngine, ObjectStorage>();
  #recovery: string | null = null;

  private constructor(uri: string, options: FleetOptions) {
    this.uri = uri;
    this.#options = options;
  }

  /** So many machines, of which all have what the first one began. */
  static async start(count: number, options: FleetOptions = {}): Promise<{ fleet: EngineFleet; boxes: Box[] }> {
    const fleet = new EngineFleet(await tempBucket(), options);
    const boxes: Box[] = [];
    for (let i = 0; i < count; i++) boxes.push(await fleet.box());
    const [first] = boxes as [Box];
    await first.add();
    await first.todo.setContract(contract());
    for (const box of [first, ...boxes]) await box.syncAll();
    return { fleet, boxes };
  }

  /** One more machine that has nothing yet; in an encrypted vault it joins by the recovery key, and who founds it gets that. */
  async box(): Promise<Box> {
    const box = await this.#open(await tempFolder());
    const how = this.#recovery === null ? { encrypt: this.#options.encrypt ?? false } : { key: this.#recovery };
    const { recovery } = await box.sync.init(this.uri, how);
    this.#recovery ??= recovery;
    return box;
  }

  /** A machine that belongs to no vault yet. */
  async stranger(): Promise<Box> {
    return await this.#open(await tempFolder());
  }

  /** Whether a pack in the bucket holds this text, as a member reads it. */
  async holds(member: Box, pack: Hash, text: string): Promise<boolean> {
    const vault = (await pinnedVault(member.home)) as Vault;
    const sealer =
      vault.founder === null
        ? null
        : await (
            await EncryptedVault.open(member.home, vault)
          ).sealer(await deviceAuthority(await openDevice(member.home, member.device)));
    const bytes = (await (await openBucket(this.uri)).get(packPath(TODO, pack))) as Buffer;
    return (await decodePack(bytes, sealer)).some((object) => asBuffer(object.bytes).includes(text));
  }

  /** A new machine with all that the bucket has, of which nothing is missing or damaged. */
  async clone(): Promise<Box> {
    const box = await this.box();
    await box.syncAll();
    await verified(box);
    return box;
  }

  /** Stops a machine for good, with its files as they are. */
  async stop(box: Box): Promise<void> {
    await box.sync.close();
    for (const engine of box.agents.values()) await engine.close();
  }

  /** What a home is at this moment, under another path: of a machine that is stopped. */
  async copy(home: string): Promise<string> {
    const copy = await tempFolder();
    await cp(home, copy, { recursive: true });
    return copy;
  }

  /** A machine on a home that holds an agent. */
  async wake(home: string, device: DeviceId): Promise<Box> {
    const box = await this.#open(home, device);
    await box.add();
    return box;
  }

  /** All that is stored of an agent: objects, branches, tombstones. */
  async dump(box: Box): Promise<unknown> {
    const storage = this.#storages.get(box.todo) as ObjectStorage;
    const objects: Record<string, unknown> = {};
    for (const kind of ["value", "chunk", "list", "node", "changes", "snapshot", "commit"] as const satisfies Kind[]) {
      const hashes: string[] = [];
      for (let page = await storage.scan(kind, null, 1000); page.length > 0;) {
        hashes.push(...page.map(({ hash }) => hash));
        page = await storage.scan(kind, page.at(-1)?.hash ?? null, 1000);
      }
      objects[kind] = hashes;
    }
    return { objects, branches: (await storage.branches()).toSorted((a, b) => (a.id < b.id ? -1 : 1)) };
  }

  async #open(home: string, device?: DeviceId): Promise<Box> {
    const machine: Box = await Machine.start<StateEngine>({
      home,
      ...(device === undefined ? {} : { device }),
      packs: { over: this.#options.over ?? 1000, grace: GRACE },
      now: this.clock.now,
      make: async (agent: string) => {
        const storage = await this.#storage(join(home, "agents", agent));
        const engine = await StateEngine.open({
          agent: agent as AgentName,
          storage,
          device: () => machine.device,
          now: this.clock.now,
          roots: () => ({ heads: () => machine.sync.knownHeads(TODO) }),
          report: (_, message) => void machine.log.push(message),
          onErased: (_rows, hashes) => machine.sync.erased(TODO, hashes),
        });
        this.#storages.set(engine, storage);
        onTestFinished(() => engine.close());
        return engine;
      },
    });
    return machine;
  }

  async #storage(folder: string): Promise<ObjectStorage> {
    if (this.#options.isStored !== true) return new MemoryObjects(`memory://${folder}`);
    mkdirSync(folder, { recursive: true });
    return await openSqliteObjects({ path: join(folder, "objects.db"), durability: "process" });
  }
}

/** Syncs until nothing is left to say. */
export async function meet(...boxes: readonly Box[]): Promise<void> {
  for (let i = 0; i < 3; i++) for (const box of boxes) await box.syncAll();
}

export async function verified(box: Box): Promise<void> {
  await box.todo.retention.settle();
  expect((await box.todo.verify()).damage).toEqual([]);
}

/** Every branch, alive, sealed or deleted, is at the same commit on all, and nothing is damaged. */
export async function same(...boxes: readonly Box[]): Promise<void> {
  const state = ({ todo }: Box): unknown =>
    todo
      .branches()
      .map(({ id, head, deleted, sealed }) => ({ id, head, deleted, sealed }))
      .toSorted((a, b) => (a.id < b.id ? -1 : 1));
  for (const box of boxes) {
    expect(state(box)).toEqual(state(boxes[0] as Box));
    await verified(box);
  }
}

/** Commits that no branch of the machine reaches, nor where one was deleted. */
export async function lacking({ todo }: Box, commits: readonly string[]): Promise<string[]> {
  const heads = todo.branches().flatMap(({ head, deleted }) => (head === null ? deleted : [head, ...deleted]));
  const here = new Set<string>();
  for await (const { hash } of todo.newCommits(heads, [])) here.add(hash);
  return commits.filter((commit) => !here.has(commit));
}
