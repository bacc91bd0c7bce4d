import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { VLINDER, VLINDERD } from "../../../test/harness/programs.ts";
import { run } from "../../src/cli/run.ts";
import type { Core } from "../../src/daemon-core.ts";
import { NODE_FLAGS } from "../../src/node-flags.ts";
import { createLog } from "../../src/observe/log.ts";
import { loadConfig } from "../../src/registry/config.ts";
import { openHome } from "../../src/registry/home.ts";

export const PROGRAM = VLINDER;
// A machine that others keep busy takes long to read the code for the first time.
const START = 60_000;

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  readonly bytes: Buffer;
}

export interface RunOptions {
  /** Standard output and error are a terminal. */
  readonly tty?: boolean;
  readonly stdin?: Iterable<Uint8Array>;
  readonly env?: NodeJS.ProcessEnv;
  /** Hears when the terminal is told to show what is typed no more, and to show it again. */
  readonly rawMode?: (on: boolean) => void;
}

/** One command line in this process. */
export async function vlinder(
  argv: readonly string[],
  { tty = false, stdin, env = {}, rawMode }: RunOptions = {},
): Promise<Ran> {
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  const stream = (chunks: Buffer[]) => ({
    isTTY: tty,
    write: (chunk: string | Uint8Array) => chunks.push(Buffer.from(chunk as Uint8Array)),
  });
  const code = await run(argv, {
    stdin: Object.assign(
      (async function* () {
        yield* stdin ?? [];
      })(),
      { isTTY: tty, ...(rawMode === undefined ? {} : { setRawMode: rawMode }) },
    ),
    stdout: stream(out),
    stderr: stream(err),
    env: { ...process.env, NO_COLOR: "", ...env },
  });
  const bytes = Buffer.concat(out);
  return { code, bytes, out: bytes.toString("utf8"), err: Buffer.concat(err).toString("utf8") };
}

/** The one document of `--json`; fails when there is anything besides. */
export function documentOf({ out, err }: Ran): Record<string, unknown> {
  if (err !== "") throw new Error(`standard error is not empty: ${err}`);
  if (!/^[^\n]+\n$/.test(out)) throw new Error(`not one line: ${out}`);
  return JSON.parse(out) as Record<string, unknown>;
}

export async function temporary(): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await realpath(await mkdtemp(join(tmpdir(), "vlinder-cli-")));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

/** Work on a home without a daemon, and without a process for it. */
export async function withCore<Result>(folder: string, work: (core: Core) => Promise<Result>): Promise<Result> {
  const { openCore } = await import("../../src/daemon-core.ts");
  const home = await openHome(folder);
  const config = await loadConfig(home, { VLINDER_SYNC_WHEN: "manual" });
  const core = await openCore({ home, config, log: createLog("silent") });
  try {
    return await work(core);
  } finally {
    await core.close();
  }
}

export interface RunningDaemon {
  readonly pid: number;
  /** Ends it, however it is, and waits until it has. */
  stop(): Promise<void>;
}

/** The real daemon, as a process, on a home. */
export async function startDaemon(home: string): Promise<RunningDaemon> {
  // What a killed one has left would look like the new one's.
  await rm(join(home, "run", "daemon.json"), { force: true });
  const child = spawn(process.execPath, [...NODE_FLAGS, VLINDERD], {
    // What is pushed and pulled is up to each test.
    env: {
      ...process.env,
      VLINDER_HOME: home,
      VLINDER_NATS_PORT: "0",
      VLINDER_LOG_LEVEL: "warn",
      VLINDER_SYNC_WHEN: "manual",
    },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let log = "";
  child.stderr.on("data", (chunk: Buffer) => (log += chunk.toString("utf8")));
  const exited = once(child, "exit");
  const deadline = performance.now() + START;
  while (!(await isReady(home))) {
    if (child.exitCode !== null || performance.now() > deadline) {
      child.kill("SIGKILL");
      throw new Error(`vlinderd did not start: ${log}`);
    }
    await sleep(50);
  }
  return {
    pid: child.pid as number,
    stop: async () => {
      child.kill("SIGTERM");
      await exited;
    },
  };
}

async function isReady(home: string): Promise<boolean> {
  try {
    await readFile(join(home, "run", "daemon.json"));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}
