import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { cp, mkdir, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Hash } from "@vlinder/protocol";
import { dice } from "../noise.ts";
import type { Asked, Drilled, Faults, MachineSpec, Report, Synced, Told } from "./orders.ts";

const CHILD = fileURLToPath(new URL("trial-machine.ts", import.meta.url));
const HOUR = 3_600_000;
const GRACE = 2 * HOUR;
/** How many rounds of a pull and a push by each machine may pass until all say the same, when nothing goes wrong any more. */
const SETTLED_BY = 6;

/** How often something is tried that others may have broken off. */
const ATTEMPTS = 5;

/** The process died in the midst of an order. */
class Died extends Error {
  override readonly name = "Died";
}

/** A machine of the trial, over all the processes that it has been. */
class TrialMachine {
  readonly spec: MachineSpec;
  readonly env: NodeJS.ProcessEnv;
  readonly acknowledged: Hash[] = [];
  readonly kinds = new Map<string, number>();
  kills = 0;
  #child: ChildProcess | null = null;
  #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  #next = 1;

  constructor(spec: MachineSpec, env: NodeJS.ProcessEnv) {
    this.spec = spec;
    this.env = env;
  }

  async start(): Promise<void> {
    const child = spawn(process.execPath, ["--no-warnings", CHILD, JSON.stringify(this.spec)], {
      stdio: ["pipe", "pipe", "inherit"],
      env: {
        ...process.env,
        NODE_COMPILE_CACHE: join(tmpdir(), "vlinder-trial-code"),
        ...this.env,
      },
    });
    this.#child = child;
    child.stdin?.on("error", () => undefined);
    await new Promise<void>((resolve, reject) => {
      createInterface({ input: child.stdout as NodeJS.ReadableStream }).on("line", (line) => {
        const told = JSON.parse(line) as Told;
        if ("ready" in told) resolve();
        else if ("acknowledged" in told) this.#acknowledge(told.acknowledged, told.kind);
        else {
          const order = this.#waiting.get(told.id);
          this.#waiting.delete(told.id);
          if ("failed" in told) order?.reject(new Error(`machine ${this.spec.index}: ${told.failed}`));
          else order?.resolve(told.result);
        }
      });
      // "close" comes when all that it told is read.
      child.on("close", () => {
        this.#child = null;
        reject(new Died());
        for (const order of this.#waiting.values()) order.reject(new Died());
        this.#waiting.clear();
      });
    });
  }

  #acknowledge(commit: Hash, kind: string): void {
    this.acknowledged.push(commit);
    this.kinds.set(kind, (this.kinds.get(kind) ?? 0) + 1);
  }

  ask<T>(order: Asked, now: number): Promise<T> {
    const id = this.#next++;
    return new Promise<T>((resolve, reject) => {
      if (this.#child === null) return reject(new Died());
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.#child.stdin?.write(`${JSON.stringify({ ...order, id, now })}\n`);
    });
  }

  /** Carries an order out; where the process dies of it, starts another one. */
  async survive<T>(order: Asked, now: number): Promise<T | null> {
    try {
      return await this.ask<T>(order, now);
    } catch (error) {
      if (!(error instanceof Died)) throw error;
      this.kills++;
      await this.awake();
      return null;
    }
  }

  /** Carries out what may be done twice, until it is: whoever kills processes here may not be this trial. */
  async insist<T>(order: Asked, now: number): Promise<T> {
    for (let i = 0; i < ATTEMPTS; i++) {
      const result = await this.survive<T>(order, now);
      if (result !== null) return result;
    }
    throw new Error(`machine ${this.spec.index} dies of ${order.what} again and again`);
  }

  /** Starts it, when it is dead. */
  async awake(): Promise<void> {
    for (let i = 0; this.#child === null; i++) {
      try {
        await this.start();
      } catch (error) {
        if (!(error instanceof Died) || i === ATTEMPTS) throw error;
      }
    }
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === null) return;
    const closed = once(child, "close");
    child.kill("SIGKILL");
    await closed;
  }
}

