import type { Hash, Key, Metadata, Metric, VectorFilter } from "@vlinder/protocol";

/** One distinct (key, record). `hash` is the record's. */
export interface VectorRow {
  readonly key: Key;
  readonly hash: Hash;
  readonly vector: Float32Array;
  /** For filters; it is not given back. */
  readonly metadata: Metadata;
}

export interface RowName {
  readonly key: Key;
  readonly hash: Hash;
}

export interface Candidate {
  readonly key: Key;
  readonly hash: Hash;
  /** As `score` in storage/vectors/score.ts computes it from the components; more is nearer. */
  readonly score: number;
}

export interface NearestQuery {
  readonly vector: Float32Array;
  readonly limit: number;
  /** Leave out rows that are marked dead. */
  readonly liveOnly: boolean;
  readonly prefix?: Key;
  readonly filter?: VectorFilter;
}

/** What an `advance` changes. Rows that are not there are no error; `live` goes before `dead`. */
export interface Advance {
  readonly live: readonly RowName[];
  readonly dead: readonly RowName[];
  /** Up to where the index is complete now, in words of the caller; null: nowhere. */
  readonly position: string | null;
}

/** The index can't be trusted or was made for something else. It is dropped and built again from the records. */
export class IndexDamaged extends Error {
  override readonly name = "IndexDamaged";
}

/**
 * Finds candidates; knows nothing of branches or history. It holds one row for each distinct (key,
 * record) of any commit, and may be dropped and built again at any time: correctness comes from
 * the tree. All rows of one instance have its dimension.
 *
 * Errors: IndexDamaged when what is stored is damaged or of another dimension or metric (opening
 * finds that); VlinderError `unavailable` when it can't be reached or written; `invalid` for an
 * index that a newer release made. Calls take effect in the order in which they were made.
 */
export interface VectorStorage {
  /** What `status` and errors show; no secrets. */
  readonly uri: string;
  readonly dimension: number;
  readonly metric: Metric;

  /** New rows enter dead. Rows that are there already are left as they are. All or nothing. */
  add(rows: readonly VectorRow[]): Promise<void>;

  /** Marks and position in one transaction: after a crash they are both of before or both of after. */
  advance(change: Advance): Promise<void>;

  /** Removes rows and overwrites what they held. Rows that are not there are no error. */
  remove(rows: readonly RowName[]): Promise<void>;

  /**
   * The rows of the highest scores: in the order of score (descending), then key, then hash. Fewer
   * than `limit` means that there are no more. Scores and order are the same on every backend. A
   * backend may choose the candidates that it scores by an approximation when it holds more rows
   * than a limit that it names; up to there, what it returns is exact.
   */
  nearest(query: NearestQuery): Promise<Candidate[]>;

  count(): Promise<number>;

  /** The position of the last `advance`; null before the first. */
  position(): Promise<string | null>;

  /** Waits for what is under way. May be called twice; nothing else may be called after it. */
  close(): Promise<void>;
}
