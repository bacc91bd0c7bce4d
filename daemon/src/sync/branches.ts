import type { Hash } from "@vlinder/protocol";
import type { Exchange, TheirBranch } from "../state/api.ts";

/** The branches as a head says them, in the order of their ids. */
export function publishedBranches(exchange: Exchange): TheirBranch[] {
  return exchange
    .branches()
    .map(({ id, name, head, deleted, sealed }) => ({ id, name, head, deleted, sealed }))
    .toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

/**
 * The commits that the bucket must hold with all before them. A tombstone covers its commit and what
 * is before it, and another machine can judge that only with the commit at hand: so it is
 * sent as well, as far as it is still here.
 */
export async function publishedCommits(exchange: Exchange, branches: readonly TheirBranch[]): Promise<Hash[]> {
  const heads = branches.flatMap(({ head }) => head ?? []);
  const deleted = branches.flatMap((branch) => branch.deleted);
  const here = await exchange.has(deleted);
  return [...new Set([...heads, ...deleted.filter((_, i) => here[i])])];
}
