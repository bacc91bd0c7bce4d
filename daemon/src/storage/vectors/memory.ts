import type { Hash, Key, Metric } from "@vlinder/protocol";
import type { Advance, Candidate, NearestQuery, RowName, VectorRow, VectorStorage } from "../vector-storage.ts";
import { matchesFilter } from "./filter.ts";
import { score } from "./score.ts";
import { Top } from "./top.ts";

interface Held extends VectorRow {
  live: boolean;
}

/** `memory://`: looks at every row. For tests and throw-away agents, and the model of the others. */
export class MemoryVectorStorage implements VectorStorage {
  readonly uri: string;
  readonly dimension: number;
  readonly metric: Metric;
  readonly #rows = new Map<Key, Map<Hash, Held>>();
  #position: string | null = null;

  constructor(uri: string, dimension: number, metric: Metric) {
    this.uri = uri;
    this.dimension = dimension;
    this.metric = metric;
  }

  async add(rows: readonly VectorRow[]): Promise<void> {
    for (const row of rows) {
      let versions = this.#rows.get(row.key);
      if (versions === undefined) this.#rows.set(row.key, (versions = new Map()));
      if (!versions.has(row.hash)) versions.set(row.hash, { ...row, live: false });
    }
  }

  async advance({ live, dead, position }: Advance): Promise<void> {
    this.#mark(live, true);
    this.#mark(dead, false);
    this.#position = position;
  }

  #mark(rows: readonly RowName[], live: boolean): void {
    for (const { key, hash } of rows) {
      const row = this.#rows.get(key)?.get(hash);
      if (row !== undefined) row.live = live;
    }
  }

  async remove(rows: readonly RowName[]): Promise<void> {
    for (const { key, hash } of rows) {
      const versions = this.#rows.get(key);
      versions?.delete(hash);
      if (versions?.size === 0) this.#rows.delete(key);
    }
  }

  async nearest(query: NearestQuery): Promise<Candidate[]> {
    const top = new Top<Candidate>(query.limit);
    for (const [key, versions] of this.#rows) {
      if (query.prefix !== undefined && !key.startsWith(query.prefix)) continue;
      for (const { hash, vector, metadata, live } of versions.values()) {
        if (query.liveOnly && !live) continue;
        if (query.filter !== undefined && !matchesFilter(metadata, query.filter)) continue;
        top.offer({ key, hash, score: score(this.metric, query.vector, vector) });
      }
    }
    return top.items();
  }

  async count(): Promise<number> {
    let count = 0;
    for (const versions of this.#rows.values()) count += versions.size;
    return count;
  }

  async position(): Promise<string | null> {
    return this.#position;
  }

  async close(): Promise<void> {
    this.#rows.clear();
  }
}
