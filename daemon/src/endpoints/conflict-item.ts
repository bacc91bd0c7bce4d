import { type AgentReplies, type Commit, type ConflictItem, keyText, LIMITS } from "@vlinder/protocol";
import type { StateEngine } from "../state/engine.ts";
import { type ListedConflict, listedConflicts } from "../state/merge-conflict.ts";
import type { MergeReply } from "../state/mutations.ts";

type MergeItem = AgentReplies["timeline.merge"]["conflicts"][number];

/** Changes of one commit that `show` lists, and conflicts of one merge, at most. */
const SHOWN_ITEMS = 1000;
/** Bytes of one of them beside its keys and places. */
const SHOWN_ITEM = 450;
/** Bytes of the items in one reply. */
export const SHOWN_BYTES = LIMITS.replyBytes - 100_000;

interface Shown {
  readonly key: string;
  readonly kept?: string | null;
  readonly places?: readonly string[];
}

/** The first of them, as many as fit. */
export function shown<Item extends Shown>(items: readonly Item[], bytes: number): Item[] {
  let room = bytes;
  const end = items.findIndex(({ key, kept, places = [] }, i) => {
    const texts = [key, kept ?? "", ...places];
    // JSON writes a control character as six.
    room -= SHOWN_ITEM + texts.reduce((sum, text) => sum + 6 * Buffer.byteLength(text) + 3, 0);
    return room < 0 || i === SHOWN_ITEMS;
  });
  return items.slice(0, end === -1 ? items.length : end);
}

function itemOf(conflict: ListedConflict, at: ConflictItem["at"]): ConflictItem {
  const { space, key, kept, winner, loser, places, why } = conflict;
  return {
    space,
    key: keyText(key),
    winner,
    loser,
    at,
    kept: kept === null ? null : keyText(kept),
    ...(places === undefined ? {} : { places }),
    ...(why === undefined ? {} : { why }),
  };
}

/** The conflicts of a merge that was just made, or would be. */
export function mergeConflictItems({ parents, ours, conflicts }: MergeReply): MergeItem[] {
  return conflicts.map((conflict) => {
    const other = parents[conflict.winnerFrom === 0 ? 1 : 0] as ConflictItem["at"];
    return { ...itemOf(conflict, other), policy: conflict.policy, from: other === ours ? "theirs" : "ours" };
  });
}

/** The conflicts that a merge commit lists, as many as are shown. */
export async function listedConflictItems(engine: StateEngine, commit: Commit): Promise<ConflictItem[]> {
  const [first, second] = commit.parents;
  if (first === undefined || second === undefined) return [];
  const items: ConflictItem[] = [];
  for (const conflict of (await listedConflicts(engine, commit)).slice(0, SHOWN_ITEMS)) {
    const there = await (await engine.view(first)).get(conflict.space, conflict.key);
    items.push(itemOf(conflict, there?.hash === conflict.loser ? first : second));
  }
  return items;
}
