import { type Commit, type Hash, sha256, type Tokens, VlinderError } from "@vlinder/protocol";
import type { StateEngine } from "../state/engine.ts";
import { turnValue } from "./turn-item.ts";

/** A call as the turn that is replayed made it. */
export interface OldCall {
  readonly commit: Hash;
  readonly service: string;
  readonly provider: string;
  readonly model: string | null;
  readonly method: string;
  readonly path: string;
  readonly status: number | null;
  readonly milliseconds: number;
  readonly tokens: Tokens | null;
  readonly contentType: string | null;
  readonly complete: boolean;
  /** Null: it had no body. */
  readonly request: Hash | null;
  readonly response: { readonly hash: Hash; readonly size: number };
}

/** Where a replay asked something else than the turn did then. */
export interface Divergence {
  /** The how-manieth call of the replay, from 1. */
  readonly call: number;
  readonly asked: { readonly method: string; readonly path: string; readonly request: Hash | null };
  /** What the turn asked at that place; null: nothing more. */
  readonly recorded: {
    readonly method: string;
    readonly path: string;
    readonly request: Hash | null;
    readonly commit: Hash;
  } | null;
}

interface AskedCall {
  readonly service: string;
  readonly method: string;
  readonly path: string;
  readonly body: Uint8Array | null;
}

/** The calls that a turn made, in order, to answer those of its replay. */
export class RecordedCalls {
  readonly #calls: readonly OldCall[];
  readonly #used = new Set<OldCall>();
  readonly #diverged: Divergence[] = [];
  #asked = 0;

  constructor(calls: readonly OldCall[]) {
    this.#calls = calls;
  }

  get diverged(): readonly Divergence[] {
    return this.#diverged;
  }

  /** Calls that the replay did not make. */
  get unused(): readonly OldCall[] {
    return this.#calls.filter((call) => !this.#used.has(call));
  }

  /** The same request's answer: the first that was not given yet. @throws conflict: it was not made then */
  take({ service, method, path, body }: AskedCall): OldCall {
    this.#asked++;
    const request = body === null ? null : sha256(body);
    const next = this.#calls.find((call) => !this.#used.has(call));
    const found = this.#calls.find(
      (call) =>
        !this.#used.has(call) &&
        call.service === service &&
        call.method === method &&
        call.path === path &&
        call.request === request,
    );
    if (found !== undefined) {
      this.#used.add(found);
      return found;
    }
    const recorded = next === undefined ? null : pick(next);
    this.#diverged.push({ call: this.#asked, asked: { method, path, request }, recorded });
    throw new VlinderError("conflict", `call ${this.#asked} of the replay is not one that the turn made`, {
      details: { call: this.#asked, asked: request, recorded: recorded?.request ?? null },
      remedy: "the agent asks something else than it did then: replay it with --model to ask a model anew",
    });
  }
}

function pick({ method, path, request, commit }: OldCall): NonNullable<Divergence["recorded"]> {
  return { method, path, request, commit };
}

/** The calls of a turn, from its last commit back to its `invoke`; oldest first. */
export async function callsOf(engine: StateEngine, last: Hash): Promise<OldCall[]> {
  const calls: OldCall[] = [];
  for (let hash: Hash | undefined = last; hash !== undefined;) {
    const commit: Commit = await engine.commit(hash);
    if (commit.event.kind === "invoke") break;
    if (commit.event.kind === "call") calls.push(oldCall(hash, commit));
    hash = commit.parents[0];
  }
  return calls.reverse();
}

function oldCall(commit: Hash, { event }: Commit): OldCall {
  const info = event.info ?? {};
  const text = (name: string): string | null => {
    const value = info[name];
    return typeof value === "string" ? value : null;
  };
  const number = (name: string): number | null => {
    const value = info[name];
    return typeof value === "number" ? value : null;
  };
  return {
    commit,
    service: text("service") ?? "",
    provider: text("provider") ?? "",
    model: text("model"),
    method: text("method") ?? "",
    path: text("path") ?? "",
    status: number("status"),
    milliseconds: number("milliseconds") ?? 0,
    tokens: (info["tokens"] as unknown as Tokens | undefined) ?? null,
    contentType: text("type"),
    complete: info["complete"] === true,
    request: turnValue(event, "request")?.hash ?? null,
    response: turnValue(event, "response") ?? { hash: sha256(""), size: 0 },
  };
}
