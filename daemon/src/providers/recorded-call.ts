import type { Hash, Json, Tokens } from "@vlinder/protocol";
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
  /** The body that was sent; null: there was none. */
  readonly request: Uint8Array | null;
  /** The whole body as it came, decoded; of a stream the events as they were. */
  readonly response: Uint8Array;
}

/** Keeps a call in the history; the commit that has it. */
export type RecordCall = (call: RecordedCall) => Promise<{ readonly state: Hash } | null>;

/** What a `call` commit says beside the two bodies, whose sizes are with their hashes. */
export function callInfo(call: RecordedCall): { readonly [name: string]: Json } {
  const { service, provider, model, method, path, status, milliseconds, tokens, contentType, from, complete } = call;
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
  };
}

/** Its bodies, as values of a commit. */
export function callValues({ request, response }: RecordedCall): Readonly<Record<string, Uint8Array>> {
  return { ...(request === null ? {} : { request }), response };
}
