import type { Hash, Key, Metric } from "@vlinder/protocol";
import { type Candidate, IndexDamaged, type VectorStorage } from "../storage/vector-storage.ts";
import { byScore, score } from "../storage/vectors/score.ts";
import { bruteForce, type SearchQuery, type SearchResult } from "./brute-force.ts";
import { recordsPut } from "./catch-up.ts";
import type { Entry, History, View } from "./history.ts";
import type { Position } from "./position.ts";
import { readRecord, type RecordName } from "./records.ts";

/** Records that a search scores one by one because the index may not have them; over it, the whole state is read. */
const MOST_UNCOVERED = 2000;

/** An index that is complete up to a position. */
export interface Ready {
  readonly storage: VectorStorage;
  readonly position: Position;
  /** Other commits that were found to be covered. */
  readonly covered: Set<Hash>;
  /** Whether exactly the rows that the position's heads hold are marked live. False for good once marks begin to move. */
  marksHold: boolean;
}

const MOST_COVERED = 10_000;

/** The storage, not the history, failed a search; `cause` says how. */
export class StorageFailed extends Error {
  override readonly name = "StorageFailed";
}

/**
 * Search by the index. It asks for candidates and keeps those that the state holds, four times as
 * many each time until there are enough. At a branch head, dead rows are left out. What the state
 * may hold and the index lacks (the writes of an open turn, of a branch that moved just now, of a deleted branch)
 * is scored record by record. Null: the index can't answer, or reading the state is less work.
 */
export async function searchIndex(
  history: History,
  view: View,
  ready: Ready,
  query: SearchQuery,
): Promise<SearchResult[] | null> {
  const uncovered = await uncoveredOf(history, view, ready);
  if (uncovered === null) return null;
  const held = new Held(history, view);
  const kept = await keptCandidates(view, held, ready, query);
  if (kept === null || uncovered.length === 0) return kept;

  // By key: several commits may have put the same record in place.
  const rest = new Map<Key, RecordName>();
  for (const name of uncovered) {
    if (query.prefix !== undefined && !name.key.startsWith(query.prefix)) continue;
    if (await held.has(name)) rest.set(name.key, name);
  }
  const byKey = new Map<Key, SearchResult>();
  for (const item of [...kept, ...(await bruteForce(history, rest.values(), ready.storage.metric, query))]) {
    byKey.set(item.key, item);
  }
  return [...byKey.values()].sort(byScore).slice(0, query.limit);
}

async function keptCandidates(
  view: View,
  held: Held,
  ready: Ready,
  query: SearchQuery,
): Promise<SearchResult[] | null> {
  const isHead = [...ready.position.heads.values()].includes(view.commit);
  const { storage } = ready;
  for (let ask = isHead ? query.limit : 2 * query.limit; ; ask *= 4) {
    const liveOnly = isHead && ready.marksHold;
    const candidates = await storage.nearest({ ...query, limit: ask, liveOnly }).catch((cause: unknown) => {
      throw new StorageFailed("the vector storage failed", { cause });
    });
    // The marks moved on while the answer was under way: rows of this head may have been left out.
    if (liveOnly && !ready.marksHold) continue;
    const kept: SearchResult[] = [];
    for (const candidate of candidates) {
      if (kept.length === query.limit) break;
      const result = await held.result(candidate, storage.metric, query.vector);
      if (result !== null) kept.push(result);
    }
    if (kept.length === query.limit || candidates.length < ask) return kept;
    const { count } = await view.totals("vectors");
    if (count <= 4 * ask) return null;
  }
}

/** What the state's commit may hold without a row in the index. Null: too much. */
async function uncoveredOf(history: History, view: View, ready: Ready): Promise<readonly RecordName[] | null> {
  const { heads, absent } = ready.position;
  if (ready.covered.has(view.commit)) return absent;
  const uncovered: RecordName[] = [];
  for await (const name of recordsPut(history, [view.commit], [...heads.values()])) {
    if (uncovered.push(name) > MOST_UNCOVERED) return null;
  }
  if (uncovered.length === 0) {
    if (ready.covered.size >= MOST_COVERED) ready.covered.clear();
    ready.covered.add(view.commit);
  }
  return [...absent, ...uncovered];
}

/** What a state holds, each key asked once. */
class Held {
  readonly #history: History;
  readonly #view: View;
  readonly #entries = new Map<Key, Entry | null>();

  constructor(history: History, view: View) {
    this.#history = history;
    this.#view = view;
  }

  async has({ key, hash }: { readonly key: Key; readonly hash: Hash }): Promise<boolean> {
    return (await this.#entry(key))?.hash === hash;
  }

  /**
   * A candidate as a result, from its record; null when the state does not hold it or the record is
   * not here. An index that scores a record otherwise than it is can't be trusted. @throws StorageFailed
   */
  async result(candidate: Candidate, metric: Metric, vector: Float32Array): Promise<SearchResult | null> {
    const { key, hash } = candidate;
    const entry = await this.#entry(key);
    if (entry?.hash !== hash) return null;
    const record = await readRecord(this.#history, entry);
    if (record === null) return null;
    const right = record.vector.length === vector.length ? score(metric, vector, record.vector) : null;
    if (right !== candidate.score) {
      const cause = new IndexDamaged(`a row of the vector index is not its record ${hash}`);
      throw new StorageFailed(cause.message, { cause });
    }
    return { key, hash, score: right, metadata: record.metadata };
  }

  async #entry(key: Key): Promise<Entry | null> {
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = await this.#view.get("vectors", key);
      this.#entries.set(key, entry);
    }
    return entry;
  }
}
