import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ServerProgram } from "../../daemon/src/broker/server-program.ts";
import type { Options } from "./options.ts";
import { Report } from "./report.ts";
import { FULL, QUICK, type Sizes } from "./sizes.ts";
import { progress } from "./progress.ts";
import { States } from "./states/states.ts";
import { Daemon, type DaemonSetting } from "./wire/daemon.ts";

/** One run: its options, what it found, and what must be cleaned up. */
export class Bench {
  readonly options: Options;
  readonly sizes: Sizes;
  /** What the daemons and the peers run on. */
  readonly natsServer: ServerProgram;
  readonly report: Report;
  readonly states = new States(this);
  readonly #undo: (() => Promise<unknown> | void)[] = [];
  #daemon: Promise<Daemon> | null = null;

  constructor(options: Options, natsServer: ServerProgram) {
    this.options = options;
    this.natsServer = natsServer;
    this.sizes = options.quick ? QUICK : FULL;
    this.report = new Report(this.sizes);
  }

  /** The first figure, or with --quick the second. */
  scale(whole: number, quick: number): number {
    return this.options.quick ? quick : whole;
  }

  get rounds(): number {
    return this.scale(5, 3);
  }

  /** How long one thing is measured in a round, in milliseconds. */
  get slot(): number {
    return this.scale(600, 80);
  }

  progress(line: string): void {
    progress(line);
  }

  /** Undone in reverse at the end. */
  onEnd(step: () => Promise<unknown> | void): void {
    this.#undo.push(step);
  }

  /** A folder that is gone at the end. */
  async folder(): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), "vlinder-bench-"));
    this.onEnd(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }));
    return folder;
  }

  /** The daemon that sections share, started when it is first needed. */
  daemon(): Promise<Daemon> {
    this.#daemon ??= (async () => this.startDaemon(join(await this.folder(), "home")))();
    return this.#daemon;
  }

  /** A daemon on a home; it is stopped at the end, if not before. */
  async startDaemon(home: string, setting?: DaemonSetting): Promise<Daemon> {
    const daemon = await Daemon.start(home, this.options.profile, setting);
    this.onEnd(() => daemon.stop());
    return daemon;
  }

  async end(): Promise<void> {
    for (const step of this.#undo.splice(0).toReversed()) await step();
  }
}
