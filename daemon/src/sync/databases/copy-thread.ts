import { rmSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import type { Hash } from "@vlinder/protocol";
import type { CopyAnswer, CopyStep, CopyTask } from "./copy-messages.ts";
import { copyDatabase, hashFile } from "./database-copy.ts";

const { source, target, seal } = workerData as CopyTask;
const post = (answer: CopyAnswer): void => parentPort?.postMessage(answer);
const onStep =
  (step: CopyStep) =>
  (done: number, total: number): void =>
    post({ step, done, total });

try {
  const seen = await copyDatabase(source, target, onStep("copying"));
  if (seal === null || seen.damage !== null) post({ copied: { ...seen, ...hashFile(target) } });
  else {
    // What encrypts is loaded only where it is needed.
    const { sealLargeFile } = await import("../vault/age-large.ts");
    const { bytes, sha256 } = sealLargeFile(seal.start, target, seal.target, onStep("encrypting"));
    rmSync(target);
    post({ copied: { ...seen, bytes, sha256: sha256 as Hash } });
  }
} catch (error) {
  const { code, message } = error as { code?: unknown; message?: unknown };
  post({ failed: { code: typeof code === "string" ? code : null, message: String(message) } });
}
