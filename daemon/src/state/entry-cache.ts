import { type Change, type Changes, type Commit, type Hash, hashFromBytes, type Key } from "@vlinder/protocol";
import { andThen } from "./and-then.ts";
import type { Entry } from "./api.ts";
import { Ring } from "./ring.ts";
import type { StateView } from "./view.ts";
import type { DurableMove } from "./writer.ts";

/** All of the process share 1 MB, and up to 12 where that is of use. */
const ring = new Ring("latin1", 1, 12);
let owners = 0;

/** Branch heads whose entries are kept. */
const HEADS = 16;
/** Changes of commits that were stored and that no branch has moved to yet: those of open turns. */
const MET = 16_384;

const SIZE = 32;
const NONE = Buffer.alloc(0);

/**
 * What keys held lately at the heads of branches, so that a get needs no way down a tree: what a head's commits change
 * is changed here, and what they leave is good for the next head. Kept by the head's commit: whatever moves a
 * branch otherwise leaves it behind.
 */
export class EntryCache {
  /** The ring's owner, by the commit at which its entries are true. */
  readonly #heads = new Map<Hash, number>();
  readonly #met = new Map<Hash, { readonly parent: Hash; readonly kv: readonly Change[] }>();
  readonly #replaced: (value: Hash) => void;
  #metChanges = 0;

  /** `replaced` is told of values that keys held at a head, and hold no more. */
  constructor(replaced: (value: Hash) => void) {
    this.#replaced = replaced;
  }

  /** What a key holds in the state of a head; at once where it can be. */
  find(view: StateView, key: Key): Entry | null | Promise<Entry | null> {
    let owner = this.#heads.get(view.commit);
    if (owner === undefined) {
      owner = ++owners;
      this.#keep(view.commit, owner);
    }
    const known = ring.get(owner, key);
    if (known !== undefined) return entryOf(key, known);
    return andThen(view.getNow("kv", key), (entry) => {
      // It is what the key held at that commit: the owner may be true of another one by now.
      if (this.#heads.get(view.commit) === owner) ring.add(owner, key, bytesOf(entry));
      return entry;
    });
  }

  /** A commit became durable. */
  met(hash: Hash, { parents, adopts }: Commit, { kv = [] }: Changes): void {
    const [parent] = parents;
    if (this.#heads.size === 0 || parent === undefined || adopts !== undefined) return;
    this.#met.set(hash, { parent, kv });
    this.#metChanges += kv.length + 1;
    if (this.#metChanges > MET) this.#forget();
  }

  /** Branches moved: where that was by commits that were met, entries go along. */
  moved(moves: readonly DurableMove[]): void {
    for (const { from, to } of moves) {
      if (to === null) continue;
      const steps: (readonly Change[])[] = [];
      let at = to;
      for (let step = this.#met.get(at); at !== from && step !== undefined; step = this.#met.get(at)) {
        this.#met.delete(at);
        this.#metChanges -= step.kv.length + 1;
        steps.push(step.kv);
        at = step.parent;
      }
      const owner = from === at ? this.#heads.get(from) : undefined;
      if (owner !== undefined && from !== null) this.#advance(owner, from, to, steps);
    }
  }

  /** Of turns that failed, and of branches that went another way. */
  #forget(): void {
    this.#met.clear();
    this.#metChanges = 0;
  }

  #advance(owner: number, from: Hash, to: Hash, newestFirst: readonly (readonly Change[])[]): void {
    const replaced = new Set<Hash>();
    for (const kv of newestFirst.toReversed()) {
      for (const [key, hash, size] of kv) {
        const before = ring.set(owner, key, bytesOf(hash === null ? null : { key, hash, size }));
        if (before !== undefined && before.length > 0) replaced.add(hashFromBytes(before));
        if (hash !== null) replaced.delete(hash);
      }
    }
    for (const value of replaced) this.#replaced(value);
    this.#heads.delete(from);
    this.#keep(to, owner);
  }

  #keep(commit: Hash, owner: number): void {
    const [oldest] = this.#heads.keys();
    if (this.#heads.size >= HEADS && oldest !== undefined) this.#heads.delete(oldest);
    this.#heads.set(commit, owner);
  }
}

function entryOf(key: Key, bytes: Buffer): Entry | null {
  return bytes.length === 0 ? null : { key, hash: hashFromBytes(bytes), size: bytes.readUIntLE(SIZE, 6) };
}

function bytesOf(entry: Entry | null): Buffer {
  if (entry === null) return NONE;
  const bytes = Buffer.allocUnsafe(SIZE + 6);
  bytes.write(entry.hash, 0, SIZE, "hex");
  bytes.writeUIntLE(entry.size, SIZE, 6);
  return bytes;
}
