import {
  type Hash,
  LIMITS,
  type ReplayCost,
  type ReplayDivergence,
  type ReplayReply,
  type ReplaySide,
  type TurnValue,
  VlinderError,
} from "@vlinder/protocol";
import type { StateEngine } from "../state/engine.ts";
import type { TurnItem } from "../state/turns/turn-index.ts";
import { eventValue, type ValueRef } from "./event-value.ts";
import { type CallsMade, callsOf, type DivergedCall, type OldCall } from "./old-call.ts";
import type { ReplayedTurn } from "./replayed-turn.ts";
import { reasonOf, turnValue } from "./turn-item.ts";

/** Calls that were asked otherwise, in one reply. */
const MOST_DIVERGED = 20;
/** Bytes of a reply, the bodies in it apart. */
const BESIDES = 128 * 1024;

type Compared = Pick<ReplayReply, "original" | "replay" | "same" | "diverged" | "divergences" | "unused">;

/**
 * A replay beside the turn that it replays: all of it as their commits tell, so that it can be told again.
 * @param growth how many times its size a byte of a value takes in the reply
 */
export async function compared(
  engine: StateEngine,
  old: ReplayedTurn,
  turn: string,
  { recorded, growth }: { readonly recorded: boolean; readonly growth: number },
): Promise<Compared> {
  const again = await engine.turns.index.turn(turn);
  if (again?.ended == null) throw new VlinderError("internal", `the turn "${turn}" has no end`, { details: { turn } });
  const bodies = new Bodies(engine, growth);
  const made = await callsOf(engine, again.ended);
  const original = await sideOf(engine, old.item, old.ended, old.made, bodies);
  const replay = await sideOf(engine, again, again.ended, made, bodies);
  const given = new Set(made.calls.map(({ from }) => from));
  return {
    original,
    replay,
    same: {
      kind: original.kind === replay.kind,
      snapshot: original.snapshot === replay.snapshot,
      output: original.output?.hash === replay.output?.hash,
    },
    diverged: await divergences(made.diverged.slice(0, MOST_DIVERGED), old.made.calls, bodies),
    divergences: made.diverged.length,
    unused: recorded ? old.made.calls.filter(({ commit }) => !given.has(commit)).length : 0,
  };
}

/** Values in a reply, as long as there is room. */
class Bodies {
  readonly #engine: StateEngine;
  readonly #growth: number;
  #room = LIMITS.replyBytes - BESIDES;

  constructor(engine: StateEngine, growth: number) {
    this.#engine = engine;
    this.#growth = growth;
  }

  async of(commit: Hash, ref: ValueRef | null): Promise<TurnValue | null> {
    if (ref === null) return null;
    const { hash, size } = ref;
    if (size * this.#growth > this.#room) return { hash, size, value: null };
    this.#room -= size * this.#growth;
    const value = await eventValue(this.#engine, commit, ref).catch((error: unknown) => {
      if (error instanceof VlinderError && (error.code === "erased" || error.code === "pruned")) return null;
      throw error;
    });
    return { hash, size, value };
  }
}

async function sideOf(
  engine: StateEngine,
  item: TurnItem,
  ended: Hash,
  { calls }: CallsMade,
  bodies: Bodies,
): Promise<ReplaySide> {
  const { parents, snapshot, event } = await engine.commit(ended);
  return {
    kind: item.kind as ReplaySide["kind"],
    reason: reasonOf(event),
    commit: ended,
    state: parents[0] as Hash,
    snapshot,
    output: await bodies.of(ended, turnValue(event, "output")),
    cost: costOf(calls, item),
  };
}

function costOf(calls: readonly OldCall[], { began, time }: TurnItem): ReplayCost {
  const sum = (of: (call: OldCall) => number): number => calls.reduce((total, call) => total + of(call), 0);
  return {
    calls: calls.length,
    recorded: calls.filter(({ from }) => from !== null).length,
    input: sum(({ tokens }) => tokens?.input ?? 0),
    output: sum(({ tokens }) => tokens?.output ?? 0),
    models: [...new Set(calls.flatMap(({ provider, model }) => (model === null ? [] : [`${provider}/${model}`])))],
    callMilliseconds: sum(({ milliseconds }) => milliseconds),
    milliseconds: Date.parse(time) - Date.parse(began),
  };
}

async function divergences(
  diverged: readonly DivergedCall[],
  calls: readonly OldCall[],
  bodies: Bodies,
): Promise<ReplayDivergence[]> {
  const found: ReplayDivergence[] = [];
  for (const { call, recorded, ...asked } of diverged) {
    const then = calls.find(({ commit }) => commit === recorded) ?? null;
    found.push({
      call,
      asked: await side(asked, bodies),
      recorded: then === null ? null : await side(then, bodies),
    });
  }
  return found;
}

type CallSide = ReplayDivergence["asked"];

async function side(
  { commit, service, method, path, request }: Omit<CallSide, "request"> & { readonly request: ValueRef | null },
  bodies: Bodies,
): Promise<CallSide> {
  return { commit, service, method, path, request: await bodies.of(commit, request) };
}
