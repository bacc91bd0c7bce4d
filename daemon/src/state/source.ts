import { type Changes, type Commit, type Contract, decodeContract, type Hash, VlinderError } from "@vlinder/protocol";
import type { Kind, StoredObject } from "../storage/object-storage.ts";
import type { FindObject } from "./find-object.ts";
import type { Head } from "./head.ts";
import type { Heads } from "./heads.ts";
import type { Objects } from "./objects.ts";
import type { Erased } from "./retention/erased.ts";

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
  /** A value's bytes, checked; null: not here. `unsaved` finds objects that are not stored yet. */
  value(hash: Hash, size: number, unsaved?: FindObject): Promise<Uint8Array | null>;
  /** Whether an `erase` commit lists a value, be it here or not. */
  isErased(hash: Hash): boolean;
}

/** A value's bytes. @throws unavailable, when they are not here */
export async function requiredBytes(source: Pick<Source, "value">, hash: Hash, size: number): Promise<Uint8Array> {
  const bytes = await source.value(hash, size);
  if (bytes !== null) return bytes;
  throw new VlinderError("unavailable", `the value ${hash} is needed, and is not here`, {
    details: { hash },
    remedy: "`vlinder sync pull` brings it when the bucket has it; `vlinder verify` says what else is missing",
  });
}

export class StoredSource implements Source {
  readonly #objects: Objects;
  readonly #heads: Heads;
  readonly #erased: Pick<Erased, "has">;

  constructor(objects: Objects, heads: Heads, erased: Pick<Erased, "has">) {
    this.#objects = objects;
    this.#heads = heads;
    this.#erased = erased;
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
  async value(hash: Hash, size: number, unsaved?: FindObject): Promise<Uint8Array | null> {
    return this.#objects.value(hash, size, unsaved);
  }
  isErased(hash: Hash): boolean {
    return this.#erased.has(hash);
  }
}

/** A commit that is computed and not durable yet. */
export interface Unsaved {
  readonly commit: Commit;
  readonly changes: Changes;
  readonly head: Head;
  /** Objects that are to be stored with it, its own among them. */
  readonly objects: readonly StoredObject[];
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
  async contract(hash: Hash): Promise<Contract> {
    const unsaved = this.#object("value", hash);
    return unsaved === undefined ? await this.#stored.contract(hash) : decodeContract(unsaved);
  }
  value(hash: Hash, size: number): Promise<Uint8Array | null> {
    return this.#stored.value(hash, size, (kind, wanted) => this.#object(kind, wanted));
  }
  isErased(hash: Hash): boolean {
    return this.#stored.isErased(hash);
  }

  #object(kind: Kind, hash: Hash): Uint8Array | undefined {
    for (const overlay of this.#overlays) {
      for (const { objects } of overlay.values()) {
        const found = objects.find((object) => object.hash === hash && object.kind === kind);
        if (found !== undefined) return found.bytes;
      }
    }
    return undefined;
  }
}
