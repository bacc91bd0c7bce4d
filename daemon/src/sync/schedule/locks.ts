import type { AgentName, ErrorBody, LockClass, SyncLock } from "@vlinder/protocol";
import type { Clock } from "./clock.ts";
import type { Gates, Operation, Step } from "./gates.ts";

/** Sync of an agent stands still, or goes on again (`lock` null). */
export interface LockNews {
  readonly agent: AgentName;
  readonly lock: SyncLock | null;
  /** Why; null when it goes on. */
  readonly error: ErrorBody | null;
}

export interface Locked {
  readonly lock: SyncLock;
  readonly error: ErrorBody;
}

export interface LocksOptions {
  readonly clock: Clock;
  readonly gates: Gates;
  /** Whether the daemon does it by itself. */
  readonly triesItself: (operation: Step, agent: AgentName) => boolean;
  readonly tell: (news: LockNews) => void;
}

interface Failing {
  readonly error: ErrorBody;
  /** Milliseconds since 1970. */
  readonly since: number;
}

/**
 * The safety lock of each agent: on from the first push or pull that fails until that operation goes well. The agent works on
 * with its local state; the lock says that others don't see it. News are its changes, not each try.
 */
export class Locks {
  readonly #clock: Clock;
  readonly #gates: Gates;
  readonly #tell: (news: LockNews) => void;
  readonly #triesItself: LocksOptions["triesItself"];
  readonly #failing = new Map<AgentName, Map<Step, Failing>>();
  readonly #told = new Map<AgentName, LockClass>();

  constructor({ clock, gates, triesItself, tell }: LocksOptions) {
    this.#clock = clock;
    this.#gates = gates;
    this.#triesItself = triesItself;
    this.#tell = tell;
  }

  /** What failed before the daemon started: known, and told already. */
  restore(agent: AgentName, operation: Operation, error: ErrorBody, since: number): void {
    this.#of(agent).set(operation, { error, since });
    this.#told.set(agent, error.retryable ? "retry" : "person");
  }

  /** After the gates know. */
  failed(operation: Step, agent: AgentName, error: ErrorBody): void {
    const failing = this.#of(agent);
    failing.set(operation, { error, since: failing.get(operation)?.since ?? this.#clock.now() });
    const { lock } = this.of(agent) as Locked;
    if (this.#told.get(agent) === lock.class) return;
    this.#told.set(agent, lock.class);
    this.#tell({ agent, lock, error });
  }

  succeeded(operation: Step, agent: AgentName): void {
    const failing = this.#failing.get(agent);
    if (failing === undefined || !failing.delete(operation)) return;
    const left = this.of(agent);
    if (left === null) {
      this.#failing.delete(agent);
      this.#told.delete(agent);
      this.#tell({ agent, lock: null, error: null });
    } else if (this.#told.get(agent) !== left.lock.class) {
      this.#told.set(agent, left.lock.class);
      this.#tell({ agent, ...left });
    }
  }

  isFailing(operation: Step, agent: AgentName): boolean {
    return this.#failing.get(agent)?.has(operation) ?? false;
  }

  /** Whose pulls or pushes fail, or all that wait for a bucket. */
  failing(operation: Step): AgentName[] {
    return [...this.#failing].flatMap(([agent, failing]) => (failing.has(operation) ? [agent] : []));
  }

  /** Null: it is off. Of two failures the one that needs a person is said. */
  of(agent: AgentName): Locked | null {
    const failing = [...(this.#failing.get(agent) ?? [])].map(([operation, { error, since }]) => {
      const kind = this.#gates.classOf(operation, agent) ?? (error.retryable ? "retry" : "person");
      const itself = kind === "retry" && this.#triesItself(operation, agent);
      const next = itself ? Math.max(this.#gates.opensAt(operation, agent), this.#clock.now()) : null;
      return { error, since, kind, next };
    });
    const worst = failing.find(({ kind }) => kind === "person") ?? failing[0];
    if (worst === undefined) return null;
    const since = new Date(Math.min(...failing.map((one) => one.since))).toISOString();
    const next = worst.next === null ? null : new Date(worst.next).toISOString();
    return { lock: { class: worst.kind, since, next }, error: worst.error };
  }

  forget(agent: AgentName): void {
    this.#failing.delete(agent);
    this.#told.delete(agent);
  }

  #of(agent: AgentName): Map<Step, Failing> {
    let failing = this.#failing.get(agent);
    if (failing === undefined) this.#failing.set(agent, (failing = new Map()));
    return failing;
  }
}
