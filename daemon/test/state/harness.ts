import {
  type AgentName,
  type BranchName,
  type ChunkListPart,
  type Contract,
  type DeviceId,
  encodeChunkList,
  type Key,
  MAIN,
  type MergePolicy,
  parseKey,
  sha256,
} from "@vlinder/protocol";
import { cutChunks } from "../../src/state/chunks.ts";
import { StateEngine } from "../../src/state/engine.ts";
import type { Op } from "../../src/state/mutations.ts";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";
import type { ObjectStorage, StoredObject } from "../../src/storage/object-storage.ts";

export const AGENT = "todo" as AgentName;

export function device(n: number): DeviceId {
  return n.toString(16).padStart(32, "0") as DeviceId;
}

export function contract(policies: Record<string, MergePolicy> = {}): Contract {
  return { v: 1, name: AGENT, merge: { rules: 1, policies }, vectors: { metric: "cosine" } };
}

/** A clock that a test moves by hand. */
export class TestClock {
  #time = Date.parse("2026-11-20T12:00:00.000Z");
  now = (): Date => new Date(this.#time);
  tick(ms = 1): void {
    this.#time += ms;
  }
}

export interface Opened {
  engine: StateEngine;
  storage: ObjectStorage;
  clock: TestClock;
}

export async function openEngine(
  options: { storage?: ObjectStorage; device?: number; clock?: TestClock; contract?: Contract | null } = {},
): Promise<Opened> {
  const clock = options.clock ?? new TestClock();
  const storage = options.storage ?? new MemoryObjects("memory://test");
  const engine = await StateEngine.open({
    agent: AGENT,
    storage,
    device: () => device(options.device ?? 1),
    now: clock.now,
  });
  if (options.contract !== null) await engine.setContract(options.contract ?? contract());
  return { engine, storage, clock };
}

export function op(key: string, value: string | Uint8Array | null): Op {
  if (value === null) return { key: parseKey(key), value: null };
  const bytes = typeof value === "string" ? Buffer.from(value) : value;
  return { key: parseKey(key), value: { hash: sha256(bytes), bytes } };
}

/** One commit with these changes on a branch. */
export async function put(
  engine: StateEngine,
  values: Record<string, string | Uint8Array | null>,
  branch: BranchName = MAIN,
): Promise<string> {
  const ops = Object.entries(values).map(([key, value]) => op(key, value));
  const { state } = await engine.write({ space: "kv", kind: "kv.batch", branch, ops });
  return state;
}

/** All that a state holds, as text. */
export async function contents(engine: StateEngine, ref: string = MAIN): Promise<Record<string, string>> {
  const view = await engine.view(await engine.resolve(ref));
  const all: Record<string, string> = {};
  for await (const { key, hash, size } of view.entries("kv")) {
    all[Buffer.from(key, "latin1").toString("utf8")] = Buffer.from(await engine.requiredValue(hash, size)).toString(
      "utf8",
    );
  }
  return all;
}

/** The objects of a large value with short lists, and so on several levels, as only a value of 100 MB has them else. */
export function deepValue(bytes: Uint8Array, entries = 4): StoredObject[] {
  const objects: StoredObject[] = [];
  let parts = [...cutChunks(bytes)].map((chunk): ChunkListPart => {
    objects.push({ kind: "chunk", hash: sha256(chunk), bytes: chunk });
    return { hash: sha256(chunk), size: chunk.length };
  });
  for (let level = 1; ; level++) {
    const groups = Array.from({ length: Math.ceil(parts.length / entries) }, (_, i) =>
      parts.slice(entries * i, entries * (i + 1)),
    );
    const isTop = groups.length === 1;
    parts = groups.map((group) => {
      const list = encodeChunkList({ level, parts: group });
      const hash = isTop ? sha256(bytes) : sha256(list);
      objects.push({ kind: "list", hash, bytes: list });
      return { hash, size: group.reduce((sum, { size }) => sum + size, 0) };
    });
    if (isTop) return objects;
  }
}

/** Puts a value that is stored as `deepValue` has it. */
export async function putDeep(
  { engine, storage }: Pick<Opened, "engine" | "storage">,
  name: string,
  bytes: Uint8Array,
  entries?: number,
) {
  await storage.apply({ objects: deepValue(bytes, entries), branches: [], replies: [] });
  const ops = [{ key: parseKey(name), value: { hash: sha256(bytes), size: bytes.length } }];
  return await engine.write({ space: "kv", kind: "kv.put", branch: MAIN, ops });
}

export const key = (text: string): Key => parseKey(text);
