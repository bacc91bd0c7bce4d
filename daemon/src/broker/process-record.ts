import { mkdirSync, realpathSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "pino";
import { z } from "zod";
import { processStart } from "./process-start.ts";
import { readTextFile } from "./private-file.ts";

const schema = z.object({ pid: z.number().int().positive(), started: z.string(), home: z.string() });

const TERM_WAIT_MS = 5_000;

/**
 * Which nats-server this home has started: `$VLINDER_HOME/run/nats.json`. It outlives a `kill -9`
 * of the daemon, so that the next start can end the server that was left behind, and only that
 * one: its id, the time it was started and the home must all be as recorded.
 */
export class ProcessRecord {
  readonly #file: string;
  readonly #home: string;

  constructor(home: string) {
    this.#home = realpathSync(home);
    this.#file = path.join(home, "run", "nats.json");
  }

  /** Synchronous: between the start of the process and its record nothing else is to happen. */
  write(pid: number): void {
    const started = processStart(pid);
    if (started === null) return; // it is over already
    mkdirSync(path.dirname(this.#file), { recursive: true, mode: 0o700 });
    // Whole or not at all: a reader may look at any moment, and a kill may come at any.
    const scratch = `${this.#file}.new`;
    writeFileSync(scratch, `${JSON.stringify({ pid, started, home: this.#home })}\n`, { mode: 0o600 });
    renameSync(scratch, this.#file);
  }

  remove(): void {
    rmSync(this.#file, { force: true });
  }

  /** Ends the recorded process if it still runs. The caller owns the home (its lock), so nobody uses it. */
  async endLeftover(log: Logger): Promise<void> {
    const pid = await this.#leftover(log);
    if (pid !== null) {
      log.warn({ pid }, "ending the nats-server that an earlier vlinderd left behind");
      signal(pid, "SIGTERM");
      if (!(await this.#isGone(TERM_WAIT_MS))) {
        signal(pid, "SIGKILL");
        await this.#isGone(TERM_WAIT_MS);
      }
    }
    this.remove();
  }

  async #isGone(within: number): Promise<boolean> {
    for (const until = Date.now() + within; Date.now() < until; await sleep(20)) {
      if ((await this.#leftover(null)) === null) return true;
    }
    return false;
  }

  async #leftover(log: Logger | null): Promise<number | null> {
    const text = await readTextFile(this.#file);
    if (text === null) return null;
    const record = parse(text);
    if (record === null) {
      log?.warn({ file: this.#file }, "the record of the nats-server is damaged: a server left behind can't be told");
      return null;
    }
    return record.home === this.#home && processStart(record.pid) === record.started ? record.pid : null;
  }
}

/** Null for a record that was cut off by a crash. */
function parse(text: string): z.infer<typeof schema> | null {
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    return null; // the caller says so in the log
  }
}

function signal(pid: number, name: "SIGTERM" | "SIGKILL"): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    // It ended between the look and the signal.
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}
