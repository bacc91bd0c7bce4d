import { constants, setPriority } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { asVlinderError, type ErrorBody } from "@vlinder/protocol";
import { openObjectReader } from "../../storage/objects.ts";
import type { ReaderAddress } from "../../storage/object-storage.ts";
import { runVerify, type VerifyReport, type VerifyTask } from "./run-verify.ts";

/** What the thread is started with. */
export interface VerifyOrder {
  readonly address: ReaderAddress;
  readonly task: VerifyTask;
}

/** What it says: how far it is, and at last what it found, or why it could not. */
export type VerifyNews =
  | { readonly done: number; readonly total: number }
  | { readonly report: VerifyReport }
  | { readonly error: ErrorBody };

const { address, task } = workerData as VerifyOrder;
const tell = (news: VerifyNews): void => parentPort?.postMessage(news);

// Requests go first. Only Linux takes this for the thread alone; elsewhere it would slow the process down.
if (process.platform === "linux") setPriority(0, constants.priority.PRIORITY_BELOW_NORMAL);

const reader = openObjectReader(address);
try {
  const report = await runVerify(reader, task, { progress: (done, total) => tell({ done, total }), shared: false });
  tell({ report });
} catch (error) {
  tell({ error: asVlinderError(error).toBody() });
} finally {
  reader.close();
}
