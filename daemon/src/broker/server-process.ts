import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "pino";
import { asVlinderError, VlinderError } from "@vlinder/protocol";
import { makePrivateFolder } from "./private-file.ts";
import type { ProcessRecord } from "./process-record.ts";

const READY_WAIT_MS = 10_000;
const STOP_WAIT_MS = 5_000;
const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 10_000;
/** A server that ran this long has not failed because of its start: the delays begin anew. */
const HEALTHY_MS = 30_000;

export interface ServerSetup {
  readonly program: string;
  /** Preferred; another one is taken when somebody has it. 0: any. */
  readonly port: number;
  /** Where the server, once it listens, writes a file with its addresses. */
  readonly ports: string;
  readonly record: ProcessRecord;
  readonly log: Logger;
  /** Writes what the server reads at its start, for this port, and answers the configuration's path. */
  readonly prepare: (port: number) => Promise<string>;
}

/** A nats-server as a child: started, started again on the same port when it dies, and stopped. */
export class ServerProcess {
  readonly #setup: ServerSetup;
  readonly #stopped = new AbortController();
  #port = 0;
  #child: ChildProcess | null = null;
  #supervision: Promise<void> = Promise.resolve();
  /** The last resort when the daemon ends without `stop`; after a `kill -9` it is the next start's job. */
  readonly #onExit = () => this.#child?.kill("SIGTERM");

  private constructor(setup: ServerSetup) {
    this.#setup = setup;
  }

  /** @throws unavailable when it does not come up */
  static async start(setup: ServerSetup): Promise<ServerProcess> {
    await setup.record.endLeftover(setup.log);
    const server = new ServerProcess(setup);
    process.once("exit", server.#onExit);
    try {
      server.#port = await server.#launchOnSomePort();
    } catch (error) {
      await server.stop();
      throw error;
    }
    server.#supervision = server.#supervise();
    return server;
  }

  get url(): string {
    return `nats://127.0.0.1:${this.#port}`;
  }

  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    process.off("exit", this.#onExit);
    await end(this.#child);
    await this.#supervision;
    this.#setup.record.remove();
  }

  async #launchOnSomePort(): Promise<number> {
    const { port, log } = this.#setup;
    try {
      return await this.#launch(port);
    } catch (error) {
      if (port === 0 || (await isFree(port))) throw error;
      log.warn({ port }, "the port is taken by another program: nats-server takes a free one");
      return this.#launch(0);
    }
  }

  /** Starts the child and waits until it listens; answers the port. */
  async #launch(port: number): Promise<number> {
    const { program, ports, prepare, record } = this.#setup;
    await rm(ports, { recursive: true, force: true });
    await makePrivateFolder(ports);
    const config = await prepare(port);
    if (this.#stopped.signal.aborted) throw new VlinderError("unavailable", "nats-server was stopped");
    // A process group of its own: Ctrl-C in the daemon's terminal is not for the server, which has to
    // carry the last replies.
    const child = spawn(program, ["-c", config], {
      env: ownEnvironment(),
      detached: true,
      stdio: ["ignore", "ignore", "pipe"],
      windowsHide: true,
    });
    this.#child = child;
    if (child.pid !== undefined) record.write(child.pid);
    let complaint = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      complaint = (complaint + text).slice(-2_000);
    });
    child.on("error", (error) => {
      complaint += error.message;
    });
    for (const until = Date.now() + READY_WAIT_MS; Date.now() < until; await sleep(10)) {
      const got = child.pid === undefined ? null : await readPort(ports, child.pid);
      if (got !== null) return got;
      if (isOver(child)) break;
    }
    await end(child);
    throw new VlinderError("unavailable", `nats-server did not start: ${complaint.trim() || "no message"}`, {
      details: { program, config },
      remedy: `look into ${path.join(path.dirname(config), "nats-server.log")}`,
      retryable: false,
    });
  }

  async #supervise(): Promise<void> {
    const { log } = this.#setup;
    const { signal } = this.#stopped;
    for (let delay = FIRST_DELAY_MS; ; delay = Math.min(delay * 2, LONGEST_DELAY_MS)) {
      const launched = Date.now();
      await over(this.#child);
      if (signal.aborted) return;
      if (Date.now() - launched > HEALTHY_MS) delay = FIRST_DELAY_MS;
      const { exitCode, signalCode } = this.#child ?? {};
      log.error({ exitCode, signalCode, delay }, "nats-server ended by itself: it is started again");
      await pause(delay, signal);
      if (signal.aborted) return;
      try {
        await this.#launch(this.#port);
        log.info({ url: this.url }, "nats-server runs again");
      } catch (error) {
        log.error({ err: asVlinderError(error) }, "nats-server could not be started again");
      }
    }
  }
}

function isOver(child: ChildProcess): boolean {
  return child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
}

async function over(child: ChildProcess | null): Promise<void> {
  if (child !== null && !isOver(child)) await once(child, "exit");
}

async function end(child: ChildProcess | null): Promise<void> {
  if (child === null || isOver(child)) return;
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  const impatience = setTimeout(() => child.kill("SIGKILL"), STOP_WAIT_MS);
  await exited;
  clearTimeout(impatience);
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
}

/** The port in `<program>_<pid>.ports`, which the server writes when it listens; null while it doesn't. */
async function readPort(folder: string, pid: number): Promise<number | null> {
  const file = (await readdir(folder)).find((name) => name.endsWith(`_${pid}.ports`));
  if (file === undefined) return null;
  const text = await readFile(path.join(folder, file), "utf8");
  const port = /"nats:\/\/[^"]*:(\d+)"/.exec(text)?.[1]; // absent while the file is half written
  return port === undefined ? null : Number(port);
}

async function isFree(port: number): Promise<boolean> {
  const probe = createServer().listen(port, "127.0.0.1");
  try {
    await once(probe, "listening");
    return true;
  } catch {
    return false; // taken, or not ours to take (below 1024): either way another one is needed
  } finally {
    probe.close();
  }
}

/** What a server may need of this process's environment. Keys of buckets and models are not among it. */
function ownEnvironment(): NodeJS.ProcessEnv {
  const names = [
    "PATH",
    "HOME",
    "TMPDIR",
    "TMP",
    "TEMP",
    "TZ",
    "LANG",
    "SystemRoot",
    "GOMAXPROCS",
    "GOMEMLIMIT",
    "GOGC",
  ];
  return Object.fromEntries(
    names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
}
