import type { AgentName, PullReply, PushReply, SyncOwed, SyncWhen, VlinderError } from "@vlinder/protocol";
import type { LockNews } from "../../../src/sync/schedule/locks.ts";
import type { OnProgress, Which } from "../../../src/sync/schedule/operations.ts";
import { type ScheduledSync, SyncSchedule, type SyncFacts } from "../../../src/sync/schedule/schedule.ts";
import type { SyncSettings } from "../../../src/sync/schedule/settings.ts";
import { FakeClock, settled } from "./fake-clock.ts";

export const A = "a" as AgentName;
export const B = "b" as AgentName;
const OWED: SyncOwed = { owed: { commits: 1, bytes: 10 }, since: "2026-11-25T00:00:00.000Z" };

/** Pushes and pulls that go as they are told to, and are written down with when they began. */
export class FakeSync implements ScheduledSync {
  bucket: string | null = "file:///bucket";
  isJoined = true;
  /** Keeps the home from the bucket. */
  refused: VlinderError | null = null;
  readonly owing = new Set<AgentName>();
  /** `push a b at 1.5 s`; an agent without a name: all. */
  readonly calls: string[] = [];
  /** The bucket itself fails. */
  thrown: VlinderError | null = null;
  readonly errors = new Map<string, VlinderError>();
  /** Of the last push. */
  progress: OnProgress | undefined;
  /** Operations wait for this. */
  gate: Promise<void> = Promise.resolve();
  persisted: SyncFacts["agents"][number]["error"] = null;
  readonly #clock: FakeClock;
  readonly #start: number;
  readonly #agents: () => readonly AgentName[];

  constructor(clock: FakeClock, agents: () => readonly AgentName[]) {
    this.#clock = clock;
    this.#start = clock.now();
    this.#agents = agents;
  }

  async join(): Promise<void> {
    this.calls.push(`join at ${this.#time()} s`);
    await this.gate;
    if (this.refused !== null) throw this.refused;
    this.isJoined = true;
  }

  async push(which: Which, progress?: OnProgress): Promise<PushReply> {
    this.progress = progress;
    const agents = await this.#work("push", which);
    for (const { agent, error } of agents) if (error === null) this.owing.delete(agent as AgentName);
    return { agents };
  }

  async pull(which: Which, _progress?: OnProgress): Promise<PullReply> {
    const agents = await this.#work("pull", which);
    return { agents: agents.map((item) => ({ ...item, created: false, branches: [], notes: [] })) };
  }

  async owed(agent: AgentName): Promise<SyncOwed | null> {
    return this.owing.has(agent) ? OWED : null;
  }

  async status(): Promise<SyncFacts> {
    return {
      bucket: this.bucket,
      vault: null,
      device: "d",
      devices: [],
      agents: this.#agents().map((agent) => ({
        agent,
        owed: this.owing.has(agent) ? OWED.owed : { commits: 0, bytes: 0 },
        since: null,
        pushed: null,
        pulled: null,
        error: this.persisted,
        notes: [],
        heads: [],
      })),
      drill: null,
    };
  }

  #time(): number {
    return Number(((this.#clock.now() - this.#start) / 1000).toFixed(1));
  }

  async #work(operation: string, which: Which): Promise<PushReply["agents"]> {
    const names = which === undefined ? [] : [which].flat();
    this.calls.push([operation, ...names, "at", this.#time(), "s"].join(" "));
    await this.gate;
    if (this.thrown !== null) throw this.thrown;
    const agents = which === undefined ? this.#agents() : names;
    return agents.map((agent) => ({
      agent,
      commits: 0,
      objects: 0,
      bytes: 100,
      error: this.errors.get(`${operation} ${agent}`)?.toBody() ?? null,
    }));
  }
}

export interface Ground {
  readonly clock: FakeClock;
  readonly sync: FakeSync;
  readonly schedule: SyncSchedule;
  readonly news: LockNews[];
  readonly log: string[];
  /** What the bucket says that it is at; null: it says nothing. */
  revision: string | null;
  probes: number;
  readonly agents: AgentName[];
  readonly when: Map<AgentName, SyncWhen>;
}

export const SETTINGS: SyncSettings = {
  when: "turn",
  interval: 60_000,
  quiet: 5_000,
  pullBudget: 2_000,
  pushDistance: null,
  stopPush: 5_000,
};

/** A schedule that has started, of the agents `a` and `b`. */
export async function newGround(
  settings: Partial<SyncSettings> = {},
  prepare: (ground: Ground) => void = () => {},
): Promise<Ground> {
  const clock = new FakeClock();
  const agents = [A, B];
  const when = new Map<AgentName, SyncWhen>();
  const sync = new FakeSync(clock, () => agents);
  const log: string[] = [];
  const say = (_details: object, message: string): void => void log.push(message);
  const schedule: SyncSchedule = new SyncSchedule({
    sync,
    settings: { ...SETTINGS, ...settings },
    agents: () => agents,
    whenOf: (agent) => when.get(agent) ?? null,
    probe: async () => {
      ground.probes++;
      return ground.revision;
    },
    log: { info: say, warn: say },
    clock,
  });
  const ground: Ground = { clock, sync, schedule, news: [], log, revision: null, probes: 0, agents, when };
  schedule.onLock((news) => ground.news.push(news));
  prepare(ground);
  await schedule.start();
  await settled();
  return ground;
}

/** Whether a turn that begins now has to wait, and how long it did, in milliseconds. */
export async function waitOf(ground: Ground, agent: AgentName = A, most = 60_000): Promise<number | null> {
  const began = ground.clock.now();
  let ended: number | null = null;
  const wait = ground.schedule.beforeTurn(agent);
  if (wait === null) return null;
  void wait.then(() => {
    ended = ground.clock.now();
  });
  for (let passed = 0; ended === null && passed < most; passed += 100) {
    await settled();
    if (ended === null) await ground.clock.pass(100);
  }
  return ended === null ? Number.POSITIVE_INFINITY : ended - began;
}
