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
 * one's. Of what nobody put, lists that share something go as well, or they would keep it.
 * @param storages where they may be: the agent's, and quarantines
 * @param areValues which of these lists are a value's that a commit names, or an upload's
 */
export async function partsOf(
  storages: readonly ObjectStorage[],
  values: readonly { readonly hash: Hash; readonly size: number }[],
  areValues: (lists: ReadonlySet<Hash>) => Promise<ReadonlySet<Hash>>,
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
  const others = await sharers(storages, parts);
  const needed = others.size === 0 ? new Set<Hash>() : reachedIn(others, await areValues(new Set(others.keys())));
  const shared = new Set([...needed].flatMap((hash) => others.get(hash)?.parts.map((part) => part.hash) ?? []));
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
    list: [...new Set([...tops, ...lists, ...[...others.keys()].filter((hash) => !needed.has(hash))])],
    chunk: [...new Set(chunks.map(({ hash }) => hash).filter((hash) => !shared.has(hash)))],
  };
}

/** Other lists that share a part with these, and what lists them. */
async function sharers(
  storages: readonly ObjectStorage[],
  lists: ReadonlyMap<Hash, ChunkList>,
): Promise<Map<Hash, ChunkList>> {
  const wanted = new Set([...lists.values()].flatMap(({ parts }) => parts.map(({ hash }) => hash)));
  const found = new Map<Hash, ChunkList>();
  const pace = new Pace();
  // Once more for each level above: nearly always there is nothing in the first pass.
  for (let before = -1; found.size > before;) {
    before = found.size;
    for (const storage of storages) {
      for await (const page of sweepObjects(storage, "list")) {
        for (const { hash, bytes } of page) {
          if (lists.has(hash) || found.has(hash)) continue;
          const list = decodeChunkList(bytes);
          if (!list.parts.some((part) => wanted.has(part.hash) || found.has(part.hash))) continue;
          found.set(hash, list);
        }
        if (pace.due) await pace.rest();
      }
    }
  }
  return found;
}

/** Of these lists those that are reached from some of them. */
function reachedIn(lists: ReadonlyMap<Hash, ChunkList>, from: Iterable<Hash>): Set<Hash> {
  const reached = new Set<Hash>();
  const open = [...from];
  for (let hash = open.pop(); hash !== undefined; hash = open.pop()) {
    const list = lists.get(hash);
    if (list === undefined || reached.has(hash)) continue;
    reached.add(hash);
    if (list.level > 1) for (const part of list.parts) open.push(part.hash);
  }
  return reached;
}
