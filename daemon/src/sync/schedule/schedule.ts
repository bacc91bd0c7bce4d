import {
  type AgentName,
  type PullReply,
  type PushReply,
  type SyncAgentItem,
  type SyncOwed,
  type SyncStatusReply,
  type SyncWhen,
} from "@vlinder/protocol";
import { type Clock, SYSTEM_CLOCK } from "./clock.ts";
import { Gates, type Operation, type Step } from "./gates.ts";
import { Joins } from "./joins.ts";
import { type LockNews, Locks } from "./locks.ts";
import { Metrics } from "./metrics.ts";
import { type OnProgress, Operations, type SyncWork, type Which } from "./operations.ts";
import { Pulls } from "./pulls.ts";
import { Pushes } from "./pushes.ts";
import { pushDistanceOf, type SyncSettings } from "./settings.ts";

export type SyncAgentFacts = Omit<SyncAgentItem, "when" | "lock">;
/** What sync itself knows; the schedule adds when it does what, and how that went. */
export type SyncFacts = Omit<SyncStatusReply, "agents" | "joining" | "metrics"> & {
  readonly agents: readonly SyncAgentFacts[];
};

export interface ScheduledSync extends SyncWork {
  owed(agent: AgentName): Promise<SyncOwed | null>;
  /** @param agent only this one, with its branches beside those of other machines */
  status(agent?: AgentName): Promise<SyncFacts>;
}

export interface ScheduleLog {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
}

export interface ScheduleOptions {
  readonly sync: ScheduledSync;
  readonly settings: SyncSettings;
  /** Those that are open here. */
  readonly agents: () => readonly AgentName[];
  /** What an agent.toml says; null: nothing. */
  readonly whenOf: (agent: AgentName) => SyncWhen | null;
  /** The bucket's `revision()`. */
  readonly probe: (uri: string) => Promise<string | null>;
  readonly log: ScheduleLog;
  readonly clock?: Clock;
}

/** Rounds of many machines are not at the same time. */
const JITTER = 0.1;

/**
 * When what is pushed and pulled, and the safety lock. Until it is started it does nothing by itself, and only keeps the books
 * of what others ask for.
 *
 * "turn": a turn waits for a pull, within a budget, and what it wrote is pushed behind its reply; what was written outside of
 * turns, when it has been quiet. "interval": all of it every so often. "manual": nothing. What failed and may be mended by time
 * is tried again by the clock; what needs a person, when something happens: a turn, a write, or `changed`.
 */
export class SyncSchedule {
  readonly #sync: ScheduledSync;
  readonly #options: ScheduleOptions;
  readonly #clock: Clock;
  readonly #log: ScheduleLog;
  readonly #metrics = new Metrics();
  readonly #gates: Gates;
  readonly #joins: Joins;
  readonly #locks: Locks;
  readonly #operations: Operations;
  readonly #pulls: Pulls;
  readonly #pushes: Pushes;
  readonly #listeners: ((news: LockNews, owed: SyncOwed["owed"]) => void)[] = [];
  /** Of the agents with "interval": those that have something to push in the next round. */
  readonly #moved = new Set<AgentName>();
  #settings: SyncSettings;
  #started = false;
  #stopRound: () => void = () => {};
  readonly #hurried = Promise.withResolvers<void>();

