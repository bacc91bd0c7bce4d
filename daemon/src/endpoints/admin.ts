import { type AdminReplies, type AgentName, LIMITS, type RegisterReply, VlinderError } from "@vlinder/protocol";
import type { Broker } from "../broker/api.ts";
import type { Core } from "../daemon-core.ts";
import type { Drills } from "../drill/drills.ts";
import type { Processes } from "../processes/processes.ts";
import { keepProcess } from "./agent-process.ts";
import { noBucket } from "../sync/sync-errors.ts";
import { testProvider } from "../providers/provider-test.ts";
import { agentItem } from "./agent-item.ts";
import { agentOf } from "./agent-access.ts";
import { providerItems } from "./provider-item.ts";
import { spaceItem } from "./retention.ts";
import type { AdminHandlers } from "./service.ts";

export interface AdminContext {
  readonly core: Core;
  readonly broker: Broker;
  readonly processes: Processes;
  readonly drills: Drills;
  readonly home: string;
  readonly version: string;
  readonly started: number;
  /** Starts to stop the daemon; returns at once. */
  readonly drain: () => void;
  /** Reads config.toml again; says what took effect. */
  readonly reload: () => Promise<readonly string[]>;
}

/** `vlinder.admin.v1.*` */
export function adminHandlers(context: AdminContext): AdminHandlers {
  const { core, broker, processes } = context;
  const { registry, sync } = core;
  const items = (): Promise<AdminReplies["agents.list"]["items"]> =>
    Promise.all(registry.list().map((item) => agentItem(item, processes.report(item.name))));

  /** Makes the credentials that an agent needs; on a server of somebody else's they are made there. */
  const credsOf = async (agent: AgentName): Promise<string> => (broker.own ? await broker.agentCreds(agent) : "");

  return {
    "agents.plan": ({ request }) => registry.plan(request.dir),
    "agents.register": async ({ request }): Promise<RegisterReply> => {
      const reply = await core.register(request.dir);
      const agent = reply.agent as AgentName;
      const creds = await credsOf(agent);
      const notes = await keepProcess(processes, registry.get(agent));
      return { ...reply, creds, notes: [...reply.notes, ...notes] };
    },
    "agents.list": async () => ({ items: await items() }),
    "agents.show": async ({ request }): Promise<AdminReplies["agents.show"]> => {
      const { engine, registration, storage, manifest, vectors, name } = agentOf(core, request.agent);
      const view = await engine.stateOf();
      const usage = await engine.usage();
      return {
        ...(await agentItem({ name, registration, agent: agentOf(core, name), error: null }, processes.report(name))),
        snapshot: (await engine.commit(view.commit)).snapshot,
        contract: view.snapshot.contract,
        storage: {
          objects: storage.objects.shown,
          vectors: vectors === null ? null : (storage.vectors?.shown ?? null),
        },
        creds: await credsOf(name),
        branches: engine.liveBranches().length,
        commits: usage.counts.commit,
        space: await spaceItem(engine.retention),
        manifest: manifest === null ? null : registration.manifest,
      };
    },
    "agents.remove": async ({ request }) => {
      const purge = request.purge ?? false;
      // While it may still write: an agent uses its last moments to put what it has.
      await processes.drop(request.agent);
      try {
        // Before the removal: after a crash in between, the next start gives an agent that is still registered new ones.
        await broker.revokeAgent(request.agent);
        return await core.remove(request.agent, { purge });
      } finally {
        // It may be registered still, or again: who did that meanwhile has started it.
        const item = registry.list().find(({ name }) => name === request.agent);
        if (item === undefined) await processes.drop(request.agent);
        else if (item.agent !== null) await keepProcess(processes, item.agent);
        if (item === undefined && purge) await processes.forget(request.agent);
      }
    },
    "agents.restart": async ({ request }): Promise<AdminReplies["agents.restart"]> => {
      const { name } = agentOf(core, request.agent);
      return { agent: name, process: await processes.restart(name) };
    },
    "agents.logs": ({ request: { agent, lines = LIMITS.defaultPage, after, wait = 0 } }) => {
      // Also of one that can't be served: its log may say why.
      if (!registry.list().some(({ name }) => name === agent)) agentOf(core, agent);
      return processes.logs(agent, { lines, after, wait });
    },
    "agents.export": ({ request, progress }) =>
      core.exportAgent({ ...request, branch: request.branch, overwrite: request.overwrite ?? false, progress }),
    "agents.import": async ({ request, progress }) => {
      const reply = await core.importAgent({ ...request, into: request.into, name: request.name, progress });
      await credsOf(reply.agent as AgentName);
      return reply;
    },
    "agents.import_vlindercli": async ({ request, progress }) => {
      const reply = await core.importVlinderCli({ ...request, progress });
      await credsOf(request.agent);
      return reply;
    },
    "agents.import_agentvault": async ({ request, progress }) => {
      const reply = await core.importAgentVault({ ...request, progress });
      await credsOf(request.agent);
      return reply;
    },
    "daemon.status": async (): Promise<AdminReplies["daemon.status"]> => ({
      version: context.version,
      pid: process.pid,
      home: context.home,
      nats: { url: broker.url, own: broker.own, version: broker.serverVersion },
      uptime: (Date.now() - context.started) / 1000,
      memory: process.memoryUsage.rss(),
      agents: await items(),
      sync: await core.schedule.status(),
    }),
    "daemon.drain": async () => {
      context.drain();
      return { draining: true };
    },
    "daemon.reload": async () => ({ reloaded: await context.reload() }),
    "vault.devices": () => sync.vault.devices(),
    "vault.request": ({ request }) => sync.vault.request(request.name),
    "vault.add": ({ request }) => sync.vault.add(request.request),
    "vault.distrust": ({ request: { device, key } }) => {
      if (key !== undefined) requireOwnBroker(broker.own);
      return sync.vault.distrust(device, key);
    },
    "vault.rotate": ({ request }) => {
      requireOwnBroker(broker.own);
      return sync.vault.rotate(request.key);
    },

    "providers.list": async () => ({ items: await providerItems(core) }),
    "providers.test": ({ request }) => testProvider(core.providers.named(request.provider), core.providers),
    "sync.init": async ({ request: { uri, ...options } }) => {
      if (options.encrypt === true || options.key !== undefined) requireOwnBroker(broker.own);
      const reply = await sync.init(uri, options);
      core.schedule.changed();
      return reply;
    },
    "sync.status": ({ request }) => core.schedule.status(request.agent),
    "sync.push": ({ request, progress }) => core.push(request.agent, progress),
    "sync.pull": async ({ request, progress }) => {
      await requireBucket(core);
      const reply = await core.pull(request.agent, progress);
      for (const { agent } of registry.list()) if (agent !== null) await credsOf(agent.name);
      return reply;
    },
    "sync.retire": async ({ request, progress }) => {
      await requireBucket(core);
      return await core.retire(request.device, progress);
    },
    "sync.databases": async ({ request, progress }) => {
      await requireBucket(core);
      if (request.agent !== undefined) agentOf(core, request.agent);
      return await sync.copies.copy(request.agent as AgentName | undefined, progress);
    },
    "sync.databases_get": async ({ request: { agent, path }, progress }) => {
      await requireBucket(core);
      return await sync.copies.fetch(path, agent as AgentName | undefined, progress);
    },
    "sync.drill": async ({ request: { agent, keep }, progress }) => {
      await requireBucket(core);
      return await context.drills.run({ agent, keep, progress });
    },
  };
}

/** A recovery key opens everything: it is not shown to a server that is somebody else's. */
function requireOwnBroker(own: boolean): void {
  if (own) return;
  throw new VlinderError(
    "denied",
    "the daemon uses a NATS server that is not its own, which would see the recovery key",
    {
      remedy: "vlinder stop, run this again on the daemon's machine with no daemon running, and start it again",
    },
  );
}

/** @throws unavailable: there is none; what keeps a new home from the one of config.toml */
async function requireBucket({ schedule, sync }: Core): Promise<void> {
  if (sync.bucket === null) throw noBucket();
  await schedule.join();
}
