import type { BranchName, Hash, Key } from "@vlinder/protocol";
import type { Entry } from "../../src/state/api.ts";

export type State = ReadonlyMap<Key, Entry>;

/** What an agent's state is to be, as plainly as it can be said: a flat map for each commit. */
export class Model {
  readonly states = new Map<Hash, State>();
  readonly branches = new Map<BranchName, Map<Key, Entry>>();

  /** All commits so far, oldest first. */
  commits(): Hash[] {
    return [...this.states.keys()];
  }
}

export function sortedEntries(state: State): Entry[] {
  return [...state.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
}

export function listOf(state: State, prefix: string, after: Key | undefined, limit: number): Entry[] {
  return sortedEntries(state)
    .filter(({ key }) => key.startsWith(prefix) && (after === undefined || key > after))
    .slice(0, limit);
}

export function diffOf(from: State, to: State): { key: Key; from: Entry | null; to: Entry | null }[] {
  return [...new Set([...from.keys(), ...to.keys()])]
    .sort()
    .map((key) => ({ key, from: from.get(key) ?? null, to: to.get(key) ?? null }))
    .filter((entry) => entry.from?.hash !== entry.to?.hash);
}
