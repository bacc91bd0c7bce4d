import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type AdminReplies,
  type AgentName,
  asVlinderError,
  type PullReply,
  type PushReply,
  type RegisterReply,
} from "@vlinder/protocol";
import type { Logger } from "pino";
import { exportAgent, type ExportRequest, importAgent, type ImportRequest } from "./agent-archive.ts";
import type { Agent } from "./registry/agent.ts";
import type { Config } from "./registry/config.ts";
import { renewDevice } from "./registry/device.ts";
import { type Home, providerKeys } from "./registry/home.ts";
import { Housekeeper } from "./housekeeper.ts";
import { Registry } from "./registry/registry.ts";
import type { OpenSpec } from "./registry/agent.ts";
import { StateEngine } from "./state/engine.ts";
import type { TurnNews } from "./state/turns/turns.ts";
import { Providers } from "./providers/providers.ts";
import type { DurableMove } from "./state/writer.ts";
import { removeCopies } from "./storage/foreign/database-copy.ts";
import { openObjectStorage } from "./storage/objects.ts";
import { FileShelf, MemoryShelf, type QuarantineShelf } from "./storage/quarantine-shelf.ts";
import { openSegments } from "./storage/segments/open.ts";
import { openVectorStorage, resetVectorStorage } from "./storage/vectors/open.ts";
import { openBucket } from "./sync/buckets/open.ts";
import type { Which } from "./sync/schedule/operations.ts";
import { SyncSchedule } from "./sync/schedule/schedule.ts";
import type { SyncSettings } from "./sync/schedule/settings.ts";
import type { DatabaseSource } from "./sync/databases/settings.ts";
import { Sync } from "./sync/sync.ts";
import type { OnProgress } from "./sync/sync-options.ts";
import { type AgentVaultImport, importAgentVault } from "./foreign/agentvault-import.ts";
import { importVlinderCli, type VlinderCliImport } from "./foreign/vlindercli-import.ts";
import { Replays } from "./turns/replays.ts";
import { type RunGround, Runs } from "./turns/runs.ts";
import { VectorIndex } from "./vectors/vector-index.ts";

/** How long a close waits for a push or pull that is under way, in milliseconds. */
const SYNC_CLOSE = 2_000;
/** From the start, before it is looked whether databases are to be copied to the bucket, in milliseconds. */
const COPIES_AFTER = 60_000;

export type OnMoves = (agent: AgentName, moves: readonly DurableMove[]) => void;

export type OnTurn = (agent: AgentName, news: TurnNews) => void;

export type OpenedAgent = Agent<StateEngine, VectorIndex>;

export interface CoreOptions {
  readonly home: Home;
  readonly config: Config;
  readonly log: Logger;
}

/** The daemon without NATS: agents, their state, and sync. Who opens it holds the home's lock. */
export interface Core {
  readonly registry: Registry<StateEngine, VectorIndex>;
  readonly sync: Sync;
  /** When what is pushed and pulled, and the safety lock. Does nothing by itself until it is started. */
  readonly schedule: SyncSchedule;
  readonly providers: Providers;
  register(dir: string): Promise<Omit<RegisterReply, "creds">>;
  /** Turns that somebody waits for. */
  readonly runs: Runs;
  readonly replays: Replays;
  /** Ends every open turn, since the daemon stops. */
  endTurns(): Promise<void>;
  /** Called with what becomes of every agent's turns. */
  onTurn(listener: OnTurn): void;
  /** How turns that wait for an agent's code reach it; not at all until it is set. */
  serveTurns(ground: RunGround): void;
  /** An agent's process is gone: the turns that it had taken up fail. */
  lostProcess(agent: AgentName, how: string): Promise<void>;
  /** Called with the durable moves of every agent's branches, from the first one of an agent on. */
  onMoves(listener: OnMoves): void;
  remove(name: AgentName, options: { readonly purge: boolean }): Promise<AdminReplies["agents.remove"]>;
  /** Writes an agent with its history as one file. */
  exportAgent(request: ExportRequest): Promise<AdminReplies["agents.export"]>;
  /** Brings an agent from such a file, or merges it into one that is here. */
  importAgent(request: ImportRequest): Promise<AdminReplies["agents.import"]>;
  /** Brings a history of VlinderCLI as a new agent. */
  importVlinderCli(request: VlinderCliImport): Promise<AdminReplies["agents.import_vlindercli"]>;
  /** Brings the tables of an AgentVault or Agno file, or any SQLite file, as a new agent. */
  importAgentVault(request: AgentVaultImport): Promise<AdminReplies["agents.import_agentvault"]>;
  push(agent?: AgentName, progress?: OnProgress): Promise<PushReply>;
  /** Pulls, and brings what depends on the state along: vector storage and index. */
  pull(agent?: AgentName, progress?: OnProgress): Promise<PullReply>;
  /** Ends the claim of a lost machine, named by the first digits of its id. */
  retire(device: string, progress?: OnProgress): Promise<AdminReplies["sync.retire"]>;
  /**
   * Lets an agent's vector index catch up with its branches. Nobody waits for it: searches are right
   * without, and a write that is durable must not fail, or wait for a rebuild, because of its index.
   */
  index(agent: OpenedAgent): void;
  close(): Promise<void>;
}

