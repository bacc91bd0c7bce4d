import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";
import { openObjectStorage } from "../../src/storage/objects.ts";
import type { ObjectStorage } from "../../src/storage/object-storage.ts";

/** A storage that can be opened again, as after a restart, with what is in it. */
export interface Place {
  open(): Promise<ObjectStorage>;
  dispose(): Promise<void>;
}

/** Memory that outlives the engine's `close`. */
class KeptMemory extends MemoryObjects {
  override async close(): Promise<void> {}
}

export const BACKENDS: Readonly<Record<string, () => Promise<Place>>> = {
  memory: async () => {
    const storage = new KeptMemory("memory://kept");
    return { open: async () => storage, dispose: async () => {} };
  },
  sqlite: async () => {
    const folder = await mkdtemp(join(tmpdir(), "vlinder-state-"));
    const path = join(folder, "objects.db");
    return {
      open: () => openObjectStorage({ scheme: "sqlite", path, uri: `sqlite://${path}`, durability: "process" }),
      dispose: () => rm(folder, { recursive: true }),
    };
  },
};
