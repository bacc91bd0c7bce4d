import { type ChunkList, decodeChunkList, type Hash } from "@vlinder/protocol";
import type { ObjectStorage } from "../../storage/object-storage.ts";
import { sweepObjects } from "../../storage/sweep.ts";
import { valueKind } from "../objects.ts";
import { Pace } from "./pace.ts";

/** The objects that hold some values' bytes, and nothing else's. */
export interface Parts {
  readonly value: readonly Hash[];
  readonly list: readonly Hash[];
  readonly chunk: readonly Hash[];
}

/**
 * What is to go so that these values are gone. A chunk that another value has too stays: it is that
 * one's. @param storages where they may be: the agent's, and quarantines
 */
export async function partsOf(
  storages: readonly ObjectStorage[],
  values: readonly { readonly hash: Hash; readonly size: number }[],
): Promise<Parts> {
  const small = values.filter(({ size }) => valueKind(size) === "value").map(({ hash }) => hash);
  const tops = new Set(values.filter(({ size }) => valueKind(size) === "list").map(({ hash }) => hash));
  if (tops.size === 0) return { value: small, list: [], chunk: [] };
  /** Of each list that holds them: its parts. */
  const parts = new Map<Hash, ChunkList>();
  const read = async (hash: Hash): Promise<void> => {
    for (const storage of storages) {
      const [bytes] = await storage.read("list", [hash]);
      if (bytes != null) return void parts.set(hash, decodeChunkList(bytes));
    }
  };
  const open = [...tops];
  for (let hash = open.pop(); hash !== undefined; hash = open.pop()) {
    await read(hash);
    const list = parts.get(hash);
    if (list === undefined || list.level === 1) continue;
    for (const below of list.parts) if (!parts.has(below.hash)) open.push(below.hash);
  }
  const shared = await partsOfOthers(storages, new Set(parts.keys()));
  // A list below that another value has too keeps all that is under it.
  const kept = [...parts.keys()].filter((hash) => shared.has(hash));
  for (let hash = kept.pop(); hash !== undefined; hash = kept.pop()) {
    for (const part of parts.get(hash)?.parts ?? []) {
      if (!shared.has(part.hash) && parts.has(part.hash)) kept.push(part.hash);
      shared.add(part.hash);
    }
  }
  const lists = [...parts.keys()].filter((hash) => tops.has(hash) || !shared.has(hash));
  const chunks = [...parts.values()].flatMap(({ level, parts: own }) => (level === 1 ? own : []));
  return {
    value: small,
    list: [...new Set([...tops, ...lists])],
    chunk: [...new Set(chunks.map(({ hash }) => hash).filter((hash) => !shared.has(hash)))],
  };
}

/** What all lists but these have for parts. */
async function partsOfOthers(storages: readonly ObjectStorage[], but: ReadonlySet<Hash>): Promise<Set<Hash>> {
  const found = new Set<Hash>();
  const pace = new Pace();
  for (const storage of storages) {
    for await (const page of sweepObjects(storage, "list")) {
      for (const { hash, bytes } of page) {
        if (!but.has(hash)) for (const part of decodeChunkList(bytes).parts) found.add(part.hash);
      }
      if (pace.due) await pace.rest();
    }
  }
  return found;
}
