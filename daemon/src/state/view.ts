import { type Contract, decodeContract, type Hash, type Key, type Snapshot } from "@vlinder/protocol";
import type { DiffEntry, Entry, Page, Space, View } from "./api.ts";
import type { Head } from "./head.ts";
import type { Objects } from "./objects.ts";
import { diffTrees, entriesFrom, getEntry, treeTotals } from "./tree/read.ts";

export class StateView implements View {
  readonly head: Head;
  readonly #objects: Objects;

  constructor(head: Head, objects: Objects) {
    this.head = head;
    this.#objects = objects;
  }

  get commit(): Hash {
    return this.head.commit;
  }

  get snapshot(): Snapshot {
    return this.head.snapshot;
  }

  async get(space: Space, key: Key): Promise<Entry | null> {
    return getEntry(this.head.nodes, this.snapshot[space], key);
  }

  async list(space: Space, { prefix = "" as Key, after, limit }: Page): Promise<Entry[]> {
    const found: Entry[] = [];
    const from = after !== undefined && after > prefix ? after : prefix;
    for await (const entries of entriesFrom(this.head.nodes, this.snapshot[space], from)) {
      for (const entry of entries) {
        if (entry.key === after) continue;
        if (!entry.key.startsWith(prefix)) return found;
        found.push(entry);
        if (found.length === limit) return found;
      }
    }
    return found;
  }

  async *entries(space: Space): AsyncGenerator<Entry> {
    for await (const entries of entriesFrom(this.head.nodes, this.snapshot[space], "" as Key)) yield* entries;
  }

  totals(space: Space): Promise<{ count: number; bytes: number }> {
    return treeTotals(this.head.nodes, this.snapshot[space]);
  }

  diff(space: Space, to: View): AsyncGenerator<DiffEntry> {
    if (!(to instanceof StateView)) throw new TypeError("a view of the same engine is needed");
    return diffTrees(this.head.nodes, this.snapshot[space], to.head.nodes, to.snapshot[space]);
  }

  async contract(): Promise<Contract | null> {
    const { contract } = this.snapshot;
    return contract === null ? null : decodeContract(await this.#objects.requiredValue(contract, 0));
  }
}
