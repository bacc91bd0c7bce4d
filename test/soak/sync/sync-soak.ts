import { setTimeout as sleep } from "node:timers/promises";
import type { Hash } from "@vlinder/protocol";
import type { Stage } from "../../harness/stage.ts";
import { bytesBelow, type Sample, sampleOf, thirds } from "./figures.ts";
import { AGENTS, Machine, PATIENT } from "./machine.ts";
import { type Contents, folderPlace, hubPlace, type Place } from "./place.ts";
import { Work } from "./work.ts";

const MIB = 1024 * 1024;
const SAMPLE_EVERY = 1_000;
const GRACE = 15_000;
/** Between two kills, and how long a machine is away, at most; in milliseconds. */
const KILL_EVERY = 30_000;
const AWAY = 20_000;
/** Of each agent, that are not replaced: those that a merge leaves, and as many as come before the next. */
const MOST_PACKS = 3 * 32;
const MOST_ROUNDS = 12;
const CHECKED = 300;

export interface SoakOptions {
  readonly minutes: number;
  readonly machines: number;
  readonly bucket: "folder" | "hub";
}

/** Tells a figure, or what it found. */
export type Say = (what: string, numbers: string, holds: boolean) => void;

const mib = (bytes: number): string => `${Math.round(bytes / MIB)}`;

/** Machines that write and sync all the time, of which one dies now and then; at the end they must have one memory. */
export class SyncSoak {
  readonly #stage: Stage;
  readonly #options: SoakOptions;
  readonly #say: Say;
  #place!: Place;
  #machines: Machine[] = [];
  #works: Work[] = [];
  readonly #began = performance.now();
  /** Of each machine; the first is never killed, so what grows there grows. */
  readonly #samples: Sample[][] = [];
  readonly #contents: Contents[] = [];
  #deadline = 0;

  constructor(stage: Stage, options: SoakOptions, say: Say) {
    this.#stage = stage;
    this.#options = options;
    this.#say = say;
  }

