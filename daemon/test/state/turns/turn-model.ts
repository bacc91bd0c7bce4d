import type { Hash, Key } from "@vlinder/protocol";
import { isNewer } from "../../../src/state/ancestry.ts";
import { conflictKey } from "../../../src/state/conflict-key.ts";

/** The commit that gave a key its value; its hash is known when the request is answered. */
export interface Last {
  readonly time: string;
  hash: Hash;
}

export interface Cell {
  readonly hash: Hash;
  readonly last: Last;
}

/** What a state holds; a key that was deleted is not there. */
export type Cells = ReadonlyMap<Key, Cell>;

/** One change that is asked for. */
export interface Asked {
  readonly key: Key;
  readonly hash: Hash | null;
  readonly expect?: Hash | null;
}

export const hashAt = (cells: Cells, key: Key): Hash | null => cells.get(key)?.hash ?? null;

/** Whether all that the changes expect is so. */
export function meets(cells: Cells, asked: readonly Asked[]): boolean {
  return asked.every(({ key, expect }) => expect === undefined || expect === hashAt(cells, key));
}

/** The keys that change; a delete of what is not there changes nothing. */
export function changed(cells: Cells, asked: readonly Asked[]): Asked[] {
  return asked.filter(({ key, hash }) => hash !== null || cells.has(key));
}

export function applied(cells: Cells, asked: readonly Asked[], last: Last): Map<Key, Cell> {
  const next = new Map(cells);
  for (const { key, hash } of asked) {
    if (hash === null) next.delete(key);
    else next.set(key, { hash, last });
  }
  return next;
}

/** A turn as plainly as it can be said. */
export class TurnModel {
  readonly base: Cells;
  cells: Cells;
  /** The commit at the end of its chain. */
  head: Hash;
  readonly #written = new Set<Key>();
  readonly expected = new Map<Key, Hash | null>();
  readonly reads = new Map<Key, Hash | null>();

  constructor(base: Cells, head: Hash) {
    this.base = base;
    this.cells = base;
    this.head = head;
  }

  read(key: Key): Hash | null {
    const hash = hashAt(this.cells, key);
    if (!this.#written.has(key) && !this.reads.has(key)) this.reads.set(key, hash);
    return hash;
  }

  write(asked: readonly Asked[], last: Last): void {
    for (const { key, expect } of asked) {
      if (expect !== undefined && !this.#written.has(key) && !this.expected.has(key)) this.expected.set(key, expect);
    }
    const changes = changed(this.cells, asked);
    for (const { key } of changes) this.#written.add(key);
    this.cells = applied(this.cells, changes, last);
  }

  /** The keys of which it expected what the branch does not have. */
  broken(branch: Cells): Key[] {
    return [...this.expected].filter(([key, hash]) => hashAt(branch, key) !== hash).map(([key]) => key);
  }
}

export interface Joined {
  readonly cells: Cells;
  readonly conflicts: number;
}

/** Both by key: what one changed is taken, and of two changes the newer; the other one beside it, unless `newest` says so. */
export function joined(
  base: Cells,
  ours: { readonly head: Hash; readonly cells: Cells },
  theirs: { readonly head: Hash; readonly cells: Cells },
  merge: Last,
  isNewest: (key: Key) => boolean,
): Joined {
  const [left, right] = ours.head < theirs.head ? [ours.cells, theirs.cells] : [theirs.cells, ours.cells];
  const merged = new Map<Key, Hash>();
  const copies = new Map<Key, Hash>();
  let conflicts = 0;
  for (const key of new Set([...base.keys(), ...left.keys(), ...right.keys()])) {
    const [was, a, b] = [hashAt(base, key), left.get(key) ?? null, right.get(key) ?? null];
    const stays = (cell: Cell | null): void => void (cell !== null && merged.set(key, cell.hash));
    if (b?.hash === a?.hash || (b?.hash ?? null) === was) stays(a);
    else if ((a?.hash ?? null) === was) stays(b);
    else if (a === null || b === null) stays(a ?? b);
    else {
      conflicts++;
      const [winner, loser] = isNewer(a.last, b.last) ? [a, b] : [b, a];
      stays(winner);
      if (!isNewest(key)) copies.set(conflictKey(key, loser.hash), loser.hash);
    }
  }
  for (const [key, hash] of copies) if (!merged.has(key)) merged.set(key, hash);
  // A merge is no change: who gave a value is known from the parent that has it.
  const cells = [...merged].map(([key, hash]): [Key, Cell] => {
    const from = [left.get(key), right.get(key)].find((cell) => cell?.hash === hash);
    return [key, from ?? { hash, last: merge }];
  });
  return { cells: new Map(cells), conflicts };
}