  constructor(options: ScheduleOptions) {
    const { sync, settings, agents, probe, log, clock = SYSTEM_CLOCK } = options;
    this.#options = options;
    this.#sync = sync;
    this.#settings = settings;
    this.#log = log;
    this.#clock = clock;
    const isAutomatic = (agent: AgentName): boolean => this.#isAutomatic(agent);
    const gates = (this.#gates = new Gates(clock));
    const locks = (this.#locks = new Locks({
      clock,
      gates,
      triesItself: (step: Step, agent) => (step === "join" ? this.#started : isAutomatic(agent)),
      tell: (news) => void this.#tell(news),
    }));
    const metrics = this.#metrics;
    const joined = (): void => {
      if (this.#started) void this.#goOn();
    };
    const joins = (this.#joins = new Joins({ clock, work: sync, gates, locks, agents, joined, log }));
    const operations = (this.#operations = new Operations({
      clock,
      work: sync,
      gates,
      locks,
      metrics,
      agents,
      join: () => joins.join(),
      ended: () => {
        this.#pushes.schedule();
        this.#pulls.schedule();
      },
    }));
    const budget = (): number => this.#settings.pullBudget;
    const probing = async (): Promise<string | null> =>
      sync.bucket === null || !sync.isJoined ? null : await probe(sync.bucket);
    this.#pulls = new Pulls({ clock, operations, gates, locks, metrics, probe: probing, budget, isAutomatic });
    this.#pushes = new Pushes({
      clock,
      operations,
      gates,
      isHere: (agent) => agents().includes(agent),
      quiet: () => this.#settings.quiet,
      distance: () => pushDistanceOf(this.#settings, sync.bucket ?? "file:"),
    });
  }

  /** From now on it pushes and pulls by itself; what was owed before is pushed. */
  async start(): Promise<void> {
    this.#started = true;
    this.#nextRound();
    if (this.#sync.bucket === null) return;
    if (!this.#sync.isJoined) {
      this.#joins.start();
      return;
    }
    const { agents } = await this.#sync.status();
    for (const { agent, error } of agents) {
      const { since, operation } = error?.details ?? {};
      if (error === null || typeof since !== "string") continue;
      const failed: Operation = operation === "pull" ? "pull" : "push";
      this.#locks.restore(agent as AgentName, failed, error, Date.parse(since));
    }
    await this.#goOn();
  }

  /** A bucket is used that was not before. */
  joined(): void {
    this.#joins.done();
  }

  /** An agent that can be served again: what it owes is pushed. Never rejects. */
  async opened(agent: AgentName): Promise<void> {
    this.#joins.lock(agent);
    if (this.#started) await this.#pushOwed((one) => one === agent);
  }

  /** Called when a lock changes, with what the bucket lacks then. */
  onLock(listener: (news: LockNews, owed: SyncOwed["owed"]) => void): void {
    this.#listeners.push(listener);
  }

  /** What a turn of the agent waits for before it begins; null: nothing. Never rejects. */
  beforeTurn(agent: AgentName): Promise<void> | null {
    if (!this.#started || this.#sync.bucket === null || this.#whenOf(agent) !== "turn") return null;
    return this.#pulls.before(agent);
  }

  /** Branches of the agent have moved. */
  moved(agent: AgentName): void {
    if (!this.#started || this.#sync.bucket === null) return;
    const when = this.#whenOf(agent);
    if (when === "turn") this.#pushes.wrote(agent);
    else if (when === "interval") this.#moved.add(agent);
  }

  turnEnded(agent: AgentName): void {
    if (this.#started && this.#sync.bucket !== null && this.#whenOf(agent) === "turn") this.#pushes.owes(agent);
  }

  /** Something that may mend a failure has changed: configuration, credentials, the bucket. */
  changed(): void {
    this.#gates.open();
    this.#pulls.forgetRevisions();
    if (!this.#started || this.#sync.bucket === null) return;
    if (!this.#sync.isJoined) {
      this.#joins.start();
      return;
    }
    void this.#pulls.all(this.#locks.failing("pull").filter((agent) => this.#isAutomatic(agent)));
    void this.#pushOwed();
  }

  /** Takes other settings over. @returns whether they are other ones */
  replace(settings: SyncSettings): boolean {
    const keys = Object.keys(settings) as (keyof SyncSettings)[];
    if (keys.every((key) => settings[key] === this.#settings[key])) return false;
    this.#settings = settings;
    if (this.#started) this.#nextRound();
    return true;
  }

  /** Before anything else that needs the bucket. @throws what keeps the home from it */
  join(): Promise<void> {
    return this.#joins.join();
  }

  push(which: Which, progress?: OnProgress): Promise<PushReply> {
    return this.#operations.push(which, progress);
  }

  pull(which: Which, progress?: OnProgress): Promise<PullReply> {
    return this.#operations.pull(which, progress);
  }

  /** What the bucket lacks of an agent, and the lock; null when nothing, or when there is no bucket. */
  async owed(agent: AgentName): Promise<SyncOwed | null> {
    const owed = await this.#sync.owed(agent);
    this.#joins.lock(agent);
    const locked = this.#locks.of(agent);
    return owed === null || locked === null ? owed : { ...owed, ...locked };
  }

  /** @param agent only this one, with its branches beside those of other machines. @throws not_registered */
  async status(only?: AgentName): Promise<SyncStatusReply> {
    const facts = await this.#sync.status(only);
    const agents = facts.agents.map((item): SyncAgentItem => {
      const agent = item.agent as AgentName;
      this.#joins.lock(agent);
      const locked = this.#locks.of(agent);
      return { ...item, when: this.#whenOf(agent), lock: locked?.lock ?? null, error: locked?.error ?? item.error };
    });
    const joining = this.#joins.status();
    return { ...facts, ...(joining === undefined ? {} : { joining }), agents, metrics: this.#metrics.read() };
  }

  /** An agent that was removed. */
  forget(agent: AgentName): void {
    for (const part of [this.#gates, this.#locks, this.#pushes]) part.forget(agent);
    this.#moved.delete(agent);
  }

  /** Pushes what is owed, within a bound, and does no more. What could not be pushed stays owed. Never rejects. */
  async stop(): Promise<void> {
    if (!this.#started) return;
    this.#started = false;
    this.#stopRound();
    this.#joins.stop();
    this.#pulls.stop();
    const ended = this.#lastPush();
    if (this.#sync.bucket === null) return;
    let isOver = false;
    const late = new Promise<void>((resolve) => {
      this.#clock.after(this.#settings.stopPush, resolve);
    });
    const done = ended.then(() => {
      isOver = true;
    });
    await Promise.race([done, late, this.#hurried.promise]);
    if (!isOver) this.#log.warn({}, "stopped before the last push was done: it stays owed, for the next start");
  }

  /** Lets a stop wait no longer, also one that comes. */
  hurry(): void {
    this.#hurried.resolve();
  }

  async #lastPush(): Promise<void> {
    await this.#pushes.stop();
    const owing = await this.#owing((agent) => this.#gates.classOf("push", agent) !== "person");
    // Noted, and said by the lock, where it fails.
    if (owing.length > 0) await this.#operations.push(owing).catch(() => undefined);
  }

  async #goOn(): Promise<void> {
    this.#pulls.schedule();
    await this.#pushOwed();
  }

  async #pushOwed(isWanted: (agent: AgentName) => boolean = () => true): Promise<void> {
    for (const agent of await this.#owing((one) => isWanted(one))) this.#pushes.owes(agent);
  }

  /** Those of the automatic ones that the bucket lacks something of. */
  async #owing(isWanted: (agent: AgentName) => boolean): Promise<AgentName[]> {
    if (this.#sync.bucket === null) return [];
    const owing: AgentName[] = [];
    for (const name of this.#options.agents()) {
      if (this.#whenOf(name) === "manual" || !isWanted(name)) continue;
      // One whose bookkeeping can't be read must not keep the others; `status` shows it.
      const owed = await this.#sync.owed(name).catch(() => null);
      if (owed !== null || this.#moved.has(name)) owing.push(name);
    }
    return owing;
  }

  #nextRound(): void {
    this.#stopRound();
    const wait = this.#settings.interval * (1 - JITTER + 2 * JITTER * this.#clock.random());
    this.#stopRound = this.#clock.after(wait, () => {
      void this.#round().finally(() => {
        if (this.#started) this.#nextRound();
      });
    });
  }

  async #round(): Promise<void> {
    if (this.#sync.bucket === null) return;
    const isTheirs = (agent: AgentName): boolean => this.#whenOf(agent) === "interval";
    const agents = this.#options.agents().filter((agent) => isTheirs(agent));
    if (agents.length === 0) return;
    await this.#pulls.all(agents);
    for (const agent of await this.#owing(isTheirs)) {
      this.#moved.delete(agent);
      this.#pushes.owes(agent);
    }
  }

  #whenOf(agent: AgentName): SyncWhen {
    return this.#options.whenOf(agent) ?? this.#settings.when;
  }

  #isAutomatic(agent: AgentName): boolean {
    return this.#started && this.#whenOf(agent) !== "manual";
  }

  async #tell(news: LockNews): Promise<void> {
    const { agent, lock, error } = news;
    if (lock === null) this.#log.info({ agent }, "sync goes on: what was owed is pushed");
    else {
      const { class: kind, since, next } = lock;
      const what = kind === "retry" ? "it is tried again" : "somebody has to do something";
      this.#log.warn(
        { agent, class: kind, since, next, error },
        `sync stands still, and the agent goes on with what is here: ${error?.message ?? ""}; ${what}`,
      );
    }
    const owed = await this.#sync.owed(agent).catch(() => null);
    for (const listener of this.#listeners) listener(news, owed?.owed ?? { commits: 0, bytes: 0 });
  }
}