  async run(): Promise<void> {
    const { bucket, machines, minutes } = this.#options;
    this.#place = await (bucket === "hub" ? hubPlace : folderPlace)(this.#stage);
    try {
      const { uri, environment } = this.#place;
      for (let i = 0; i < machines; i++) {
        this.#machines.push(await Machine.start(this.#stage, i, { uri, environment, grace: GRACE }));
        this.#samples.push([]);
      }
      this.#works = this.#machines.flatMap((machine) => AGENTS.map((agent) => new Work(machine, agent)));
      this.#deadline = this.#now() + minutes * 60_000;
      await Promise.all([this.#sample(), this.#kill(), this.#report(Math.max(10_000, minutes * 3_000))]);
      await this.#stopWorks();
      await this.#check();
    } catch (error) {
      await this.#stopWorks();
      this.#logs();
      throw error;
    } finally {
      await this.#place.close();
    }
  }

  async #stopWorks(): Promise<void> {
    await Promise.all(this.#works.map((work) => work.stop()));
  }

  #now(): number {
    return performance.now() - this.#began;
  }

  async #sample(): Promise<void> {
    while (this.#now() < this.#deadline) {
      for (const [i, { daemon }] of this.#machines.entries()) {
        const sample = daemon.isRunning ? sampleOf(daemon.pid, this.#now()) : null;
        if (sample !== null) this.#samples[i]?.push(sample);
      }
      await sleep(SAMPLE_EVERY);
    }
  }

  /** All but the first die, in turn. */
  async #kill(): Promise<void> {
    for (let next = 1; ; next = (next % (this.#machines.length - 1)) + 1) {
      await this.#wait(KILL_EVERY);
      const machine = this.#machines[next];
      if (this.#now() >= this.#deadline || machine === undefined) return;
      await machine.daemon.kill();
      machine.kills++;
      await this.#wait(Math.random() * AWAY);
      await machine.daemon.start();
    }
  }

  async #wait(milliseconds: number): Promise<void> {
    await sleep(Math.max(0, Math.min(milliseconds, this.#deadline - this.#now())));
  }

  async #report(every: number): Promise<void> {
    while (this.#now() < this.#deadline) {
      await this.#wait(every);
      const contents = this.#place.contents();
      this.#contents.push(contents);
      const sum = (one: (work: Work) => number): number => this.#works.reduce((all, work) => all + one(work), 0);
      const last = this.#samples.map((samples) => samples.at(-1));
      const [first] = this.#machines as [Machine, ...Machine[]];
      const { pushes, pulls } = (await first.status()).metrics;
      const failed = [pushes, pulls].map(({ failed: { retry, person } }) => retry + person);
      process.stdout.write(
        `      ${String(Math.round(this.#now() / 1000)).padStart(5)} s  turns ${sum(({ turns }) => turns)}  forks ${sum(({ forks }) => forks)}` +
          `  promotes ${sum(({ promotes }) => promotes)}  kills ${this.#machines.reduce((all, { kills }) => all + kills, 0)}` +
          `  first: pushes ${pushes.done} pulls ${pulls.done} failed ${failed.join("+")}` +
          `  packs ${contents.packs} (${contents.replaced} replaced) heads ${contents.heads} ${mib(contents.bytes)} MiB` +
          `  memory ${last.map((one) => mib(one?.memory ?? 0)).join("/")} MiB  handles ${last.map((one) => one?.handles ?? "-").join("/")}` +
          `  homes ${this.#machines.map(({ daemon }) => mib(bytesBelow(daemon.home))).join("/")} MiB\n`,
      );
    }
  }

  async #check(): Promise<void> {
    const failures = this.#works.flatMap((work) => work.failures);
    for (const failure of failures) process.stdout.write(`      ${String((failure as Error).stack)}\n`);
    const refused = new Map<string, number>();
    for (const work of this.#works)
      for (const [code, n] of work.refused) refused.set(code, (refused.get(code) ?? 0) + n);
    const turns = this.#works.reduce((all, work) => all + work.turns, 0);
    const expected = [...refused].map(([code, n]) => `${code} ${n}`).join(", ");
    this.#say("turns, all agents", `${turns}   refused: ${expected || "none"}`, failures.length === 0 && turns > 0);
    await this.#agree();
    await this.#haveAll();
    await this.#intact();
    this.#growth();
    this.#logs();
  }

  /** Syncs by hand until all have the same branches. */
  async #agree(): Promise<void> {
    for (let round = 1; round <= MOST_ROUNDS; round++) {
      for (const { admin, index } of this.#machines) {
        const [pulled, pushed] = [
          await admin.admin("sync.pull", {}, PATIENT),
          await admin.admin("sync.push", {}, PATIENT),
        ];
        for (const { agent, error } of [...pulled.agents, ...pushed.agents]) {
          if (error !== null)
            process.stdout.write(`      machine ${index}, ${agent}: ${error.code}: ${error.message}\n`);
        }
      }
      const seen = new Set<string>();
      let branches = 0;
      for (const machine of this.#machines) {
        const all = await Promise.all(AGENTS.map((agent) => machine.branches(agent)));
        branches = all.flat().length;
        seen.add(JSON.stringify(all.map((items) => items.map(({ id, head, sealed }) => [id, head, sealed]))));
      }
      if (seen.size > 1) continue;
      this.#say("all machines agree on every branch", `${branches} branches, after ${round} rounds`, true);
      return;
    }
    this.#say("all machines agree on every branch", `not after ${MOST_ROUNDS} rounds`, false);
  }

  /** Each machine has the commits of turns that the others acknowledged: the newest, and some of all. */
  async #haveAll(): Promise<void> {
    let looked = 0;
    const missing: string[] = [];
    for (const { acknowledged, agent } of this.#works) {
      const step = Math.max(1, Math.floor(acknowledged.length / CHECKED));
      const some: Hash[] = [...acknowledged.slice(-CHECKED), ...acknowledged.filter((_, i) => i % step === 0)];
      for (const { admin, index } of this.#machines) {
        for (const ref of new Set(some)) {
          looked++;
          await admin.request(agent, "timeline.show", { ref }, PATIENT).catch((error: unknown) => {
            missing.push(`machine ${index}, ${agent}: ${ref}: ${String(error)}`);
          });
        }
      }
    }
    for (const one of missing.slice(0, 10)) process.stdout.write(`      ${one}\n`);
    this.#say(
      "acknowledged turns are on all machines",
      `${looked} looked for, ${missing.length} missing`,
      missing.length === 0,
    );
  }

  async #intact(): Promise<void> {
    let damaged = 0;
    for (const { admin } of this.#machines) {
      for (const agent of AGENTS) damaged += (await admin.request(agent, "timeline.verify", {}, PATIENT)).damaged;
    }
    this.#say("verify, all machines", `${damaged} damaged`, damaged === 0);
    for (const { admin, index } of this.#machines) {
      const drill = await admin.admin("sync.drill", {}, PATIENT);
      const odd = drill.agents.filter(({ ok, error, notes }) => !ok || error !== null || notes.length > 0);
      for (const one of odd) process.stdout.write(`      ${JSON.stringify(one)}\n`);
      this.#say(
        `drill, machine ${index}`,
        `${mib(drill.bytes)} MiB in ${drill.seconds.restore.toFixed(1)} s`,
        drill.ok,
      );
    }
    const refused = this.#place.refused();
    for (const one of refused.slice(0, 10)) process.stdout.write(`      ${one}\n`);
    this.#say("requests that the bucket refused", String(refused.length), refused.length === 0);
  }

  #growth(): void {
    const [samples = []] = this.#samples;
    // The first tenth is the start.
    const steady = samples.slice(Math.floor(samples.length / 10));
    const [before, after] = thirds(steady, ({ memory }) => memory);
    const grown = after <= before * 1.25 + 50 * MIB;
    this.#say("memory, first third and last", `${mib(before)} and ${mib(after)} MiB`, grown);
    const [few, many] = thirds(steady, ({ handles }) => handles ?? 0);
    this.#say("open handles, first third and last", `${few} and ${many}`, many <= few * 1.25 + 10);
    const packs = Math.max(...this.#contents.map((one) => one.packs - one.replaced));
    this.#say("packs that are not replaced, at most", String(packs), packs <= MOST_PACKS * AGENTS.length);
  }

  /** Errors are for somebody to look at, and there must be none; warnings are told once each. */
  #logs(): void {
    const errors: string[] = [];
    const warnings = new Map<string, number>();
    for (const { daemon } of this.#machines) {
      errors.push(...daemon.logged(50));
      for (const line of daemon.logged(40)) {
        const message = /"msg":"((?:[^"\\]|\\.)*)"/.exec(line)?.[1] ?? line;
        const kind = message.replaceAll(/\b[0-9a-f]{7,64}\b/g, "…");
        warnings.set(kind, (warnings.get(kind) ?? 0) + 1);
      }
    }
    for (const [kind, count] of warnings) process.stdout.write(`      ${count} × ${kind}\n`);
    for (const one of errors.slice(0, 10)) process.stdout.write(`      ${one}\n`);
    this.#say("errors in the logs", String(errors.length), errors.length === 0);
  }
}
