import { type AcceptReply, type CompleteReply, type Json, type SessionTurn, VlinderError } from "@vlinder/protocol";
import { type Effect, once } from "./effect.ts";
import { Kv } from "./kv.ts";
import { providerFetch } from "./provider-fetch.ts";
import type { Scope } from "./scope.ts";
import { Vectors } from "./vectors.ts";

const utf8 = new TextDecoder();

/** What a turn gives back: text, bytes, or what `JSON.stringify` takes; undefined: nothing. */
export type TurnOutput = string | Uint8Array | Json | object | undefined;

export interface BeginOptions {
  /** Default `main`. */
  readonly branch?: string;
  /** Default: a new one. */
  readonly session?: string;
  readonly input?: TurnOutput;
  /** Seconds until the daemon ends it; default 600. */
  readonly limit?: number;
  /** The turn that this one does again. */
  readonly retries?: string;
}

export type Completed = CompleteReply;

/** An earlier turn of a session. */
export interface TurnRecord {
  readonly turn: string;
  /** ISO 8601. */
  readonly time: string;
  /** The turn's final state, for `vlinder.at`. */
  readonly state: string;
  /** As text; null when there was none, it was erased, or it is too large for one reply. */
  readonly input: string | null;
  readonly output: string | null;
}

/**
 * One turn of an agent: a private line of commits from the branch's head. Reads see what the turn itself wrote; nobody
 * else does before `complete`.
 */
export class Turn {
  readonly id: string;
  readonly session: string;
  readonly branch: string;
  /** The commit that it began from. */
  readonly base: string;
  /** What it was asked, as text; "" when there was nothing. */
  readonly input: string;
  readonly inputBytes: Uint8Array;
  /** The turn that this one does again; null: none. */
  readonly retries: string | null;
  readonly kv: Kv;
  readonly vectors: Vectors;
  /** `fetch` for the SDKs of model providers: calls go to what agent.toml declares, and are part of the turn. */
  readonly fetch: typeof fetch;
  private readonly scope: Scope;
  /** Null: nobody has asked for its signal. */
  private controller: AbortController | null = null;

  constructor(scope: Scope, begun: Omit<AcceptReply, "deadline" | "state">) {
    this.id = begun.turn;
    this.session = begun.session;
    this.branch = begun.branch;
    this.base = begun.base;
    this.inputBytes = begun.input ?? new Uint8Array();
    this.input = utf8.decode(this.inputBytes);
    this.retries = begun.retries;
    this.scope = { ...scope, branch: begun.branch, turn: { id: begun.turn, base: begun.base } };
    this.kv = new Kv(this.scope);
    this.vectors = new Vectors(this.scope);
    this.fetch = providerFetch(this.scope);
  }

  /** Aborted when the turn is ended by somebody else: cancelled, or its time was over. */
  get signal(): AbortSignal {
    return this.stopping.signal;
  }

  private get stopping(): AbortController {
    return (this.controller ??= new AbortController());
  }

  /** The last `count` turns of the session that were completed before this one began, oldest first. */
  async history(count = 20): Promise<TurnRecord[]> {
    const { client, agent } = this.scope;
    const body = { session: this.session, before: this.id, limit: count };
    return (await client.request(agent, "session.get", body)).items.map(recordOf);
  }

  /**
   * Does something in the outside world once (a mail, a payment), and gives what the function gave: undefined, bytes, or what has a JSON
   * form, as it is after `JSON.parse`, up to 512 KiB. In this turn and in those that retry it the same key gives the same result, and the
   * function is not called again. It is to throw only when the effect did not happen: then a retry calls it again.
   *
   * @throws what the function throws; conflict (under way elsewhere; or `details.status` is "unknown": it was begun, nobody
   * knows whether it happened, and a person has to say so: `vlinder effect resolve`); invalid, when it happened and its result can't
   * be kept; unavailable, when nothing was begun, or, with `details.status` "unknown", when it happened and could not be recorded
   */
  once<T>(key: string, run: (effect: Effect) => Promise<T> | T): Promise<T> {
    return once(this.scope, this.id, key, run);
  }

  /** A part of the output, shown to who waits for the turn; it is stored with the rest of it, at the end. */
  async emit(text: string): Promise<void> {
    await this.scope.client.request(this.scope.agent, "turn.emit", { turn: this.id, text });
  }

  /**
   * Ends the turn: what it wrote becomes part of the branch, all of it. @throws conflict when something that it expected
   * was changed meanwhile: nothing was moved, and `details.branch` has what it did
   */
  complete(output?: TurnOutput): Promise<Completed> {
    const body = output === undefined ? {} : { output: outputBytes(output) };
    return this.scope.client.request(this.scope.agent, "turn.complete", { turn: this.id, ...body });
  }

  /** Ends the turn with nothing moved; the branch `turn/<id>` has what it did. */
  async fail(reason: string): Promise<void> {
    await this.scope.client.request(this.scope.agent, "turn.fail", { turn: this.id, reason: reason.slice(0, 2000) });
  }

  /** It was ended by somebody else. */
  abort(reason: string): void {
    this.stopping.abort(new VlinderError("conflict", reason, { details: { turn: this.id } }));
  }
}

function recordOf({ turn, time, state, input, output }: SessionTurn): TurnRecord {
  const text = (value: SessionTurn["input"]): string | null => (value?.value == null ? null : utf8.decode(value.value));
  return { turn, time, state: state ?? "", input: text(input), output: text(output) };
}

/** @throws invalid */
export function outputBytes(output: TurnOutput): Uint8Array {
  if (typeof output === "string") return Buffer.from(output, "utf8");
  if (output instanceof Uint8Array) return output;
  const text: string | undefined = JSON.stringify(output);
  if (text === undefined) throw new VlinderError("invalid", `a ${typeof output} has no JSON form`);
  return Buffer.from(text, "utf8");
}
