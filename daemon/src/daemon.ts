import { execFile } from "node:child_process";
import { access, rm } from "node:fs/promises";
import { join } from "node:path";
import type { AgentName, DaemonFile } from "@vlinder/protocol";
import type { Logger } from "pino";
import { type Broker, startBroker } from "./broker/broker.ts";
import { type Core, openCore, type OpenedAgent, scheduleSettings } from "./daemon-core.ts";
import { packageVersion } from "./program-files.ts";
import { Drills } from "./drill/drills.ts";
import { adminHandlers } from "./endpoints/admin.ts";
import { keepProcess } from "./endpoints/agent-process.ts";
import { changesHandlers } from "./endpoints/changes.ts";
import { effectHandlers } from "./endpoints/effect.ts";
import { Events } from "./endpoints/events.ts";
import { kvHandlers } from "./endpoints/kv.ts";
import { OpenCalls } from "./endpoints/open-calls.ts";
import { Outbox } from "./endpoints/outbox.ts";
import { retentionHandlers } from "./endpoints/retention.ts";
import { serviceCallHandlers } from "./endpoints/service-calls.ts";
import { EndpointService } from "./endpoints/service.ts";
import { timelineHandlers } from "./endpoints/timeline.ts";
import { turnHandlers } from "./endpoints/turn.ts";
import { valueHandlers } from "./endpoints/value.ts";
import { vectorHandlers } from "./endpoints/vector.ts";
import { Processes } from "./processes/processes.ts";
import { writeFileAtomic } from "./registry/atomic-file.ts";
import { type Config, loadConfig } from "./registry/config.ts";
import type { Home } from "./registry/home.ts";
import { lockHome } from "./registry/home-lock.ts";
import { keepReopening } from "./registry/reopening.ts";

export interface Daemon {
  readonly url: string;
  readonly adminCreds: string;
  readonly core: Core;
  /** Resolves when it has stopped, for whatever reason. */
  readonly stopped: Promise<void>;
  stop(): Promise<void>;
  /** Lets a stop wait no longer for the last push: what is owed stays owed. */
  hurry(): void;
}

/** How long a stop waits for requests that are at work, in milliseconds. */
const STOP_WAIT = 10_000;
/** And at the very end, for what was told meanwhile. */
const LAST_WAIT = 2_000;

/** Starts the whole daemon on a home: lock, state, NATS, endpoints; says where it is in `run/daemon.json`. */
export async function startDaemon(options: { home: Home; config: Config; log: Logger }): Promise<Daemon> {
  const { home, config, log } = options;
  const undo: (() => Promise<void> | void)[] = [];
  try {
    const lock = await lockHome(home);
    undo.push(() => lock.release());
    const version = packageVersion();
    // At the same time: one mostly waits for threads, the other for a server.
    const [opened, started] = await Promise.allSettled([
      openCore({ home, config, log }),
      startBroker({ home: home.path, ...config.nats, log }),
    ]);
    if (opened.status === "fulfilled") undo.push(() => opened.value.close());
    if (started.status === "fulfilled") undo.push(() => started.value.stop());
    if (opened.status === "rejected") {
      if (started.status === "rejected") log.error({ err: started.reason }, "NATS could not be started either");
      throw opened.reason;
    }
    if (started.status === "rejected") throw started.reason;
    const [core, broker] = [opened.value, started.value];
    return await serve({ ...options, core, broker, version, undo });
  } catch (error) {
    await unwind(undo, log);
    throw error;
  }
}

interface Parts {
  readonly home: Home;
  readonly config: Config;
  readonly log: Logger;
  readonly core: Core;
  readonly broker: Broker;
  readonly version: string;
  readonly undo: (() => Promise<void> | void)[];
}

