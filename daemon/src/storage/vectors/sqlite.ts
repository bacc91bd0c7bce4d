import type { Metric } from "@vlinder/protocol";
import type { Advance, Candidate, NearestQuery, RowName, VectorRow, VectorStorage } from "../vector-storage.ts";
import { filterableMembers } from "./filter-sql.ts";
import { WorkerIndex } from "./worker-thread.ts";

/** With fewer rows every result is exact; measured, a search of so many takes about 20 ms. */
export const EXACT_ROWS = 20_000;

export interface SqliteVectorOptions {
  readonly uri: string;
  readonly path: string;
  readonly dimension: number;
  readonly metric: Metric;
  /** Instead of EXACT_ROWS: for tests and measurements. */
  readonly exactRows?: number;
}

/** `sqlite://`: a file of its own beside the agent's objects, used in a worker thread. */
export class SqliteVectorStorage implements VectorStorage {
  readonly uri: string;
  readonly dimension: number;
  readonly metric: Metric;
  readonly #index: WorkerIndex;

  private constructor(options: SqliteVectorOptions, index: WorkerIndex) {
    this.uri = options.uri;
    this.dimension = options.dimension;
    this.metric = options.metric;
    this.#index = index;
  }

  /** Makes the file when there is none. Reads all of an existing one to check it. @throws IndexDamaged, invalid, unavailable */
  static async open(options: SqliteVectorOptions): Promise<SqliteVectorStorage> {
    const { path, dimension, metric, exactRows = EXACT_ROWS } = options;
    const index = new WorkerIndex();
    try {
      await index.call("open", { path, dimension, metric, exactRows });
    } catch (error) {
      await index.close(false);
      throw error;
    }
    return new SqliteVectorStorage(options, index);
  }

  add(rows: readonly VectorRow[]): Promise<void> {
    const withMembers = rows.map(({ key, hash, vector, metadata }) => {
      return { key, hash, vector: compact(vector), members: filterableMembers(metadata) };
    });
    return this.#index.call("add", withMembers);
  }

  advance(change: Advance): Promise<void> {
    return this.#index.call("advance", change);
  }

  remove(rows: readonly RowName[]): Promise<void> {
    return this.#index.call("remove", rows);
  }

  nearest(query: NearestQuery): Promise<Candidate[]> {
    return this.#index.call("nearest", { ...query, vector: compact(query.vector) });
  }

  count(): Promise<number> {
    return this.#index.call("count");
  }

  position(): Promise<string | null> {
    return this.#index.call("position");
  }

  close(): Promise<void> {
    return this.#index.close(true);
  }
}

/** A message takes the whole buffer under a view along. */
function compact(vector: Float32Array): Float32Array {
  return vector.byteLength === vector.buffer.byteLength ? vector : vector.slice();
}
