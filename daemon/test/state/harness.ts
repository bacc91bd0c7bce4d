import {
  type AgentName,
  type BranchName,
  type Contract,
  type DeviceId,
  type Key,
  MAIN,
  type MergePolicy,
  parseKey,
  sha256,
} from "@vlinder/protocol";
import { StateEngine } from "../../src/state/engine.ts";
import type { Op } from "../../src/state/mutations.ts";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";
import type { ObjectStorage } from "../../src/storage/object-storage.ts";

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

export const key = (text: string): Key => parseKey(text);
