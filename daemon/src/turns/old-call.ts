import { type Commit, ERROR_CODES, type ErrorCode, type Hash, type Json, sha256, type Tokens } from "@vlinder/protocol";
import type { CallError } from "../providers/recorded-call.ts";
import type { StateEngine } from "../state/engine.ts";
import type { ValueRef } from "./event-value.ts";
import { turnValue } from "./turn-item.ts";

/** A call as a turn made it. */
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
  readonly error: CallError | null;
  /** The call that it was answered from; null: a provider answered. */
  readonly from: Hash | null;
  /** Null: it had no body. */
  readonly request: ValueRef | null;
  readonly response: ValueRef;
}

/** A call of a replay that the turn did not make then. */
export interface DivergedCall {
  readonly commit: Hash;
  /** The how-manieth call of the replay, from 1. */
  readonly call: number;
  readonly service: string;
  readonly method: string;
  readonly path: string;
  readonly request: ValueRef | null;
  /** The call that the turn made at that place; null: nothing more. */
  readonly recorded: Hash | null;
}

export interface CallsMade {
  readonly calls: readonly OldCall[];
  readonly diverged: readonly DivergedCall[];
}

/** The calls of a turn, oldest first. @param last the turn's last commit */
export async function callsOf(engine: StateEngine, last: Hash): Promise<CallsMade> {
  const calls: OldCall[] = [];
  const diverged: DivergedCall[] = [];
  for (let hash: Hash | undefined = last; hash !== undefined;) {
    const commit: Commit = await engine.commit(hash);
    if (commit.event.kind === "invoke") break;
    if (commit.event.kind === "call") {
      const other = divergedCall(hash, commit);
      if (other === null) calls.push(oldCall(hash, commit));
      else diverged.push(other);
    }
    hash = commit.parents[0];
  }
  return { calls: calls.reverse(), diverged: diverged.reverse() };
}

function oldCall(commit: Hash, { event }: Commit): OldCall {
  const info = event.info ?? {};
  return {
    commit,
    service: text(info["service"]) ?? "",
    provider: text(info["provider"]) ?? "",
    model: text(info["model"]),
    method: text(info["method"]) ?? "",
    path: text(info["path"]) ?? "",
    status: number(info["status"]),
    milliseconds: number(info["milliseconds"]) ?? 0,
    tokens: tokensOf(info["tokens"]),
    contentType: text(info["type"]),
    complete: info["complete"] === true,
    error: errorOf(info["error"]),
    from: text(info["from"]) as Hash | null,
    request: turnValue(event, "request"),
    response: turnValue(event, "response") ?? { hash: sha256(""), size: 0 },
  };
}

function divergedCall(commit: Hash, { event }: Commit): DivergedCall | null {
  const info = event.info ?? {};
  const diverged = members(info["diverged"]);
  if (diverged === null) return null;
  return {
    commit,
    call: number(diverged["call"]) ?? 0,
    service: text(info["service"]) ?? "",
    method: text(info["method"]) ?? "",
    path: text(info["path"]) ?? "",
    request: turnValue(event, "request"),
    recorded: text(diverged["recorded"]) as Hash | null,
  };
}

// Commits come from other machines, too: a field may hold anything.

function text(value: Json | undefined): string | null {
  return typeof value === "string" ? value : null;
}

function number(value: Json | undefined): number | null {
  return typeof value === "number" ? value : null;
}

function members(value: Json | undefined): { readonly [name: string]: Json } | null {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  return value as { readonly [name: string]: Json };
}

function tokensOf(value: Json | undefined): Tokens | null {
  const { input, output } = members(value) ?? {};
  return typeof input === "number" && typeof output === "number" ? { input, output } : null;
}

function errorOf(value: Json | undefined): CallError | null {
  const { code, message, remedy, retryable } = members(value) ?? {};
  if (typeof message !== "string" || !ERROR_CODES.includes(code as ErrorCode)) return null;
  return { code: code as ErrorCode, message, remedy: text(remedy), retryable: retryable === true };
}
