import {
  type AgentName,
  asVlinderError,
  type ErrorBody,
  type Progress,
  type PullReply,
  type PushReply,
} from "@vlinder/protocol";
import type { Clock } from "./clock.ts";
import type { Gates, Operation } from "./gates.ts";
import type { JoinWork } from "./joins.ts";
import type { Locks } from "./locks.ts";
import type { Metrics } from "./metrics.ts";
import { SILENCE, silent } from "./silence.ts";

export type OnProgress = (progress: Progress) => void;
/** One agent, some of those that are here, or all: then a pull also brings those that are not here yet. */
export type Which = AgentName | readonly AgentName[] | undefined;

/** The agent that alone is meant; undefined: several may be. */
export function oneOf(which: Which): AgentName | undefined {
  return typeof which === "string" ? which : undefined;
}

/** What the schedule has done by sync. */
export interface SyncWork extends JoinWork {
  push(which: Which, progress?: OnProgress): Promise<PushReply>;
  pull(which: Which, progress?: OnProgress): Promise<PullReply>;
}

export interface OperationsOptions {
  readonly clock: Clock;
  readonly work: SyncWork;
  readonly gates: Gates;
  readonly locks: Locks;
  readonly metrics: Metrics;
  /** What comes first: a bucket that has not been joined. What it throws is noted. */
  readonly join: () => Promise<void>;
  /** Those that are here. */
  readonly agents: () => readonly AgentName[];
  /** Told after each push and pull, when what became of it is known. */
  readonly ended: () => void;
}

/** Every push and pull, whoever asked for it: what became of it is noted here, once. */
export class Operations {
  readonly #options: OperationsOptions;

  constructor(options: OperationsOptions) {
    this.#options = options;
  }

  push(which: Which, progress?: OnProgress): Promise<PushReply> {
    return this.#noting("push", which, progress, (told) => this.#options.work.push(which, told));
  }

  pull(which: Which, progress?: OnProgress): Promise<PullReply> {
    return this.#noting("pull", which, progress, (told) => this.#options.work.pull(which, told));
  }

  async #noting<Reply extends PushReply | PullReply>(
    operation: Operation,
    which: Which,
    progress: OnProgress | undefined,
    work: (told: OnProgress) => Promise<Reply>,
  ): Promise<Reply> {
    const { clock, locks } = this.#options;
    const listen = (): (() => void) =>
      clock.after(SILENCE, () => {
        for (const agent of this.#concerned(which)) locks.failed(operation, agent, silent(operation).toBody());
      });
    await this.#join(operation, which);
    let stopListening = listen();
    try {
      const reply = await work((told) => {
        stopListening();
        stopListening = listen();
        progress?.(told);
      });
      for (const { agent, error, bytes } of reply.agents) this.#note(operation, agent as AgentName, error, bytes);
      return reply;
    } catch (thrown) {
      this.#bucketFailed(operation, which, asVlinderError(thrown).toBody());
      throw thrown;
    } finally {
      stopListening();
      this.#options.ended();
    }
  }

  /** The lock for it is on already; here it is only counted. */
  async #join(operation: Operation, which: Which): Promise<void> {
    try {
      await this.#options.join();
    } catch (thrown) {
      const kind = asVlinderError(thrown).retryable ? "retry" : "person";
      for (const _ of this.#concerned(which)) this.#options.metrics.failed(operation, kind);
      this.#options.ended();
      throw thrown;
    }
  }

  #note(operation: Operation, agent: AgentName, error: ErrorBody | null, bytes: number): void {
    const { clock, gates, locks, metrics } = this.#options;
    if (error === null) {
      gates.succeeded(operation, agent);
      locks.succeeded(operation, agent);
      metrics.done(operation, bytes, new Date(clock.now()));
    } else {
      gates.agentFailed(operation, agent, error);
      this.#failed(operation, agent, error);
    }
  }

  /** What is thrown kept all of them. Where there is no bucket, or no such agent, nothing failed. */
  #bucketFailed(operation: Operation, which: Which, error: ErrorBody): void {
    const kept = this.#concerned(which);
    if (kept.length === 0) return;
    this.#options.gates.bucketFailed(error);
    for (const agent of kept) this.#failed(operation, agent, error);
  }

  #concerned(which: Which): readonly AgentName[] {
    const { agents, work } = this.#options;
    if (work.bucket === null) return [];
    return which === undefined ? agents() : agents().filter((agent) => [which].flat().includes(agent));
  }

  #failed(operation: Operation, agent: AgentName, error: ErrorBody): void {
    const { gates, locks, metrics } = this.#options;
    locks.failed(operation, agent, error);
    metrics.failed(operation, gates.classOf(operation, agent) ?? "retry");
  }
}
