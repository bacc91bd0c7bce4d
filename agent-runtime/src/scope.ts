import { type AgentName, MAIN, VlinderError } from "@vlinder/protocol";
import type { Client } from "./client.ts";
import type { Pipeline } from "./pipeline.ts";
import type { Uploader } from "./uploader.ts";

/** Which state is meant, and the way there: shared by the keys and the vectors of one agent. */
export interface Scope {
  readonly client: Client;
  readonly agent: AgentName;
  /** Undefined: main. */
  readonly branch?: string;
  /** A commit: the past, which only reads reach. */
  readonly at?: string;
  /** An open turn, and the commit that it began from. */
  readonly turn?: { readonly id: string; readonly base: string };
  readonly kv: Pipeline;
  readonly vectors: Pipeline;
  readonly uploader: Uploader;
}

/** The fields of a request that say which state is meant; a commit says it by itself. */
export function fieldsOf(
  scope: Pick<Scope, "at" | "branch" | "turn">,
  at: string | undefined = scope.at,
): { branch?: string; at?: string; turn?: string } {
  // What a turn has is on no commit that others could read; the rest of a page is on its chain, too.
  if (scope.turn !== undefined) return { turn: scope.turn.id };
  if (at !== undefined) return { at };
  return scope.branch === undefined ? {} : { branch: scope.branch };
}

/** The same for what only commits of branches are asked: of a turn, the one that it began from. */
export function pastFieldsOf(scope: Scope, at: string | undefined = scope.at): { branch?: string; at?: string } {
  const { turn, ...rest } = scope;
  return fieldsOf(rest, turn?.base ?? at);
}

/** What stands before a key, so that operations on different states never wait for each other. No key has a NUL. */
export function lineOf(scope: Scope): string {
  if (scope.turn !== undefined) return `turn ${scope.turn.id}\0`;
  if (scope.at !== undefined) return `at ${scope.at}\0`;
  return scope.branch === undefined || scope.branch === MAIN ? "" : `branch ${scope.branch}\0`;
}

/** `null` for the one error that means that the key is not there; a missing branch or commit stays an error. @throws every other one */
export function nullIfMissing(error: unknown): null {
  if (error instanceof VlinderError && error.code === "not_found" && error.details["key"] !== undefined) return null;
  throw error;
}
