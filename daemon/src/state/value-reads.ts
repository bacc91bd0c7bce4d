import type { Hash, Key } from "@vlinder/protocol";
import { andThen } from "./and-then.ts";
import type { Entry } from "./api.ts";
import { EntryCache } from "./entry-cache.ts";
import type { FindObject } from "./find-object.ts";
import { type Found, foundAt } from "./found.ts";
import type { Heads } from "./heads.ts";
import { DamagedObject, type Objects } from "./objects.ts";
import { PastEntries } from "./past-entry.ts";
import { erasedError } from "./retention/erased.ts";
import type { Keeping } from "./retention/keeping.ts";
import { TwoGenerations } from "./two-generations.ts";
import { StateView } from "./view.ts";

/** Computing the trees of a commit costs about ten times what one read without them does. */
const READS_BEFORE_TREES = 3;

/** Values, by key or by hash. Of one that is missing it is said whether it was erased or is lost. */
export class ValueReads {
  readonly entries: EntryCache;
  readonly #objects: Objects;
  readonly #pastEntries: PastEntries;
  readonly #heads: Heads;
  /** How often commits of the past were read lately. */
  readonly #past = new TwoGenerations<Hash, number>(256);
  readonly #keeping: Pick<Keeping, "pruned" | "erased">;

  constructor(objects: Objects, heads: Heads, keeping: Pick<Keeping, "pruned" | "erased">) {
    this.#objects = objects;
    this.entries = new EntryCache((hash) => objects.valueReplaced(hash));
    this.#pastEntries = new PastEntries(objects);
    this.#heads = heads;
    this.#keeping = keeping;
  }

  /** What a key holds in the state of a branch's head; at once where all that it takes is at hand. @throws erased */
  findAtHead(view: StateView, key: Key): Found | Promise<Found> {
    return andThen(this.entries.find(view, key), (entry) => this.found(view.commit, entry));
  }

  /** What a key held at a commit. @throws pruned, erased */
  async findInPast(commit: Hash, key: Key): Promise<Found> {
    this.#keeping.pruned.check(commit);
    const past = this.#isWorthTrees(commit) ? undefined : await this.#pastEntries.find(commit, "kv", key);
    if (past !== undefined) return await this.found(commit, past);
    const view = new StateView(await this.#heads.at(commit), this.#objects);
    return await this.found(commit, await view.getNow("kv", key));
  }

  /** Whether a commit's trees are at hand, or it was read so often that they soon pay. */
  #isWorthTrees(commit: Hash): boolean {
    if (this.#heads.isKept(commit)) return true;
    const reads = (this.#past.get(commit) ?? 0) + 1;
    this.#past.set(commit, reads);
    return reads > READS_BEFORE_TREES;
  }

  /** @throws erased; internal, when the storage has lost it */
  async value(hash: Hash, size: number, unsaved?: FindObject): Promise<Uint8Array> {
    try {
      return await this.#objects.requiredValue(hash, size, unsaved);
    } catch (error) {
      throw this.#asErased(error, hash);
    }
  }

  /** @throws erased; internal, when the storage has lost it */
  async range(hash: Hash, size: number, start: number, end: number, unsaved?: FindObject): Promise<Uint8Array> {
    try {
      return await this.#objects.range(hash, size, start, end, unsaved);
    } catch (error) {
      throw this.#asErased(error, hash);
    }
  }

  /** An entry with its value; `unsaved` finds objects that are not stored yet. @throws erased */
  found(state: Hash, entry: Entry | null, unsaved?: FindObject): Found | Promise<Found> {
    const failed = (error: unknown): never => {
      throw entry === null ? error : this.#asErased(error, entry.hash);
    };
    try {
      const found = foundAt(this.#objects, state, entry, unsaved);
      return found instanceof Promise ? found.catch(failed) : found;
    } catch (error) {
      return failed(error);
    }
  }

  #asErased(error: unknown, hash: Hash): unknown {
    const isMissing = error instanceof DamagedObject && error.problem === "missing";
    return isMissing && this.#keeping.erased.has(hash) ? erasedError(hash) : error;
  }
}
