import type { MessagePort, Worker } from "node:worker_threads";
import { VlinderError } from "@vlinder/protocol";
import type { WriterOptions } from "./connection.ts";
import type { Failure } from "./failure.ts";
import type { WriterAnswer, WriterMessage, WriterReport, WriterRequest } from "./messages.ts";
import { startThread } from "./start-thread.ts";

type WithoutCall<T> = T extends unknown ? Omit<T, "call"> : never;

interface Call {
  readonly resolve: (answer: WriterAnswer) => void;
  readonly reject: (error: VlinderError) => void;
}

/** A writer thread as the rest of the process sees it. */
export class WriterThread {
  /** Those that are open on it; the pool counts. */
  databases = 0;
  /** What to do with what is said of a database. */
  readonly notices = new Map<number, (notice: string) => void>();
  readonly warnings = new Map<number, (warning: Failure) => void>();
  readonly #worker: Worker;
  /** As they were called; in an array, as `UnderWay` is, for the same reason. */
  readonly #calls: (Call & { readonly call: number })[] = [];
  #lastCall = 0;
  #ended = false;

  constructor(checkpoints: MessagePort) {
    this.#worker = startThread("writer-thread", { workerData: { checkpoints }, transferList: [checkpoints] });
    this.#worker.on("message", (report: WriterReport) => this.#receive(report));
    this.#worker.on("error", (error) => this.#end(error));
    this.#worker.on("exit", (code) => this.#end(new Error(`it ended with code ${code}`)));
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Makes a database known to the thread, which opens it when there is work. */
  attach(database: number, options: WriterOptions): void {
    this.#worker.postMessage({ op: "attach", database, options } satisfies WriterMessage);
  }

  /** Answered in the order of the calls. @throws unavailable: the thread ended */
  call(request: WithoutCall<WriterRequest>, transfer: readonly ArrayBuffer[] = []): Promise<WriterAnswer> {
    if (this.#ended) return Promise.reject(threadEnded(null));
    return new Promise((resolve, reject) => {
      const call = ++this.#lastCall;
      if (this.#calls.length === 0) this.#worker.ref();
      this.#calls.push({ call, resolve, reject });
      this.#worker.postMessage({ ...request, call }, transfer);
    });
  }

  async terminate(): Promise<void> {
    await this.#worker.terminate();
  }

  #receive(report: WriterReport): void {
    if ("notice" in report) {
      this.notices.get(report.database)?.(report.notice);
      return;
    }
    if ("warning" in report) {
      this.warnings.get(report.database)?.(report.warning);
      return;
    }
    for (const answer of report.answers) {
      const at = this.#calls.findIndex(({ call }) => call === answer.call);
      if (at >= 0) this.#calls.splice(at, 1)[0]?.resolve(answer);
    }
    if (this.#calls.length === 0) this.#worker.unref();
  }

  #end(cause: unknown): void {
    this.#ended = true;
    for (const { reject } of this.#calls.splice(0)) reject(threadEnded(cause));
  }
}

function threadEnded(cause: unknown): VlinderError {
  return new VlinderError(
    "unavailable",
    "the thread that writes to the database ended; what was under way may have been stored or not",
    {
      remedy: "try again: another one is started",
      cause,
    },
  );
}
