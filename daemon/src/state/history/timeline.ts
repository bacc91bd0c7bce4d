import type { BranchId, Commit, Hash, Key } from "@vlinder/protocol";
import type { SegmentStorage } from "../../storage/segments/segment-storage.ts";
import { type HistoryEntry, keyChange } from "../key-history.ts";
import { type Attribution, lastChanges } from "../last-change.ts";
import type { Source } from "../source.ts";
import { TwoGenerations } from "../two-generations.ts";
import { HistoryIndex } from "./history-index.ts";
import { type Lookback, lookingBack } from "./lookback.ts";
import { keyNumber } from "./segment.ts";
import { type Step, Way } from "./way.ts";
import { type Mark, type Skip, Walk } from "./walk.ts";

export interface TimelinePage<Item> {
  readonly items: readonly Item[];
  /** The commit of the last item, when there are more. */
  readonly next: Hash | null;
}

export interface PageOf {
  readonly from: readonly Hash[];
  /** What was asked for, as text: a page goes on where one of the same question ended. */
  readonly asked: string;
  /** Go on behind this commit. */
  readonly after: Hash | undefined;
  readonly limit: number;
}

/** Ends of pages that are remembered, in each of two generations. */
const MARKS = 64;

interface Met {
  readonly hash: Hash;
  readonly commit: Commit;
}

/** An agent's history as it is read: what happened, and who gave a key what it has. */
export class Timeline {
  /** Segments that let a search step over what did not change its key. */
  readonly index: HistoryIndex;
  readonly #source: Source;
  readonly #marks = new TwoGenerations<string, Mark>(MARKS);

  /** @param most commits of a segment */
  constructor(source: Source, segments: SegmentStorage, most?: number) {
    this.#source = source;
    this.index = new HistoryIndex(segments, source, most);
  }

  /** Newest first. */
  async *log(from: Hash): AsyncGenerator<Met> {
    const walk = new Walk(this.#source, [from]);
    for (let met = await walk.next(); met !== null; met = await walk.next()) yield met;
  }

  logPage(page: PageOf): Promise<TimelinePage<Met>> {
    return this.#page(
      "log",
      page,
      () => null,
      async (met) => met,
    );
  }

  /** Commits that gave a key another value, newest first. */
  async *history(key: Key, from: Hash): AsyncGenerator<HistoryEntry> {
    this.index.catchUp("read", from);
    const walk = new Walk(this.#source, [from], this.#without(key));
    for (let met = await walk.next(); met !== null; met = await walk.next()) {
      const entry = await keyChange(this.#source, key, met);
      if (entry !== null) yield entry;
    }
  }

  historyPage(key: Key, page: PageOf): Promise<TimelinePage<HistoryEntry>> {
    for (const from of page.from) this.index.catchUp("read", from);
    return this.#page(`history ${key}`, page, this.#without(key), (met) => keyChange(this.#source, key, met));
  }

  /** For each of these keys, which a state has, the commit that gave it its value. */
  async blame(state: Hash, keys: readonly Key[]): Promise<Map<string, Attribution>> {
    this.index.catchUp("read", state);
    const head = await this.#source.at(state);
    return await lastChanges(this.#source, { commits: [state], head }, "kv", keys, this.index.segment);
  }

  /** What a branch was at a time. */
  readonly lookback: Lookback = (branch, time, isHidden) => {
    this.index.catchUp("read", branch.head);
    return lookingBack(this.#source, this.index.segment)(branch, time, isHidden);
  };

  /** The first steps from a commit to a branch's head. @throws invalid, when the one does not lead to the other */
  steps(from: Hash, branch: { readonly id: BranchId; readonly head: Hash }, limit: number): Promise<Step[]> {
    this.index.catchUp("read", branch.head);
    return new Way(this.#source, this.index.segment, branch).since(from, limit);
  }

  #without(key: Key): Skip {
    const number = keyNumber(key);
    return (top) => {
      const segment = this.index.segment(top);
      return segment?.kind === "run" && !segment.may(number) ? segment : null;
    };
  }

  /** The walk goes on where the page before ended; when that is not remembered, it is found again from the start. */
  async #page<Item>(
    what: string,
    { from, asked, after, limit }: PageOf,
    skip: Skip,
    take: (met: Met) => Promise<Item | null>,
  ): Promise<TimelinePage<Item>> {
    const name = (last: Hash | undefined): string => `${asked} ${last} ${what}`;
    const mark = after === undefined ? undefined : this.#marks.get(name(after));
    const walk = new Walk(this.#source, mark ?? from, skip);
    let skipping = mark === undefined && after !== undefined;
    const items: Item[] = [];
    let last: Hash | null = null;
    for (let met = await walk.next(); met !== null; met = await walk.next()) {
      const item = await take(met);
      if (item === null) continue;
      if (skipping) {
        skipping = met.hash !== after;
      } else if (items.length === limit) {
        this.#marks.set(name(last ?? undefined), walk.mark());
        return { items, next: last };
      } else {
        items.push(item);
        last = met.hash;
      }
    }
    return { items, next: null };
  }
}
