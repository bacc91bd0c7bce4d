import type { UploadMemory } from "./upload-memory.ts";

/** Bytes `start` (counted from 0) up to and without `end`; what lies behind the file's end is left out. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

export interface BucketEntry {
  /** From the bucket's root, parts joined by "/". May be a name that `get` would refuse: a foreign file. */
  readonly path: string;
  /** Bytes. */
  readonly size: number;
}

export interface BucketFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/**
 * A place that machines share: a flat map of path → bytes, as little as every folder, object store
 * and hub can do. Nothing in it is ever overwritten, so no compare-and-swap is asked of it.
 *
 * Paths are `[A-Za-z0-9._/-]`, relative, no empty part, and no part that starts with a dot: the kind
 * of bucket may use such names for itself. Any other path is `invalid`, before anything is touched.
 *
 * Visibility: when `put` has resolved, the files are durable as far as the bucket can promise it, and
 * `get` of this and later callers gives them. A file is never seen in part under its own name by `get`
 * of an honest bucket; readers still check every hash, since not every bucket is one. `list` and `sizes` may
 * lag behind where the service does, so absence there proves nothing for sure.
 *
 * Errors of every method are VlinderErrors: `unavailable` (not reachable, gone, full, I/O; `retryable` says
 * whether waiting may help, and `details.retryAfter`, in milliseconds, how long the service asks to wait), `denied`
 * (credentials, permissions, a path that leads out of the bucket), `invalid` (a path). A failed `put` or `delete` may have
 * happened all the same, in whole or for some of its files: both may be called again.
 */
export interface Bucket {
  /** As the user gave it; what errors and `status` show. No secrets. */
  readonly uri: string;

  /** The file's bytes, or the part in `range`, which are the caller's from then on; null when there is no such file. */
  get(path: string, range?: ByteRange): Promise<Buffer | null>;

  /**
   * Makes files, each whole or not at all, in no promised order: what must come later is another call. In one
   * request where the service can. The same bytes under an existing name are fine and change nothing; other bytes are
   * a `conflict`, and that file stays as it is, also when two put at once. (A kind that has no exclusive create says in
   * its file how far it can promise the last part.)
   */
  put(files: readonly BucketFile[]): Promise<void>;

  /**
   * `put` of one file that may be larger than memory, from the file `source` of this machine, which must not change meanwhile.
   * What is put at the same time does not wait for it. `memory` is asked for, and told, what the service has of its content, where the
   * service can make use of that. Broken off by `close`, which may take some seconds for it, it leaves nothing unfinished that somebody pays for.
   */
  putFile(path: string, source: string, memory?: UploadMemory): Promise<void>;

  /** Bytes of each of these files that is there. */
  sizes(paths: readonly string[]): Promise<ReadonlyMap<string, number>>;

  /** Files whose path starts with `prefix`, in no promised order. Unfinished files are not listed. */
  list(prefix: string): AsyncIterable<BucketEntry>;

  /** A file that is not there is no error. */
  delete(paths: readonly string[]): Promise<void>;

  /**
   * A text that is another one after every change of a file in the bucket, where the service tells one at the price of a
   * single request; null where it does not: then only `list` tells.
   */
  revision(): Promise<string | null>;

  /** Lets go of connections and threads. */
  close(): Promise<void>;
}
