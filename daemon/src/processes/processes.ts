import path from "node:path";
import { type AgentName, type LogsReply, type ProcessItem, VlinderError } from "@vlinder/protocol";
import type { Logger } from "pino";
import { makePrivateFolder } from "../broker/private-file.ts";
import { AgentLog } from "./agent-log.ts";
import { AgentProcess } from "./agent-process.ts";
import { splitCommandLine } from "./command-line.ts";
import { type AgentAccess, agentEnvironment } from "./environment.ts";
import { findProgram } from "./program.ts";
import { newMark, type Run, startRun } from "./run.ts";
import { RunRecords } from "./run-record.ts";

export interface ProcessesOptions {
  /** `$VLINDER_HOME` and its folders, absolute. The caller has the home's lock. */
  readonly home: { readonly path: string; readonly run: string; readonly logs: string };
  readonly log: Logger;
  /** Where an agent connects to and with what. */
  readonly access: (agent: AgentName) => Promise<AgentAccess>;
  /** The daemon's, of which agents get a little. */
  readonly environment: NodeJS.ProcessEnv;
  /** Node's own file. */
  readonly node: string;
  /** An agent's process ran, and is gone. */
  readonly gone?: (agent: AgentName, how: string) => void;
}

/** An agent that the daemon starts. */
export interface ProcessSpec {
  readonly name: AgentName;
  /** The folder of agent.toml: where it runs. */
  readonly folder: string;
  /** The command line, as agent.toml has it. */
  readonly executable: string;
}

interface Kept {
  readonly spec: ProcessSpec;
  readonly process: AgentProcess;
}

/** The processes of the agents whose runtime is "process": one each, kept running, and their logs. */
export class Processes {
  readonly #options: ProcessesOptions;
  readonly #records: RunRecords;
  readonly #cleared: Promise<void>;
  readonly #kept = new Map<AgentName, Kept>();
  readonly #logs = new Map<AgentName, AgentLog>();
  /** Changes of one agent's process one after the other. */
  readonly #last = new Map<AgentName, Promise<unknown>>();
  #isStopping = false;
  /** The last resort when the daemon ends without `stop`; after a `kill -9` it is the next start's job. */
  readonly #onExit = (): void => {
    for (const { process: one } of this.#kept.values()) one.abandon();
  };

  private constructor(options: ProcessesOptions, records: RunRecords) {
    this.#options = options;
    this.#records = records;
    this.#cleared = records.endLeftovers(options.log);
    this.#cleared.catch(() => {}); // each start waits for it, and has the rejection
    process.once("exit", this.#onExit);
  }

  /** Begins to end what an earlier daemon left behind; no agent is started before that is done. */
  static async open(options: ProcessesOptions): Promise<Processes> {
    await makePrivateFolder(path.join(options.home.logs, "agents"));
    return new Processes(options, await RunRecords.open(options.home.path, options.home.run));
  }

  /**
   * Keeps an agent's process running. One that runs already is left alone, unless its command or folder is another now;
   * one that waits is started at once. Resolves when it runs, or when that has failed: `report` says which.
   */
  keep(spec: ProcessSpec): Promise<void> {
    return this.#inTurn(spec.name, async () => {
      if (this.#isStopping) return;
      const known = this.#kept.get(spec.name);
      const isSame = known?.spec.executable === spec.executable && known.spec.folder === spec.folder;
      if (known !== undefined && !isSame) await this.#drop(spec.name);
      if (known === undefined || !isSame) this.#kept.set(spec.name, { spec, process: this.#supervise(spec) });
      await this.#kept.get(spec.name)?.process.ready();
    });
  }

  /** Ends an agent's process and what it started; resolves when nothing of it is left. One that has none is fine. */
  drop(name: AgentName): Promise<void> {
    return this.#inTurn(name, () => this.#drop(name));
  }

