import { setTimeout as sleep } from "node:timers/promises";
import type { Vlinder } from "@vlinder/agent-runtime";

/** Puts of ever new keys, so many at a time over each client, until it is stopped. */
export class Load {
  /** Key → the commit that the daemon has acknowledged it with. */
  readonly acknowledged = new Map<string, string>();
  readonly failures: unknown[] = [];
  readonly #workers: Promise<void>[];
  #stopped = false;
  #next = 0;

  constructor(clients: readonly Vlinder[], atATime: number) {
    this.#workers = clients.flatMap((client) => Array.from({ length: atATime }, () => this.#work(client)));
  }

  /** Waits until so many more puts are acknowledged. */
  async more(count: number, milliseconds = 60_000): Promise<void> {
    const wanted = this.acknowledged.size + count;
    const end = Date.now() + milliseconds;
    while (this.acknowledged.size < wanted) {
      if (this.failures.length > 0) throw this.failures[0];
      if (Date.now() > end) throw new Error(`only ${this.acknowledged.size} of ${wanted} puts were acknowledged`);
      await sleep(5);
    }
  }

  /** Lets what is under way come to its end. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#workers);
  }

  async #work(client: Vlinder): Promise<void> {
    while (!this.#stopped && this.failures.length === 0) {
      const key = `/load/${String(this.#next++).padStart(7, "0")}`;
      try {
        this.acknowledged.set(key, (await client.kv.put(key, `value of ${key}`)).state);
      } catch (error) {
        this.failures.push(error);
      }
    }
  }
}
