import { setImmediate as nextTurn } from "node:timers/promises";
import { asBuffer, type Commit, type Hash, sha256 } from "@vlinder/protocol";
import type { ObjectStorage } from "../../storage/object-storage.ts";
import { sweepObjects } from "../../storage/sweep.ts";
import { DamagedObject } from "../objects.ts";
import { HashTable } from "./hash-table.ts";
import { Pace } from "./pace.ts";

const NONE = -1;

/** Whether a commit's trees are stored with it always, and what it is for retention. */
export const FLAG = { turnEnd: 1, joins: 2, adopts: 4, erases: 8, effect: 16 } as const;

/**
 * The shape of an agent's whole history: every commit that is stored, by number, with its parents.
 * About 60 bytes a commit, so that a history of a million can be walked in memory.
 */
export class CommitTable {
  readonly #hashes = new HashTable();
  #flags = new Uint8Array(64);
  #parents = new Int32Array(2 * 64).fill(NONE);

  /**
   * Reads all commits, in slices. `visit` is given each, with its number.
   * @throws DamagedObject: nothing is to be removed from a history with damage
   */
  static async read(
    storage: ObjectStorage,
    progress: (commits: number) => void,
    visit: (commit: ParsedCommit, number: number) => void = () => {},
  ): Promise<CommitTable> {
    const table = new CommitTable();
    const missing = new Set<number>();
    let done = 0;
    const add = (hash: Hash, bytes: Uint8Array): void => {
      const commit = parsed(hash, bytes);
      const number = table.#add(hash, commit, missing);
      missing.delete(number);
      visit(commit, number);
    };
    for await (const page of sweepObjects(storage, "commit")) {
      for (const { hash, bytes } of page) add(hash, bytes);
      done += page.length;
      progress(done);
      await nextTurn();
    }
    // Read in the order of hashes, a commit that came meanwhile may have been met, and its parent's place passed by then.
    for (const number of missing) {
      const hash = table.hash(number);
      const [bytes] = await storage.read("commit", [hash]);
      if (bytes == null) throw new DamagedObject("commit", hash, "missing");
      add(hash, bytes);
    }
    return table;
  }

  get size(): number {
    return this.#hashes.size;
  }

  /** -1: it is not here. */
  numberOf(hash: Hash): number {
    return this.#hashes.numberOf(hash);
  }

  hash(number: number): Hash {
    return this.#hashes.at(number);
  }

  /** The hashes of these commits, 32 bytes each, in order. Shares the thread. */
  async sorted(numbers: Iterable<number>): Promise<Buffer> {
    const piles: number[][] = Array.from({ length: 256 }, () => []);
    for (const number of numbers) piles[this.#hashes.bytes(number)[0] as number]?.push(number);
    const sorted: Buffer[] = [];
    const pace = new Pace();
    for (const pile of piles) {
      const hashes = pile.map((number) => this.#hashes.bytes(number));
      sorted.push(Buffer.concat(hashes.sort((a, b) => Buffer.compare(a, b))));
      if (pace.due) await pace.rest();
    }
    return Buffer.concat(sorted);
  }

  has(number: number, flag: number): boolean {
    return ((this.#flags[number] as number) & flag) !== 0;
  }

  /** -1: none. */
  first(number: number): number {
    return this.#parents[2 * number] as number;
  }

  second(number: number): number {
    return this.#parents[2 * number + 1] as number;
  }

  /** Calls `visit` for commits reachable from these, them included, that it has not seen: it says so by true. */
  walk(from: readonly number[], visit: (number: number) => boolean): void {
    const open = [...from];
    for (let number = open.pop(); number !== undefined; number = open.pop()) {
      if (number === NONE || !visit(number)) continue;
      open.push(this.second(number), this.first(number));
    }
  }

  /** Every commit before its parents. */
  childrenFirst(): Int32Array {
    const children = new Int32Array(this.size);
    for (let number = 0; number < this.size; number++)
      this.#eachParent(number, (parent) => void (children[parent] = (children[parent] as number) + 1));
    const order = new Int32Array(this.size);
    let end = 0;
    for (let number = 0; number < this.size; number++) if (children[number] === 0) order[end++] = number;
    for (let at = 0; at < end; at++) {
      this.#eachParent(order[at] as number, (parent) => {
        const left = (children[parent] as number) - 1;
        children[parent] = left;
        if (left === 0) order[end++] = parent;
      });
    }
    return order;
  }

  #eachParent(number: number, visit: (parent: number) => void): void {
    const [first, second] = [this.first(number), this.second(number)];
    if (first !== NONE) visit(first);
    if (second !== NONE) visit(second);
  }

  #add(hash: Hash, commit: ParsedCommit, missing: Set<number>): number {
    const number = this.#number(hash);
    for (const [i, parent] of commit.parents.entries()) {
      const known = this.#hashes.size;
      const parentNumber = this.#number(parent);
      if (parentNumber === known) missing.add(parentNumber);
      this.#parents[2 * number + i] = parentNumber;
    }
    const { kind } = commit.event;
    this.#flags[number] =
      (kind === "complete" ? FLAG.turnEnd : 0) |
      (commit.parents.length > 1 ? FLAG.joins : 0) |
      (commit.adopts === undefined ? 0 : FLAG.adopts) |
      (kind === "erase" ? FLAG.erases : 0) |
      (kind === "effect" ? FLAG.effect : 0);
    return number;
  }

  #number(hash: Hash): number {
    const number = this.#hashes.add(hash);
    if (number >= this.#flags.length) {
      const [flags, parents] = [this.#flags, this.#parents];
      this.#flags = new Uint8Array(2 * flags.length);
      this.#flags.set(flags);
      this.#parents = new Int32Array(2 * parents.length).fill(NONE);
      this.#parents.set(parents);
    }
    return number;
  }
}

/** A commit as its bytes say; keys of its changes are text. */
export type ParsedCommit = Omit<Commit, "changes"> & {
  readonly changes?: Hash | ParsedChanges;
};
export type ParsedChange = readonly [key: string, hash: Hash | null, size: number];
export interface ParsedChanges {
  readonly kv?: readonly ParsedChange[];
  readonly vectors?: readonly ParsedChange[];
  readonly contract?: Hash;
}

/** Its form was checked when it came in, and is not again: a history is long. @throws DamagedObject */
export function parsed(hash: Hash, bytes: Uint8Array): ParsedCommit {
  if (sha256(bytes) !== hash) throw new DamagedObject("commit", hash, "damaged");
  return JSON.parse(asBuffer(bytes).toString("utf8")) as ParsedCommit;
}
