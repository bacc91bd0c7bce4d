import type { IncomingHttpHeaders } from "node:http";
import type { ProviderProtocol } from "../registry/provider-config.ts";

/**
 * What of an agent's headers goes on to the provider: what says how the request is to be read, and who made it. All else
 * stays here: keys and cookies of its own, what chooses who is billed, what belongs to the connection.
 */
const PASSED = new Set([
  "accept",
  "anthropic-beta",
  "anthropic-version",
  "http-referer",
  "idempotency-key",
  "openai-beta",
  "user-agent",
  "x-client-request-id",
  "x-title",
]);
const PASSED_PREFIX = "x-stainless-";

/** What of a provider's headers does not go to the agent: what belongs to the connection, and cookies. */
const KEPT = new Set([
  "alt-svc",
  "connection",
  // The daemon has decoded the body, and its length is that of what arrives.
  "content-encoding",
  "content-length",
  "keep-alive",
  "proxy-authenticate",
  "proxy-connection",
  "set-cookie",
  "strict-transport-security",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
const MOST_CHARACTERS = 16 * 1024;

/** Anthropic wants one of every request. */
const ANTHROPIC_VERSION = "2023-06-01";

/** The headers of the request to the provider, the key with them. */
export function requestHeaders(
  given: Readonly<Record<string, string>>,
  protocol: ProviderProtocol,
  key: string | null,
  size: number | null,
): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(given)) {
    const lower = name.toLowerCase();
    if (PASSED.has(lower) || lower.startsWith(PASSED_PREFIX)) headers[lower] = value;
  }
  headers["accept-encoding"] = "identity";
  if (size !== null) {
    headers["content-type"] = "application/json";
    headers["content-length"] = String(size);
  }
  if (protocol === "anthropic") headers["anthropic-version"] ??= ANTHROPIC_VERSION;
  if (key === null) return headers;
  if (protocol === "anthropic") headers["x-api-key"] = key;
  else headers["authorization"] = `Bearer ${key}`;
  return headers;
}

/** The headers of the answer, as the agent gets them; none that has the key in it. */
export function responseHeaders(given: IncomingHttpHeaders, key: string | null): Record<string, string> {
  const headers: Record<string, string> = {};
  let room = MOST_CHARACTERS;
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || KEPT.has(name)) continue;
    const text = (Array.isArray(value) ? value.join(", ") : value).trim();
    if (!/^[\t\x20-\x7e]*$/.test(text) || (key !== null && text.includes(key))) continue;
    room -= name.length + text.length;
    if (room < 0) break;
    headers[name] = text;
  }
  return headers;
}
