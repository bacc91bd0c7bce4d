import { MessageChannel, type Worker } from "node:worker_threads";
import { startThread } from "./start-thread.ts";
import { WriterThread } from "./writer-handle.ts";

/**
 * Writer threads at most. A database belongs to one of them, which makes its writes one after another;
 * several, because a thread does nothing while it waits for an fsync, and databases need not wait for each other's.
 */
const THREADS = 4;

/** The threads of this process; they end with the last database, and are started again when one is opened. */
class WriterPool {
  #threads: WriterThread[] = [];
  #checkpointer: Worker | null = null;

  /** A living thread for one more database. */
  acquire(): WriterThread {
    this.#threads = this.#threads.filter(({ ended }) => !ended);
    const idle = this.#threads.find(({ databases }) => databases === 0);
    const thread = idle ?? (this.#threads.length < THREADS ? this.#start() : this.#leastLoaded());
    thread.databases++;
    return thread;
  }

  async release(thread: WriterThread): Promise<void> {
    thread.databases--;
    this.#threads = this.#threads.filter(({ ended }) => !ended);
    if (this.#threads.some(({ databases }) => databases > 0)) return;
    const [threads, checkpointer] = [this.#threads, this.#checkpointer];
    this.#threads = [];
    this.#checkpointer = null;
    await Promise.all([...threads.map((one) => one.terminate()), checkpointer?.terminate()]);
  }

  /** For tests: what is running. */
  get threads(): readonly WriterThread[] {
    return this.#threads;
  }

  #start(): WriterThread {
    const { port1, port2 } = new MessageChannel();
    this.#checkpoints().postMessage(port1, [port1]);
    const thread = new WriterThread(port2);
    this.#threads.push(thread);
    return thread;
  }

  #leastLoaded(): WriterThread {
    return this.#threads.reduce((best, one) => (one.databases < best.databases ? one : best));
  }

  #checkpoints(): Worker {
    if (this.#checkpointer !== null) return this.#checkpointer;
    const worker = startThread("checkpoint-thread", {});
    const forget = (): void => {
      if (this.#checkpointer === worker) this.#checkpointer = null;
    };
    worker.on("exit", forget);
    this.#checkpointer = worker;
    return worker;
  }
}

export const writerPool = new WriterPool();
