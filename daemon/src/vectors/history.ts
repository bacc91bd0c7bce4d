import type { BranchId, Changes, Commit, Contract, Hash, Key } from "@vlinder/protocol";

/*
 * What vector search needs of the engine, which lies in a room above: the engine's `History` and
 * `View` (state/api.ts) have all of it.
 */

export interface Entry {
  readonly key: Key;
  readonly hash: Hash;
  readonly size: number;
}

export interface View {
  readonly commit: Hash;
  get(space: "vectors", key: Key): Promise<Entry | null>;
  list(
    space: "vectors",
    page: { readonly prefix?: Key; readonly after?: Key; readonly limit: number },
  ): Promise<Entry[]>;
  entries(space: "vectors"): AsyncIterable<Entry>;
  diff(space: "vectors", to: View): AsyncIterable<{ readonly from: Entry | null; readonly to: Entry | null }>;
  totals(space: "vectors"): Promise<{ readonly count: number }>;
  contract(): Promise<Contract | null>;
}

export interface History {
  branches(): readonly { readonly id: BranchId; readonly name: string; readonly head: Hash | null }[];
  view(commit: Hash): Promise<View>;
  newCommits(
    heads: readonly Hash[],
    bases: readonly Hash[],
  ): AsyncIterable<{ readonly hash: Hash; readonly commit: Commit }>;
  changesOf(commit: Commit): Promise<Changes>;
  value(hash: Hash, size: number): Promise<Uint8Array | null>;
}
