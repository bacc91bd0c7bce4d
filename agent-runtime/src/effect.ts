import { setTimeout as sleep } from "node:timers/promises";
import { type EffectBeginReply, type EffectEndReply, LIMITS, VlinderError } from "@vlinder/protocol";
import type { Scope } from "./scope.ts";

/** What `turn.once` tells the function that it calls. */
export interface Effect {
  /**
   * The same in the turn and in all that retry it, on every machine: good as the key under which a service knows a request that is
   * repeated (`Idempotency-Key`), and then nothing happens twice even where nobody knows what happened.
   */
  readonly id: string;
}

/** Rounds of tries to record what happened, and the pause between two, in milliseconds: about half a minute without a daemon. */
const ROUNDS = 5;
const PAUSE = 1000;

type Ran = Extract<EffectBeginReply, { status: "run" }>;
type Done = Extract<EffectBeginReply, { status: "done" }>;
/** What `effect.end` says besides which effect it is of. */
type Word = { readonly result: Uint8Array; readonly form: "json" | "bytes" } | { readonly lost: string } | object;

/** See `Turn.once`. */
export async function once<T>(
  scope: Scope,
  turn: string,
  key: string,
  run: (effect: Effect) => Promise<T> | T,
): Promise<T> {
  const { client, agent } = scope;
  const begun = await client.request(agent, "effect.begin", { turn, key });
  if (begun.status === "unknown") throw unknown(agent, key, begun);
  if (begun.status === "done") return resultOf<T>(agent, key, begun);
  const value = await perform(scope, key, begun, run);
  const word = wordOf(value);
  const said = await record(scope, key, begun, word);
  if ("lost" in word) throw lost(agent, key, begun.effect, word.lost);
  // As a retry gets it, so that it can't work the first time only.
  return resultOf<T>(agent, key, {
    ...begun,
    result: null,
    form: null,
    ...word,
    status: "done",
    state: said.state,
    lost: null,
  });
}

/** What the function throws says that it did not happen. */
async function perform<T>(scope: Scope, key: string, begun: Ran, run: (effect: Effect) => Promise<T> | T): Promise<T> {
  try {
    return await run({ id: begun.effect });
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    await record(scope, key, begun, { error: text.slice(0, LIMITS.reasonChars) || "it threw" }).catch(() => {
      // It stays unknown, which is safe; what the function threw matters more.
    });
    throw error;
  }
}

function wordOf(value: unknown): Word {
  if (value === undefined) return {};
  if (value instanceof Uint8Array) return fitting(value, "bytes");
  try {
    const text: string | undefined = JSON.stringify(value);
    return text === undefined ? { lost: `a ${typeof value} has no JSON form` } : fitting(Buffer.from(text), "json");
  } catch (error) {
    return { lost: `it has no JSON form: ${error instanceof Error ? error.message : String(error)}`.slice(0, 500) };
  }
}

function fitting(result: Uint8Array, form: "json" | "bytes"): Word {
  if (result.length <= LIMITS.valueBytes) return { result, form };
  return { lost: `its ${result.length} bytes are more than ${LIMITS.valueBytes}` };
}

/** Says what became of it until it is recorded: the effect has happened, and nobody else knows. */
async function record({ client, agent }: Scope, key: string, begun: Ran, word: Word): Promise<EffectEndReply> {
  for (let round = 1; ; round++) {
    try {
      return await client.request(agent, "effect.end", { begun: begun.begun, ...word });
    } catch (error) {
      if (round < ROUNDS && error instanceof VlinderError && error.retryable) await sleep(PAUSE);
      else throw notRecorded(agent, key, begun.effect, error);
    }
  }
}

function resultOf<T>(agent: string, key: string, { effect, result, form, lost: why }: Done): T {
  if (why !== null) throw lost(agent, key, effect, why);
  if (result === null) return undefined as T;
  // Not a view of the message that it came in.
  return form === "bytes" ? (Uint8Array.from(result) as T) : (JSON.parse(new TextDecoder().decode(result)) as T);
}

function unknown(
  agent: string,
  key: string,
  { effect, turn, time }: Extract<EffectBeginReply, { status: "unknown" }>,
): VlinderError {
  return new VlinderError("conflict", `nobody knows whether the effect "${key}" happened: turn ${turn} began it`, {
    details: { effect, key, status: "unknown", began: time },
    remedy:
      `look where it would have happened, then say so: vlinder effect resolve ${agent} ${effect} --done [--result JSON] ` +
      "or --not-done; then retry the turn",
  });
}

function lost(agent: string, key: string, effect: string, why: string): VlinderError {
  return new VlinderError("invalid", `the effect "${key}" happened, and its result could not be kept: ${why}`, {
    details: { effect, key, status: "done" },
    remedy:
      "return less from the function, as JSON or bytes; for this one give the result by hand: " +
      `vlinder effect resolve ${agent} ${effect} --done --result JSON`,
  });
}

function notRecorded(agent: string, key: string, effect: string, cause: unknown): VlinderError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new VlinderError("unavailable", `the effect "${key}" happened, and could not be recorded: ${why}`, {
    cause,
    details: { effect, key, status: "unknown" },
    // Run again as it is, it would not be done twice, but would not get its result either.
    retryable: false,
    remedy: `say so once the daemon is back: vlinder effect resolve ${agent} ${effect} --done [--result JSON]`,
  });
}
