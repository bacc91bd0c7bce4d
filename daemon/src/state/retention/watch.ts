import type { Hash } from "@vlinder/protocol";
import { type Kind, KINDS } from "../../storage/object-storage.ts";
import { HashTable } from "./hash-table.ts";

/** What was stored, or relied on without being stored again, since a collection began. */
export class Touched {
  readonly commits = new Set<Hash>();
  readonly #objects = new Map<Kind, HashTable>(KINDS.map((kind) => [kind, new HashTable()]));

  add(kind: Kind, hash: Hash): void {
    this.#objects.get(kind)?.add(hash);
  }

  has(kind: Kind, hash: Hash): boolean {
    return this.#objects.get(kind)?.has(hash) === true;
  }
}

/**
 * Between who stores and who removes. Whoever stores objects says which, and whoever builds on a
 * commit's state says on which commit: its trees and values need not be stored again then. While
 * nothing is being removed, saying so costs a comparison with null.
 *
 * All of it is synchronous: to look whether something was touched, and to condemn it, is one step.
 */
export class Watch {
  /** How often something was begun to be removed. */
  started = 0;
  #touched: Touched | null = null;
  #condemned: { readonly kind: Kind; readonly hashes: ReadonlySet<Hash> } | null = null;

  /** From now on, until `stop`. */
  start(): Touched {
    this.started++;
    this.#touched = new Touched();
    return this.#touched;
  }

  stop(): void {
    this.#touched = null;
    this.pardon();
  }

  /** Whether something is being removed: a list that is here does not mean then that its parts are. */
  get isActive(): boolean {
    return this.#touched !== null;
  }

  object(kind: Kind, hash: Hash): void {
    this.#touched?.add(kind, hash);
  }

  commit(hash: Hash): void {
    this.#touched?.commits.add(hash);
  }

  /** Those that nobody touched: from now until `pardon` nobody may rely on them. */
  condemn(kind: Kind, hashes: readonly Hash[]): Hash[] {
    const untouched = hashes.filter((hash) => this.#touched?.has(kind, hash) !== true);
    this.#condemned = { kind, hashes: new Set(untouched) };
    return untouched;
  }

  pardon(): void {
    this.#condemned = null;
  }

  /** Whether it is being removed at this moment, so that what is still read of it counts for nothing. */
  isCondemned(kind: Kind, hash: Hash): boolean {
    return this.#condemned?.kind === kind && this.#condemned.hashes.has(hash);
  }
}
