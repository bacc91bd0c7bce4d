import { type AdminReplies, type AgentName, type RegisterReply, VlinderError } from "@vlinder/protocol";
import type { Broker } from "../broker/api.ts";
import type { Core } from "../daemon-core.ts";
import { agentItem } from "./agent-item.ts";
import { agentOf } from "./agent-access.ts";
import { spaceItem } from "./retention.ts";
import type { AdminHandlers } from "./service.ts";

export interface AdminContext {
  readonly core: Core;
  readonly broker: Broker;
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
  const { core, broker } = context;
  const { registry, sync } = core;
  const items = (): Promise<AdminReplies["agents.list"]["items"]> => Promise.all(registry.list().map(agentItem));

  /** Makes the credentials that an agent needs; on a server of somebody else's they are made there. */
  const credsOf = async (agent: AgentName): Promise<string> => (broker.own ? await broker.agentCreds(agent) : "");

  return {
    "agents.plan": ({ request }) => registry.plan(request.dir),
    "agents.register": async ({ request }): Promise<RegisterReply> => {
      const reply = await core.register(request.dir);
      return { ...reply, creds: await credsOf(reply.agent as AgentName) };
    },
    "agents.list": async () => ({ items: await items() }),
    "agents.show": async ({ request }): Promise<AdminReplies["agents.show"]> => {
      const { engine, registration, storage, manifest, vectors, name } = agentOf(core, request.agent);
      const view = await engine.stateOf();
      const usage = await engine.usage();
      return {
        ...(await agentItem({ name, registration, agent: agentOf(core, name), error: null })),
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
      // First: after a crash in between, the next start gives an agent that is still registered new ones.
      await broker.revokeAgent(request.agent);
      return await core.remove(request.agent, { purge: request.purge ?? false });
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
    "daemon.status": async (): Promise<AdminReplies["daemon.status"]> => ({
      version: context.version,
      pid: process.pid,
      home: context.home,
      nats: { url: broker.url, own: broker.own, version: broker.serverVersion },
      uptime: (Date.now() - context.started) / 1000,
      memory: process.memoryUsage.rss(),
      agents: await items(),
      sync: await sync.status(),
    }),
    "daemon.drain": async () => {
      context.drain();
      return { draining: true };
    },
    "daemon.reload": async () => ({ reloaded: await context.reload() }),
    "sync.init": ({ request }) => sync.init(request.uri),
    "sync.status": () => sync.status(),
    "sync.push": ({ request, progress }) => sync.push(request.agent, progress),
    "sync.pull": async ({ request, progress }) => {
      requireBucket(sync.bucket);
      const reply = await core.pull(request.agent, progress);
      for (const { agent } of registry.list()) if (agent !== null) await credsOf(agent.name);
      return reply;
    },
  };
}

function requireBucket(bucket: string | null): void {
  if (bucket !== null) return;
  throw new VlinderError("unavailable", "no bucket is set: memory is kept only on this machine", {
    retryable: false,
    remedy: "`vlinder init file:///path/to/folder` sets one",
  });
}
