import { afterAll, afterEach, beforeAll, expect } from "vitest";
import { until } from "../../processes.ts";
import type { MakeFetch, ProviderFetch } from "../fetch-under-test.ts";
import { ModelServer } from "../model-server.ts";
import type { Provider } from "../provider.ts";

const KEY = "the-key-of-the-test";

/** A server for the tests of one `describe`, with a `fetch` that reaches it. */
export class Served {
  #server: ModelServer | null = null;
  #right: ProviderFetch | null = null;
  #wrong: ProviderFetch | null = null;

  /** To be called in a `describe`: registers what starts, checks and ends the server. */
  constructor(provider: (key: string) => Provider, makeFetch: MakeFetch, keyed = true) {
    beforeAll(async () => {
      this.#server = await ModelServer.start(provider(KEY));
      this.#right = await makeFetch(this.#server, keyed ? KEY : "");
      if (keyed) this.#wrong = await makeFetch(this.#server, "not-the-key");
    });
    afterEach(() => this.server.settle());
    afterAll(() => this.#server?.close());
  }

  get server(): ModelServer {
    return there(this.#server);
  }

  /** With the key that the server wants. */
  get right(): ProviderFetch {
    return there(this.#right);
  }

  /** With another one. */
  get wrong(): ProviderFetch {
    return there(this.#wrong);
  }

  /** What arrived as the body of the only request. */
  get body(): unknown {
    return JSON.parse(this.server.request.body);
  }

  /** Waits until the server knows that the caller of its only request has gone. */
  async gone(): Promise<void> {
    await until("the server sees that its caller has gone", () => this.server.request.aborted, 5_000);
  }
}

function there<T>(value: T | null): T {
  if (value === null) throw new Error("the server has not been started");
  return value;
}

/** Reads a stream to its end, or to its error, and keeps what came. */
export async function drain<T>(stream: AsyncIterable<T>): Promise<{ items: T[]; error: unknown }> {
  const items: T[] = [];
  try {
    for await (const item of stream) items.push(item);
    return { items, error: null };
  } catch (error) {
    return { items, error };
  }
}

/** Expects that something took its time: what `Retry-After: 1` asks for. */
export async function waits<T>(milliseconds: number, run: () => Promise<T>): Promise<T> {
  const begun = performance.now();
  const done = await run();
  // Timers may fire a millisecond early.
  expect(performance.now() - begun).toBeGreaterThanOrEqual(milliseconds - 5);
  return done;
}

/** Text whose characters take one to four bytes. */
export const MANY_BYTES = "Größe 日本語 🦋 naïve — end";
