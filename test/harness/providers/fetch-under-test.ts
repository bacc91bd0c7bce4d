import type { ModelServer } from "./model-server.ts";

/** What an SDK is given. */
export interface ProviderFetch {
  /** Goes to the server whatever host the URL names; the path stays. */
  readonly fetch: typeof globalThis.fetch;
  /** The SDK's `apiKey`: the key itself, or a word in its place where something behind `fetch` adds the key. */
  readonly apiKey: string;
}

/**
 * How the suites come by a `fetch` that reaches a server.
 * @param key the key that has to arrive at the server; empty for a server without keys
 */
export type MakeFetch = (server: ModelServer, key: string) => Promise<ProviderFetch>;
