import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, open, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Client, connect, type Vlinder } from "@vlinder/agent-runtime";
import { residentBytes } from "../io.ts";

const PROGRAM = fileURLToPath(new URL("../../../daemon/bin/vlinderd.mjs", import.meta.url));

/** A real vlinderd in a process of its own, on a home in the temporary folder. */
export class Daemon {
  readonly home: string;
  /** Memory after the start, in bytes. */
  readonly idle: number | null;
  readonly #process: ChildProcess;
  readonly #folder: string;
  readonly #open: { close(): Promise<void> }[] = [];

  private constructor(folder: string, home: string, process: ChildProcess) {
    this.#folder = folder;
    this.home = home;
    this.#process = process;
    this.idle = this.resident();
  }

  static async start(folder: string, profile: string | null): Promise<Daemon> {
    const home = join(folder, "home");
    await mkdir(home, { recursive: true });
    await writeFile(join(home, "config.toml"), '[nats]\nport = 0\n[log]\nlevel = "warn"\n');
    const log = await open(join(folder, "vlinderd.log"), "w");
    const flags = profile === null ? [] : ["--cpu-prof", `--cpu-prof-dir=${profile}`];
    const process = spawn(globalThis.process.execPath, [...flags, PROGRAM], {
      env: { ...globalThis.process.env, VLINDER_HOME: home },
      stdio: ["ignore", log.fd, log.fd],
    });
    await log.close();
    for (let i = 0; i < 1000 && !existsSync(join(home, "run", "daemon.json")); i++) {
      if (process.exitCode !== null) break;
      await sleep(20);
    }
    if (!existsSync(join(home, "run", "daemon.json"))) {
      process.kill("SIGKILL");
      throw new Error(`vlinderd did not start:\n${await readFile(join(folder, "vlinderd.log"), "utf8")}`);
    }
    return new Daemon(folder, home, process);
  }

  /** Registers an agent; again does nothing. */
  async register(agent: string, { vectors = false } = {}): Promise<void> {
    const folder = join(this.#folder, "agents", agent);
    await mkdir(folder, { recursive: true });
    const more = vectors ? 'vector_storage = "sqlite://vectors.db"\n[vectors]\ndimension = 384\n' : "";
    await writeFile(join(folder, "agent.toml"), `name = "${agent}"\nobject_storage = "sqlite://objects.db"\n${more}`);
    const admin = await Client.connect({ home: this.home });
    await admin.admin("agents.register", { dir: folder });
    await admin.close();
  }

  /** An agent's SDK, closed when the daemon stops. */
  async connect(agent: string): Promise<Vlinder> {
    const vlinder = await connect({ home: this.home, agent, timeout: 60_000 });
    this.#open.push(vlinder);
    return vlinder;
  }

  resident(): number | null {
    return this.#process.pid === undefined ? null : residentBytes(this.#process.pid);
  }

  async stop(): Promise<void> {
    for (const one of this.#open.splice(0)) await one.close();
    const ended = new Promise<void>((resolve) => this.#process.once("exit", () => resolve()));
    if (this.#process.exitCode !== null) return;
    this.#process.kill("SIGTERM");
    await ended;
  }
}
