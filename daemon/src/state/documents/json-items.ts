import { align } from "./alignment.ts";
import { matchChanged } from "./json-likeness.ts";
import type { JsonNode } from "./json-document.ts";
import { type Piece, taken } from "./json-piece.ts";

/** An item of the merged array, and where each side has it; -1: it has not. */
interface Entry {
  readonly piece: Piece;
  readonly newerAt: number;
  readonly olderAt: number;
}

type Side = "newerAt" | "olderAt";

/**
 * Three-way merge of arrays by what was added, removed, changed and moved. An item that one side
 * removed is gone, unless the other changed it; one that both changed is merged by what is in it; what
 * both added alike is there once. Nothing that was added or changed is lost.
 *
 * What both have stands as the newer side has it, or, when only the older one moved any, as that one
 * has it. What only one has comes behind the item of both that it follows there; what it has at the end,
 * at the end. There the sides' items are in the order of the base's items that they follow, removed ones
 * too, and where that is the same one, the older side's come first.
 */
export function mergeItems(
  base: readonly JsonNode[],
  newer: readonly JsonNode[],
  older: readonly JsonNode[],
  mergeValues: (base: JsonNode, newer: JsonNode, older: JsonNode) => Piece,
): { items: Piece[]; contested: boolean } {
  const inNewer = matchItems(base, newer);
  const inOlder = matchItems(base, older);
  const entries: Entry[] = [];
  for (const [i, was] of base.entries()) {
    const [newerAt, olderAt] = [inNewer[i] as number, inOlder[i] as number];
    const [mine, theirs] = [newer[newerAt], older[olderAt]];
    if (mine !== undefined && theirs !== undefined) {
      entries.push({ piece: mergeValues(was, mine, theirs), newerAt, olderAt });
    } else {
      const stays = mine ?? theirs;
      if (stays !== undefined && stays.id !== was.id) entries.push({ piece: taken(stays), newerAt, olderAt });
    }
  }
  for (const entry of added(newer, inNewer, older, inOlder)) entries.push(entry);

  const [newerMoved, olderMoved] = [isMoved(inNewer), isMoved(inOlder)];
  const frame: Side = newerMoved || !olderMoved ? "newerAt" : "olderAt";
  const follows = { newerAt: followed(inNewer, newer.length), olderAt: followed(inOlder, older.length) };
  const items = ordered(entries, frame, follows).map(({ piece }) => piece);
  return { items, contested: newerMoved && olderMoved && !agree(entries) };
}

/** For each item of the base, where a side has it: in its place, moved, or changed. */
export function matchItems(base: readonly JsonNode[], side: readonly JsonNode[]): Int32Array {
  const matches = align(
    base.map(({ id }) => id),
    side.map(({ id }) => id),
  );
  const free = new Set(side.keys());
  for (const at of matches) free.delete(at);
  const moved = new Map<number, number[]>();
  for (const at of free) {
    const { id } = side[at] as JsonNode;
    const places = moved.get(id);
    if (places === undefined) moved.set(id, [at]);
    else places.push(at);
  }
  for (const places of moved.values()) places.reverse();
  for (const [i, { id }] of base.entries()) {
    if ((matches[i] as number) >= 0) continue;
    const at = moved.get(id)?.pop();
    if (at === undefined) continue;
    matches[i] = at;
    free.delete(at);
  }
  matchChanged(base, side, matches, free);
  return matches;
}

/** Items that no item of the base became, in the order of the newer side; those that both have once. */
function added(
  newer: readonly JsonNode[],
  inNewer: Int32Array,
  older: readonly JsonNode[],
  inOlder: Int32Array,
): Entry[] {
  const [oldInNewer, oldInOlder] = [new Set(inNewer), new Set(inOlder)];
  const theirs = new Map<number, number[]>();
  for (const [at, { id }] of [...older.entries()].reverse()) {
    if (oldInOlder.has(at)) continue;
    const places = theirs.get(id);
    if (places === undefined) theirs.set(id, [at]);
    else places.push(at);
  }
  const entries: Entry[] = [];
  for (const [newerAt, node] of newer.entries()) {
    if (oldInNewer.has(newerAt)) continue;
    entries.push({ piece: taken(node), newerAt, olderAt: theirs.get(node.id)?.pop() ?? -1 });
  }
  for (const places of theirs.values()) {
    for (const olderAt of places) entries.push({ piece: taken(older[olderAt] as JsonNode), newerAt: -1, olderAt });
  }
  return entries;
}

function isMoved(matches: Int32Array): boolean {
  let last = -1;
  for (const at of matches) {
    if (at < 0) continue;
    if (at < last) return true;
    last = at;
  }
  return false;
}

function inOrder(entries: readonly Entry[], side: Side): Entry[] {
  return entries.filter((entry) => entry[side] >= 0).sort((a, b) => a[side] - b[side]);
}

function isCommon({ newerAt, olderAt }: Entry): boolean {
  return newerAt >= 0 && olderAt >= 0;
}

/** Whether both sides have what they have in common in the same order. */
function agree(entries: readonly Entry[]): boolean {
  const common = inOrder(entries, "newerAt").filter(isCommon);
  return common.every(({ olderAt }, i) => i === 0 || olderAt > (common[i - 1] as Entry).olderAt);
}

/** A side's own items by the common one that they follow: null at the start, "end" behind the last one. */
function runs(entries: readonly Entry[], side: Side): Map<Entry | null | "end", Entry[]> {
  const found = new Map<Entry | null | "end", Entry[]>();
  let behind: Entry | null = null;
  let run: Entry[] = [];
  for (const entry of inOrder(entries, side)) {
    if (isCommon(entry)) {
      found.set(behind, run);
      [behind, run] = [entry, []];
    } else {
      run.push(entry);
    }
  }
  return found.set("end", run);
}

/** For each place of a side, the index of the base's item that it follows; -1: none. */
function followed(matches: Int32Array, length: number): Int32Array {
  const baseAt = new Int32Array(length).fill(-1);
  for (const [i, at] of matches.entries()) if (at >= 0) baseAt[at] = i;
  const follows = new Int32Array(length);
  let last = -1;
  for (const [at, i] of baseAt.entries()) {
    follows[at] = last;
    if (i >= 0) last = i;
  }
  return follows;
}

function ordered(entries: readonly Entry[], frame: Side, follows: Readonly<Record<Side, Int32Array>>): Entry[] {
  const older = runs(entries, "olderAt");
  const newer = runs(entries, "newerAt");
  const result: Entry[] = [];
  const put = (place: Entry | null | "end"): void => {
    const mine = newer.get(place) ?? [];
    let next = 0;
    for (const entry of older.get(place) ?? []) {
      const after = follows.olderAt[entry.olderAt] as number;
      for (let one = mine[next]; one !== undefined; one = mine[++next]) {
        if ((follows.newerAt[one.newerAt] as number) >= after) break;
        result.push(one);
      }
      result.push(entry);
    }
    for (const entry of mine.slice(next)) result.push(entry);
  };
  put(null);
  for (const entry of inOrder(entries, frame).filter(isCommon)) {
    result.push(entry);
    put(entry);
  }
  put("end");
  return result;
}