export interface TrialOptions {
  readonly seed: number;
  /** A folder for homes and bucket. */
  readonly folder: string;
  /** Operations of each machine. */
  readonly operations: number;
  readonly encrypt?: boolean;
  /** How many machines drill at the end; default: all. */
  readonly drills?: number;
  /** Another place than a folder. */
  readonly uri?: string;
  /** What the processes are to know of that place. */
  readonly env?: NodeJS.ProcessEnv;
}

export interface TrialResult {
  readonly acknowledged: number;
  readonly kinds: ReadonlyMap<string, number>;
  readonly kills: number;
  readonly fired: ReadonlyMap<string, number>;
  readonly failed: number;
  readonly syncs: number;
  /** How often a home was set back to a copy of itself. */
  readonly restored: number;
  readonly rounds: number;
  /** What a machine said about itself or others. */
  readonly notes: ReadonlySet<string>;
  /** Of the three machines, and of a new one that has nothing but the bucket. */
  readonly reports: readonly Report[];
  /** Of the same machines, or the first of them. */
  readonly drills: readonly Drilled[];
  /** Commits that were acknowledged and are in no history of a machine, by machine. */
  readonly missing: readonly (readonly Hash[])[];
}

/** Three machines, each a process with a home of its own, write at random over a bucket with faults; then they come together. */
export class Trial {
  readonly #options: TrialOptions;
  readonly #roll: (below: number) => number;
  readonly #machines: TrialMachine[] = [];
  readonly #fired = new Map<string, number>();
  readonly #notes = new Set<string>();
  readonly #left: number[] = [];
  readonly #uri: string;
  #now = Date.parse("2026-11-26T12:00:00.000Z");
  #failed = 0;
  #syncs = 0;
  #restored = 0;
  #key: string | null = null;

  constructor(options: TrialOptions) {
    this.#options = options;
    this.#roll = dice(options.seed);
    this.#uri = options.uri ?? pathToFileURL(join(options.folder, "vault")).href;
  }

