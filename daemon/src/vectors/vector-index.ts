import { type Metric, VlinderError } from "@vlinder/protocol";
import type { History, View } from "./history.ts";
import { IndexDamaged, type RowName, type VectorStorage } from "../storage/vector-storage.ts";
import { bruteForce, type SearchQuery, type SearchResult, vectorsOf } from "./brute-force.ts";
import { addNewRows, advanceMarks } from "./catch-up.ts";
import { type Ready, searchIndex, StorageFailed } from "./index-search.ts";
import { decodePosition, headsOf, type Heads, isGone, sameHeads } from "./position.ts";
import { sameShape, type Shape, shapeFor, shapeOfHeads } from "./shape.ts";

export type { SearchQuery, SearchResult } from "./brute-force.ts";

export interface VectorLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface VectorIndexOptions {
  readonly history: History;
  readonly openStorage: (dimension: number, metric: Metric) => Promise<VectorStorage>;
  /** Deletes what `openStorage` would open; it is closed then. */
  readonly resetStorage: () => Promise<void>;
  readonly log: VectorLog;
}

export interface VectorIndexStatus {
  /**
   * `idle`: not opened yet, or no vectors. `building` and `failed`: searches read all records, until
   * it is built, or until the next `catchUp` that succeeds.
   */
  readonly state: "idle" | "building" | "ready" | "failed";
  /** What happened that a person should know, the latest last. */
  readonly notes: readonly string[];
}

const MOST_NOTES = 20;

/**
 * Vector search at any commit of one agent, over a storage that knows nothing of commits. Results
 * come from the state's tree alone: the index says where to look first, and when it is damaged,
 * behind or being built, the records are read instead. So it may fail, and searches are still right.
 *
 * What changes the storage goes one after the other (`#enqueue`); searches don't wait for it.
 */
export class VectorIndex {
  readonly #options: VectorIndexOptions;
  #storage: VectorStorage | null = null;
  /** Null until the storage is complete up to some heads. */
  #ready: Ready | null = null;
  #state: VectorIndexStatus["state"] = "idle";
  readonly #notes: string[] = [];
  #queue: Promise<unknown> = Promise.resolve();
  #nextCatchUp: Promise<void> | null = null;
  #opening: Promise<void> | null = null;
  #closed = false;

  private constructor(options: VectorIndexOptions) {
    this.#options = options;
  }

  /** Opens nothing yet: the storage is opened, and checked, by the first `catchUp` or `search`. */
  static async open(options: VectorIndexOptions): Promise<VectorIndex> {
    return new VectorIndex(options);
  }

