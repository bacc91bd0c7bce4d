import { type AgentRequest, VlinderError } from "@vlinder/protocol";
import { AnswerStream } from "./answer-stream.ts";
import { errorResponse } from "./error-response.ts";
import { fieldsOf, type Scope } from "./scope.ts";

/** What calls belong to: a branch, or a turn. */
export type CallScope = Pick<Scope, "client" | "agent" | "branch" | "turn">;

type Call = Pick<AgentRequest<"service.infer">, "path" | "headers" | "body"> & { readonly method: string };

/**
 * A `fetch` that calls models through the daemon: it adds the key, checks that the model is declared, and records the call.
 * SDKs take it as theirs: `new OpenAI({ baseURL: "http://vlinder/v1", apiKey: "vlinder", fetch: vlinder.fetch })`.
 *
 * Of the URL only the path and the query count, from its last `/v1/` or `/api/` on; the host is the provider that agent.toml
 * declares. A path with `embed` in its last part is of the service `embed`, all others of `infer`. The answer is the provider's,
 * its body a stream. What the daemon refuses is an answer, too, so that an SDK shows it: `{"error": {"message", "code"}}` with
 * a status like it (403 for `not_declared`, 503 for `unavailable`), and `x-should-retry: false` where trying again is no use.
 * Rejects only with the reason of the request's signal, or a TypeError when the request itself is none.
 */
export function providerFetch(of: CallScope): typeof fetch {
  const { client, agent } = of;
  const scope = fieldsOf(of);
  return async (input, init) => {
    const request = new Request(input, init);
    // The request's own signal lasts only as long as the request does.
    const signal = init?.signal ?? (input instanceof Request ? input.signal : undefined);
    signal?.throwIfAborted();
    const call = { ...(await callOf(request)), ...scope };
    const service = isEmbedding(call.path) ? "service.embed" : "service.infer";
    try {
      return await new AnswerStream(client, agent, signal).send(service, call);
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof VlinderError) return errorResponse(error);
      throw error;
    }
  };
}

async function callOf(request: Request): Promise<Call> {
  const { pathname, search } = new URL(request.url);
  const body = new Uint8Array(await request.arrayBuffer());
  return {
    method: request.method,
    path: `${providerPath(pathname)}${search}`,
    headers: headersOf(request.headers),
    ...(body.length === 0 ? {} : { body }),
  };
}

/** What stands before the API's own path is of another host: of OpenRouter's /api/v1/…, for one. */
function providerPath(path: string): string {
  const start = Math.max(path.lastIndexOf("/v1/"), path.endsWith("/v1") ? path.length - 3 : -1);
  // A model's name may have a slash, which SDKs encode.
  const own = (start > 0 ? path.slice(start) : path).replace(/%2F/gi, "/");
  return start === -1 && own.lastIndexOf("/api/") > 0 ? own.slice(own.lastIndexOf("/api/")) : own;
}

function isEmbedding(path: string): boolean {
  return /\/embed[^/]*$/.test(path.split("?")[0] ?? "");
}

/** Placeholders for keys, and cookies, need not even travel. */
const KEPT_HERE = new Set(["authorization", "x-api-key", "api-key", "cookie", "host", "content-length"]);

function headersOf(headers: Headers): Record<string, string> {
  return Object.fromEntries([...headers].filter(([name]) => !KEPT_HERE.has(name)));
}
