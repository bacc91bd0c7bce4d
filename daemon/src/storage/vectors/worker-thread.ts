import { Worker } from "node:worker_threads";
import { VlinderError } from "@vlinder/protocol";
import { IndexDamaged } from "../vector-storage.ts";
import { THREAD_HEAP } from "../../node-flags.ts";
import type { Operation, Operations, Reply, Request } from "./worker-messages.ts";

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/**
 * This side of the worker thread. A search reads every vector and an insert waits for the disk;
 * here they would stall every request of the daemon.
 */
class WorkerThread {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #ended: VlinderError | null = null;

  constructor() {
    // Sources run as they are, and are published as JavaScript: the worker is written as this file is.
    const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
    this.#worker = new Worker(new URL(`./index-worker.${extension}`, import.meta.url), {
      name: "vectors",
      resourceLimits: THREAD_HEAP,
    });
    // Only a request under way keeps the process alive.
    this.#worker.unref();
    this.#worker.on("message", (reply: Reply) => this.#settle(reply));
    this.#worker.on("error", (cause) => this.#end(cause));
    this.#worker.on("exit", (code) => this.#end(new Error(`exit code ${code}`)));
  }

  get ended(): boolean {
    return this.#ended !== null;
  }

  call<O extends Operation>(
    index: number,
    operation: O,
    args: Parameters<Operations[O]>,
  ): Promise<ReturnType<Operations[O]>> {
    if (this.#ended !== null) return Promise.reject(this.#ended);
    const id = ++this.#lastId;
    const request: Request = { id, index, operation, args };
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.#worker.ref();
      this.#worker.postMessage(request);
    });
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }

  #settle(reply: Reply): void {
    const waiting = this.#waiting.get(reply.id);
    this.#waiting.delete(reply.id);
    if (this.#waiting.size === 0) this.#worker.unref();
    if ("value" in reply) waiting?.resolve(reply.value);
    else if ("damaged" in reply) waiting?.reject(new IndexDamaged(reply.damaged));
    else waiting?.reject(VlinderError.fromBody(reply.error));
  }

  #end(cause: Error): void {
    this.#ended ??= new VlinderError("unavailable", `the thread of the vector indexes ended: ${cause.message}`, {
      cause,
      remedy: "it is started again with the next search; if this comes back, see the log",
    });
    for (const { reject } of this.#waiting.values()) reject(this.#ended);
    this.#waiting.clear();
  }
}

let shared: { readonly thread: WorkerThread; users: number } | null = null;
let lastIndex = 0;

/** One index in the thread that all indexes share. The thread starts with the first and ends with the last. */
export class WorkerIndex {
  readonly #number = ++lastIndex;
  readonly #shared: { readonly thread: WorkerThread; users: number };
  #closed: Promise<void> | null = null;

  constructor() {
    if (shared === null || shared.thread.ended) shared = { thread: new WorkerThread(), users: 0 };
    this.#shared = shared;
    this.#shared.users++;
  }

  call<O extends Operation>(operation: O, ...args: Parameters<Operations[O]>): Promise<ReturnType<Operations[O]>> {
    return this.#shared.thread.call(this.#number, operation, args);
  }

  /** @param opened whether there is a file to close */
  close(opened: boolean): Promise<void> {
    return (this.#closed ??= this.#close(opened));
  }

  async #close(opened: boolean): Promise<void> {
    const { thread } = this.#shared;
    try {
      if (opened && !thread.ended) await this.call("close");
    } finally {
      this.#shared.users--;
      if (this.#shared.users === 0) {
        if (shared === this.#shared) shared = null;
        await thread.stop();
      }
    }
  }
}