export async function openCore({ home, config, log }: CoreOptions): Promise<Core> {
  let device = home.device;
  const providers = new Providers(config.providers, { folder: providerKeys(home), env: process.env });
  // What agents may declare is what is configured now: a reload may change it.
  const current: Config = {
    ...config,
    get providers() {
      return providers.table;
    },
  };
  const listeners: OnMoves[] = [];
  const turnListeners: OnTurn[] = [];
  const runs = new Runs();
  const replays = new Replays(runs);
  const limitOf = (name: AgentName): number | null =>
    registry.find(name)?.manifest?.limits.storage ?? config.limits.storage;
  const openAgent = async (spec: OpenSpec): Promise<{ engine: StateEngine; vectors: VectorIndex | null }> => {
    const { name, objects, vectors, folder } = spec;
    const storage = await openObjectStorage({
      ...objects,
      durability: config.storage.durability,
      backends: config.backends,
      warn: (error) => log.warn({ agent: name, err: error }, error.message),
      notice: (message) => log.info({ agent: name }, message),
    });
    const segments = openSegments(objects.scheme === "memory" ? null : join(folder, "history.db"), (error, message) => {
      log.warn({ agent: name, err: error }, message);
    });
    let index: VectorIndex | null = null;
    const engine = await StateEngine.open({
      agent: name,
      storage,
      device: () => device,
      segments,
      shelf: shelfOf(spec, config.storage.durability),
      quarantine: config.storage.quarantine,
      limit: () => limitOf(name),
      roots: () => ({ heads: () => sync.knownHeads(name) }),
      onErased: async (rows, hashes) => {
        if (rows.length > 0) await index?.forget(rows);
        await sync.erased(name, hashes);
      },
      onTurn: (news) => {
        runs.ended(news);
        for (const listener of turnListeners) listener(name, news);
      },
      report: (err, message) => log.warn({ agent: name, ...(err === null ? {} : { err }) }, message),
    });
    engine.onMoves((moves) => {
      for (const listener of listeners) listener(name, moves);
    });
    if (vectors === null) return { engine, vectors: null };
    const uri = vectors.path === null ? vectors.uri : `sqlite://${vectors.path}`;
    index = await VectorIndex.open({
      history: engine,
      openStorage: (dimension, metric) => openVectorStorage(uri, { dimension, metric }),
      resetStorage: () => resetVectorStorage(uri),
      log: log.child({ agent: name }),
    });
    return { engine, vectors: index };
  };

  await removeCopies(home.run);
  const registry = await Registry.open<StateEngine, VectorIndex>({ home, config: current, openAgent, log });
  const open = (): OpenedAgent[] => registry.list().flatMap(({ agent }) => (agent === null ? [] : [agent]));
  const sync = await Sync.open({
    home: home.path,
    device,
    newDeviceId: async () => {
      device = await renewDevice(join(home.path, "device.json"));
      return device;
    },
    agents: {
      list: async () => open().map(({ name, engine }) => ({ name, exchange: engine })),
      adopt: async (name) => (await registry.adopt(name, { vectors: false })).engine,
      isRemoved: (name) => registry.isRemoved(name),
    },
    databases: (name) =>
      databaseSource(
        open().find((one) => one.name === name),
        config,
      ),
    log,
    packs: { grace: config.sync.grace },
    bucket: config.sync.bucket,
    joined: () => schedule.joined(),
  }).catch(async (error: unknown) => {
    // What is open keeps threads and files: a start that fails must end.
    await registry.close();
    throw error;
  });
  warnOfOther(sync.bucket, config.sync.bucket, log);
  // What was written on the last day that the daemon ran, and no push came after.
  setTimeout(() => sync.copies.consider(open().map(({ name }) => name)), COPIES_AFTER).unref();
  const housekeeper = new Housekeeper(open, log);

  /** An agent whose pulled contract has vectors gets storage for them; the index catches up. */
  const settle = async (name: AgentName): Promise<void> => {
    let agent = registry.get(name);
    const contract = await agent.engine.contract();
    if (contract?.vectors !== undefined && agent.vectors === null && agent.registration.source === null) {
      await sync.release(name);
      agent = await registry.adopt(name, { vectors: true });
      // Who asked meanwhile has taken up the engine that was closed.
      await sync.release(name);
    }
    index(agent);
  };

  const index = ({ name, vectors }: OpenedAgent): void => {
    vectors?.catchUp().catch((error: unknown) => {
      log.warn({ agent: name, err: error }, "the vector index could not catch up: searches read all records");
    });
  };

  const schedule = new SyncSchedule({
    sync: {
      get bucket() {
        return sync.bucket;
      },
      get isJoined() {
        return sync.isJoined;
      },
      join: () => sync.join(),
      push: (which, progress) => sync.push(which, progress),
      pull: (which, progress) => pull(which, progress),
      owed: (agent) => sync.owed(agent),
      status: (agent) => sync.status(agent),
    },
    settings: scheduleSettings(config),
    agents: () => open().map(({ name }) => name),
    whenOf: (name) => {
      try {
        return registry.get(name).manifest?.syncWhen ?? null;
      } catch {
        // It can't be served, so nothing is pushed or pulled of it.
        return null;
      }
    },
    probe: revisionOf,
    log,
  });
  const pull = async (which: Which, progress?: OnProgress): Promise<PullReply> => {
    const reply = await sync.pull(which, progress);
    for (const item of reply.agents) if (item.error === null) await settle(item.agent as AgentName);
    return reply;
  };
  listeners.push((agent) => schedule.moved(agent));
  turnListeners.push((agent, { ended }) => {
    if (ended !== null) schedule.turnEnded(agent);
  });

  return {
    registry,
    sync,
    schedule,
    providers,
    index,
    register: async (dir) => {
      const before = new Map(open().map(({ name, engine }) => [name, engine]));
      const reply = await registry.register(dir);
      const name = reply.agent as AgentName;
      const known = before.get(name);
      const { engine, vectors } = registry.get(name);
      if (known !== undefined && engine !== known) await sync.release(name);
      // agent.toml may say now that it is pushed by itself.
      void schedule.opened(name);
      try {
        // The vector storage is provisioned with the rest, as soon as its dimension is known.
        await vectors?.catchUp();
        return reply;
      } catch (error) {
        log.warn({ agent: name, err: error }, "the vector index could not be made");
        const note = `the vector index could not be made, so searches read all records: ${asVlinderError(error).message}`;
        return { ...reply, notes: [...reply.notes, note] };
      }
    },
    runs,
    replays,
    onMoves: (listener) => void listeners.push(listener),
    endTurns: async () => {
      await Promise.all(registry.list().map(async ({ agent }) => await agent?.engine.turns.close()));
    },
    onTurn: (listener) => void turnListeners.push(listener),
    serveTurns: (ground) => runs.serve(ground),
    lostProcess: async (name, how) => {
      const agent = open().find((one) => one.name === name);
      if (agent !== undefined) await runs.lost(name, agent.engine, `the agent's process ended: ${how}`);
    },
    remove: async (name, options) => {
      // One that can't be served can still be removed; and what was removed, purged later.
      await sync.release(name);
      try {
        return await registry.remove(name, options);
      } finally {
        // Who asked for the status meanwhile has taken it up again.
        await sync.release(name);
        schedule.forget(name);
      }
    },
    exportAgent: (request) => exportAgent(registry, request),
    importAgent: async (request) => {
      const reply = await importAgent(registry, home, request);
      await settle(reply.agent as AgentName);
      return reply;
    },
    importVlinderCli: (request) => importVlinderCli(registry, home, request),
    importAgentVault: (request) => importAgentVault(registry, home, request),
    push: (agent, progress) => schedule.push(agent, progress),
    pull: (agent, progress) => schedule.pull(agent, progress),
    retire: (device, progress) => sync.retire(device, () => pull(undefined, progress), progress),
    close: async () => {
      housekeeper.stop();
      // What is under way may wait for a bucket that never answers; it goes on from there with the next start.
      await Promise.race([sync.close(), sleep(SYNC_CLOSE, undefined, { ref: false })]);
      await registry.close();
    },
  };
}

