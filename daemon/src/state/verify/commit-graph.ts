import { asBuffer, type Commit, type Hash, isHash } from "@vlinder/protocol";
import { ObjectTable } from "./object-table.ts";

const LINKED = 1;
const REACHED = 2;
const DONE = 4;
const NONE = 0;

/** The commits that one names: its parents, and the one that it adopts. */
export interface Links {
  readonly parents: readonly Hash[];
  readonly adopts: Hash | null;
}

/** Which commit follows which, in about 35 bytes each. A commit is known by its number in the table. */
export class CommitGraph {
  readonly #table: ObjectTable;
  /** Three for each commit, each a number + 1: first parent, second parent, the one it adopts. */
  #links: Uint32Array;
  /** For each commit, how many others that are not done yet are computed from its state. */
  #waiting: Uint32Array;
  /** Hashes of commits that are named and have not been seen. */
  readonly #unseen = new Map<number, Hash>();
  /** Commits below the heads. */
  reached = 0;
  done = 0;

  constructor(expected: number) {
    this.#table = new ObjectTable(expected);
    this.#links = new Uint32Array(3 * Math.ceil(1.05 * expected));
    this.#waiting = new Uint32Array(0);
  }

  /** Takes a commit of the storage. */
  add(hash: Hash, { parents, adopts }: Links): void {
    const index = this.#table.add(hash);
    this.#unseen.delete(index);
    this.#table.setFlags(index, LINKED);
    const links = [parents[0], parents[1], adopts].map((link) => (link == null ? NONE : this.#named(link) + 1));
    if (3 * index + 3 > this.#links.length) {
      const room = new Uint32Array(Math.max(192, 3 * index + 3, Math.ceil(1.5 * this.#links.length)));
      room.set(this.#links);
      this.#links = room;
    }
    this.#links.set(links, 3 * index);
  }

  /**
   * Marks all that the heads reach. `load` adds a commit that has not been seen, where it can; it is asked for each
   * that is needed.
   */
  async reach(heads: readonly Hash[], load: (hash: Hash) => Promise<void>): Promise<void> {
    const open = heads.map((hash) => this.#named(hash));
    for (let index = open.pop(); index !== undefined; index = open.pop()) {
      if (this.#has(index, REACHED)) continue;
      this.#table.setFlags(index, REACHED);
      const unseen = this.#unseen.get(index);
      if (unseen !== undefined) await load(unseen);
      if (!this.#has(index, LINKED)) continue;
      this.reached++;
      for (let i = 3 * index; i < 3 * index + 3; i++) {
        const link = this.#links[i] as number;
        if (link !== NONE) open.push(link - 1);
      }
    }
    this.#waiting = new Uint32Array(this.#table.size);
    for (let index = 0; index < this.#table.size; index++) {
      if (!this.#has(index, REACHED | LINKED)) continue;
      for (const base of this.#bases(index)) this.#waiting[base] = (this.#waiting[base] as number) + 1;
    }
  }

  /** The number of a commit that is reached, is there, and has not been done; else -1. */
  due(hash: Hash): number {
    const index = this.#table.find(hash);
    return index >= 0 && this.#has(index, REACHED | LINKED) && !this.#has(index, DONE) ? index : -1;
  }

  /** Whether the states that its own is computed from are done, as far as they can be. */
  isReady(index: number): boolean {
    return this.#bases(index).every((base) => this.#has(base, DONE) || !this.#has(base, LINKED));
  }

  /** Marks it; returns which of its bases nobody waits for any more, and whether anybody waits for it. */
  finish(index: number, { parents, adopts }: Links): { readonly needed: boolean; readonly released: readonly Hash[] } {
    this.#table.setFlags(index, DONE);
    this.done++;
    const released: Hash[] = [];
    const [first, other] = [this.#links[3 * index] as number, this.#links[3 * index + 2] as number];
    if (first !== NONE && this.#isLast(first - 1)) released.push(parents[0] as Hash);
    if (other !== NONE && this.#isLast(other - 1)) released.push(adopts as Hash);
    return { needed: this.#waiting[index] !== 0, released };
  }

  #isLast(base: number): boolean {
    const left = (this.#waiting[base] as number) - 1;
    this.#waiting[base] = left;
    return left === 0;
  }

  #bases(index: number): number[] {
    const [first, adopts] = [this.#links[3 * index] as number, this.#links[3 * index + 2] as number];
    const bases = first === NONE ? [] : [first - 1];
    if (adopts !== NONE) bases.push(adopts - 1);
    return bases;
  }

  #named(hash: Hash): number {
    const index = this.#table.add(hash);
    if (!this.#has(index, LINKED)) this.#unseen.set(index, hash);
    return index;
  }

  #has(index: number, bits: number): boolean {
    return (this.#table.flags(index) & bits) === bits;
  }
}

const ADOPTS = '{"adopts":"';
const PARENTS = '"parents":[';

/**
 * The links of a commit, cut out of its bytes: eight times as fast as reading all of it. In canonical JSON no text behind
 * `parents` has a quote in it that is not escaped, so the last one is the right one. Of a commit that is not canonical (which its
 * replay will find) they may be none.
 */
export function linksOf(bytes: Uint8Array): Links {
  const text = asBuffer(bytes).toString("latin1");
  const start = text.lastIndexOf(PARENTS) + PARENTS.length;
  const parents = text.slice(start, text.indexOf("]", start)).split(",");
  const adopts = text.startsWith(ADOPTS) ? text.slice(ADOPTS.length, ADOPTS.length + 64) : "";
  return {
    parents: parents.map((quoted) => quoted.slice(1, -1)).filter(isHash),
    adopts: isHash(adopts) ? adopts : null,
  };
}

export function linksOfCommit({ parents, adopts }: Commit): Links {
  return { parents, adopts: adopts ?? null };
}
