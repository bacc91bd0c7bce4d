import { MemoryObjects } from "../../src/storage/backends/memory.ts";
import { objectStorageConformance } from "../../src/storage/conformance.ts";

objectStorageConformance("memory", async () => ({
  storage: new MemoryObjects("memory://test"),
  dispose: async () => {},
}));
