import type { IncomingHttpHeaders } from "node:http";
import { insist, Refusal } from "./refusal.ts";

/** A request as it arrived, whole. */
export interface Call {
  readonly method: string;
  /** As sent: not decoded, not normalised. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** What the route's pattern found in the path. */
  readonly params: readonly string[];
}

export interface Reply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer | string;
}

export interface Route {
  /** For the log, the counts and the faults: `POST batch`. */
  readonly name: string;
  readonly method: string;
  readonly path: RegExp;
  readonly handle: (call: Call) => Reply;
}

export function json(value: unknown, headers: Readonly<Record<string, string>> = {}, status = 200): Reply {
  const type = { "Content-Type": "application/json; charset=utf-8" };
  return { status, headers: { ...type, ...headers }, body: JSON.stringify(value) };
}

/** Refuses parameters of the query that the endpoint does not have. */
export function onlyQuery({ query }: Call, ...known: readonly string[]): void {
  for (const name of query.keys()) insist(known.includes(name), `unknown query parameter ${name}`);
}

export function jsonBody(call: Call, ...known: readonly string[]): Record<string, unknown> {
  insist(
    call.headers["content-type"]?.split(";")[0] === "application/json",
    "the content type is not application/json",
  );
  return objectOf(call.body.toString(), known);
}

/** A JSON object with no field but these. @throws Refusal */
export function objectOf(text: string, known: readonly string[]): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Refusal(400, "the body is not JSON");
  }
  insist(typeof value === "object" && value !== null && !Array.isArray(value), "the body is not an object");
  for (const key of Object.keys(value)) insist(known.includes(key), `unknown field ${key}`);
  return value as Record<string, unknown>;
}

/** The ranges of `Range: bytes=0-9,20-29`, ends included; null without the header. @throws Refusal */
export function byteRanges(header: string | undefined): readonly (readonly [number, number])[] | null {
  if (header === undefined) return null;
  insist(/^bytes=\d+-\d+(,\s*\d+-\d+)*$/.test(header), `range ${header}`);
  return header
    .slice("bytes=".length)
    .split(",")
    .map((part) => {
      const [start, end] = part.trim().split("-").map(Number) as [number, number];
      insist(start <= end, `range ${header}`);
      return [start, end] as const;
    });
}