  async run(): Promise<TrialResult> {
    try {
      await this.#begin();
      while (this.#left.some((left) => left > 0)) await this.#round();
      return await this.#end();
    } finally {
      await Promise.all(this.#machines.map((machine) => machine.kill()));
    }
  }

  async #begin(): Promise<void> {
    await mkdir(this.#options.folder, { recursive: true });
    for (let i = 0; i < 3; i++) {
      const machine = await this.#machine(i);
      await this.#join(machine);
      this.#left.push(this.#options.operations);
      if (i === 0) await machine.ask({ what: "found" }, this.#now);
      for (const what of ["pull", "push"] as const) await this.#calm(machine, what);
    }
  }

  async #machine(index: number): Promise<TrialMachine> {
    const { seed, folder, env = {} } = this.#options;
    const policy = { over: 4, grace: GRACE };
    const home = join(folder, `home-${index}`);
    const machine = new TrialMachine({ home, uri: this.#uri, seed, index, policy }, env);
    this.#machines.push(machine);
    await machine.awake();
    return machine;
  }

  async #join(machine: TrialMachine): Promise<void> {
    const encrypt = (this.#options.encrypt ?? false) && this.#key === null;
    const { recovery } = await machine.ask<{ recovery: string | null }>(
      { what: "init", encrypt, key: this.#key },
      this.#now,
    );
    this.#key ??= recovery;
  }

  /** Each machine writes and syncs, all at the same time, or is away. */
  async #round(): Promise<void> {
    const roll = this.#roll;
    // Now and then all are away for longer than the grace; else for some minutes.
    this.#now += roll(12) === 0 ? GRACE + roll(2 * HOUR) : roll(20) * 60_000;
    await Promise.all(
      this.#machines.map((machine, i) => this.#turn(machine, i, dice(this.#options.seed * 7919 + roll(1 << 30)))),
    );
  }

  async #turn(machine: TrialMachine, i: number, roll: (below: number) => number): Promise<void> {
    const count = Math.min(this.#left[i] as number, 10 + roll(50));
    this.#left[i] = (this.#left[i] as number) - count;
    const working = machine.survive({ what: "work", seed: roll(1 << 30), count }, this.#now);
    // Half of the time what is written and what is synced go on at once.
    if (roll(2) === 0) await working;
    if (roll(8) === 0) {
      await sleep(roll(60));
      await machine.kill();
    }
    await working;
    for (const what of roll(2) === 0 ? (["pull", "push"] as const) : (["push"] as const)) {
      if (roll(4) === 0) continue;
      const killAt = roll(3) === 0 ? 1 + roll(16) : 0;
      const faults: Faults = { seed: roll(1 << 30), rate: roll(3) === 0 ? 150 : 15, killAt };
      const result = await machine.survive<Synced>({ what, faults }, this.#now);
      this.#syncs++;
      if (result !== null) this.#note(result);
    }
    await machine.awake();
    if (roll(10) === 0) await this.#backUp(machine);
  }

  /** The first time, a machine's home is copied; the next time, all that it has is pushed, and it is set back to that copy. */
  async #backUp(machine: TrialMachine): Promise<void> {
    const { home } = machine.spec;
    const isRestore = existsSync(`${home}-backup`);
    if (isRestore) await this.#pushAll(machine);
    await machine.kill();
    if (isRestore) {
      await rm(home, { recursive: true });
      await rename(`${home}-backup`, home);
      this.#restored++;
    } else await cp(home, `${home}-backup`, { recursive: true });
    await machine.awake();
  }

  async #pushAll(machine: TrialMachine): Promise<void> {
    for (let i = 0; ; i++) {
      const { error, code } = await machine.insist<Synced>({ what: "push", faults: null }, this.#now);
      if (error === null) return;
      if (i === ATTEMPTS) throw new Error(`machine ${machine.spec.index} can't push: ${code}: ${error}`);
    }
  }

  #note({ error, code, fired, notes }: Synced): void {
    for (const [fault, times] of Object.entries(fired)) this.#fired.set(fault, (this.#fired.get(fault) ?? 0) + times);
    for (const note of notes) this.#notes.add(note);
    if (error === null) return;
    this.#failed++;
    // Without a fault it may still miss a pack that another machine deletes at that moment: the next try finds what replaced it.
    if (Object.keys(fired).length === 0 && code !== "unavailable")
      throw new Error(`a sync failed of itself: ${code}: ${error}`);
  }

  async #calm(machine: TrialMachine, what: "push" | "pull"): Promise<Synced> {
    const result = await machine.insist<Synced>({ what, faults: null }, this.#now);
    if (result.error !== null)
      throw new Error(`machine ${machine.spec.index} can't ${what}: ${result.code}: ${result.error}`);
    for (const note of result.notes) this.#notes.add(note);
    return result;
  }

  async #end(): Promise<TrialResult> {
    const rounds = await this.#settle();
    const clone = await this.#machine(this.#machines.length);
    await this.#join(clone);
    await this.#calm(clone, "pull");
    const commits = this.#machines.flatMap(({ acknowledged }) => acknowledged);
    const reports: Report[] = [];
    const drills: Drilled[] = [];
    const missing: Hash[][] = [];
    for (const machine of this.#machines) {
      reports.push(await machine.insist<Report>({ what: "report" }, this.#now));
      if (drills.length < (this.#options.drills ?? Infinity))
        drills.push(await machine.insist<Drilled>({ what: "drill" }, this.#now));
      missing.push(await machine.insist<Hash[]>({ what: "missing", commits }, this.#now));
    }
    const kinds = new Map<string, number>();
    for (const machine of this.#machines)
      for (const [kind, times] of machine.kinds) kinds.set(kind, (kinds.get(kind) ?? 0) + times);
    return {
      acknowledged: commits.length,
      kinds,
      kills: this.#machines.reduce((sum, { kills }) => sum + kills, 0),
      fired: this.#fired,
      failed: this.#failed,
      syncs: this.#syncs,
      restored: this.#restored,
      rounds,
      notes: this.#notes,
      reports,
      drills,
      missing,
    };
  }

  /** Without faults, until all say the same; some time passes, so that what was replaced goes. */
  async #settle(): Promise<number> {
    for (let round = 1; ; round++) {
      const heads = new Set<string>();
      for (const machine of this.#machines) {
        for (const what of ["pull", "push"] as const) await this.#calm(machine, what);
        heads.add(await machine.insist<string>({ what: "heads" }, this.#now));
      }
      if (heads.size === 1) return round;
      if (round === SETTLED_BY) throw new Error(`the machines do not come together: ${[...heads].join("\n")}`);
      this.#now += GRACE / 2;
    }
  }
}
