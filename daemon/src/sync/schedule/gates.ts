import type { AgentName, ErrorBody, LockClass } from "@vlinder/protocol";
import type { Clock } from "./clock.ts";

export type Operation = "push" | "pull";
/** What may fail of an agent; `join`: a new home's bucket could not be joined, which is the same for all. */
export type Step = Operation | "join";

/** The first wait after a failure, and the longest, in milliseconds. */
const FIRST = 2_000;
const LONGEST = 5 * 60_000;
/** What a service asks for is kept, up to this. */
const LONGEST_ASKED = 60 * 60_000;
/** What needs a person is tried again when something happens, but no more often than this. */
const PERSON = 60_000;
/** What fails for one agent alone, though the bucket answers, for so long: time does not mend it. */
const STAYS = 15 * 60_000;

/** When something that failed may be tried again. */
class Gate {
  readonly #clock: Clock;
  readonly #stays: number;
  #failures = 0;
  #first = 0;
  #opens = 0;
  #class: LockClass | null = null;

  constructor(clock: Clock, stays: number) {
    this.#clock = clock;
    this.#stays = stays;
  }

  get opens(): number {
    return this.#opens;
  }

  get class(): LockClass | null {
    return this.#class;
  }

  fail({ retryable, details }: Pick<ErrorBody, "retryable" | "details">): void {
    const clock = this.#clock;
    const now = clock.now();
    if (this.#failures === 0) this.#first = now;
    this.#class = retryable && now - this.#first < this.#stays ? "retry" : "person";
    const asked = now + askedWait(details) * (1 + clock.random() / 10);
    // A push and a pull that fail together, or a person who tries meanwhile, do not make the wait longer.
    if (now < this.#opens) {
      this.#opens = Math.max(this.#opens, asked);
      return;
    }
    const backoff = Math.min(LONGEST, FIRST * 2 ** Math.min(this.#failures, 30)) * (0.5 + clock.random() / 2);
    this.#failures++;
    this.#opens = Math.max(asked, now + (this.#class === "retry" ? backoff : PERSON));
  }

  /** It may be tried at once; what failed is still known. */
  open(): void {
    this.#opens = 0;
    this.#failures = 0;
  }
}

function askedWait({ retryAfter }: ErrorBody["details"]): number {
  return typeof retryAfter === "number" && retryAfter > 0 ? Math.min(retryAfter, LONGEST_ASKED) : 0;
}

/**
 * What keeps sync from trying again at once: a gate of the bucket, which is the same for all agents, and one of each agent's
 * pushes and pulls. Waits grow exponentially, with jitter, so that machines that failed together don't come back together.
 */
export class Gates {
  readonly #clock: Clock;
  readonly #gates = new Map<AgentName, Map<Step, Gate>>();
  #bucket: Gate | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  bucketFailed(error: ErrorBody): void {
    this.#bucket ??= new Gate(this.#clock, Number.POSITIVE_INFINITY);
    this.#bucket.fail(error);
  }

  agentFailed(operation: Operation, agent: AgentName, error: ErrorBody): void {
    this.#bucket = null;
    let gates = this.#gates.get(agent);
    if (gates === undefined) this.#gates.set(agent, (gates = new Map()));
    let gate = gates.get(operation);
    if (gate === undefined) gates.set(operation, (gate = new Gate(this.#clock, STAYS)));
    gate.fail(error);
  }

  succeeded(operation: Operation, agent: AgentName): void {
    this.#bucket = null;
    this.#gates.get(agent)?.delete(operation);
  }

  /** The bucket itself is well. */
  answered(): void {
    this.#bucket = null;
  }

  get bucketClass(): LockClass | null {
    return this.#bucket?.class ?? null;
  }

  get bucketOpens(): number {
    return this.#bucket?.opens ?? 0;
  }

  /** From when on it may be tried, when there is a reason to. */
  opensAt(operation: Step, agent: AgentName): number {
    return Math.max(this.#bucket?.opens ?? 0, this.#gates.get(agent)?.get(operation)?.opens ?? 0);
  }

  /** What stands in the way; null: nothing that is known here. */
  classOf(operation: Step, agent: AgentName): LockClass | null {
    const classes = [this.#bucket?.class, this.#gates.get(agent)?.get(operation)?.class];
    return classes.includes("person") ? "person" : classes.includes("retry") ? "retry" : null;
  }

  /** Something changed: all may be tried at once. */
  open(): void {
    this.#bucket?.open();
    for (const gates of this.#gates.values()) for (const gate of gates.values()) gate.open();
  }

  forget(agent: AgentName): void {
    this.#gates.delete(agent);
  }
}
