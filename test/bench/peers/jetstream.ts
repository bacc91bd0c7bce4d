import { setTimeout as sleep } from "node:timers/promises";
import { connect, type JetStreamClient, type KV, type NatsConnection, StorageType } from "nats";
import { bytesWritten } from "../io.ts";
import { anyKey, BIG_KEYS } from "../values.ts";
import { type Contestant, keysToFill } from "./contestant.ts";
import { startJetStream } from "./jetstream-server.ts";
import { Lanes } from "./lane.ts";
import { measureLane, type Measured, type Task } from "./measure-lane.ts";

/** Messages of a filling that are on the way before one is waited for. */
const AHEAD = 500;
const RECOVERY_MS = 60_000;
/** Reads before anything is measured: many times the blocks of a million keys. */
const WARMING = 2048;
const FLIGHT = 64;

/** Key-value buckets of JetStream in files, one a size of state. */
export class JetStream implements Contestant {
  readonly name: string;
  readonly connection: NatsConnection;
  readonly #jetstream: JetStreamClient;
  readonly #lanes = new Lanes(async (keys) => {
    const kv = await this.#recovered(keys);
    const get = async (key: string): Promise<unknown> => (await kv.get(nameOf(key))) ?? missing(key);
    // A server that has just started reads a whole block of its file at the first access to any of its keys.
    for (let i = 0; i < WARMING; i += FLIGHT) {
      await Promise.all(Array.from({ length: FLIGHT }, () => get(anyKey(keys))));
    }
    return { put: (key, value) => kv.put(nameOf(key), value), get };
  });
  readonly #server: Awaited<ReturnType<typeof startJetStream>>;

  private constructor(name: string, server: Awaited<ReturnType<typeof startJetStream>>, connection: NatsConnection) {
    this.name = name;
    this.#server = server;
    this.connection = connection;
    this.#jetstream = connection.jetstream({ timeout: 60_000 });
  }

  /** Over what an earlier one has left in the folder. */
  static async start(name: string, store: string, sync: "default" | "always"): Promise<JetStream> {
    const server = await startJetStream(store, sync);
    const connection = await connect({ servers: server.url, noAsyncTraces: true, maxReconnectAttempts: -1 });
    return new JetStream(name, server, connection);
  }

  get url(): string {
    return this.#server.url;
  }

  async fill(keys: number, say: (done: number) => void): Promise<void> {
    const kv = await this.#jetstream.views.kv(bucket(keys), { storage: StorageType.File });
    let done = 0;
    for (const { key, value } of keysToFill(keys)) {
      // One stream takes its messages in their order: when one is acknowledged, those before it are in.
      if (++done % AHEAD === 0) await kv.put(nameOf(key), value);
      else this.connection.publish(`$KV.${bucket(keys)}.${nameOf(key)}`, value);
      if (done % 50_000 === 0) say(done);
    }
    await kv.put(nameOf("/last"), new Uint8Array(1));
    const { values } = await kv.status();
    if (values !== keys + BIG_KEYS + 1) throw new Error(`JetStream KV took ${values} of ${keys} keys`);
  }

  async measure(task: Task): Promise<Measured> {
    return measureLane(await this.#lanes.at(task.keys), () => bytesWritten(this.#server.pid), task);
  }

  async stop(): Promise<void> {
    await this.connection.close();
    await this.#server.stop();
  }

  /** A server that has just started reads its files first. */
  async #recovered(keys: number): Promise<KV> {
    const end = performance.now() + RECOVERY_MS;
    for (;;) {
      try {
        const kv = await this.#jetstream.views.kv(bucket(keys), { bindOnly: true });
        if ((await kv.status()).values > keys) return kv;
      } catch (error) {
        if (performance.now() > end) throw error;
      }
      await sleep(50);
    }
  }
}

function bucket(keys: number): string {
  return `keys-${keys}`;
}

function nameOf(key: string): string {
  return key.slice(1).replaceAll("/", ".");
}

function missing(key: string): never {
  throw new Error(`the key ${key} is missing`);
}
