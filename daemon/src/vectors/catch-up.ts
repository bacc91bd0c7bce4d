import type { Hash } from "@vlinder/protocol";
import type { Entry, History, View } from "./history.ts";
import type { RowName, VectorRow, VectorStorage } from "../storage/vector-storage.ts";
import { encodePosition, isGone, type Heads, type Position } from "./position.ts";
import { type RecordName, readRecords } from "./records.ts";

export interface Added {
  readonly rows: number;
  /** Records of another dimension: they are for the searches of older states, and have no rows. */
  readonly otherDimension: number;
  /** Those whose bytes are not here. */
  readonly absent: readonly RecordName[];
}

const BATCH = 500;
/** Marks in one message when an index is built. */
const PART = 5000;
/** Absent records that are remembered, and looked for at each catch-up. */
const MOST_ABSENT = 256;

/**
 * Adds a row for every record that commits reachable from `heads`, and not from the position, put in
 * place. By induction over first parents the index then holds every entry of every reachable commit.
 */
export async function addNewRows(
  history: History,
  storage: VectorStorage,
  from: Position | null,
  heads: Heads,
  progress: (done: number) => void,
): Promise<Added> {
  let done = 0;
  let otherDimension = 0;
  const absent: RecordName[] = [];
  let rows: VectorRow[] = [];
  const put = recordsPut(history, [...heads.values()], [...(from?.heads.values() ?? [])]);
  const names = both(from?.absent ?? [], put);
  const missed = (name: RecordName): void => void (absent.length < MOST_ABSENT && absent.push(name));
  for await (const { key, hash, record } of readRecords(history, names, missed)) {
    done++;
    if (record.vector.length !== storage.dimension) {
      otherDimension++;
      continue;
    }
    rows.push({ key, hash, vector: record.vector, metadata: record.metadata });
    if (rows.length < BATCH) continue;
    await storage.add(rows);
    rows = [];
    progress(done);
  }
  if (rows.length > 0) await storage.add(rows);
  progress(done);
  return { rows: done - otherDimension, otherDimension, absent };
}

async function* both<T>(first: Iterable<T>, then: AsyncIterable<T>): AsyncGenerator<T> {
  yield* first;
  yield* then;
}

/** What commits that are reachable from `heads` and not from `bases` put in place of what their first parents had. */
export async function* recordsPut(
  history: History,
  heads: readonly Hash[],
  bases: readonly Hash[],
): AsyncGenerator<RecordName> {
  for await (const { hash: made, commit } of history.newCommits(heads, bases)) {
    const { vectors = [] } = await history.changesOf(commit);
    for (const [key, hash, size] of vectors) if (hash !== null) yield { key, hash, size };
    const [parent] = commit.parents;
    if (commit.adopts === undefined || parent === undefined) continue;
    try {
      const [before, after] = [await history.view(parent), await history.view(made)];
      for await (const { to } of before.diff("vectors", after)) if (to !== null) yield to;
    } catch (error) {
      // What retention dropped can't be searched: it needs no rows.
      if (!isGone(error)) throw error;
    }
  }
}

/**
 * Marks what branch heads hold as live and the rest as dead, and notes where the index is now, all
 * at once. From nothing (`from` null) the marks go in parts; there is no position until the last.
 */
export async function advanceMarks(
  history: History,
  storage: VectorStorage,
  from: Position | null,
  to: Position,
): Promise<void> {
  const { heads } = to;
  const views = await Promise.all([...heads.values()].map((head) => history.view(head)));
  let live: RowName[] = [];
  const dead: RowName[] = [];
  for await (const { side, entry } of differences(history, from?.heads ?? new Map(), heads)) {
    const { key, hash } = entry;
    if (side === "to") live.push({ key, hash });
    else if (!(await anyHolds(views, entry))) dead.push({ key, hash });
    if (from !== null || live.length < PART) continue;
    await storage.advance({ live, dead: [], position: null });
    live = [];
  }
  // Rows that came only now, of entries that did not change.
  for (const { key, hash } of from?.absent ?? []) if (await anyHolds(views, { key, hash })) live.push({ key, hash });
  await storage.advance({ live, dead, position: encodePosition(to) });
}

interface Difference {
  /** Whether the entry is of an old head, or of a new one. */
  readonly side: "from" | "to";
  readonly entry: Entry;
}

/**
 * All entries that an old head has and no new one, and the other way round, and some that both
 * have. Each new head is compared with its branch's old one, else with any old one, whose rows are
 * live, else with the first new one; each deleted branch's head with any new one.
 */
async function* differences(history: History, from: Heads, heads: Heads): AsyncGenerator<Difference> {
  const [anyOld] = from.values();
  const [anyNew] = heads.values();
  for (const [id, head] of heads) {
    const old = from.get(id);
    if (old === head) continue;
    const base = old ?? anyOld ?? (head === anyNew ? null : (anyNew ?? null));
    yield* compared(history, base, head, old === undefined ? ["to"] : ["from", "to"]);
  }
  for (const [id, old] of from) if (!heads.has(id)) yield* compared(history, old, anyNew ?? null, ["from"]);
}

/** A side that is null has no entries. */
async function* compared(
  history: History,
  from: Hash | null,
  to: Hash | null,
  sides: readonly Difference["side"][],
): AsyncGenerator<Difference> {
  const [one, other] = [from === null ? null : await history.view(from), to === null ? null : await history.view(to)];
  if (one !== null && other !== null) {
    for await (const entry of one.diff("vectors", other)) {
      for (const side of sides) if (entry[side] !== null) yield { side, entry: entry[side] };
    }
    return;
  }
  const [only, side] = one === null ? [other, "to" as const] : [one, "from" as const];
  if (only === null || !sides.includes(side)) return;
  for await (const entry of only.entries("vectors")) yield { side, entry };
}

async function anyHolds(views: readonly View[], { key, hash }: RowName): Promise<boolean> {
  for (const view of views) if ((await view.get("vectors", key))?.hash === hash) return true;
  return false;
}
