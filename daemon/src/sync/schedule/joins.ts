import { type AgentName, asVlinderError, type ErrorBody, type SyncJoining } from "@vlinder/protocol";
import type { Clock } from "./clock.ts";
import type { Gates } from "./gates.ts";
import type { Locks } from "./locks.ts";
import { SILENCE, silent } from "./silence.ts";

/** What joining needs of sync. */
export interface JoinWork {
  /** The bucket's URI, also while it has not been joined; null: there is none. */
  readonly bucket: string | null;
  /** Whether the home belongs to the bucket; a new home's is joined first. */
  readonly isJoined: boolean;
  /** Does nothing where that is done. @throws what keeps it from the bucket */
  join(): Promise<void>;
}

export interface JoinsOptions {
  readonly clock: Clock;
  readonly work: JoinWork;
  readonly gates: Gates;
  readonly locks: Locks;
  /** Those that are here. */
  readonly agents: () => readonly AgentName[];
  /** Told once, when it has been joined. */
  readonly joined: () => void;
  readonly log: { warn(details: object, message: string): void };
}

/**
 * Joins the bucket that a new home is configured with, behind the start. Until it is done each agent has the safety lock for
 * it, also one that comes later; what time may mend is tried again by the clock, and everything else at the next push or pull.
 */
export class Joins {
  readonly #options: JoinsOptions;
  #failure: { readonly error: ErrorBody; readonly since: number } | null = null;
  #underway: Promise<void> | null = null;
  /** For a bucket that was tried. */
  #isWaiting = false;
  #started = false;
  #stopTimer: () => void = () => {};

  constructor(options: JoinsOptions) {
    this.#options = options;
  }

  /** Tries it, and again by the clock from now on. */
  start(): void {
    this.#started = true;
    void this.join().catch(() => undefined);
  }

  /** Before every push and pull. Those that come together share a try. @throws what keeps the home from the bucket */
  async join(): Promise<void> {
    if (!isWanted(this.#options.work)) return;
    this.#isWaiting = true;
    this.#underway ??= this.#join().finally(() => {
      this.#underway = null;
      this.#schedule();
    });
    await this.#underway;
  }

  /** The home belongs to a bucket now, whoever saw to it. */
  done(): void {
    if (!this.#isWaiting) return;
    const { gates, locks, joined } = this.#options;
    this.#isWaiting = false;
    this.#failure = null;
    this.#stopTimer();
    gates.answered();
    for (const agent of locks.failing("join")) locks.succeeded("join", agent);
    joined();
  }

  /** An agent that may have come after it failed is locked as the others are. */
  lock(agent: AgentName): void {
    const { locks } = this.#options;
    if (this.#failure !== null && !locks.isFailing("join", agent)) locks.failed("join", agent, this.#failure.error);
  }

  /** Undefined: there is nothing to join. */
  status(): SyncJoining | undefined {
    const { clock, gates, work } = this.#options;
    if (!isWanted(work)) return undefined;
    if (this.#failure === null) return { lock: null, error: null };
    const { error, since } = this.#failure;
    const kind = gates.bucketClass ?? "person";
    const next = kind === "retry" && this.#started ? Math.max(gates.bucketOpens, clock.now()) : null;
    const lock = {
      class: kind,
      since: new Date(since).toISOString(),
      next: next === null ? null : new Date(next).toISOString(),
    };
    return { lock, error };
  }

  stop(): void {
    this.#started = false;
    this.#stopTimer();
  }

  async #join(): Promise<void> {
    const { clock, work } = this.#options;
    const stopListening = clock.after(SILENCE, () => this.#failed(silent("join").toBody()));
    try {
      await work.join();
    } catch (thrown) {
      this.#failed(asVlinderError(thrown).toBody());
      throw thrown;
    } finally {
      stopListening();
    }
    this.done();
  }

  #failed(error: ErrorBody): void {
    const { agents, clock, gates, locks, log, work } = this.#options;
    const before = this.#failure === null ? null : gates.bucketClass;
    gates.bucketFailed(error);
    this.#failure = { error, since: this.#failure?.since ?? clock.now() };
    if (gates.bucketClass !== before) {
      log.warn({ bucket: work.bucket, error }, `the bucket of config.toml can't be used yet: ${error.message}`);
    }
    for (const agent of agents()) locks.failed("join", agent, error);
  }

  #schedule(): void {
    const { clock, gates, work } = this.#options;
    this.#stopTimer();
    if (!this.#started || !isWanted(work) || gates.bucketClass !== "retry") return;
    this.#stopTimer = clock.after(Math.max(0, gates.bucketOpens - clock.now()), () => {
      // A timer may come a little too soon.
      if (gates.bucketOpens > clock.now()) this.#schedule();
      else void this.join().catch(() => undefined);
    });
  }
}

function isWanted({ bucket, isJoined }: JoinWork): boolean {
  return bucket !== null && !isJoined;
}
