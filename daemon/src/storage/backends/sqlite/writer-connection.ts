import type { WriterOptions } from "./connection.ts";
import type { Failure } from "./failure.ts";
import type { WriterAnswer, WriterRequest } from "./messages.ts";
import { errorOf } from "./storage-error.ts";
import type { WriterThread } from "./writer-handle.ts";
import { writerPool } from "./writer-pool.ts";

type Work = Extract<WriterRequest, { op: "apply" | "remove" | "dropReplies" | "dropBases" | "reclaim" }>;
type WithoutNames<T> = T extends unknown ? Omit<T, "database" | "call"> : never;

let lastDatabase = 0;

/** One database on a writer thread. When the thread ends, the next call opens it on another. */
export class WriterConnection {
  readonly #options: WriterOptions;
  readonly #warn: (warning: Failure) => void;
  readonly #notice: (notice: string) => void;
  readonly #database = ++lastDatabase;
  #thread: WriterThread | null = null;

  constructor(options: WriterOptions, warn: (warning: Failure) => void, notice: (notice: string) => void) {
    this.#options = options;
    this.#warn = warn;
    this.#notice = notice;
  }

  /** The view of the file as it is opened. */
  async open(): Promise<number> {
    return this.#checked(await this.#attached().call({ op: "open", database: this.#database })).count;
  }

  /** Calls are answered in their order. @throws unavailable and what failureOf knows; a conflict is an answer */
  async call(work: WithoutNames<Work>, transfer?: ArrayBuffer): Promise<WriterAnswer> {
    const request = { ...work, database: this.#database };
    return this.#checked(await this.#attached().call(request, transfer === undefined ? [] : [transfer]));
  }

  /** After what is under way. */
  async close(): Promise<void> {
    const thread = this.#thread;
    if (thread === null) return;
    this.#thread = null;
    try {
      if (!thread.ended) this.#checked(await thread.call({ op: "close", database: this.#database }));
    } finally {
      thread.warnings.delete(this.#database);
      thread.notices.delete(this.#database);
      await writerPool.release(thread);
    }
  }

  #attached(): WriterThread {
    if (this.#thread === null || this.#thread.ended) {
      const thread = writerPool.acquire();
      thread.warnings.set(this.#database, this.#warn);
      thread.notices.set(this.#database, this.#notice);
      thread.attach(this.#database, this.#options);
      this.#thread = thread;
    }
    return this.#thread;
  }

  #checked(answer: WriterAnswer): WriterAnswer {
    if (answer.outcome !== null && "failure" in answer.outcome)
      throw errorOf(answer.outcome.failure, this.#options.path);
    return answer;
  }
}
