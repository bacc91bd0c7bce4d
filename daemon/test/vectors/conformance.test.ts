import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import type { Metric } from "@vlinder/protocol";
import { vectorStorageConformance } from "../../src/storage/vector-conformance.ts";
import { openVectorStorage } from "../../src/storage/vectors/open.ts";

vectorStorageConformance({
  name: "memory",
  create: (dimension, metric) => openVectorStorage("memory://x", { dimension, metric }),
});

const folder = await mkdtemp(join(tmpdir(), "vlinder-vectors-"));
afterAll(async () => {
  await first.close();
  await rm(folder, { recursive: true, force: true });
});
let files = 0;

// One that stays open, so that the worker thread is not started anew for each storage of a property.
const first = await openVectorStorage(`sqlite://${join(folder, "first.db")}`, { dimension: 1, metric: "l2" });

vectorStorageConformance({
  name: "sqlite",
  create: (dimension: number, metric: Metric) =>
    openVectorStorage(`sqlite://${join(folder, `${++files}.db`)}`, { dimension, metric }),
  async reopen(storage, shape = storage) {
    await storage.close();
    return openVectorStorage(storage.uri, { dimension: shape.dimension, metric: shape.metric });
  },
});