  /**
   * Brings the index up to the branch heads of now. Calls that come while one waits for its turn
   * join it. @throws unavailable, or what else the storages throw; searches stay right, and the next call tries again
   */
  catchUp(): Promise<void> {
    // Opening goes first, apart: a search may wait for that, never for what follows.
    if (this.#storage === null && this.#state === "idle") void this.#opened();
    this.#nextCatchUp ??= this.#enqueue(async () => {
      this.#nextCatchUp = null;
      await this.#advance(() => {});
    });
    return this.#nextCatchUp;
  }

  /** Nearest first; equal scores in key order. @throws not_declared, invalid */
  async search(view: View, query: SearchQuery): Promise<SearchResult[]> {
    const shape = await shapeFor(view, query.vector);
    if (shape === null) return [];
    if (this.#storage === null && this.#state === "idle") await this.#opened();
    const ready = this.#ready;
    if (ready !== null && sameShape(ready.storage, shape)) {
      try {
        const found = await searchIndex(this.#options.history, view, ready, query);
        // A storage that was dropped meanwhile may have answered from half of its rows.
        if (found !== null && this.#storage === ready.storage) return found;
      } catch (error) {
        if (!(error instanceof StorageFailed)) throw error;
        this.#failed(ready.storage, error.cause);
      }
    }
    const { history } = this.#options;
    return bruteForce(history, vectorsOf(view, query.prefix), shape.metric, query);
  }

  /** Drops the index and builds it from all commits of all branches. Returns its rows. */
  reindex(progress?: (done: number, total: number | null) => void): Promise<number> {
    return this.#enqueue(async () => {
      await this.#reset();
      await this.#advance((done) => progress?.(done, null));
      const count = (await this.#storage?.count()) ?? 0;
      progress?.(count, count);
      return count;
    });
  }

  /** Takes rows of records that were erased out of the index, and their bytes out of its files. */
  forget(rows: readonly RowName[]): Promise<void> {
    return this.#enqueue(async () => {
      if (this.#storage === null) {
        const shape = await shapeOfHeads(this.#options.history, headsOf(this.#options.history));
        // No state has vectors any more: what index there is goes as a whole.
        if (shape === null) return this.#reset();
        await this.#openStorage(shape);
      }
      await this.#storage?.remove(rows);
    });
  }

  /** Rows of the index, those of the past too. */
  count(): Promise<number> {
    return this.#enqueue(async () => (await this.#storage?.count()) ?? 0);
  }

  status(): VectorIndexStatus {
    return { state: this.#state, notes: [...this.#notes] };
  }

  /** Waits for what is under way; a build is broken off and begins again at the next start. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#queue;
    await this.#drop("idle");
  }

  #enqueue<T>(task: () => Promise<T>): Promise<T> {
    const run = this.#closed ? Promise.reject(closing()) : this.#queue.then(task);
    // Whoever asked gets the error; it must not keep the next task from running.
    this.#queue = run.catch(() => null);
    return run;
  }

  /** Opens the storage for a search, which can use it even if it is behind. Never rejects. */
  async #opened(): Promise<void> {
    this.#opening ??= this.#enqueue(async () => {
      const shape = await shapeOfHeads(this.#options.history, headsOf(this.#options.history));
      if (shape !== null && this.#storage === null) await this.#openStorage(shape);
    }).finally(() => (this.#opening = null));
    try {
      await this.#opening;
    } catch (error) {
      this.#note(error, "the vector index can't be opened; searches read all records");
      this.#state = "failed";
    }
  }

  async #advance(progress: (done: number) => void): Promise<void> {
    const { history } = this.#options;
    const heads = headsOf(history);
    if (this.#ready !== null && sameHeads(this.#ready.position.heads, heads)) return;
    const shape = await shapeOfHeads(history, heads);
    if (shape === null) return;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#advanceTo(heads, shape, progress);
      } catch (error) {
        const again = attempt === 1 && (error instanceof IndexDamaged || isGone(error));
        if (!again) await this.#drop("failed");
        if (!again) throw error;
        this.#note(error, "the vector index can't be trusted and is built again");
        await this.#reset();
      }
    }
  }

  async #advanceTo(heads: Heads, shape: Shape, progress: (done: number) => void): Promise<void> {
    const { history, log } = this.#options;
    if (this.#storage !== null && !sameShape(this.#storage, shape)) {
      this.#note(
        null,
        `vectors have ${shape.dimension} components and metric ${shape.metric} now: the index is built again`,
      );
      await this.#reset();
    }
    const storage = this.#storage ?? (await this.#openStorage(shape));
    const before = this.#ready;
    if (before === null) {
      this.#state = "building";
      // What an unfinished build left has marks that nobody can trust.
      if ((await storage.count()) > 0) throw new IndexDamaged("it was not finished");
    }
    const added = await addNewRows(history, storage, before?.position ?? null, heads, (done) => {
      if (this.#closed) throw closing();
      progress(done);
    });
    if (added.otherDimension > 0) {
      this.#note(null, `${added.otherDimension} vectors of another dimension are not in the index`);
    }
    if (before !== null) before.marksHold = false;
    const position = { heads, absent: added.absent };
    await advanceMarks(history, storage, before?.position ?? null, position);
    this.#ready = { storage, position, covered: before?.covered ?? new Set(), marksHold: true };
    this.#state = "ready";
    if (before === null) log.info({ rows: added.rows }, "vector index built");
  }

  /** Opens the storage; one that is damaged or made for another shape is replaced by an empty one. */
  async #openStorage({ dimension, metric }: Shape): Promise<VectorStorage> {
    const { openStorage, resetStorage } = this.#options;
    let storage: VectorStorage;
    try {
      storage = await openStorage(dimension, metric);
    } catch (error) {
      if (!(error instanceof IndexDamaged)) throw error;
      this.#note(error, "the vector index can't be trusted and is built again");
      await resetStorage();
      storage = await openStorage(dimension, metric);
    }
    this.#storage = storage;
    const position = decodePosition(await storage.position());
    this.#ready = position === null ? null : { storage, position, covered: new Set(), marksHold: true };
    this.#state = position === null ? "building" : "ready";
    return storage;
  }

  /** A search could not use the storage. It has been answered without; here the storage is mended. */
  #failed(storage: VectorStorage, error: unknown): void {
    if (this.#storage !== storage || this.#closed) return;
    this.#note(error, "a search could not use the vector index and read all records");
    if (this.#ready?.storage === storage) this.#ready = null;
    this.#state = "failed";
    const mending = this.#enqueue(async () => {
      if (this.#storage !== storage) return;
      if (error instanceof IndexDamaged) await this.#reset();
      else await this.#drop("failed");
      await this.#advance(() => {});
    });
    mending.catch((cause: unknown) => this.#note(cause, "the vector index could not be mended"));
  }

  async #reset(): Promise<void> {
    await this.#drop("building");
    await this.#options.resetStorage();
  }

  async #drop(state: VectorIndexStatus["state"]): Promise<void> {
    const storage = this.#storage;
    this.#storage = null;
    this.#ready = null;
    this.#state = state;
    try {
      await storage?.close();
    } catch (error) {
      // It is given up, and what it had acknowledged is in its file.
      this.#note(error, "the vector index could not be closed");
    }
  }

  #note(error: unknown, message: string): void {
    const detail = error === null ? "" : `: ${error instanceof Error ? error.message : JSON.stringify(error)}`;
    this.#notes.push(message + detail);
    if (this.#notes.length > MOST_NOTES) this.#notes.shift();
    this.#options.log.warn(error === null ? {} : { err: error }, message);
  }
}

function closing(): VlinderError {
  return new VlinderError("unavailable", "the vector index is closing");
}