  /** @throws not_declared, when it is not the daemon that starts this agent */
  restart(name: AgentName): Promise<ProcessItem> {
    return this.#inTurn(name, async () => {
      const kept = this.#kept.get(name);
      if (kept === undefined) throw notOurs(name, "started");
      await kept.process.restart();
      return kept.process.report;
    });
  }

  /** Null for an agent that something else starts. */
  report(name: AgentName): ProcessItem | null {
    return this.#kept.get(name)?.process.report ?? null;
  }

  isRunning(name: AgentName): boolean {
    return this.#kept.get(name)?.process.isRunning ?? false;
  }

  /**
   * Whether an agent's process runs; one that waits for its next start is started now, and waited for. That it runs does
   * not say that it has connected yet. Null for an agent that something else starts.
   */
  async ready(name: AgentName): Promise<boolean | null> {
    return (await this.#kept.get(name)?.process.ready()) ?? null;
  }

  /**
   * A page of an agent's log: from a position on, or the last `lines`. With `wait`, an empty page after a position waits
   * so many milliseconds for lines. @throws not_declared, when there is no log and never will be
   */
  async logs(
    name: AgentName,
    request: { readonly lines: number; readonly after?: string | undefined; readonly wait: number },
  ): Promise<LogsReply> {
    const page = await this.#logOf(name).page(request);
    if (!this.#kept.has(name) && page.position === "0-0") throw notOurs(name, "logged");
    return { agent: name, ...page };
  }

  /** Deletes the log of an agent whose data is deleted. */
  async forget(name: AgentName): Promise<void> {
    await this.#logs.get(name)?.delete();
    if (!this.#logs.has(name)) await this.#logOf(name).delete();
    this.#logs.delete(name);
  }

  /** Ends all of them at the same time; resolves when nothing is left. Nothing is started after it. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    for (const log of this.#logs.values()) log.close();
    await Promise.all([...this.#kept.keys()].map((name) => this.drop(name)));
    process.off("exit", this.#onExit);
  }

  #supervise(spec: ProcessSpec): AgentProcess {
    const log = this.#logOf(spec.name);
    return new AgentProcess({
      launch: () => this.#launch(spec, log),
      note: async (text, isTrouble) => {
        this.#options.log[isTrouble ? "warn" : "info"]({ agent: spec.name }, `agent's process: ${text}`);
        await log.write("daemon", [text.replace(/\s+/g, " ")]);
      },
      gone: (how) => this.#options.gone?.(spec.name, how),
    });
  }

  async #launch({ name, folder, executable }: ProcessSpec, log: AgentLog): Promise<Run> {
    await this.#cleared;
    const { access, environment, node } = this.#options;
    const words = splitCommandLine(executable);
    const mark = newMark();
    const env = agentEnvironment(environment, { agent: name, access: await access(name), mark, node });
    const file = await findProgram(words[0], folder, env.PATH);
    return await startRun({
      agent: name,
      file,
      words,
      folder,
      env,
      mark,
      log,
      records: this.#records,
      stuck: (pid) => this.#options.log.error({ agent: name, pid }, "something of the agent's process can't be ended"),
    });
  }

  async #drop(name: AgentName): Promise<void> {
    await this.#kept.get(name)?.process.stop();
    this.#kept.delete(name);
  }

  #logOf(name: AgentName): AgentLog {
    const known = this.#logs.get(name);
    if (known !== undefined) return known;
    const made = new AgentLog(path.join(this.#options.home.logs, "agents", `${name}.log`), (err) => {
      this.#options.log.warn({ agent: name, err }, "the agent's log can't be written");
    });
    if (this.#isStopping) made.close();
    this.#logs.set(name, made);
    return made;
  }

  #inTurn<Result>(name: AgentName, work: () => Promise<Result>): Promise<Result> {
    const result = (this.#last.get(name) ?? Promise.resolve()).then(work);
    const settled = result.then(
      () => undefined,
      () => undefined, // the caller has the rejection; the next in turn goes on
    );
    this.#last.set(name, settled);
    void settled.then(() => {
      if (this.#last.get(name) === settled) this.#last.delete(name);
    });
    return result;
  }
}

function notOurs(name: AgentName, what: string): VlinderError {
  return new VlinderError("not_declared", `"${name}" is not ${what} by the daemon: something else runs it`, {
    remedy: 'write runtime = "process" and executable = "…" in its agent.toml and run `vlinder agent add` again',
    details: { agent: name },
  });
}
