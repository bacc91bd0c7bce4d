import { Worker } from "node:worker_threads";
import { VlinderError } from "@vlinder/protocol";
import { THREAD_HEAP } from "../../node-flags.ts";
import type { CopyAnswer, CopyStep, CopyTask } from "./copy-messages.ts";
import type { CopiedDatabase } from "./database-copy.ts";

export type OnStep = (step: CopyStep, done: number, total: number) => void;

/**
 * Makes a copy, and encrypts it, on a thread of its own, which has ended when this has: its files may be removed then.
 * @throws unavailable: no room, I/O, a damaged source, or `signal`
 */
export function copying(task: CopyTask, signal: AbortSignal, onStep: OnStep): Promise<CopiedDatabase> {
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  const worker = new Worker(new URL(`./copy-thread.${extension}`, import.meta.url), {
    name: "copy-thread",
    // Flags of the process, a test runner's hooks among them, are not for this thread.
    execArgv: [],
    resourceLimits: THREAD_HEAP,
    workerData: task,
  });
  worker.unref();
  return new Promise((resolve, reject) => {
    let failure: Error | null = null;
    const end = (error: Error): void => {
      failure ??= error;
      void worker.terminate();
    };
    const onAbort = (): void => end(copyError(task.source, "it was broken off"));
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    worker.on("message", (answer: CopyAnswer) => {
      if ("copied" in answer) resolve(answer.copied);
      else if ("failed" in answer) end(copyError(task.source, answer.failed.message, answer.failed.code));
      else onStep(answer.step, answer.done, answer.total);
    });
    worker.on("error", (cause) => end(copyError(task.source, cause.message)));
    worker.once("exit", () => {
      signal.removeEventListener("abort", onAbort);
      reject(failure ?? copyError(task.source, "its thread ended"));
    });
  });
}

function copyError(path: string, why: string, code: string | null = null): VlinderError {
  const isFull = code === "SQLITE_FULL" || code === "ENOSPC";
  return new VlinderError("unavailable", `${path} could not be copied: ${why}`, {
    remedy: isFull ? "make room on the home's disk" : "it is tried again later; check the home folder and its disk",
    details: { path, code },
  });
}
