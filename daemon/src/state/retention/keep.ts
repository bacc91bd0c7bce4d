import { setImmediate as nextTurn } from "node:timers/promises";
import { type Hash, MAIN } from "@vlinder/protocol";
import type { ObjectStorage, StoredBranch } from "../../storage/object-storage.ts";
import { type CommitTable, FLAG } from "./commit-table.ts";
import type { RetentionPolicy } from "./policy.ts";

const MOVES = 500;
/** Branches whose places in history are worked out together: a bit each, one of them main's. */
const GROUP = 31;

/** Where commits must stay readable, whatever their age. */
export interface KeepRoots {
  readonly branches: readonly StoredBranch[];
  /** Heads of other machines, as far as they are here. */
  readonly others: readonly Hash[];
}

/** For each commit, 1: its state is kept. */
export type Kept = Uint8Array;

/**
 * Which commits' states retention keeps. A commit's age is how long ago it came to this machine, by
 * the reflog; one that no branch has taken in yet has just come. Kept at any age are:
 *
 * - heads of branches, of other machines too, and the commits where live branches began;
 * - commits where the histories of heads part: the bases of merges to come; of several for two heads,
 *   which are merged with each other first, theirs too;
 * - where a head's history is not that of all: merges, rewinds and their parents, since a merge asks
 *   them where a key came from.
 */
export async function keptCommits(
  storage: ObjectStorage,
  table: CommitTable,
  policy: RetentionPolicy,
  roots: KeepRoots,
  now: number,
): Promise<Kept> {
  const kept = new Uint8Array(table.size);
  if (policy.states === null) return kept.fill(1);
  const keep = (number: number): void => {
    if (number >= 0) kept[number] = 1;
  };
  const { states, turns } = policy;
  const began = await eachArrival(storage, table, (number, time) => {
    const isTurn = table.has(number, FLAG.turnEnd);
    if (time > now - states || (isTurn && (turns === null || time > now - turns))) keep(number);
  });
  for (const number of began.unseen) keep(number);
  const live = roots.branches.filter(({ head }) => head !== null);
  for (const { id, name, head } of live) {
    keep(table.numberOf(head as Hash));
    if (name !== MAIN) keep(began.at.get(id) ?? -1);
  }
  for (const head of roots.others) keep(table.numberOf(head));
  await keepPartings(table, live, roots.others, keep);
  return kept;
}

/** Calls `visit` with each commit that a branch took in, and the time of the first one's. */
async function eachArrival(
  storage: ObjectStorage,
  table: CommitTable,
  visit: (number: number, time: number) => void,
): Promise<{ at: Map<Hash, number>; unseen: number[] }> {
  const seen = new Uint8Array(table.size);
  const at = new Map<Hash, number>();
  for (let after: number | null = 0; after !== null;) {
    const { entries, next } = await storage.moves(after, MOVES);
    for (const { branch, from, to, time } of entries) {
      const head = to === null ? -1 : table.numberOf(to);
      if (head < 0) continue;
      if (from === null) at.set(branch, head);
      const arrived = Date.parse(time);
      table.walk([head], (number) => {
        if (seen[number] === 1) return false;
        seen[number] = 1;
        visit(number, arrived);
        return true;
      });
    }
    after = next;
    await nextTurn();
  }
  const unseen: number[] = [];
  for (let number = 0; number < table.size; number++) if (seen[number] === 0) unseen.push(number);
  return { at, unseen };
}

async function keepPartings(
  table: CommitTable,
  live: readonly StoredBranch[],
  others: readonly Hash[],
  keep: (number: number) => void,
): Promise<void> {
  // A sealed branch takes no more writes; whoever merges it finds its head and its beginning.
  const open = live.filter(({ sealed }) => !sealed).sort((a, b) => (a.id < b.id ? -1 : 1));
  const main = open.find(({ name }) => name === MAIN) ?? open[0];
  const heads = [...new Set([...open.map(({ head }) => head as Hash), ...others])];
  const numbers = heads.map((head) => table.numberOf(head)).filter((number) => number >= 0);
  const mainNumber = main === undefined ? -1 : table.numberOf(main.head as Hash);
  const order = table.childrenFirst();
  const groups = slices(numbers).map((some) => [...new Set([...some, ...(mainNumber < 0 ? [] : [mainNumber])])]);
  const known = new Set<string>();
  for (let group = groups.pop(); group !== undefined; group = groups.pop()) {
    for (const bases of keepGroup(table, order, group, keep)) {
      const name = bases.join();
      if (known.has(name)) continue;
      known.add(name);
      groups.push(...slices(bases));
    }
    await nextTurn();
  }
}

function slices(numbers: readonly number[]): number[][] {
  const parts: number[][] = [];
  for (let start = 0; start < numbers.length; start += GROUP) parts.push(numbers.slice(start, start + GROUP));
  return parts;
}

/**
 * A parting is a commit of which no child reaches, upwards, as many of these heads as it does itself. Returns the
 * bases of two heads where there are several: a merge merges these with each other first.
 */
function keepGroup(
  table: CommitTable,
  order: Int32Array,
  heads: readonly number[],
  keep: (n: number) => void,
): number[][] {
  const reached = new Uint32Array(table.size);
  let all = 0;
  for (const [bit, head] of heads.entries()) {
    reached[head] = (reached[head] as number) | (1 << bit);
    all = (all | (1 << bit)) >>> 0;
  }
  const hasEqualChild = new Uint8Array(table.size);
  for (const number of order) {
    for (const parent of [table.first(number), table.second(number)]) {
      if (parent >= 0) reached[parent] = (reached[parent] as number) | (reached[number] as number);
    }
  }
  /** Of those that reach more heads than some child: what that child reaches. */
  const lesser = new Map<number, number[]>();
  for (const number of order) {
    const mask = reached[number] as number;
    for (const parent of [table.first(number), table.second(number)]) {
      if (parent < 0 || mask === 0) continue;
      if (reached[parent] === mask) hasEqualChild[parent] = 1;
      else lesser.set(parent, [...(lesser.get(parent) ?? []), mask]);
    }
  }
  const bases = new Map<number, number[]>();
  for (let number = 0; number < table.size; number++) {
    const mask = reached[number] as number;
    if (mask === 0) continue;
    if (hasEqualChild[number] === 0) {
      keep(number);
      for (const pair of pairsOf(mask)) {
        if (lesser.get(number)?.some((child) => (child & pair) === pair) === true) continue;
        bases.set(pair, [...(bases.get(pair) ?? []), number]);
      }
    }
    if (mask === all || !table.has(number, FLAG.joins | FLAG.adopts)) continue;
    keep(number);
    keep(table.first(number));
    keep(table.second(number));
  }
  const several = [...bases.values()].filter(({ length }) => length > 1);
  // Those of more than two heads may be several only together.
  if (several.length > 1) several.push([...new Set(several.flat())].sort((a, b) => a - b));
  return several;
}

/** Each two bits of a mask. */
function* pairsOf(mask: number): Generator<number> {
  for (let a = 0; a < 32; a++) {
    if ((mask & (1 << a)) === 0) continue;
    for (let b = a + 1; b < 32; b++) if ((mask & (1 << b)) !== 0) yield (1 << a) | (1 << b);
  }
}
