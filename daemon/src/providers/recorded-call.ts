import { type ErrorCode, type Hash, type Json, type Tokens, VlinderError } from "@vlinder/protocol";
import type { ServiceName } from "./endpoints.ts";

/** A call that was made, as it is kept in an agent's history. No header is in it, so no key is. */
export interface RecordedCall {
  readonly service: ServiceName;
  readonly provider: string;
  /** Null: the call is of none, like a list of models. */
  readonly model: string | null;
  readonly method: string;
  /** Without the query's values' meaning changed: as the agent asked. */
  readonly path: string;
  /** Null: no answer came. */
  readonly status: number | null;
  readonly milliseconds: number;
  readonly tokens: Tokens | null;
  /** Of the answer; null: it said none. */
  readonly contentType: string | null;
  /** The `call` commit that it was answered from; null: the provider answered. */
  readonly from: Hash | null;
  /** False: what is here of the answer is not all of it. */
  readonly complete: boolean;
  /** Why it is not; null: it is, or nothing can be said of it. */
  readonly error: CallError | null;
  /** The body that was sent; null: there was none. */
  readonly request: Uint8Array | null;
  /** The whole body as it came, decoded; of a stream the events as they were. */
  readonly response: Uint8Array;
}

/** What the agent was told in place of an answer, so that a replay can tell it again. */
export interface CallError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly remedy: string | null;
  readonly retryable: boolean;
}

/** Characters of a message, and of a remedy. */
const SAID = 500;

/** Null: it is no error of ours. */
export function callError(thrown: unknown): CallError | null {
  if (!(thrown instanceof VlinderError)) return null;
  const { code, message, remedy = null, retryable } = thrown;
  return { code, message: cut(message), remedy: remedy === null ? null : cut(remedy), retryable };
}

function cut(text: string): string {
  return text.slice(0, SAID).toWellFormed();
}

/** Keeps a call in the history; the commit that has it. */
export type RecordCall = (call: RecordedCall) => Promise<{ readonly state: Hash } | null>;

/** What a `call` commit says beside the two bodies, whose sizes are with their hashes. */
export function callInfo(call: RecordedCall): { readonly [name: string]: Json } {
  const { service, provider, model, method, path, status, milliseconds, tokens, contentType, from, complete } = call;
  const { error } = call;
  return {
    service,
    provider,
    ...(model === null ? {} : { model }),
    method,
    path,
    ...(status === null ? {} : { status }),
    milliseconds,
    ...(tokens === null ? {} : { tokens: { input: tokens.input, output: tokens.output } }),
    ...(contentType === null ? {} : { type: contentType }),
    ...(from === null ? {} : { from }),
    complete,
    ...(error === null ? {} : { error: { ...error } }),
  };
}

/** Its bodies, as values of a commit. */
export function callValues({ request, response }: RecordedCall): Readonly<Record<string, Uint8Array>> {
  return { ...(request === null ? {} : { request }), response };
}

/** A call of a replay that is not in the record: nobody was asked. */
export interface NotRecorded extends Pick<RecordedCall, "service" | "method" | "path" | "request"> {
  /** The how-manieth call of the replay, from 1. */
  readonly call: number;
  /** What the turn asked at that place; null: nothing more. */
  readonly instead: Hash | null;
}

/** Its commit: what is asked, and what was asked then. */
export function notRecorded({ service, method, path, request, call, instead }: NotRecorded): {
  readonly info: { readonly [name: string]: Json };
  readonly values: Readonly<Record<string, Uint8Array>>;
} {
  const diverged = { call, ...(instead === null ? {} : { recorded: instead }) };
  return {
    info: { service, method, path, complete: false, diverged },
    values: request === null ? {} : { request },
  };
}
