import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Options, SectionName } from "./options.ts";
import { Report } from "./report.ts";
import { Daemon } from "./wire/daemon.ts";
import { startPeer, type Peer } from "./wire/peer.ts";

/** One run: its options, what it found, and what must be cleaned up. */
export class Bench {
  readonly options: Options;
  readonly report = new Report();
  readonly #undo: (() => Promise<unknown> | void)[] = [];
  readonly #memory: [string, number | null][] = [];
  #daemon: Promise<Daemon> | null = null;
  #peer: Promise<Peer> | null = null;

  constructor(options: Options) {
    this.options = options;
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
    if (process.stderr.isTTY) process.stderr.write(`\r\u001b[2K${line}`);
    else process.stderr.write(`${line}\n`);
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

  /** The daemon, one for all sections, started when it is first needed. */
  daemon(): Promise<Daemon> {
    this.#daemon ??= (async () => {
      const daemon = await Daemon.start(await this.folder(), this.options.profile);
      this.onEnd(() => daemon.stop());
      return daemon;
    })();
    return this.#daemon;
  }

  /** How much memory the daemon has after each section that used it. */
  async noteMemory(section: SectionName): Promise<void> {
    const daemon = await this.#daemon;
    if (daemon === null) return;
    this.#memory[0] ??= ["after the start", daemon.idle];
    this.#memory.push([`after ${section}`, daemon.resident()]);
  }

  get memory(): readonly (readonly [when: string, bytes: number | null])[] {
    return this.#memory;
  }

  /** A nats-server with JetStream and an echo responder beside the daemon's. */
  peer(): Promise<Peer> {
    this.#peer ??= (async () => {
      const peer = await startPeer(await this.folder());
      this.onEnd(() => peer.stop());
      return peer;
    })();
    return this.#peer;
  }

  async end(): Promise<void> {
    for (const step of this.#undo.splice(0).toReversed()) await step();
  }
}
