import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSqliteObjects } from "../../src/storage/backends/sqlite/sqlite-objects.ts";
import { objectStorageConformance } from "../../src/storage/conformance.ts";

objectStorageConformance("sqlite", async () => {
  const folder = await mkdtemp(join(tmpdir(), "vlinder-sqlite-"));
  const reopen = () => openSqliteObjects({ path: join(folder, "objects.db"), durability: "process" });
  return { storage: await reopen(), reopen, dispose: () => rm(folder, { recursive: true }) };
});
