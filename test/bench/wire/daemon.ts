import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, open, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Client, connect, type Vlinder, VlinderError } from "@vlinder/agent-runtime";
import { NODE_FLAGS, PROGRAM_ENVIRONMENT } from "../../../daemon/src/node-flags.ts";
import { VLINDERD } from "../../harness/programs.ts";

const START_MS = 60_000;

/** What a daemon is started with. */
export interface DaemonSetting {
  readonly env?: NodeJS.ProcessEnv;
  /** Syncs when it is asked to, and not by itself: where a push or a pull is what is measured. */
  readonly syncsWhenAsked?: boolean;
}

/** A real vlinderd in a process of its own. */
export class Daemon {
  readonly home: string;
  readonly pid: number;
  readonly #process: ChildProcess;
  readonly #open: { close(): Promise<void> }[] = [];

  private constructor(home: string, process: ChildProcess, pid: number) {
    this.home = home;
    this.#process = process;
    this.pid = pid;
  }

  /** Starts it on a home, which is made where there is none, and waits until it serves. */
  static async start(home: string, profile: string | null, setting: DaemonSetting = {}): Promise<Daemon> {
    const { env = {}, syncsWhenAsked = false } = setting;
    await mkdir(home, { recursive: true, mode: 0o700 });
    const sync = syncsWhenAsked ? '[sync]\nwhen = "manual"\n' : "";
    await writeFile(join(home, "config.toml"), `[nats]\nport = 0\n[log]\nlevel = "warn"\n${sync}`);
    const ready = join(home, "run", "daemon.json");
    const logFile = join(home, "vlinderd.log");
    await rm(ready, { force: true });
    const log = await open(logFile, "w");
    const flags = profile === null ? [] : ["--cpu-prof", `--cpu-prof-dir=${profile}`];
    const child = spawn(process.execPath, [...NODE_FLAGS, ...flags, VLINDERD], {
      env: { ...process.env, ...PROGRAM_ENVIRONMENT, ...env, VLINDER_HOME: home },
      stdio: ["ignore", log.fd, log.fd],
    });
    await log.close();
    const end = performance.now() + START_MS;
    while (!existsSync(ready) && child.exitCode === null && performance.now() < end) await sleep(2);
    if (!existsSync(ready) || child.pid === undefined) {
      child.kill("SIGKILL");
      throw new Error(`vlinderd did not start:\n${await readFile(logFile, "utf8")}`);
    }
    return new Daemon(home, child, child.pid);
  }

  /** Registers an agent; again does nothing. A database that lies in its place is taken as it is. */
  async register(agent: string, { vectors = false } = {}): Promise<void> {
    const folder = join(this.home, "declared", agent);
    await mkdir(folder, { recursive: true });
    const more = vectors ? 'vector_storage = "sqlite://vectors.db"\n[vectors]\ndimension = 384\n' : "";
    await writeFile(join(folder, "agent.toml"), `name = "${agent}"\nobject_storage = "sqlite://objects.db"\n${more}`);
    const admin = await again(() => Client.connect({ home: this.home, timeout: 60_000 }));
    await admin.admin("agents.register", { dir: folder });
    await admin.close();
  }

  /** Where the database of an agent that is not registered yet is put. */
  static fileOf(home: string, agent: string): string {
    return join(home, "agents", agent, "objects.db");
  }

  /** An agent's SDK, closed when the daemon stops. */
  async connect(agent: string): Promise<Vlinder> {
    const vlinder = await again(() => connect({ home: this.home, agent, timeout: 60_000 }));
    this.#open.push(vlinder);
    return vlinder;
  }

  /** So many of them, one after another. */
  async connectMany(agent: string, count: number): Promise<Vlinder[]> {
    const all: Vlinder[] = [];
    for (let i = 0; i < count; i++) all.push(await this.connect(agent));
    return all;
  }

  async stop(): Promise<void> {
    for (const one of this.#open.splice(0)) await one.close();
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => this.#process.once("exit", () => resolve()));
    this.#process.kill("SIGTERM");
    await ended;
  }
}

/** A machine that others keep busy may take longer than a connection waits. */
export async function again<T>(work: () => Promise<T>, attempts = 5): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (attempts === 1 || !(error instanceof VlinderError) || !error.retryable) throw error;
    await sleep(500);
    return await again(work, attempts - 1);
  }
}
