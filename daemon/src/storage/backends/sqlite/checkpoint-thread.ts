import { type MessagePort, parentPort } from "node:worker_threads";
import { openForCheckpoint } from "./connection.ts";
import { type Failure, failureOf } from "./failure.ts";
import type { CheckpointReport, CheckpointRequest } from "./messages.ts";

/*
 * Moves pages from logs into files while the writers go on: in a writer it would make one transaction in
 * thirty wait for all the random writes of the others, and for an fsync of the file.
 */
parentPort?.on("message", (port: MessagePort) => {
  port.on("message", ({ database, path }: CheckpointRequest) => {
    const report: CheckpointReport = { database, failure: checkpoint(path) };
    port.postMessage(report);
  });
});

function checkpoint(path: string): Failure | null {
  try {
    const db = openForCheckpoint(path);
    try {
      db.pragma("wal_checkpoint(PASSIVE)");
      return null;
    } finally {
      db.close();
    }
  } catch (error) {
    return failureOf(error, path);
  }
}
