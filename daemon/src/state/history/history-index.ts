import { setTimeout as sleep } from "node:timers/promises";
import type { Changes, Commit, Hash } from "@vlinder/protocol";
import type { SegmentRow, SegmentStorage } from "../../storage/segments/segment-storage.ts";
import { isNewer } from "../ancestry.ts";
import { Breather } from "../breather.ts";
import { Heap } from "../heap.ts";
import type { Source } from "../source.ts";
import { TwoGenerations } from "../two-generations.ts";
import { decodeSegment, encodeSegment, type Segment } from "./segment.ts";
import { FreshSteps, type Step, stepOf } from "./steps.ts";

/** Commits of a segment. */
const SEGMENT_COMMITS = 256;
/** A segment with so many keys is long enough. */
const SEGMENT_KEYS = 16_384;
/** Rows that are stored at a time. */
const ROWS = 32;
/** A move is looked at after so many milliseconds, with those that came meanwhile. */
const DELAY = 250;
/** Short runs that are left for later, in each of two generations: one of each build for each branch that has grown. */
const SHORT = 128;
/** After work of so long, a build in the background rests this many times as long. */
const REST = 3;

interface Start {
  readonly hash: Hash;
  readonly time: string;
  /** More is likely to come on top: a short run is left for later. */
  readonly growing: boolean;
}

/** A segment, with the numbers of its keys, and its commits below the top. */
type Collected = Omit<Segment, "may"> & { readonly keys: ReadonlySet<number>; readonly rest: readonly Hash[] };

/** A run that was too short to keep. */
interface Short {
  readonly commits: number;
  /** At most. */
  readonly keys: number;
  /** The commit below, at which a segment begins. */
  readonly below: Hash;
}

/**
 * Segments of an agent's history, so that a search for one key reads one row for hundreds of commits. It is built
 * behind the replies, from branch heads downwards to what is known, and is only ever a way to be faster: whoever
 * walks history reads the commits where it has nothing. So it may be behind, or lost, or damaged.
 */
export class HistoryIndex {
  readonly #storage: SegmentStorage;
  readonly #source: Pick<Source, "commit" | "changesOf">;
  /** Heads to be looked at, by branch. */
  #heads = new Map<string, Hash>();
  /** Where the next build begins too: tops whose rows are damaged, and commits that could not be read. */
  #again = new Set<Hash>();
  /** What is in no stored segment yet and was seen when it was stored, so that it need not be read and decoded. */
  readonly #fresh = new FreshSteps();
  /** So that a build looks at what came since the last one, and not again at all that may become a segment. */
  readonly #short = new TwoGenerations<Hash, Short>(SHORT);
  #resumed = false;
  /** Whether commits may be stored as unfinished. */
  #owes = true;
  #timer: NodeJS.Timeout | null = null;
  #work: Promise<void> = Promise.resolve();
  readonly #most: number;
  readonly #closing = new AbortController();

  /** @param most commits of a segment */
  constructor(storage: SegmentStorage, source: Pick<Source, "commit" | "changesOf">, most: number = SEGMENT_COMMITS) {
    this.#storage = storage;
    this.#source = source;
    this.#most = most;
  }

  /** The segment that begins at a commit, where there is one. */
  readonly segment = (top: Hash): Segment | null => {
    const row = this.#storage.get(top);
    if (row === null) return null;
    const segment = decodeSegment(top, row);
    if (segment === null) this.#again.add(top);
    return segment;
  };

  /** A commit that has just become durable here. */
  stored(hash: Hash, commit: Commit, changes: Changes): void {
    // One with a change list is read again, rather than kept.
    if (typeof commit.changes !== "string") this.#fresh.set(hash, stepOf(commit, changes));
  }

