import { type Changes, type Commit, type Contract, decodeContract, type Hash } from "@vlinder/protocol";
import type { Head } from "./head.ts";
import type { Heads } from "./heads.ts";
import type { Objects } from "./objects.ts";

/** History as merge and ancestry read it: what is stored, or that and what is about to be. */
export interface Source {
  /** Null: not here. */
  findCommit(hash: Hash): Promise<Commit | null>;
  commit(hash: Hash): Promise<Commit>;
  changesOf(commit: Commit): Promise<Changes>;
  /** The state after a commit. */
  at(commit: Hash): Promise<Head>;
  empty(): Head;
  contract(hash: Hash): Promise<Contract>;
}

export class StoredSource implements Source {
  readonly #objects: Objects;
  readonly #heads: Heads;

  constructor(objects: Objects, heads: Heads) {
    this.#objects = objects;
    this.#heads = heads;
  }

  findCommit(hash: Hash): Promise<Commit | null> {
    return this.#objects.findCommit(hash);
  }
  commit(hash: Hash): Promise<Commit> {
    return this.#objects.commit(hash);
  }
  changesOf(commit: Commit): Promise<Changes> {
    return this.#objects.changesOf(commit);
  }
  async at(commit: Hash): Promise<Head> {
    return await this.#heads.at(commit);
  }
  empty(): Head {
    return this.#heads.empty();
  }
  async contract(hash: Hash): Promise<Contract> {
    return decodeContract(await this.#objects.requiredValue(hash, 0));
  }
}

/** A commit that is computed and not durable yet. */
export interface Unsaved {
  readonly commit: Commit;
  readonly changes: Changes;
  readonly head: Head;
}

/** What is stored, with commits over it that are not yet. */
export class OverlaidSource implements Source {
  readonly #stored: Source;
  readonly #overlays: readonly ReadonlyMap<Hash, Unsaved>[];

  constructor(stored: Source, overlays: readonly ReadonlyMap<Hash, Unsaved>[]) {
    this.#stored = stored;
    this.#overlays = overlays;
  }

  #unsaved(hash: Hash): Unsaved | undefined {
    return this.#overlays.find((overlay) => overlay.has(hash))?.get(hash);
  }

  async findCommit(hash: Hash): Promise<Commit | null> {
    return this.#unsaved(hash)?.commit ?? (await this.#stored.findCommit(hash));
  }
  async commit(hash: Hash): Promise<Commit> {
    return this.#unsaved(hash)?.commit ?? (await this.#stored.commit(hash));
  }
  async changesOf(commit: Commit): Promise<Changes> {
    if (typeof commit.changes !== "string") return commit.changes ?? {};
    for (const overlay of this.#overlays) {
      for (const unsaved of overlay.values()) if (unsaved.commit === commit) return unsaved.changes;
    }
    return await this.#stored.changesOf(commit);
  }
  async at(commit: Hash): Promise<Head> {
    return this.#unsaved(commit)?.head ?? (await this.#stored.at(commit));
  }
  empty(): Head {
    return this.#stored.empty();
  }
  contract(hash: Hash): Promise<Contract> {
    return this.#stored.contract(hash);
  }
}
