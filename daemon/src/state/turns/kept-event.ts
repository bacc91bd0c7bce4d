import { randomBytes } from "node:crypto";
import type { BranchName, Hash } from "@vlinder/protocol";
import { isAncestor } from "../ancestry.ts";
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
 * A commit about a turn that has ended, on the branch that keeps it. Where there is none that can be written to (the turn was completed,
 * somebody deleted it) there is one then. @throws pruned
 */
export async function keepMore(
  draft: Draft,
  { turn, session, ended }: EndedTurn,
  event: TurnEvent,
): Promise<{ readonly state: Hash; readonly branch: BranchName }> {
  let branch = await keeping(draft, turn, ended);
  if (branch === null) {
    branch = keptBranch(draft.table, turn);
    const id = randomBytes(32).toString("hex") as Hash;
    draft.move({ id, name: branch, head: null }, await draft.source.at(ended), `turn ${turn}: ${event.kind}`);
  }
  const told = recorded(event);
  storeValues(draft, told);
  const head = await draft.commit(draft.writable(branch), {}, { event: told.event, session, turn });
  return { state: head.commit, branch };
}

/** A branch of the turn's name may be somebody's own. */
async function keeping({ table, source }: Draft, turn: string, ended: Hash): Promise<BranchName | null> {
  const find = (hash: Hash) => source.findCommit(hash);
  for (const { name, head, sealed } of table.live()) {
    const isNamed = name === `turn/${turn}` || name.startsWith(`turn/${turn}-`);
    if (isNamed && !sealed && (await isAncestor(find, ended, head))) return name as BranchName;
  }
  return null;
}
