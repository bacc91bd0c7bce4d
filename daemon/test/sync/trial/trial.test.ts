import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { IS_LONG } from "../../../../test/harness/long.ts";
import { MEMORY_FOLDER } from "../../../../test/harness/memory-folder.ts";
import { startHub, TOKEN, URI } from "../hub.ts";
import { Trial, type TrialOptions, type TrialResult } from "./trial-run.ts";

// docs/sync-trials.md says what is tried. The short run writes less by each machine than the long one, in which it is 1,000 operations.

const OPERATIONS = IS_LONG ? 1000 : 40;
const SEEDS = Array.from({ length: IS_LONG ? 20 : 3 }, (_, i) => i + 1);

async function tried(options: Omit<TrialOptions, "folder" | "operations">): Promise<TrialResult> {
  const folder = await mkdtemp(join(MEMORY_FOLDER, "vlinder-trial-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const result = await new Trial({ ...options, folder, operations: OPERATIONS, drills: IS_LONG ? 4 : 1 }).run();
  const faults = [...result.fired].map(([fault, times]) => `${fault} ${times}`).toSorted();
  process.stdout.write(
    `seed ${options.seed}: ${result.acknowledged} acknowledged, ${result.kills} kills, ${result.restored} restored, ${result.failed} of ${result.syncs} syncs failed, ` +
      `${faults.join(", ")}\n`,
  );
  return result;
}

function expectWhole({ acknowledged, kills, fired, reports, drills, missing }: TrialResult): void {
  expect(acknowledged).toBeGreaterThan(OPERATIONS * 2);
  expect(kills).toBeGreaterThan(0);
  // Seed 2 has 5 or 17, by when a kill comes.
  expect([...fired.values()].reduce((sum, times) => sum + times, 0)).toBeGreaterThan(2);
  expect(new Set(reports.map(({ heads }) => heads)).size, "one commit on every branch").toBe(1);
  expect(new Set(reports.map(({ commits }) => commits)).size).toBe(1);
  expect(missing, "every acknowledged write is in every history").toEqual(reports.map(() => []));
  for (const { damage } of reports) expect(damage).toEqual([]);
  expect(drills).not.toEqual([]);
  for (const { ok, found } of drills) expect(ok, JSON.stringify(found)).toBe(true);
}

describe("three machines that write at random, over a bucket in which everything goes wrong", () => {
  for (const seed of SEEDS) {
    const encrypt = seed % 3 === 2;
    test(`seed ${seed}${encrypt ? ", encrypted" : ""}: end with one memory, and so does a new one`, async () => {
      expectWhole(await tried({ seed, encrypt }));
    }, 1_800_000);
  }
});

describe.runIf(IS_LONG)("the same over a bucket of Hugging Face", () => {
  for (const seed of [101, 102, 103]) {
    test(`seed ${seed}: end with one memory, and so does a new one`, async () => {
      const { server, forgive } = await startHub();
      // A process that is killed cuts its requests off.
      forgive();
      const env = { HF_TOKEN: TOKEN, HF_ENDPOINT: server.url };
      expectWhole(await tried({ seed, encrypt: seed === 102, uri: URI, env }));
    }, 1_800_000);
  }
});
