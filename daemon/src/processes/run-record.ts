import { readdirSync, readFileSync, realpathSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Logger } from "pino";
import { z } from "zod";
import { makePrivateFolder } from "../broker/private-file.ts";
import { processStart } from "../broker/process-start.ts";
import { endMembers } from "./members.ts";

const schema = z.strictObject({
  home: z.string(),
  mark: z.string().min(16),
  /** Null: it was about to be started. */
  pid: z.int().positive().nullable(),
  started: z.string().nullable(),
});

/**
 * Which processes of agents this home has started: `$VLINDER_HOME/run/agents/<name>.json`. They outlive a `kill -9` of the
 * daemon, and the next one ends what the last one left, so that no agent ever runs twice. It ends only what it knows to be
 * that: by the start's mark, or by id and time of start.
 */
export class RunRecords {
  readonly #folder: string;
  readonly #home: string;

  private constructor(folder: string, home: string) {
    this.#folder = folder;
    this.#home = home;
  }

  /** `home` and its folder `run`. */
  static async open(home: string, run: string): Promise<RunRecords> {
    const folder = path.join(run, "agents");
    await makePrivateFolder(folder);
    return new RunRecords(folder, realpathSync(home));
  }

  /** Before the start with no id, and at once after it with one: synchronous, so that nothing else happens in between. */
  write(agent: string, mark: string, pid: number | null): void {
    const started = pid === null ? null : processStart(pid);
    const file = this.#file(agent);
    const scratch = `${file}.new`;
    const record: z.infer<typeof schema> = { home: this.#home, mark, pid, started };
    writeFileSync(scratch, `${JSON.stringify(record)}\n`, { mode: 0o600 });
    renameSync(scratch, file);
  }

  remove(agent: string): void {
    rmSync(this.#file(agent), { force: true });
  }

  /** Ends what an earlier daemon left, all at the same time. The caller has the home's lock, so nobody else started it. */
  async endLeftovers(log: Logger): Promise<void> {
    const files = readdirSync(this.#folder).filter((name) => name.endsWith(".json"));
    await Promise.all(files.map((name) => this.#endLeftover(path.join(this.#folder, name), log)));
  }

  async #endLeftover(file: string, log: Logger): Promise<void> {
    const agent = path.basename(file, ".json");
    const record = parse(readFileSync(file, "utf8"));
    if (record === null) {
      log.warn({ file }, "the record of an agent's process is damaged: one left behind can't be told");
    } else if (record.home === this.#home) {
      const { pid, started, mark } = record;
      const isThatOne = pid !== null && started !== null && processStart(pid) === started;
      if (isThatOne) log.warn({ agent, pid }, "ending the agent's process that an earlier vlinderd left behind");
      if (!(await endMembers({ group: isThatOne ? pid : null, mark }))) {
        log.error({ agent, pid }, "a process that an earlier vlinderd left behind can't be ended");
      }
    }
    rmSync(file, { force: true });
  }

  #file(agent: string): string {
    return path.join(this.#folder, `${agent}.json`);
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
