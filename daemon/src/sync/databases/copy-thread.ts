import { parentPort, workerData } from "node:worker_threads";
import { copyDatabase } from "./database-copy.ts";
import type { CopyAnswer, CopyTask } from "./copy-messages.ts";

const { source, target } = workerData as CopyTask;
const post = (answer: CopyAnswer): void => parentPort?.postMessage(answer);

try {
  post({ copied: await copyDatabase(source, target, (done, total) => post({ done, total })) });
} catch (error) {
  const { code, message } = error as { code?: unknown; message?: unknown };
  post({ failed: { code: typeof code === "string" ? code : null, message: String(message) } });
}
