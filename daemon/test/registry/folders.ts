import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { VlinderError } from "@vlinder/protocol";

/** A folder of the running test, real, gone when it ends. */
export async function temporaryFolder(): Promise<string> {
  const path = await realpath(await mkdtemp(join(tmpdir(), "vlinder-registry-")));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** The VlinderError that something throws, now or as a promise. */
export async function errorOf(work: () => unknown): Promise<VlinderError> {
  try {
    await work();
  } catch (error) {
    if (error instanceof VlinderError) return error;
    throw error;
  }
  throw new Error("it threw nothing");
}
