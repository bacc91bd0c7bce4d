import type { Hash, Key } from "@vlinder/protocol";
import type { Space } from "../api.ts";
import type { Op } from "../mutations.ts";
import type { Saw } from "./noted-view.ts";
import { ReadLog } from "./read-log.ts";
import type { Expected } from "./turn-ground.ts";

/** What a turn read and expected of the state that it began from. What it wrote itself says nothing of that. */
export class Trace {
  readonly reads = new ReadLog();
  readonly #expected = new Map<string, Expected>();
  /** Which of its writes changed a key first. */
  readonly #written: Readonly<Record<Space, Map<Key, number>>> = { kv: new Map(), vectors: new Map() };
  #writes = 0;

  get expected(): Iterable<Expected> {
    return this.#expected.values();
  }

  hasWritten(space: Space, key: Key): boolean {
    return this.#written[space].has(key);
  }

  /** Null: it was not there. @param writes how many of its writes the state has that was read */
  saw(space: Space, key: Key, hash: Hash | null, writes = this.#writes): void {
    const written = this.#written[space].get(key);
    if (written === undefined || written > writes) this.reads.saw(space, key, hash);
  }

  /** Notes what is read of the state as it is now, also when it is read later. */
  noting(): Saw {
    const writes = this.#writes;
    return (space, key, hash) => this.saw(space, key, hash, writes);
  }

  wrote(space: Space, ops: readonly Pick<Op, "key" | "expect">[], applied: readonly boolean[]): void {
    this.#writes++;
    const written = this.#written[space];
    for (const [i, { key, expect }] of ops.entries()) {
      const name = `${space} ${key}`;
      if (expect !== undefined && !written.has(key) && !this.#expected.has(name)) {
        this.#expected.set(name, { space, key, hash: expect });
      }
      // A delete of what is not there has written nothing.
      if (applied[i] === true && !written.has(key)) written.set(key, this.#writes);
    }
  }
}
