import type { Commit, Hash } from "@vlinder/protocol";
import { isNewer, timeOf } from "../ancestry.ts";
import { Breather } from "../breather.ts";
import { Heap } from "../heap.ts";
import type { Source } from "../source.ts";
import type { Segment } from "./segment.ts";

interface Place {
  readonly time: string;
  readonly hash: Hash;
}

/** A commit that the walk has met and not come to yet. */
interface Link {
  readonly hash: Hash;
  readonly time: string;
  /** Null: it and what follows it in its segment are stepped over. */
  readonly commit: Commit | null;
  readonly segment: Segment | null;
  /** When it has its turn, as the commit that has it then. */
  readonly place: Place;
}

/** Where a walk was. It can be gone on from as often as one likes. */
export interface Mark {
  readonly open: readonly Link[];
  /** Of the time of the last one, those that had their turn. */
  readonly done: readonly Hash[];
  readonly time: string;
}

/** The segment that begins at a commit, when nothing in it is of interest; else null. */
export type Skip = (top: Hash) => Segment | null;

/**
 * Commits reachable from some, newest first: by (time, hash), and never a commit before one of its children that the
 * walk has met.
 *
 * What is stepped over, a chain, changes nothing in the order of the rest. A commit below it has its turn when all of the
 * chain have had theirs, so at the place of the last among these: that is written in the segment, and what is
 * below takes it over where it is later than its own.
 */
export class Walk {
  readonly #source: Pick<Source, "commit">;
  readonly #skip: Skip;
  readonly #open = new Heap<Link>((a, b) => isNewer(a.place, b.place));
  readonly #places = new Map<Hash, Place>();
  /** Commits of the current time that had their turn. Older children than they are can't come, so others need not be kept. */
  #done = new Set<Hash>();
  #time = "";
  #begin: readonly Hash[];
  #current: Link | null = null;
  readonly #breather = new Breather();

  constructor(source: Pick<Source, "commit">, from: readonly Hash[] | Mark, skip: Skip = () => null) {
    this.#source = source;
    this.#skip = skip;
    this.#begin = "open" in from ? [] : from;
    if (!("open" in from)) return;
    this.#done = new Set(from.done);
    this.#time = from.time;
    for (const link of from.open) this.#add(link);
  }

  /** The next commit; null at the end. */
  async next(): Promise<{ hash: Hash; commit: Commit } | null> {
    const begin = this.#begin;
    this.#begin = [];
    for (const hash of begin) await this.#meet(hash, null);
    if (this.#current !== null) {
      const { commit } = this.#current;
      this.#current = null;
      for (const parent of commit?.parents ?? []) await this.#meet(parent, null);
    }
    for (let link = this.#open.pop(); link !== undefined; link = this.#open.pop()) {
      if (this.#places.get(link.hash) !== link.place) continue;
      this.#places.delete(link.hash);
      if (link.time !== this.#time) this.#done.clear();
      this.#time = link.time;
      this.#done.add(link.hash);
      await this.#breather.breathe();
      if (link.commit !== null) {
        this.#current = link;
        return { hash: link.hash, commit: link.commit };
      }
      for (const below of link.segment?.below ?? []) await this.#meet(below, link.segment?.last ?? null);
    }
    return null;
  }

  /** From here a walk gives first what `next` gave last, and then what follows. */
  mark(): Mark {
    const done = new Set(this.#done);
    const open = this.#open.items().filter((link) => this.#places.get(link.hash) === link.place);
    if (this.#current === null) return { open, done: [...done], time: this.#time };
    done.delete(this.#current.hash);
    return { open: [...open, this.#current], done: [...done], time: this.#time };
  }

  async #meet(hash: Hash, least: Place | null): Promise<void> {
    if (this.#done.has(hash)) return;
    const segment = this.#skip(hash);
    const commit = segment === null ? await this.#source.commit(hash) : null;
    const time = segment?.time ?? timeOf(commit as Commit);
    const own = { time, hash };
    this.#add({ hash, time, commit, segment, place: least !== null && isNewer(own, least) ? least : own });
  }

  #add(link: Link): void {
    const known = this.#places.get(link.hash);
    if (known !== undefined && !isNewer(link.place, known)) return;
    this.#places.set(link.hash, link.place);
    this.#open.push(link);
  }
}
