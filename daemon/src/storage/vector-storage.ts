import type { Hash, Key, Metadata, Metric, VectorFilter } from "@vlinder/protocol";

/** One distinct (key, record). `hash` is the record's. */
export interface VectorRow {
  readonly key: Key;
  readonly hash: Hash;
  readonly vector: Float32Array;
  readonly metadata: Metadata;
}

export interface RowName {
  readonly key: Key;
  readonly hash: Hash;
}

export interface Candidate {
  readonly key: Key;
  readonly hash: Hash;
  readonly metadata: Metadata;
  /** Ascending: cosine 1 - similarity, l2 the distance, dot the product negated. */
  readonly distance: number;
}

export interface NearestQuery {
  readonly vector: Float32Array;
  readonly limit: number;
  readonly offset: number;
  /** Leave out rows that are marked dead. */
  readonly liveOnly: boolean;
  readonly prefix?: Key;
  readonly filter?: VectorFilter;
}

/**
 * Finds candidates; knows nothing of branches or history. It holds one row for each distinct (key,
 * record) of any commit, and may be dropped and built again at any time: correctness comes from
 * the tree. All rows of one instance have its dimension.
 *
 * Errors: VlinderError `unavailable`; a file that is damaged or of another dimension or metric
 * makes `openVectorStorage` reject with IndexDamaged, after which `reset` makes an empty one.
 */
export interface VectorStorage {
  readonly uri: string;
  readonly dimension: number;
  readonly metric: Metric;

  /** Rows that are there already are marked live and left as they are. Durable when it resolves. */
  add(rows: readonly VectorRow[]): Promise<void>;

  /** Marks rows as held by a branch's head or not. Rows that are not there are no error. */
  mark(rows: readonly RowName[], live: boolean): Promise<void>;

  remove(rows: readonly RowName[]): Promise<void>;

  /**
   * In the order of distance, then key, then hash; `offset` continues a previous query. Fewer than
   * `limit` means that there are no more.
   */
  nearest(query: NearestQuery): Promise<Candidate[]>;

  count(): Promise<number>;

  /**
   * The commit (or any text) up to which the index is complete; null when nothing was noted. Set in
   * its own transaction after the rows are in.
   */
  setPosition(text: string): Promise<void>;
  position(): Promise<string | null>;

  close(): Promise<void>;
}
