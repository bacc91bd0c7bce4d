import type { Hash, Key } from "@vlinder/protocol";
import { andThen } from "../and-then.ts";
import type { Entry, Page, Space } from "../api.ts";
import type { Head } from "../head.ts";
import type { Objects } from "../objects.ts";
import { StateView } from "../view.ts";

/** Told of each key that is read, and what it held; null: it was not there. */
export type Saw = (space: Space, key: Key, hash: Hash | null) => void;

/** A state of which it is noted what is read. */
export class NotedView extends StateView {
  readonly #saw: Saw;

  constructor(head: Head, objects: Objects, saw: Saw) {
    super(head, objects);
    this.#saw = saw;
  }

  override getNow(space: Space, key: Key): Entry | null | Promise<Entry | null> {
    return andThen(super.getNow(space, key), (entry) => {
      this.#saw(space, key, entry?.hash ?? null);
      return entry;
    });
  }

  override async list(space: Space, page: Page): Promise<Entry[]> {
    const entries = await super.list(space, page);
    for (const { key, hash } of entries) this.#saw(space, key, hash);
    return entries;
  }
}
