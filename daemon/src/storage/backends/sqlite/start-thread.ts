import { extname } from "node:path";
import { Worker, type WorkerOptions } from "node:worker_threads";

/** There may be four, and what they make is dropped at once. */
const YOUNG_MB = 3;

/** Starts a thread from a file beside this one: a `.ts` file in the sources, a `.js` file when built. */
export function startThread(name: "writer-thread" | "checkpoint-thread", options: WorkerOptions): Worker {
  const extension = extname(new URL(import.meta.url).pathname);
  // Flags of the process, a test runner's hooks among them, are not for these threads.
  const worker = new Worker(new URL(`./${name}${extension}`, import.meta.url), {
    ...options,
    name,
    execArgv: [],
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MB },
  });
  // An open database alone keeps no process alive; what is under way does, see WriterThread.
  worker.unref();
  return worker;
}
