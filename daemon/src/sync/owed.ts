import type { Hash, SyncOwed } from "@vlinder/protocol";
import type { Exchange } from "../state/api.ts";
import { publishedBranches, publishedCommits } from "./branches.ts";
import type { SyncState } from "./sync-state.ts";

/**
 * What of an agent's history the bucket lacks, counted as commits come: each is looked at once
 * until the next push or pull, so asking is cheap. Bytes are those of commits and values, before compression.
 */
export class OwedCount {
  readonly #exchange: Exchange;
  readonly #state: SyncState;
  #tips = "";
  #counted: Hash[] = [];
  #commits = 0;
  #bytes = 0;
  #since: string | null = null;
  readonly #opened = new Date().toISOString();
  #turn: Promise<unknown> = Promise.resolve();

  constructor(exchange: Exchange, state: SyncState) {
    this.#exchange = exchange;
    this.#state = state;
  }

  /** Null: the bucket has it all. Calls that come together share the work. */
  read(): Promise<SyncOwed | null> {
    const next = this.#turn.then(
      () => this.#count(),
      () => this.#count(),
    );
    this.#turn = next;
    return next;
  }

  async #count(): Promise<SyncOwed | null> {
    const tips = this.#state.tips();
    if (tips.join() !== this.#tips) {
      this.#tips = tips.join();
      this.#counted = [];
      this.#commits = 0;
      this.#bytes = 0;
      this.#since = null;
    }
    const heads = await publishedCommits(this.#exchange, publishedBranches(this.#exchange));
    if (heads.join() !== this.#counted.join()) {
      // Before the first push each of perhaps millions of values would be looked for in vain.
      const isThere = this.#state.packs().length === 0 ? () => false : (hash: Hash) => this.#isThere(hash);
      for await (const { commit, bytes } of this.#exchange.newCommits(heads, [...this.#counted, ...tips])) {
        this.#commits++;
        this.#bytes += bytes.length;
        const { kv = [], vectors = [] } = await this.#exchange.changesOf(commit);
        for (const [, hash, size] of [...kv, ...vectors]) if (hash !== null && !isThere(hash)) this.#bytes += size;
        if (commit.time !== undefined && (this.#since === null || commit.time < this.#since)) this.#since = commit.time;
      }
      this.#counted = heads;
    }
    if (this.#commits === 0) return null;
    return {
      owed: { commits: this.#commits, bytes: this.#bytes },
      // The first commits of an agent have no time: then it is since they were counted first.
      since: this.#since ?? this.#opened,
    };
  }

  #isThere(hash: Hash): boolean {
    return this.#state.has("value", hash) || this.#state.has("list", hash);
  }
}
