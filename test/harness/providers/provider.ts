import type { IncomingHttpHeaders } from "node:http";

/** A request as it arrived, kept for assertions. */
export interface Received {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** The bytes of the reply's body, as far as it was written. */
  sent: Buffer;
  /** Whether the caller went away before the whole reply was written. */
  aborted: boolean;
}

/** A reply of one piece. */
export interface Whole {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** A reply of status 200 in frames: SSE events with their empty line, or lines of NDJSON. */
export interface Streamed {
  readonly headers: Readonly<Record<string, string>>;
  readonly frames: readonly string[];
  /** The frame by which this protocol reports an error after the status has been sent. */
  readonly errorFrame: string;
}

export type Reply = Whole | Streamed;

/** What a provider finds wrong with a request, or a fault that a test asked for; the provider gives it its form. */
export interface Problem {
  readonly status: number;
  readonly message: string;
  /** The field at fault: `messages[0].role`. */
  readonly param?: string;
  readonly code?: string;
}

/** Thrown by a route: the provider refuses. */
export class Refusal extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.message);
    this.problem = problem;
  }
}

/** The protocol of one provider. */
export interface Provider {
  readonly name: string;
  /** By method and path: `POST /v1/chat/completions`. @throws Refusal */
  readonly routes: Readonly<Record<string, (received: Received) => Reply>>;
  /** Checks the key, whatever the path is. @throws Refusal */
  authorize(received: Received): void;
  /** The provider's own body and headers for a problem. */
  refuse(problem: Problem, path: string): Whole;
  /** What it says of a path, or of a method on a path, that it doesn't have. */
  unknownRoute(received: Received, pathIsKnown: boolean): Problem;
  /** What it says of a request whose body isn't called JSON. */
  wrongContentType(received: Received): Problem;
  /** What it says when it fails by itself: 429, 500, 503, 529. */
  failure(status: number): Problem;
}

export function json(body: unknown, headers: Readonly<Record<string, string>> = {}, status = 200): Whole {
  return { status, headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) };
}

/** A server-sent event; OpenAI's chat gives its events no name. */
export function sse(data: unknown, event?: string): string {
  const text = typeof data === "string" ? data : JSON.stringify(data);
  return `${event === undefined ? "" : `event: ${event}\n`}data: ${text}\n\n`;
}
