import nodeModule from "node:module";
import { parentPort, workerData } from "node:worker_threads";
import { asVlinderError, type ErrorBody, type Progress } from "@vlinder/protocol";
import type { Restored, RestoreOrder } from "./restore.ts";

/** What the thread is started with. */
export interface DrillTask {
  readonly order: RestoreOrder;
  /** Where the process keeps compiled code; null: nowhere. */
  readonly cache: string | null;
}

/** What it says: progress, and at last one of the others. */
export type DrillNews =
  | { readonly progress: Progress }
  | { readonly restored: Restored }
  | { readonly error: ErrorBody };

const { order, cache } = workerData as DrillTask;
const say = (news: DrillNews): void => parentPort?.postMessage(news);
// A thread does not take it from its process. Without it, most of a small drill's time is that of reading the code.
if (cache !== null) nodeModule.enableCompileCache(cache);
try {
  const { restore } = await import("./restore.ts");
  const restored = await restore(order, (progress) => say({ progress }));
  nodeModule.flushCompileCache();
  say({ restored });
} catch (thrown) {
  say({ error: asVlinderError(thrown).toBody() });
}
