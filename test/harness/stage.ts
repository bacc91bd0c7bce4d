import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { Client, connect, type ConnectOptions, type Vlinder } from "@vlinder/agent-runtime";
import type { RegisterReply } from "@vlinder/protocol";
import type { NatsConnection } from "nats";
import { afterAll, vi } from "vitest";
import { endAll, processesGiven, processesWith, until } from "./processes.ts";
import { TestDaemon } from "./test-daemon.ts";
import { openWire } from "./wire.ts";

/** What an agent.toml declares when a test doesn't say. */
export const BOTH_STORAGES = `object_storage = "sqlite://objects.db"
vector_storage = "sqlite://vectors.db"

[vectors]
dimension = 3
`;

/** For config.toml: the daemon pushes and pulls nothing by itself, so that each step is the test's. */
export const SYNC_BY_HAND = '[sync]\nwhen = "manual"\n';

/**
 * What the tests of one file work with: daemons, agents' folders, clients. All of it is ended after the
 * last test, which fails when a process is left.
 */
export class Stage {
  #root: Promise<string> | null = null;
  #numbers = 0;
  readonly #daemons: TestDaemon[] = [];
  readonly #closers: (() => Promise<void>)[] = [];
  readonly #admins = new Map<TestDaemon, Promise<Client>>();

  /** A new folder's path; nothing is there yet. */
  async path(name: string): Promise<string> {
    this.#root ??= mkdtemp(path.join(os.tmpdir(), "vlinder-stage-"));
    return path.join(await this.#root, `${++this.#numbers}-${name}`);
  }

  /** A daemon that is not started yet. */
  async newDaemon(config = "", program?: string): Promise<TestDaemon> {
    const daemon = new TestDaemon(await this.path("home"), program);
    await daemon.configure(config);
    this.#daemons.push(daemon);
    return daemon;
  }

  /** A daemon that runs. */
  async daemon(config = ""): Promise<TestDaemon> {
    const daemon = await this.newDaemon(config);
    await daemon.start();
    return daemon;
  }

  /** A folder with an agent.toml. */
  async agentFolder(name: string, declares = BOTH_STORAGES): Promise<string> {
    const folder = await this.path(name);
    await mkdir(folder);
    await writeFile(path.join(folder, "agent.toml"), `name = "${name}"\n${declares}`);
    return folder;
  }

  /** Registers an agent with the daemon. */
  async register(daemon: TestDaemon, name: string, declares?: string): Promise<RegisterReply> {
    const dir = await this.agentFolder(name, declares);
    return await (await this.admin(daemon)).admin("agents.register", { dir });
  }

  /** The administrator's client; one for each daemon, over its restarts. */
  admin(daemon: TestDaemon): Promise<Client> {
    const known = this.#admins.get(daemon) ?? this.client({ home: daemon.home });
    this.#admins.set(daemon, known);
    return known;
  }

  async client(options: ConnectOptions): Promise<Client> {
    const client = await Client.connect(options);
    this.#closers.push(() => client.close());
    return client;
  }

  /** An agent's SDK. */
  async sdk(daemon: TestDaemon, agent: string, options: ConnectOptions = {}): Promise<Vlinder> {
    const vlinder = await connect({ home: daemon.home, agent, ...options });
    this.#closers.push(() => vlinder.close());
    return vlinder;
  }

  /** A plain NATS connection, of an agent or of the administrator. */
  async wire(daemon: TestDaemon, user = "admin"): Promise<NatsConnection> {
    const creds = user === "admin" ? daemon.adminCreds : daemon.agentCreds(user);
    const connection = await openWire(daemon.url, creds, user);
    this.#closers.push(() => connection.close());
    return connection;
  }

  /** Ends everything, in order. @throws when a process is left */
  async close(): Promise<void> {
    for (const close of this.#closers.splice(0)) await close();
    for (const daemon of this.#daemons) await daemon.stop();
    if (this.#root === null) return;
    const root = await this.#root;
    try {
      await until("no process is left", () => left(root).length === 0, 5_000);
    } finally {
      this.killAll(root);
      await rm(root, { recursive: true, force: true, maxRetries: 3 });
    }
  }

  killAll(root: string): void {
    endAll([...this.#daemons.filter(({ isRunning }) => isRunning).map(({ pid }) => pid), ...left(root)]);
  }

  /** Ends what runs when the test process itself is ended before it has cleaned up. */
  async guard(): Promise<void> {
    const root = path.dirname(await this.path("guard"));
    process.once("exit", () => this.killAll(root));
  }
}

/** What works on something under this folder: daemons and NATS servers are told of it, agents have it in their environment. */
function left(root: string): number[] {
  return [...processesWith(root), ...processesGiven(root)];
}

/** The stage of a test file. */
export function newStage(): Stage {
  // Real processes on a machine that does other work too.
  vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });
  const stage = new Stage();
  void stage.guard();
  afterAll(() => stage.close(), 60_000);
  return stage;
}
