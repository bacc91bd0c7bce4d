import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { NODE_FLAGS } from "../../daemon/src/node-flags.ts";
import { VLINDERD } from "./programs.ts";

/** A machine that others keep busy takes long to read the code. */
const READY_WAIT = 60_000;
const KEPT_LINES = 2_000;

/** What another daemon on the same machine may have set must not reach ours. */
function environment(home: string): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(
    ([name]) => !name.startsWith("VLINDER_") || name === "VLINDER_NATS_SERVER",
  );
  return { ...Object.fromEntries(own), VLINDER_HOME: home };
}

/** A real vlinderd as a child process on a home of its own, with its own nats-server on a free port. */
export class TestDaemon {
  /** Set before the first start only. */
  home: string;
  /** What its process has in its environment besides, from the next start on. */
  readonly environment: Record<string, string> = {};
  /** The newest lines that it has logged, over all its starts. */
  readonly log: string[] = [];
  readonly #program: string;
  #child: ChildProcess | null = null;
  #url = "";

  /** @param program what is run instead of `vlinderd` */
  constructor(home: string, program = VLINDERD) {
    this.home = home;
    this.#program = program;
  }

  get url(): string {
    return this.#url;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  get isRunning(): boolean {
    return this.#child !== null && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get adminCreds(): string {
    return path.join(this.home, "creds", "admin.creds");
  }

  agentCreds(agent: string): string {
    return path.join(this.home, "creds", "agents", `${agent}.creds`);
  }

  /** Of the nats-server that runs for it; null while there is none: one that ended and has no successor yet. */
  get natsPid(): number | null {
    const file = path.join(this.home, "run", "nats.json");
    if (!existsSync(file)) return null;
    return (JSON.parse(readFileSync(file, "utf8")) as { pid: number }).pid;
  }

  /** Writes config.toml, for the next start. */
  async configure(more = "", port = 0): Promise<void> {
    await mkdir(this.home, { recursive: true });
    await writeFile(path.join(this.home, "config.toml"), `${more}\n[nats]\nport = ${port}\n`);
  }

  /** Resolves when it serves. @throws with its log, when it ends before */
  async start(): Promise<void> {
    const child = spawn(process.execPath, [...NODE_FLAGS, this.#program], {
      env: { ...environment(this.home), ...this.environment },
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#child = child;
    await new Promise<void>((resolve, reject) => {
      const late = setTimeout(() => reject(this.#failure(`not ready after ${READY_WAIT} ms`)), READY_WAIT);
      child.once("error", reject);
      child.once("exit", (code, signal) => {
        clearTimeout(late);
        reject(this.#failure(`ended with ${code ?? signal}`));
      });
      createInterface({ input: child.stderr }).on("line", (line) => {
        this.log.push(line);
        if (this.log.length > KEPT_LINES) this.log.shift();
        if (!line.includes('"vlinderd is ready"')) return;
        clearTimeout(late);
        this.#url = (JSON.parse(line) as { url: string }).url;
        resolve();
      });
    });
  }

  /** What it exits with after SIGTERM. */
  async stop(): Promise<number | null> {
    return await this.end("SIGTERM");
  }

  /** `kill -9`: nothing is said to anybody, and its nats-server goes on without it. */
  async kill(): Promise<void> {
    await this.end("SIGKILL");
  }

  async end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child;
    if (child === null || !this.isRunning) return child?.exitCode ?? null;
    const exited = once(child, "exit");
    child.kill(signal);
    await exited;
    return child.exitCode;
  }

  /** What it exits with, by itself. */
  async exited(): Promise<number | null> {
    if (this.#child !== null && this.isRunning) await once(this.#child, "exit");
    return this.#child?.exitCode ?? null;
  }

  /** Lines of the log from this level on: 40 warnings, 50 errors. */
  logged(level: number): string[] {
    return this.log.filter((line) => Number(/^\{"level":(\d+)/.exec(line)?.[1] ?? 50) >= level);
  }

  #failure(what: string): Error {
    return new Error(`vlinderd on ${this.home}: ${what}\n${this.log.slice(-20).join("\n")}`);
  }
}
