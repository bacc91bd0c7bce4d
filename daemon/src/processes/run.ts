import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { VlinderError } from "@vlinder/protocol";
import type { AgentLog } from "./agent-log.ts";
import { LineCutter } from "./line-cutter.ts";
import { endMembers, type Members, signalMembers } from "./members.ts";
import { Pace } from "./pace.ts";
import type { RunRecords } from "./run-record.ts";

/** How long the end of an output is waited for when its process is over, in milliseconds. */
const OUTPUT_WAIT = 1_000;
/** Bytes of log a second, and at once: an agent that floods its output is held up, and not the daemon. */
const LOG_RATE = 2_000_000;
const LOG_BURST = 8_000_000;

export interface Exit {
  readonly code: number | null;
  readonly signal: string | null;
}

/** One process of an agent, from its start to its end. */
export interface Run {
  readonly pid: number;
  /** When it is over, whatever it started is ended, and its output is in the log. */
  readonly over: Promise<Exit>;
  /** Asks it to end (SIGTERM), and after a while ends it. Resolves when nothing of it is left, or can't be helped. */
  end(): Promise<void>;
  /** For the daemon's own end without warning: asks, and waits for nothing. */
  abandon(): void;
}

export interface RunSetup {
  readonly agent: string;
  /** Absolute. */
  readonly file: string;
  readonly words: readonly [program: string, ...args: string[]];
  readonly folder: string;
  readonly env: Record<string, string>;
  /** The start's mark, which `env` has, too. */
  readonly mark: string;
  readonly log: AgentLog;
  readonly records: RunRecords;
  /** Called when something of it could not be ended. */
  readonly stuck: (pid: number) => void;
}

/** A mark that no other start has. */
export function newMark(): string {
  return randomBytes(16).toString("hex");
}

/** @throws unavailable, when the operating system can't start it */
export async function startRun(setup: RunSetup): Promise<Run> {
  const { agent, file, words, folder, env, mark, records } = setup;
  const [argv0, ...args] = words;
  let child: ChildProcess | null = null;
  try {
    records.write(agent, mark, null);
    // A process group of its own, to be ended as one; also, Ctrl-C in the daemon's terminal is not for it.
    child = spawn(file, args, { argv0, cwd: folder, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
    // Without a listener an error that comes later (a signal that can't be sent) would end the daemon.
    child.on("error", () => {});
    if (child.pid !== undefined) records.write(agent, mark, child.pid);
    await once(child, "spawn");
  } catch (cause) {
    // It may run all the same, when what failed is its record: then the next daemon would not know of it.
    await endMembers({ group: child?.pid ?? null, mark });
    records.remove(agent);
    throw notStarted(file, cause);
  }
  const pid = child.pid as number;
  const members: Members = { group: pid, mark };
  const over = overOf(child, members, setup);
  return {
    pid,
    over,
    end: async () => {
      await endMembers(members);
      await Promise.race([over, sleep(OUTPUT_WAIT * 2, undefined, { ref: false })]);
    },
    abandon: () => signalMembers(members, "SIGTERM"),
  };
}

async function overOf(child: ChildProcess, members: Members, setup: RunSetup): Promise<Exit> {
  const { agent, log, records, stuck } = setup;
  const { stdout, stderr } = child as { stdout: Readable; stderr: Readable };
  const copied = Promise.all([copy(stdout, "stdout", log), copy(stderr, "stderr", log)]);
  const exit = await new Promise<Exit>((resolve) => child.once("exit", (code, signal) => resolve({ code, signal })));
  if (await endMembers(members)) records.remove(agent);
  else stuck(child.pid as number);
  await Promise.race([copied, sleep(OUTPUT_WAIT, undefined, { ref: false })]);
  stdout.destroy();
  stderr.destroy();
  await copied;
  return exit;
}

/** Reads no faster than the log takes it. */
async function copy(output: Readable, stream: "stdout" | "stderr", log: AgentLog): Promise<void> {
  const cutter = new LineCutter();
  const pace = new Pace(LOG_RATE, LOG_BURST);
  try {
    for await (const chunk of output) await pace.spend(await log.write(stream, cutter.push(chunk as Buffer)));
  } catch (error) {
    // Nobody can be told of a pipe that broke but who reads the log; one that we closed is no news.
    if (!output.destroyed) await log.write("daemon", [`${stream} can't be read: ${(error as Error).message}`]);
  }
  await log.write(stream, cutter.end());
}

function notStarted(file: string, cause: unknown): VlinderError {
  const { code = "", message } = cause as NodeJS.ErrnoException;
  const remedy =
    code === "ENOENT" || code === "ENOEXEC"
      ? "the interpreter in its first line is missing, or it is made for another machine"
      : "see whether the machine has memory, processes and disk space left";
  return new VlinderError("unavailable", `${file} could not be started: ${message}`, {
    remedy,
    details: { code },
    cause,
  });
}
