import { type BranchName, type CommitEvent, type Hash, type Key, MAIN } from "@vlinder/protocol";
import { onTestFinished } from "vitest";
import type { StateEngine } from "../../../src/state/engine.ts";
import type { OpenTurn } from "../../../src/state/turns/open-turn.ts";
import { key, op, openEngine } from "../harness.ts";

/** An engine that is closed after the test. */
export async function open(options: Parameters<typeof openEngine>[0] = {}) {
  const it = await openEngine(options);
  onTestFinished(() => it.engine.close());
  return it;
}

export async function begin(engine: StateEngine, branch: BranchName = MAIN): Promise<OpenTurn> {
  const { turn } = await engine.turns.begin({ branch, input: Buffer.from("hello") });
  return engine.turns.required(turn);
}

/** Puts or, with null, deletes a key in a turn. */
export async function set(
  turn: OpenTurn,
  at: string,
  value: string | Uint8Array | null,
  expect?: Hash | null,
): Promise<Hash> {
  const one = { ...op(at, value), ...(expect === undefined ? {} : { expect }) };
  const kind = value === null ? "kv.delete" : "kv.put";
  return (await turn.write({ space: "kv", kind, branch: turn.branchName, ops: [one] })).state;
}

export async function get(turn: OpenTurn, at: string): Promise<string | null> {
  const { value } = await turn.find(key(at) as Key);
  return value === null ? null : Buffer.from(value.bytes as Uint8Array).toString("utf8");
}

/** A value of an event. @throws when there is none */
export function valueOf({ values }: CommitEvent, name: string): readonly [Hash, number] {
  const found = values?.[name];
  if (found === undefined) throw new Error(`the event has no ${name}`);
  return found;
}

/** The events from the first commit to this one, oldest first. */
export async function events(engine: StateEngine, ref: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { commit } of engine.log(await engine.resolve(ref))) found.unshift(commit.event.kind);
  return found;
}

/** Keys that a turn's `complete` says it read, with what they held. */
export async function readsOf(engine: StateEngine, commit: Hash): Promise<unknown[]> {
  const { event } = await engine.commit(commit);
  if (event.values?.["reads"] === undefined) return [];
  const bytes = await engine.requiredValue(...valueOf(event, "reads"));
  return (JSON.parse(Buffer.from(bytes).toString("utf8")) as { kv: unknown[] }).kv;
}
