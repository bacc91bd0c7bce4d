import { asVlinderError, type Hash } from "@vlinder/protocol";
import type { Writer } from "../writer.ts";
import { keepMore } from "./kept-event.ts";
import type { OpenTurn } from "./open-turn.ts";
import type { TurnEvent } from "./turn-ground.ts";

/**
 * Records what happened outside: as a part of the turn while that goes on, and on the branch that keeps it when it has ended meanwhile. A
 * call that its turn's end broke off has cost something, and is not to be missing from history. @throws unavailable, pruned
 */
export async function recordLate(writer: Pick<Writer, "write">, open: OpenTurn, event: TurnEvent): Promise<Hash> {
  while (await open.goesOn()) {
    try {
      return await open.record(event);
    } catch (error) {
      // Something has begun to end it since.
      if (asVlinderError(error).code !== "conflict") throw error;
    }
  }
  const { turn, session, end } = open;
  if (end === null) throw new Error(`the turn "${turn}" has ended, and nobody knows how`);
  const kept = await writer.write((draft) => keepMore(draft, { turn, session, ended: end.commit }, event));
  return kept.state;
}
