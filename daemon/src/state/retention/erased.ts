import {
  canonicalJson,
  type Hash,
  hashFromBytes,
  hashToBytes,
  invalid,
  isHash,
  type Json,
  type Key,
  keyText,
  parseCanonicalJson,
  parseKey,
  VlinderError,
} from "@vlinder/protocol";
import type { Note, ObjectStorage } from "../../storage/object-storage.ts";
import type { Space } from "../api.ts";

/** A value that an `erase` commit lists. One of a recorded call has no key. */
export interface ErasedValue {
  readonly space?: Space;
  readonly key?: Key;
  readonly hash: Hash;
  readonly size: number;
}

/** Where the list is among an `erase` commit's values. */
export const ERASED = "erased";

const LISTED = "erased/";
const PENDING = "erasing/";

export function encodeErased(values: readonly ErasedValue[]): Buffer {
  const items = values.map(({ space, key, hash, size }): Json => {
    return key === undefined ? { hash, size } : { hash, key: keyText(key), size, space: space as Space };
  });
  const texts = items.map(canonicalJson).sort();
  return Buffer.from(`[${texts.join(",")}]`, "utf8");
}

/** @throws invalid */
export function decodeErased(bytes: Uint8Array): ErasedValue[] {
  const items = parseCanonicalJson(bytes, "list of erased values");
  if (!Array.isArray(items)) throw invalid("a list of erased values is not a list");
  return items.map((item) => {
    const { hash, key, size, space, ...rest } = (item ?? {}) as Record<string, Json>;
    const isNumber = Number.isSafeInteger(size) && (size as number) >= 0;
    if (!isHash(hash) || !isNumber || Object.keys(rest).length > 0) throw invalid("not an erased value");
    const value = { hash, size: size as number };
    if (key === undefined && space === undefined) return value;
    if (typeof key !== "string" || (space !== "kv" && space !== "vectors")) throw invalid("not an erased value's key");
    return { ...value, space, key: parseKey(key) };
  });
}

/**
 * The values that `erase` commits list, and which of these commits have yet to be carried out here.
 * Both are notes, stored with the commit: so neither a kill nor a restart can part them.
 */
export class Erased {
  readonly #hashes = new Map<Hash, Set<Hash>>();
  /** All of them. */
  readonly #all = new Set<Hash>();
  /** Each with when it was told last, as a number that grows. */
  readonly #pending = new Map<Hash, number>();
  #told = 0;

  static async open(storage: ObjectStorage): Promise<Erased> {
    const erased = new Erased();
    for (const { name, bytes } of await storage.notes(LISTED)) {
      const hashes = Array.from({ length: bytes.length / 32 }, (_, i) => hashFromBytes(bytes, 32 * i));
      erased.#list(name.slice(LISTED.length) as Hash, hashes);
    }
    for (const { name } of await storage.notes(PENDING)) erased.owe(name.slice(PENDING.length) as Hash);
    return erased;
  }

  /** Whether a value that is not here was erased: that is no damage. */
  has(hash: Hash): boolean {
    return this.#all.has(hash);
  }

  get hashes(): ReadonlySet<Hash> {
    return this.#all;
  }

  /** `erase` commits that are not carried out yet. */
  pending(): Hash[] {
    return [...this.#pending.keys()];
  }

  /** For `done`. */
  get now(): number {
    return this.#told;
  }

  /** What to store with an `erase` commit. `settle` must follow once that is durable. */
  notes(commit: Hash, values: readonly ErasedValue[]): Note[] {
    const hashes = [...new Set(values.map(({ hash }) => hash))];
    return [
      { name: LISTED + commit, bytes: Buffer.concat(hashes.map(hashToBytes)) },
      { name: PENDING + commit, bytes: Buffer.alloc(0) },
    ];
  }

  settle(commit: Hash, values: readonly ErasedValue[]): void {
    this.#list(
      commit,
      values.map(({ hash }) => hash),
    );
    this.owe(commit);
  }

  /** It is to be carried out, once more. */
  owe(commit: Hash): void {
    this.#pending.set(commit, ++this.#told);
  }

  #list(commit: Hash, hashes: readonly Hash[]): void {
    this.#hashes.set(commit, new Set(hashes));
    for (const hash of hashes) this.#all.add(hash);
  }

  /** The same for values that came again, with commits of before their erasure. */
  cameBack(hashes: ReadonlySet<Hash>): Note[] {
    const notes: Note[] = [];
    for (const [commit, listed] of this.#hashes) {
      if (![...listed].some((hash) => hashes.has(hash))) continue;
      this.owe(commit);
      notes.push({ name: PENDING + commit, bytes: Buffer.alloc(0) });
    }
    return notes;
  }

  /** They are carried out, but for those of which values came back since `begun`. Returns what to store. */
  done(commits: readonly Hash[], begun: number): Note[] {
    const done = commits.filter((commit) => (this.#pending.get(commit) ?? 0) <= begun);
    for (const commit of done) this.#pending.delete(commit);
    return done.map((commit) => ({ name: PENDING + commit, bytes: null }));
  }
}

export function erasedError(hash: Hash): VlinderError {
  return new VlinderError("erased", `the value ${hash} was erased on purpose`, {
    details: { hash },
    remedy: "`vlinder log` shows the erase commit; putting the same bytes again brings them back",
  });
}