/** `[sync]` without the bucket, which only `init` changes. */
export function scheduleSettings({ sync }: Config): SyncSettings {
  const { bucket: _, ...settings } = sync;
  return settings;
}

async function revisionOf(uri: string): Promise<string | null> {
  const bucket = await openBucket(uri);
  try {
    return await bucket.revision();
  } finally {
    await bucket.close();
  }
}

/** The SQLite files of an agent that is open; a vector index may not be made yet. */
function databaseSource(agent: OpenedAgent | undefined, { sync }: Config): DatabaseSource {
  const { objects = null, vectors = null } = agent?.storage ?? {};
  const files = [
    { name: "objects" as const, path: objects?.path ?? null },
    { name: "vectors" as const, path: vectors?.path ?? null },
  ];
  return {
    mode: agent?.manifest?.syncDatabases ?? sync.databases,
    files: files.flatMap(({ name, path }) => (path !== null && existsSync(path) ? [{ name, path }] : [])),
  };
}

/** What lies in memory has its quarantine there; what lies in a file, beside it; anything else in the agent's folder. */
function shelfOf({ objects, folder }: OpenSpec, durability: Config["storage"]["durability"]): QuarantineShelf {
  if (objects.scheme === "memory") return new MemoryShelf();
  return new FileShelf(objects.path === null ? join(folder, "quarantine") : `${objects.path}-quarantine`, durability);
}

/** Only `init` changes the bucket of a home that has one. */
function warnOfOther(used: string | null, configured: string | null, log: Logger): void {
  if (configured === null || configured === used) return;
  const text = "config.toml names another bucket than the one in use: `vlinder init` changes it";
  log.warn({ configured, used }, text);
}
