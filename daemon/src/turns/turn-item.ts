import {
  type BranchName,
  type CommitEvent,
  type Hash,
  LIMITS,
  type SessionTurn,
  type TurnValue,
} from "@vlinder/protocol";
import type { StateEngine } from "../state/engine.ts";
import { Lineage } from "../state/lineage.ts";
import type { Ended } from "../state/turns/ended.ts";
import type { TurnItem } from "../state/turns/turn-index.ts";

/** A value of an event by its name; null: it has none. */
export function turnValue(
  { values }: CommitEvent,
  name: string,
): { readonly hash: Hash; readonly size: number } | null {
  const ref = values?.[name];
  return ref === undefined ? null : { hash: ref[0], size: ref[1] };
}

/** How a turn ended that is not open any more, as far as its last commit tells; null: it is not here. */
export async function endedTurn(engine: StateEngine, turn: string): Promise<Ended | null> {
  const item = await engine.turns.index.turn(turn);
  if (item === null || item.ended === null || item.kind === "open") return null;
  const { parents, event } = await engine.commit(item.ended);
  const ended = { commit: item.ended, state: parents[0] as Hash };
  if (item.kind === "completed") return { ...ended, kind: "completed", head: item.ended, merged: false, conflicts: 0 };
  return { ...ended, kind: item.kind, branch: `turn/${turn}` as BranchName, reason: reasonOf(event) ?? "" };
}

/** Why a turn failed, as its last commit says. */
export function reasonOf({ info }: CommitEvent): string | null {
  const reason = info?.["reason"];
  return typeof reason === "string" ? reason : null;
}

/** Bytes of a turn in a reply, its values and its reason apart. */
const BESIDES = 1200;

/**
 * Turns as replies have them: the newest ones that fit, oldest first. Inputs and outputs that don't fit are left
 * out; what was erased is, too.
 * @param growth how many times its size a byte of a value takes in the reply
 */
export async function sessionTurns(
  engine: StateEngine,
  items: readonly TurnItem[],
  growth: number,
): Promise<SessionTurn[]> {
  const turns: SessionTurn[] = [];
  let room = LIMITS.replyBytes - 1024;
  for (const item of items.toReversed()) {
    const invoked = item.invoked === null ? null : await engine.commit(item.invoked);
    const last = item.ended === null ? null : await engine.commit(item.ended);
    const reason = last === null ? null : reasonOf(last.event);
    room -= BESIDES + growth * Buffer.byteLength(reason ?? "");
    if (room < 0) break;
    const value = async (ref: ReturnType<typeof turnValue>): Promise<TurnValue | null> => {
      if (ref === null) return null;
      if (ref.size * growth > room) return { ...ref, value: null };
      room -= ref.size * growth;
      return { ...ref, value: await engine.requiredValue(ref.hash, ref.size).catch(() => null) };
    };
    turns.push({
      turn: item.turn,
      kind: item.kind,
      began: item.began,
      time: item.time,
      invoked: item.invoked,
      commit: item.ended,
      state: last?.parents[0] ?? null,
      input: await value(invoked === null ? null : turnValue(invoked.event, "input")),
      output: await value(last === null ? null : turnValue(last.event, "output")),
      reason,
    });
  }
  return turns.reverse();
}

/**
 * Those of a session's turns, at most `limit`, that are completed in the history of a commit; oldest first. A replay is there only where
 * somebody went on from its fork, or promoted it: then it is what happened, in place of the turn that it replays.
 */
export async function turnsBefore(
  engine: StateEngine,
  items: readonly TurnItem[],
  commit: Hash,
  limit: number,
): Promise<TurnItem[]> {
  const known = new Map(items.map((item, position) => [item.turn, { item, position }]));
  const placeOf = (turn: string): number => {
    let { item, position } = known.get(turn) as { item: TurnItem; position: number };
    for (let of = item.replays; of !== null; of = item.replays) {
      const replayed = known.get(of);
      if (replayed === undefined || replayed.position >= position) break;
      ({ item, position } = replayed);
    }
    return position;
  };
  const newestFirst = items
    .map((item) => ({ item, place: placeOf(item.turn) }))
    .reverse()
    .sort((a, b) => b.place - a.place);
  const places = new Map<number, TurnItem>();
  const lineage = await Lineage.of((hash) => engine.findCommit(hash), commit);
  for (const { item, place } of newestFirst) {
    if (places.size === limit) break;
    if (places.has(place) || item.kind !== "completed" || item.ended === null) continue;
    if (await lineage.has(item.ended)) places.set(place, item);
  }
  return [...places.values()].reverse();
}
