import type { AgentName } from "@vlinder/protocol";
import type { Clock } from "./clock.ts";
import type { Gates } from "./gates.ts";
import type { Locks } from "./locks.ts";
import type { Metrics } from "./metrics.ts";
import type { Operations } from "./operations.ts";

/** A bucket that has not changed is listed all the same after so long, in milliseconds: listings lag where the service does. */
const LIST_ANYWAY = 5 * 60_000;

export interface PullsOptions {
  readonly clock: Clock;
  readonly operations: Operations;
  readonly gates: Gates;
  readonly locks: Locks;
  readonly metrics: Metrics;
  /** The bucket's `revision()`. */
  readonly probe: () => Promise<string | null>;
  /** In milliseconds, from the beginning of a pull. */
  readonly budget: () => number;
  /** Whether it may be pulled without being asked for. */
  readonly isAutomatic: (agent: AgentName) => boolean;
}

interface Underway {
  readonly began: number;
  readonly ended: Promise<void>;
}

interface Seen {
  readonly revision: string;
  readonly at: number;
}

/** Pulls that nobody asked for: before turns, every so often, and again after failures. None of them throws. */
export class Pulls {
  readonly #options: PullsOptions;
  readonly #underway = new Map<AgentName, Underway>();
  /** What the bucket was at when the last good pull of an agent began. */
  readonly #seen = new Map<AgentName, Seen>();
  #probing: Promise<string | null> | null = null;
  #stopTimer: () => void = () => {};
  #stopped = false;

  constructor(options: PullsOptions) {
    this.#options = options;
  }

  /** What a turn waits for; null: nothing. Turns that begin together share a pull, and none waits longer than its budget. */
  before(agent: AgentName): Promise<void> | null {
    const { clock, gates, budget } = this.#options;
    if (this.#stopped) return null;
    let underway = this.#underway.get(agent);
    if (underway === undefined) {
      if (gates.opensAt("pull", agent) > clock.now()) return null;
      underway = this.#begin([agent]);
    }
    const left = underway.began + budget() - clock.now();
    if (left <= 0) return null;
    const { ended } = underway;
    return new Promise((resolve) => {
      const cancel = clock.after(left, resolve);
      void ended.then(() => {
        cancel();
        resolve();
      });
    });
  }

  /** Resolves when they have been pulled, or could not be. Those that are being pulled already, or failed just now, are left out. */
  async all(agents: readonly AgentName[]): Promise<void> {
    const { clock, gates } = this.#options;
    if (this.#stopped) return;
    const ready = agents.filter((agent) => !this.#underway.has(agent) && gates.opensAt("pull", agent) <= clock.now());
    if (ready.length > 0) await this.#begin(ready).ended;
  }

  /** Sees to it that what failed is tried again, when time may mend it. */
  schedule(): void {
    const { clock, gates } = this.#options;
    this.#stopTimer();
    const times = this.#toRetry().map((agent) => gates.opensAt("pull", agent));
    if (this.#stopped || times.length === 0) return;
    const wait = Math.max(0, Math.min(...times) - clock.now());
    this.#stopTimer = clock.after(wait, () => {
      // A timer may come a little too soon: then none of them is ready, and there is another.
      if (Math.min(...times) > clock.now()) this.schedule();
      else void this.all(this.#toRetry());
    });
  }

  /** Another bucket, or what it is at is not known any more. */
  forgetRevisions(): void {
    this.#seen.clear();
  }

  stop(): void {
    this.#stopped = true;
    this.#stopTimer();
  }

  #toRetry(): AgentName[] {
    const { gates, locks, isAutomatic } = this.#options;
    const isHopeless = (agent: AgentName): boolean => gates.classOf("pull", agent) === "person";
    const failing = locks.failing("pull");
    return failing.filter((agent) => isAutomatic(agent) && !isHopeless(agent) && !this.#underway.has(agent));
  }

  #begin(agents: readonly AgentName[]): Underway {
    const ended = this.#pull(agents).finally(() => {
      for (const agent of agents) this.#underway.delete(agent);
      this.schedule();
    });
    const underway = { began: this.#options.clock.now(), ended };
    for (const agent of agents) this.#underway.set(agent, underway);
    return underway;
  }

  async #pull(agents: readonly AgentName[]): Promise<void> {
    const { clock, locks, metrics, operations } = this.#options;
    const revision = await this.#probe();
    const at = clock.now();
    const changed = agents.filter((agent) => {
      const seen = this.#seen.get(agent);
      const isSame = revision !== null && seen?.revision === revision && at - seen.at < LIST_ANYWAY;
      return !isSame || locks.isFailing("pull", agent);
    });
    if (revision !== null) metrics.probed(changed.length === 0);
    const [first] = changed;
    if (first === undefined) return;
    try {
      const reply = await operations.pull(changed.length === 1 ? first : changed);
      // One that failed is pulled again whatever the bucket is at.
      for (const { agent } of reply.agents) if (revision !== null) this.#seen.set(agent as AgentName, { revision, at });
    } catch {
      // It is noted, and said by the lock.
    }
  }

  /** One that can't be asked is listed, and what is wrong shows there. */
  async #probe(): Promise<string | null> {
    this.#probing ??= this.#options
      .probe()
      .catch(() => null)
      .finally(() => {
        this.#probing = null;
      });
    return await this.#probing;
  }
}
