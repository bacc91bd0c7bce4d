import { type AgentName, type DeviceId, type Key, MAIN, parseKey, sha256 } from "@vlinder/protocol";
import Database from "better-sqlite3";
import { StateEngine } from "../../../daemon/src/state/engine.ts";
import type { Op } from "../../../daemon/src/state/mutations.ts";
import { openSqliteObjects } from "../../../daemon/src/storage/backends/sqlite/sqlite-objects.ts";
import { databaseBytes } from "../io.ts";
import { anyKey, keyAt, Values } from "../values.ts";

const AGENT = "bench" as AgentName;
const DEVICE = "b".repeat(32) as DeviceId;
const PRELOAD_BATCH = 1000;

/** The engine alone on SQLite, durable, with so many keys. */
export class EngineStore {
  readonly keys: number;
  readonly #path: string;
  readonly #values = new Values();
  #engine: StateEngine;
  /** Moves pages into the file, so that what one slot has written is not written in the next one. */
  #checkpoint: Database.Database;

  private constructor(path: string, keys: number, engine: StateEngine) {
    this.#path = path;
    this.keys = keys;
    this.#engine = engine;
    this.#checkpoint = new Database(path);
  }

  static async fill(path: string, keys: number, progress: (done: number) => void): Promise<EngineStore> {
    const store = new EngineStore(path, keys, await open(path));
    await store.#engine.setContract({ v: 1, name: AGENT, merge: { rules: 1, policies: {} } });
    for (let from = 0; from < keys; from += PRELOAD_BATCH) {
      const count = Math.min(PRELOAD_BATCH, keys - from);
      const ops = Array.from({ length: count }, (_, i) => store.#op(keyAt(from + i)));
      await store.#engine.write({ space: "kv", kind: "kv.batch", branch: MAIN, ops });
      progress(from + count);
    }
    return store;
  }

  /** Bytes of the file with nothing left in the log. */
  async size(): Promise<number> {
    await this.close();
    const bytes = databaseBytes(this.#path);
    this.#engine = await open(this.#path);
    this.#checkpoint = new Database(this.#path);
    return bytes;
  }

  /** Gives keys that are there new values, each put with a commit of its own. */
  async put(count: number): Promise<void> {
    const puts = Array.from({ length: count }, () => {
      const ops = [this.#op(anyKey(this.keys))];
      return this.#engine.write({ space: "kv", kind: "kv.put", branch: MAIN, ops });
    });
    await Promise.all(puts);
  }

  async get(): Promise<void> {
    const view = await this.#engine.stateOf(MAIN);
    const entry = await view.get("kv", parseKey(anyKey(this.keys)));
    if (entry === null) throw new Error("a key is missing");
    await this.#engine.requiredValue(entry.hash, entry.size);
  }

  settle(): void {
    this.#checkpoint.pragma("wal_checkpoint(PASSIVE)");
  }

  async close(): Promise<void> {
    this.#checkpoint.close();
    await this.#engine.close();
  }

  #op(key: string): Op {
    const bytes = this.#values.next();
    return { key: key as Key, value: { hash: sha256(bytes), bytes } };
  }
}

async function open(path: string): Promise<StateEngine> {
  const storage = await openSqliteObjects({ path, durability: "disk" });
  return await StateEngine.open({ agent: AGENT, storage, device: () => DEVICE });
}
