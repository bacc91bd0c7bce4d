import { randomBytes } from "node:crypto";
import type { Hash } from "@vlinder/protocol";
import type { Draft } from "../draft.ts";
import { keptBranch } from "./landing.ts";
import { recorded, storeValues } from "./recorded.ts";
import type { TurnEvent } from "./turn-ground.ts";

/** A turn that has ended. */
interface EndedTurn {
  readonly turn: string;
  readonly session: string;
  /** Its last commit. */
  readonly ended: Hash;
}

/**
 * A commit about a turn that has ended, on the branch that keeps it: there is one then, also of a turn that was completed or whose
 * branch somebody deleted. @throws sealed
 */
export async function keepMore(draft: Draft, { turn, session, ended }: EndedTurn, event: TurnEvent): Promise<Hash> {
  const name = keptBranch(turn);
  if (draft.table.byName(name) === undefined) {
    const id = randomBytes(32).toString("hex") as Hash;
    draft.move({ id, name, head: null }, await draft.source.at(ended), `turn ${turn}: ${event.kind}`);
  }
  const told = recorded(event);
  storeValues(draft, told);
  return (await draft.commit(draft.writable(name), {}, { event: told.event, session, turn })).commit;
}
