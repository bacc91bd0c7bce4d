import { invalid } from "@vlinder/protocol";
import { type ProviderConfig, type ProviderProtocol, spokenBy } from "../registry/provider-config.ts";

export type ServiceName = "infer" | "embed";
export type Method = "GET" | "POST";

/** How an answer says what it cost. */
export type UsageForm = "openai" | "responses" | "anthropic" | "ollama" | "none";

/** What of a provider's API an agent may call. Files, keys, billing and the like are not in it. */
interface Endpoint {
  readonly protocol: ProviderProtocol;
  readonly service: ServiceName | null;
  readonly method: Method;
  /** As an SDK asks for it; with `/:model` at its end, of one model. */
  readonly path: string;
  readonly query: readonly string[];
  readonly usage: UsageForm;
}

const PAGE = ["limit", "after_id", "before_id"];

function endpoint(
  protocol: ProviderProtocol,
  service: ServiceName | null,
  [method, path]: readonly [Method, string],
  usage: UsageForm,
  query: readonly string[] = [],
): Endpoint {
  return { protocol, service, method, path, query, usage };
}

const ENDPOINTS: readonly Endpoint[] = [
  endpoint("openai", "infer", ["POST", "/v1/chat/completions"], "openai"),
  endpoint("openai", "infer", ["POST", "/v1/completions"], "openai"),
  endpoint("openai", "infer", ["POST", "/v1/responses"], "responses"),
  endpoint("openai", "embed", ["POST", "/v1/embeddings"], "openai"),
  endpoint("openai", null, ["GET", "/v1/models"], "none"),
  endpoint("openai", null, ["GET", "/v1/models/:model"], "none"),
  endpoint("anthropic", "infer", ["POST", "/v1/messages"], "anthropic", ["beta"]),
  endpoint("anthropic", "infer", ["POST", "/v1/messages/count_tokens"], "none", ["beta"]),
  endpoint("anthropic", null, ["GET", "/v1/models"], "none", PAGE),
  endpoint("anthropic", null, ["GET", "/v1/models/:model"], "none"),
  endpoint("ollama", "infer", ["POST", "/api/chat"], "ollama"),
  endpoint("ollama", "infer", ["POST", "/api/generate"], "ollama"),
  endpoint("ollama", "embed", ["POST", "/api/embed"], "ollama"),
  endpoint("ollama", "embed", ["POST", "/api/embeddings"], "ollama"),
  endpoint("ollama", null, ["GET", "/api/tags"], "none"),
  endpoint("ollama", null, ["POST", "/api/show"], "none"),
  endpoint("ollama", null, ["GET", "/api/version"], "none"),
];

/** Where a call goes. */
export interface Target {
  readonly url: string;
  readonly method: Method;
  readonly protocol: ProviderProtocol;
  readonly usage: UsageForm;
  /** The model that the path names; null: the body does, or none is meant. */
  readonly model: string | null;
}

export interface Asked {
  readonly service: ServiceName;
  readonly method: Method;
  readonly path: string;
}

/**
 * The endpoint that a call means. The URL is made of the table, never of what an agent sent: of that come only values of
 * named query fields, and the name of a model, encoded. @throws invalid: none is meant, with those that can be called
 */
export function targetOf(asked: Asked, provider: ProviderConfig, protocol: ProviderProtocol | null): Target {
  const [path, query] = asked.path.split("?") as [string, string?];
  const spoken = protocol === null ? spokenBy(provider) : [protocol];
  const own = ENDPOINTS.filter(
    (one) => spoken.includes(one.protocol) && (one.service === null || one.service === asked.service),
  );
  for (const one of own) {
    if (one.method !== asked.method) continue;
    const model = match(one.path, path);
    if (model === null) continue;
    const url = `${urlOf(provider, one, model)}${queryOf(one, query)}`;
    return { url, method: one.method, protocol: one.protocol, usage: one.usage, model };
  }
  const paths = own.map((one) => `${one.method} ${one.path}`);
  throw invalid(`service.${asked.service} of the provider "${provider.name}" has no ${asked.method} ${path}`, {
    details: { path, allowed: paths },
    remedy: `it has ${paths.join(", ")}; an SDK's base URL is http://vlinder/v1 (OpenAI) or http://vlinder (Anthropic, Ollama)`,
  });
}

/** The model that a path names, empty where it names none; null when it is another path. */
function match(pattern: string, path: string): string | null {
  // SDKs of OpenAI are given a base URL with the version in it: who leaves it out means v1.
  const whole = /^\/(?:v1|api)\//.test(path) ? path : `/v1${path}`;
  if (!pattern.endsWith("/:model")) return whole === pattern ? "" : null;
  const start = pattern.slice(0, -":model".length);
  if (!whole.startsWith(start)) return null;
  try {
    return decodeURIComponent(whole.slice(start.length)) || null;
  } catch {
    return null;
  }
}

function urlOf({ url, protocol }: ProviderConfig, one: Endpoint, model: string): string {
  // An OpenAI base URL ends with its version already.
  const path = protocol === "openai" ? one.path.replace(/^\/v1/, "") : one.path;
  return `${url}${path.replace(":model", encodeURIComponent(model))}`;
}

function queryOf({ path, query: allowed }: Endpoint, query: string | undefined): string {
  if (query === undefined || query === "") return "";
  const fields = new URLSearchParams(query);
  for (const name of fields.keys()) {
    if (allowed.includes(name) && fields.getAll(name).length === 1) continue;
    throw invalid(`${path} takes no query field ${JSON.stringify(name)} here`, {
      details: { path, allowed },
      remedy: allowed.length === 0 ? "leave the query out" : `it takes ${allowed.join(", ")}, once each`,
    });
  }
  return `?${fields.toString()}`;
}
