import type { AgentName } from "@vlinder/protocol";
import type { Clock } from "./clock.ts";
import type { Gates } from "./gates.ts";
import type { Operations } from "./operations.ts";

/** Writes that never stop are pushed all the same, after so many times the quiet interval. */
const MOST_QUIET = 6;

export interface PushesOptions {
  readonly clock: Clock;
  readonly operations: Operations;
  readonly gates: Gates;
  /** Whether the agent is here still. */
  readonly isHere: (agent: AgentName) => boolean;
  /** In milliseconds. */
  readonly quiet: () => number;
  /** Between the beginnings of two pushes, in milliseconds. */
  readonly distance: () => number;
}

interface Due {
  at: number;
  /** When its first write came; `at` is not put off beyond a time after it. */
  readonly first: number;
  /** Not put off by writes. */
  urgent: boolean;
}

/**
 * Pushes that nobody asked for. One at a time, of all agents that are due together; what comes meanwhile is one push more, not
 * a queue. What failed stays due for as long as it takes. None of them throws.
 */
export class Pushes {
  readonly #options: PushesOptions;
  readonly #due = new Map<AgentName, Due>();
  #running: Promise<void> | null = null;
  #began = Number.NEGATIVE_INFINITY;
  #timer: { readonly at: number; readonly cancel: () => void } | null = null;
  #stopped = false;

  constructor(options: PushesOptions) {
    this.#options = options;
  }

  /** Something was written outside of a turn: pushed when it has been quiet. */
  wrote(agent: AgentName): void {
    const { clock, quiet } = this.#options;
    const now = clock.now();
    const due = this.#due.get(agent);
    if (due === undefined) this.#due.set(agent, { at: now + quiet(), first: now, urgent: false });
    else if (!due.urgent) due.at = Math.min(now + quiet(), due.first + MOST_QUIET * quiet());
    this.schedule();
  }

  /** To be pushed as soon as it may be. */
  owes(agent: AgentName): void {
    const now = this.#options.clock.now();
    const due = this.#due.get(agent);
    if (due === undefined) this.#due.set(agent, { at: now, first: now, urgent: true });
    else if (!due.urgent) {
      due.at = now;
      due.urgent = true;
    }
    this.schedule();
  }

  /** Takes the next push up when it is time. */
  schedule(): void {
    const { clock } = this.#options;
    if (this.#stopped || this.#running !== null) return;
    let at = Number.POSITIVE_INFINITY;
    for (const [agent, due] of this.#due) at = Math.min(at, this.#time(agent, due));
    if (at === Number.POSITIVE_INFINITY) {
      this.#stopTimer();
      return;
    }
    // An earlier timer looks again when it comes: writes by the thousand do not set one each.
    if (this.#timer !== null && this.#timer.at <= at) return;
    this.#stopTimer();
    const cancel = clock.after(Math.max(0, at - clock.now()), () => {
      this.#timer = null;
      this.#begin();
    });
    this.#timer = { at, cancel };
  }

  forget(agent: AgentName): void {
    this.#due.delete(agent);
  }

  /** No more of them; resolves when the one that runs has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#stopTimer();
    await this.#running;
  }

  #stopTimer(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #time(agent: AgentName, due: Due): number {
    const { gates, distance } = this.#options;
    return Math.max(due.at, gates.opensAt("push", agent), this.#began + distance());
  }

  #begin(): void {
    const { clock, isHere } = this.#options;
    const now = clock.now();
    for (const agent of this.#due.keys()) if (!isHere(agent)) this.#due.delete(agent);
    const ready = [...this.#due].flatMap(([agent, due]) => (this.#time(agent, due) <= now ? [agent] : []));
    if (this.#stopped || this.#running !== null || ready.length === 0) {
      this.schedule();
      return;
    }
    for (const agent of ready) this.#due.delete(agent);
    this.#began = now;
    this.#running = this.#push(ready).finally(() => {
      this.#running = null;
      this.schedule();
    });
  }

  async #push(agents: readonly AgentName[]): Promise<void> {
    const { gates, operations } = this.#options;
    const [first] = agents;
    let failed: readonly AgentName[] = agents;
    try {
      const reply = await operations.push(agents.length === 1 ? first : agents);
      failed = reply.agents.flatMap(({ agent, error }) => (error === null ? [] : [agent as AgentName]));
    } catch {
      // It is noted, and said by the lock.
    }
    // What needs a person is not tried by the clock: something has to happen.
    for (const agent of failed) if (gates.classOf("push", agent) === "retry") this.owes(agent);
  }
}
