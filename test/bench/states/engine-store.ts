import { type AgentName, type DeviceId, type Hash, type Key, MAIN, parseKey, sha256 } from "@vlinder/protocol";
import Database from "better-sqlite3";
import { StateEngine } from "../../../daemon/src/state/engine.ts";
import type { Op } from "../../../daemon/src/state/mutations.ts";
import type { ObjectStorage } from "../../../daemon/src/storage/object-storage.ts";
import { openSqliteObjects } from "../../../daemon/src/storage/backends/sqlite/sqlite-objects.ts";
import { databaseBytes } from "../io.ts";
import { Values } from "../values.ts";

const DEVICE = "b".repeat(32) as DeviceId;
const BATCH = 1000;

/** The engine on SQLite in this process, durable, as one who links it would use it. */
export class EngineStore {
  readonly #path: string;
  readonly #agent: AgentName;
  readonly #values = new Values();
  #engine: StateEngine;
  /** Moves pages into the file, so that what one slot has written is not written in the next one. */
  #checkpoint: Database.Database;
  #transactions = 0;
  #taken: () => void = () => {};

  private constructor(path: string, agent: AgentName, { engine, storage }: Opened) {
    this.#path = path;
    this.#agent = agent;
    this.#watch(storage);
    this.#engine = engine;
    this.#checkpoint = new Database(path);
  }

  /** A new file is a state without keys. */
  static async open(path: string, agent: string): Promise<EngineStore> {
    const name = agent as AgentName;
    const store = new EngineStore(path, name, await open(path, name));
    if ((await store.#engine.contract()) === null) {
      await store.#engine.setContract({ v: 1, name, merge: { rules: 1, policies: {} } });
    }
    return store;
  }

  get engine(): StateEngine {
    return this.#engine;
  }

  /** How many transactions there were since it was opened first. */
  get transactions(): number {
    return this.#transactions;
  }

  /** Opens the file again, with empty caches. */
  async reopen(): Promise<void> {
    await this.close();
    const { engine, storage } = await open(this.#path, this.#agent);
    this.#watch(storage);
    this.#engine = engine;
    this.#checkpoint = new Database(this.#path);
  }

  /** Bytes of the file with nothing left in the log. */
  async size(): Promise<number> {
    await this.reopen();
    return databaseBytes(this.#path);
  }

  /** Puts them all, many keys a commit. */
  async fill(keys: readonly string[], values: Pick<Values, "next">, say: (done: number) => void): Promise<void> {
    for (let from = 0; from < keys.length; from += BATCH) {
      const ops = keys.slice(from, from + BATCH).map((key) => opOf(key, values.next()));
      await this.#engine.write({ space: "kv", kind: "kv.batch", branch: MAIN, ops });
      say(from + ops.length);
    }
  }

  /** Puts them together, each with a commit of its own; returns the commits. */
  async put(keys: readonly string[], values: Pick<Values, "next"> = this.#values): Promise<Hash[]> {
    const puts = keys.map((key) => {
      const ops = [opOf(key, values.next())];
      return this.#engine.write({ space: "kv", kind: "kv.put", branch: MAIN, ops });
    });
    return (await Promise.all(puts)).map(({ state }) => state);
  }

  /** Transactions one after another: the next is not computed before the last is on disk. */
  async putInTurn(batches: Iterable<readonly string[]>): Promise<void> {
    for (const keys of batches) await this.put(keys);
  }

  /** Two under way: one is computed while the one before it is being written. */
  async putOverlapped(
    batches: Iterable<readonly string[]>,
    done: (commits: readonly Hash[]) => void = () => {},
  ): Promise<void> {
    const answered: Promise<Hash[]>[] = [];
    for (const keys of batches) {
      const taken = this.#nextTransaction();
      const puts = this.put(keys);
      // What is asked for before the storage has this transaction would join it.
      await Promise.race([taken, puts]);
      if (answered.push(puts) === 2) done(await (answered.shift() as Promise<Hash[]>));
    }
    for (const puts of answered) done(await puts);
  }

  /** The value of a key at a commit, absent: at the head of main. */
  async get(key: string, at?: Hash): Promise<Uint8Array> {
    const { value } = await this.#engine.find(parseKey(key), MAIN, at);
    if (value?.bytes === null || value === null) throw new Error(`the key ${key} is missing`);
    return value.bytes;
  }

  /** How many keys differ. */
  async diff(from: Hash, to: Hash): Promise<number> {
    const [a, b] = [await this.#engine.view(from), await this.#engine.view(to)];
    let count = 0;
    for await (const _ of a.diff("kv", b)) count++;
    return count;
  }

  settle(): void {
    this.#checkpoint.pragma("wal_checkpoint(PASSIVE)");
  }

  async close(): Promise<void> {
    this.#checkpoint.close();
    await this.#engine.close();
  }

  /** Counts the transactions that the storage is given. */
  #watch(storage: ObjectStorage): void {
    const apply = storage.apply.bind(storage);
    storage.apply = (transaction) => {
      this.#transactions++;
      this.#taken();
      return apply(transaction);
    };
  }

  #nextTransaction(): Promise<void> {
    return new Promise((resolve) => {
      this.#taken = resolve;
    });
  }
}

interface Opened {
  readonly engine: StateEngine;
  readonly storage: ObjectStorage;
}

function opOf(key: string, bytes: Uint8Array): Op {
  return { key: key as Key, value: { hash: sha256(bytes), bytes } };
}

async function open(path: string, agent: AgentName): Promise<Opened> {
  const storage = await openSqliteObjects({ path, durability: "disk" });
  return { storage, engine: await StateEngine.open({ agent, storage, device: () => DEVICE }) };
}
