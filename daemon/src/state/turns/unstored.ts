import type { Hash } from "@vlinder/protocol";
import type { StoredObject } from "../../storage/object-storage.ts";
import type { Draft } from "../draft.ts";
import type { FindObject } from "../find-object.ts";
import type { Retiring } from "../head.ts";
import { UPLOADED } from "../uploads.ts";

/** About what an object takes in memory besides its bytes. */
const BESIDES = 100;

/** How much was there at one moment: so much a transaction has stored, whatever came since. */
export interface Taken {
  readonly objects: number;
  readonly retiring: number;
  readonly commits: number;
}

/** What of a turn's chain is in memory only, in the order in which it was made. */
export class Unstored {
  readonly #objects: StoredObject[] = [];
  readonly #retiring: Retiring[] = [];
  readonly #commits: Hash[] = [];
  /** Values and their parts. */
  readonly #values = new Map<Hash, StoredObject>();
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  get commits(): readonly Hash[] {
    return this.#commits;
  }

  get isEmpty(): boolean {
    return this.#objects.length === 0;
  }

  take(draft: Draft): void {
    for (const object of draft.objects) {
      this.#objects.push(object);
      this.#bytes += object.bytes.length + BESIDES;
      if (UPLOADED.includes(object.kind)) this.#values.set(object.hash, object);
    }
    this.#retiring.push(...draft.retiring);
    this.#commits.push(...draft.unsaved.keys());
  }

  /** Makes all of it part of a transaction; it stays here until `drop`. */
  store(draft: Draft): Taken {
    for (const object of this.#objects) draft.objects.push(object);
    for (const retiring of this.#retiring) draft.retiring.push(retiring);
    return { objects: this.#objects.length, retiring: this.#retiring.length, commits: this.#commits.length };
  }

  /** The transaction is durable. Returns its commits. */
  drop({ objects, retiring, commits }: Taken): readonly Hash[] {
    for (const object of this.#objects.splice(0, objects)) {
      this.#bytes -= object.bytes.length + BESIDES;
      if (this.#values.get(object.hash) === object) this.#values.delete(object.hash);
    }
    this.#retiring.splice(0, retiring);
    return this.#commits.splice(0, commits);
  }

  readonly find: FindObject = (kind, hash) => {
    const found = this.#values.get(hash);
    return found?.kind === kind ? found.bytes : undefined;
  };
}