  /** A head that has moved, or below which somebody reads: what is missing there is added soon. Never waits. */
  catchUp(branch: string, head: Hash): void {
    if (this.#closing.signal.aborted) return;
    this.#heads.set(branch, head);
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.#build(true).catch((error: unknown) => {
        // The next move tries again; meanwhile history is read commit by commit.
        if (!this.#closing.signal.aborted) process.emitWarning(error instanceof Error ? error : String(error));
      });
    }, DELAY).unref();
  }

  /** Adds at once, and without rests, all that is asked for. */
  settle(): Promise<void> {
    return this.#build(false);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#work;
    this.#storage.close();
  }

  #build(gently: boolean): Promise<void> {
    const building = this.#work.then(() => this.#buildAll(gently));
    this.#work = building.catch(() => {}); // whoever asked is told
    return building;
  }

  async #buildAll(gently: boolean): Promise<void> {
    const open = new Heap<Start>(isNewer);
    const [heads, again] = [this.#heads, this.#again];
    [this.#heads, this.#again] = [new Map(), new Set()];
    const failures: unknown[] = [];
    /** What can't be read keeps nothing else from being added, and is tried again by each build; that is told the first time. */
    const attempt = async (hash: Hash, work: () => Promise<void>): Promise<void> => {
      try {
        await work();
      } catch (error) {
        this.#again.add(hash);
        if (!again.has(hash)) failures.push(error);
      }
    };
    const begin = (hash: Hash, growing: boolean): Promise<void> =>
      attempt(hash, async () => {
        open.push({ hash, growing, time: (this.#fresh.get(hash) ?? (await this.#read(hash))).time });
      });
    if (!this.#resumed) for (const hash of this.#storage.unfinished()) await begin(hash, false);
    this.#resumed = true;
    for (const hash of again) await begin(hash, false);
    for (const hash of new Set(heads.values())) await begin(hash, true);

    const rows = new Map<Hash, SegmentRow>();
    /** Commits of these rows below their tops. */
    const done: Hash[] = [];
    const known = (hash: Hash): boolean => rows.has(hash) || (!this.#fresh.has(hash) && this.segment(hash) !== null);
    const store = (): void => {
      const below = open.items().flatMap(({ hash, growing }) => (growing ? [] : [hash]));
      const owed = new Set([...below, ...this.#again]);
      if (rows.size > 0 || owed.size > 0 || this.#owes) this.#storage.put([...rows.values()], [...owed]);
      this.#owes = owed.size > 0;
      for (const top of rows.keys()) this.#fresh.delete(top);
      for (const hash of done.splice(0)) this.#fresh.yield(hash);
      rows.clear();
    };
    const breather = new Breather();
    let since = performance.now();
    for (let start = open.pop(); start !== undefined; start = open.pop()) {
      const { hash: top, growing } = start;
      if (this.#closing.signal.aborted) return;
      if (known(top)) continue;
      await attempt(top, async () => {
        const collected = await this.#collect(top, growing, known, breather);
        if (collected === null) return;
        const { keys, rest, ...segment } = collected;
        for (const hash of segment.below) if (!known(hash)) await begin(hash, false);
        if (growing && segment.kind === "run" && this.#isShort(segment.commits, keys.size)) {
          this.#short.set(top, { commits: segment.commits, keys: keys.size, below: segment.below[0] as Hash });
          return;
        }
        rows.set(top, { top, body: encodeSegment(top, segment, keys) });
        for (const hash of rest) done.push(hash);
      });
      if (rows.size < ROWS) continue;
      store();
      if (gently) await this.#rest(REST * (performance.now() - since));
      since = performance.now();
    }
    store();
    if (failures.length > 0) throw failures[0];
  }

  #isShort(commits: number, keys: number): boolean {
    return commits < this.#most && keys < SEGMENT_KEYS;
  }

  /** The segment that begins at a commit, made from the commits; null: it is short, growing, and what is below was looked at. */
  async #collect(
    top: Hash,
    growing: boolean,
    known: (hash: Hash) => boolean,
    breather: Breather,
  ): Promise<Collected | null> {
    const keys = new Set<number>();
    const rest: Hash[] = [];
    let at = top;
    let step = this.#fresh.get(top) ?? (await this.#read(top));
    const { time, parents, isPlain } = step;
    let last = { time, hash: top };
    if (!isPlain) return { kind: "one", time, commits: 1, below: parents, last, keys, rest };
    for (let commits = 1; ; commits++) {
      for (const key of step.keys) keys.add(key);
      const place = { time: step.time, hash: at };
      if (isNewer(last, place)) last = place;
      at = step.parents[0] as Hash;
      const run = { kind: "run", time, commits, below: [at], last, keys, rest } as const;
      if (!this.#isShort(commits, keys.size) || known(at)) return run;
      if (growing && this.#lengthens(at, { top, commits, keys: keys.size, known })) return null;
      step = this.#fresh.get(at) ?? (await this.#read(at));
      if (!step.isPlain) return run;
      rest.push(at);
      await breather.breathe();
    }
  }

  /** Whether a short run ends at a commit on which so much came that it is still too short. */
  #lengthens(end: Hash, more: { top: Hash; commits: number; keys: number; known: (hash: Hash) => boolean }): boolean {
    const short = this.#short.get(end);
    if (short === undefined) return false;
    const { below } = short;
    const [commits, keys] = [short.commits + more.commits, short.keys + more.keys];
    // The file may have been begun anew meanwhile.
    if (!this.#isShort(commits, keys) || !more.known(below)) return false;
    this.#short.set(more.top, { commits, keys, below });
    return true;
  }

  async #read(hash: Hash): Promise<Step> {
    const commit = await this.#source.commit(hash);
    return stepOf(commit, await this.#source.changesOf(commit));
  }

  async #rest(milliseconds: number): Promise<void> {
    const { signal } = this.#closing;
    // The end of the rest, early or not, is what is waited for.
    await sleep(milliseconds, undefined, { signal, ref: false }).catch(() => {});
  }
}
