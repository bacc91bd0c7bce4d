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

/** The global fetch, bound to the server: nothing is in between. */
export const fetchUnderTest: MakeFetch = (server, key) => {
  const bound: typeof globalThis.fetch = (input, init) => {
    const { pathname, search } = new URL(input instanceof Request ? input.url : input);
    const url = `${server.origin}${pathname}${search}`;
    return globalThis.fetch(input instanceof Request ? new Request(url, input) : url, init);
  };
  return Promise.resolve({ fetch: bound, apiKey: key === "" ? "unused" : key });
};