async function serve({ home, log, core, broker, version, undo }: Parts): Promise<Daemon> {
  const outbox = new Outbox(broker.connection, log);
  const service = new EndpointService(broker.connection, outbox, log);
  const events = new Events(broker.connection, outbox, log);
  core.onMoves((agent, moves) => events.moves(agent, moves));
  core.onTurn((agent, news) => events.turn(agent, news));
  core.schedule.onLock((news, owed) => events.lock(news, owed));
  // What is told and answered while all below stops goes out before the connection closes.
  undo.push(() => outbox.flush(LAST_WAIT));
  // When nobody writes any more, and while NATS is there to tell what came of it.
  undo.push(() => core.schedule.stop());
  let finish = (): void => {};
  const stopped = new Promise<void>((resolve) => {
    finish = resolve;
  });
  let stopping: Promise<void> | null = null;
  const stop = (): Promise<void> => {
    stopping ??= (async () => {
      log.info("stopping");
      await notify("--stopping", log);
      await unwind(undo, log);
      log.info("stopped");
      finish();
    })();
    return stopping;
  };

  const provide = async (agent: OpenedAgent): Promise<void> => {
    if (broker.own) await broker.agentCreds(agent.name);
    core.index(agent);
  };
  for (const { agent } of core.registry.list()) if (agent !== null) await provide(agent);
  const processes = await openProcesses(home, broker, log, (agent, how) => void core.lostProcess(agent, how));
  core.serveTurns({
    announce: (agent, message) => events.announce(agent, message),
    wake: (agent) => void processes.ready(agent),
  });
  const served = async (agent: OpenedAgent): Promise<void> => {
    await provide(agent);
    await keepProcess(processes, agent);
  };
  const reopened = async (agent: OpenedAgent): Promise<void> => {
    await served(agent);
    void core.schedule.opened(agent.name);
  };
  undo.push(keepReopening(() => core.registry.retry(), reopened, log));
  const calls = new OpenCalls();
  const handlers = {
    ...kvHandlers(core),
    ...changesHandlers(core),
    ...valueHandlers(core),
    ...vectorHandlers(core),
    ...timelineHandlers(core),
    ...retentionHandlers(core),
    ...turnHandlers(core),
    ...effectHandlers(core),
    ...serviceCallHandlers(core, calls),
  };
  const drills = await Drills.open(core, home.path);
  const admin = adminHandlers({
    core,
    broker,
    processes,
    drills,
    home: home.path,
    version,
    started: Date.now(),
    drain: () => setImmediate(() => void stop()),
    reload: async () => {
      const read = await loadConfig(home);
      const { log: logConfig, providers } = read;
      const changed = core.providers.replace(providers) ? ["providers"] : [];
      if (core.schedule.replace(scheduleSettings(read))) changed.push("sync");
      // What it read from elsewhere may be another one, too: credentials.
      core.schedule.changed();
      if (logConfig.level === log.level) return changed;
      log.level = logConfig.level;
      return [...changed, "log.level"];
    },
  });
  // Calls that outlast the wait are broken off, and recorded so far as they came.
  undo.push(() => calls.close());
  // Nobody can end a turn any more: who waits for one is told.
  undo.push(() =>
    service.stop(STOP_WAIT, async () => {
      await drills.stop();
      await core.endTurns();
    }),
  );
  // Before the service: an agent's last requests are answered.
  undo.push(() => processes.stop());
  await service.start(version, handlers, admin);

  const file = join(home.run, "daemon.json");
  const contents: DaemonFile = { url: broker.url, pid: process.pid, creds: broker.adminCreds, version };
  undo.push(() => rm(file, { force: true }));
  await broker.connection.flush();
  for (const { agent } of core.registry.list()) {
    if (agent === null) continue;
    keepProcess(processes, agent).catch((err: unknown) => {
      log.error({ agent: agent.name, err }, "the agent's process could not be looked after");
    });
  }
  await writeFileAtomic(file, `${JSON.stringify(contents)}\n`);
  await notify("--ready", log);
  log.info({ url: broker.url, home: home.path, version }, "vlinderd is ready");
  core.schedule
    .start()
    .catch((err: unknown) => log.error({ err }, "what is owed to the bucket could not be found out"));
  return { url: broker.url, adminCreds: broker.adminCreds, core, stopped, stop, hurry: () => core.schedule.hurry() };
}

/** The agents that the daemon starts get its server's address and their own credentials, and never the daemon's. */
async function openProcesses(
  home: Home,
  broker: Broker,
  log: Logger,
  gone: (agent: AgentName, how: string) => void,
): Promise<Processes> {
  const credsOf = async (agent: AgentName): Promise<string | null> => {
    if (broker.own) return await broker.agentCreds(agent);
    const file = home.agentCreds(agent);
    return await access(file).then(
      () => file,
      () => null,
    );
  };
  return await Processes.open({
    home,
    log,
    access: async (agent) => ({ url: broker.url, creds: await credsOf(agent) }),
    environment: process.env,
    node: process.execPath,
    gone,
  });
}

/** Undoes in reverse; a step that fails does not keep the ones after it. */
async function unwind(steps: (() => Promise<void> | void)[], log: Logger): Promise<void> {
  for (const step of steps.splice(0).toReversed()) {
    try {
      await step();
    } catch (error) {
      log.error({ err: error }, "a step of stopping failed");
    }
  }
}

/** Tells systemd, where it started us: Node has no unix datagram sockets of its own. */
async function notify(what: "--ready" | "--stopping", log: Logger): Promise<void> {
  if (process.env["NOTIFY_SOCKET"] === undefined) return;
  await new Promise<void>((resolve) => {
    execFile("systemd-notify", [what], { timeout: 5000 }, (error) => {
      if (error !== null) log.warn({ err: error }, "systemd could not be told");
      resolve();
    });
  });
}
