import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { openSqliteObjects } from "../../src/storage/backends/sqlite/sqlite-objects.ts";
import { objectStorageConformance } from "../../src/storage/conformance.ts";
import type { ObjectStorage } from "../../src/storage/object-storage.ts";

async function open() {
  const folder = await mkdtemp(join(tmpdir(), "vlinder-sqlite-"));
  const reopen = () => openSqliteObjects({ path: join(folder, "objects.db"), durability: "process" });
  return { storage: await reopen(), reopen, dispose: () => rm(folder, { recursive: true }) };
}

// One stays open, so that the threads need not start anew for every test.
let other: { readonly storage: ObjectStorage; readonly dispose: () => Promise<void> };
beforeAll(async () => void (other = await open()));
afterAll(() => other.storage.close().then(other.dispose));

objectStorageConformance("sqlite", open);
