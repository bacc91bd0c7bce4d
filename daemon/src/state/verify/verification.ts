import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import { type Hash, VlinderError } from "@vlinder/protocol";
import { THREAD_HEAP } from "../../node-flags.ts";
import type { ObjectStorage } from "../../storage/object-storage.ts";
import { runVerify, type VerifyReport, type VerifyTask } from "./run-verify.ts";
import type { VerifyNews, VerifyOrder } from "./verify-thread.ts";

/** What is to be verified, as it is now. */
export interface VerifyStart {
  readonly task: VerifyTask;
  /** Whether nothing was removed since; else it waits for the end of that. */
  readonly stood: () => Promise<boolean>;
}

export interface VerifyGround {
  readonly begin: () => Promise<VerifyStart>;
  /** Does it while nothing is removed: removals wait for its end. */
  readonly withoutRemoval: <T>(work: () => Promise<T>) => Promise<T>;
}

export interface VerifyWatch {
  /** It was its turn. */
  readonly begun?: () => void;
  readonly progress?: (done: number, total: number) => void;
}

/** The thread's heap at most, in MB; tables of hashes are beside it. What needs more fails, and not the daemon with it. */
const HEAP = { ...THREAD_HEAP, maxOldGenerationSizeMb: 96 };

/** With so few objects it is done, in slices, before a thread has started. */
const FEW = 1000;

/** How often it is done beside removals, which may make up damage; then they wait for it. */
const BESIDE = 2;

/** One verification of the process runs at a time: it takes a core for itself, and memory. */
let last: Promise<unknown> = Promise.resolve();

/** Verifies one storage beside its use, on a thread of its own where another connection can read it. */
export class Verification {
  readonly #storage: ObjectStorage;
  readonly #threads = new Set<Worker>();
  /** By what they are about. */
  readonly #waiting = new Map<Hash | null, { readonly turn: Promise<VerifyReport>; readonly watches: VerifyWatch[] }>();
  #closed = false;

  constructor(storage: ObjectStorage) {
    this.#storage = storage;
  }

  /**
   * Waits until no other one runs; who asks for the same meanwhile waits with it.
   * @param ground asked when it begins what is to be verified
   */
  run(at: Hash | null, ground: VerifyGround, watch: VerifyWatch): Promise<VerifyReport> {
    const joined = this.#waiting.get(at);
    if (joined !== undefined) {
      joined.watches.push(watch);
      return joined.turn;
    }
    const watches = [watch];
    const turn = last.then(() => {
      this.#waiting.delete(at);
      return this.#turn(ground, watches);
    });
    this.#waiting.set(at, { turn, watches });
    last = turn.catch(() => {});
    return turn;
  }

  async #turn({ begin, withoutRemoval }: VerifyGround, watches: readonly VerifyWatch[]): Promise<VerifyReport> {
    for (const { begun } of watches) begun?.();
    const progress = (done: number, total: number): void => {
      for (const one of watches) one.progress?.(done, total);
    };
    for (let attempt = 0; attempt < BESIDE; attempt++) {
      const { task, stood } = await begin();
      const report = await this.#run(task, progress);
      if (report.damaged === 0 || (await stood())) return report;
    }
    return await withoutRemoval(async () => this.#run((await begin()).task, progress));
  }

  async #run(task: VerifyTask, progress: (done: number, total: number) => void): Promise<VerifyReport> {
    if (this.#closed) throw ended(null);
    const address = this.#storage.readerAddress;
    if (address !== undefined && objectsOf(task) > FEW) return await this.#onThread({ address, task }, progress);
    const unlessClosed = (done: number, total: number): void => {
      if (this.#closed) throw ended(null);
      progress(done, total);
    };
    return await runVerify(this.#storage, task, { progress: unlessClosed, shared: true });
  }

  /** What runs is broken off. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#threads].map((thread) => thread.terminate()));
  }

  #onThread(order: VerifyOrder, progress: (done: number, total: number) => void): Promise<VerifyReport> {
    // A `.ts` file in the sources, a `.js` file when built; a test runner's flags are not for it.
    const file = new URL(`./verify-thread${extname(new URL(import.meta.url).pathname)}`, import.meta.url);
    const thread = new Worker(file, { workerData: order, name: "verify", execArgv: [], resourceLimits: HEAP });
    this.#threads.add(thread);
    return new Promise<VerifyReport>((resolve, reject) => {
      thread.on("message", (news: VerifyNews) => {
        if ("report" in news) resolve(news.report);
        else if ("error" in news) reject(VlinderError.fromBody(news.error));
        else progress(news.done, news.total);
      });
      thread.on("error", (cause) => reject(ended(cause)));
      thread.on("exit", () => reject(ended(null)));
    }).finally(() => {
      this.#threads.delete(thread);
    });
  }
}

function objectsOf({ counts }: VerifyTask): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

function ended(cause: unknown): VlinderError {
  const why = cause instanceof Error ? `: ${cause.message}` : "";
  return new VlinderError("unavailable", `verifying was broken off${why}`, {
    remedy: "ask again; if it comes to the same end, see the daemon's log",
    cause,
  });
}
