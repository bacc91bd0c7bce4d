import { Worker } from "node:worker_threads";
import { VlinderError } from "@vlinder/protocol";
import type { CopyAnswer, CopyTask } from "./copy-messages.ts";
import type { CopiedDatabase, OnPages } from "./database-copy.ts";

/** Makes a copy on a thread of its own. @throws unavailable: no room, I/O, a damaged source, or `signal` */
export function copying(task: CopyTask, signal: AbortSignal, onPages: OnPages): Promise<CopiedDatabase> {
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  const worker = new Worker(new URL(`./copy-thread.${extension}`, import.meta.url), {
    name: "copy-thread",
    // Flags of the process, a test runner's hooks among them, are not for this thread.
    execArgv: [],
    workerData: task,
  });
  worker.unref();
  return new Promise((resolve, reject) => {
    const end = (error: Error): void => {
      reject(error);
      void worker.terminate();
    };
    const onAbort = (): void => end(copyError(task.source, "it was broken off"));
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    worker.on("message", (answer: CopyAnswer) => {
      if ("copied" in answer) resolve(answer.copied);
      else if ("failed" in answer) end(copyError(task.source, answer.failed.message, answer.failed.code));
      else onPages(answer.done, answer.total);
    });
    worker.on("error", (cause) => end(copyError(task.source, cause.message)));
    worker.on("exit", () => {
      signal.removeEventListener("abort", onAbort);
      reject(copyError(task.source, "its thread ended"));
    });
  });
}

function copyError(path: string, why: string, code: string | null = null): VlinderError {
  const isFull = code === "SQLITE_FULL";
  return new VlinderError("unavailable", `${path} could not be copied: ${why}`, {
    remedy: isFull ? "make room on the home's disk" : "it is tried again later; check the home folder and its disk",
    details: { path, code },
  });
}
