import type Database from "better-sqlite3";
import { SLOT, SLOT_BYTES, slotCount, slotFlags, slotPrefix } from "./block.ts";
import { blockOf, locationOf, shelfOf } from "./location.ts";
import { PagedEntries } from "./paged-entries.ts";
import {
  Bloom,
  byPrefix,
  encodePage,
  type Entry,
  locationAt,
  pageEntries,
  pageId,
  pageOf,
  pagesFor,
  prefixAt,
} from "./run.ts";
import { REPLY_SHELF } from "./shelves.ts";

/** Entries that are not in a run yet, at which the next run is begun. */
const RUN_ENTRIES = 16_384;
/** So many runs of a level become one of the next. */
const FAN = 8;
/** Entries written to runs for each new one: more than the levels there are, so that merges keep pace. */
const PACE = 5;
const STEP_MIN = 560;
/** Owed so much, the work is done with what is stored: nothing came between. */
const STEP_MOST = 8 * STEP_MIN;
/** Pages of runs that were merged, dropped in one transaction. */
const DROP_PAGES = 64;

interface RunRow {
  readonly id: number;
  readonly level: number;
  readonly entries: number;
  readonly pages: number;
  readonly upto: number;
}

/** A run on its way: some pages with each transaction, visible with the last. */
interface Job {
  readonly id: number;
  readonly level: number;
  readonly pages: number;
  readonly upto: number;
  /** The runs that it takes the place of. */
  readonly replaces: readonly RunRow[];
  readonly bloom: Bloom;
  /** The entries of a page, in order. */
  readonly page: (page: number) => Entry[];
  at: number;
  entries: number;
}

/**
 * Keeps the index of blocks in runs: a log-structured merge tree, as hashes come in no order and a B-tree would have a page of
 * its own to rewrite for each. Entries are written about once for each level, and a level has eight times the one
 * before it. All work is done in small steps: between the transactions that store objects, or in them, where one follows the other.
 * What a crash leaves half done is done again.
 */
export class IndexWriter {
  readonly #db: Database.Database;
  readonly #readPage: Database.Statement<[number], Buffer>;
  readonly #addPage: Database.Statement<[number, Buffer]>;
  readonly #runEntries: number;
  #job: Job | null = null;
  /** Entries of blocks that no run has and no job is about to. */
  #waiting: number;
  /** Blocks up to this one are in runs, or in the job. */
  #upto: number;
  #lastRun: number;
  #owed = 0;
  #isClean = false;
  /** Until more waits there is nothing to do. */
  #isDone = false;
  #garbage: { id: number; pages: number; at: number }[] = [];

  constructor(db: Database.Database, runEntries = RUN_ENTRIES) {
    this.#db = db;
    this.#runEntries = runEntries;
    this.#readPage = db.prepare<[number], Buffer>("SELECT data FROM run_page WHERE id = ?").pluck();
    this.#addPage = db.prepare("INSERT OR REPLACE INTO run_page(id, data) VALUES (?, ?)");
    const [upto, last] = db.prepare("SELECT coalesce(max(upto), 0), coalesce(max(id), 0) FROM run").raw().get() as [
      number,
      number,
    ];
    this.#upto = upto;
    this.#lastRun = last;
    const bytes = db.prepare("SELECT coalesce(sum(length(head)), 0) FROM block WHERE id > ?").pluck().get(upto);
    this.#waiting = (bytes as number) / SLOT_BYTES;
  }

  /** So many objects were stored. */
  add(added: number): void {
    this.#waiting += added;
    this.#owed += added * PACE;
    if (this.#isDone && this.#waiting < this.#runEntries) this.#owed = 0;
  }

  /** Whether there is a step to be done. */
  get isDue(): boolean {
    return this.#owed >= Math.min(STEP_MIN, this.#runEntries);
  }

  get isOverdue(): boolean {
    return this.#owed >= STEP_MOST;
  }

  /** Does what is owed, in a transaction. */
  step(): void {
    if (!this.isDue) return;
    this.#work(this.#owed);
    this.#owed = 0;
  }

  #work(entries: number): void {
    if (!this.#isClean) this.#dropOrphans();
    this.#isClean = true;
    this.#drop();
    let left = entries;
    while (left > 0) {
      this.#job ??= this.#next();
      const job = this.#job;
      this.#isDone = job === null && this.#garbage.length === 0;
      if (job === null) return;
      for (; job.at < job.pages && left > 0; job.at++) {
        const page = job.page(job.at);
        for (const [prefix] of page) job.bloom.add(prefix);
        this.#addPage.run(pageId(job.id, job.at), encodePage(page));
        job.entries += page.length;
        left -= page.length + 1;
      }
      if (job.at === job.pages) this.#finish(job);
    }
  }

  #next(): Job | null {
    if (this.#waiting >= this.#runEntries) return this.#flush();
    const levels = Map.groupBy(this.#runs(), ({ level }) => level);
    for (const [level, runs] of levels) {
      if (runs.length >= FAN) return this.#merge(level + 1, runs.slice(0, FAN));
    }
    return null;
  }

  /** Oldest first. */
  #runs(): RunRow[] {
    return this.#db.prepare<[], RunRow>("SELECT id, level, entries, pages, upto FROM run ORDER BY level, id").all();
  }

  #flush(): Job {
    const upto = this.#db.prepare<[], number>("SELECT max(id) FROM block").pluck().get() ?? 0;
    const entries = new PagedEntries(pagesFor(this.#waiting), this.#waiting);
    const heads = this.#db
      .prepare<[number, number], [number, Buffer]>("SELECT id, head FROM block WHERE id > ? AND id <= ?")
      .raw();
    for (const [id, head] of heads.iterate(this.#upto, upto)) {
      for (let slot = 0; slot < slotCount({ head }); slot++) {
        const flags = slotFlags(head, slot);
        if ((flags & SLOT.removed) !== 0) continue;
        entries.add(slotPrefix(head, slot), locationOf(id, slot, flags & SLOT.shelf));
      }
    }
    const job = this.#begin(0, this.#waiting, upto, [], (page) => entries.page(page));
    this.#upto = upto;
    this.#waiting = 0;
    return job;
  }

  #merge(level: number, runs: readonly RunRow[]): Job {
    const entries = runs.reduce((sum, run) => sum + run.entries, 0);
    const pages = pagesFor(entries);
    const cursors = runs.map((run) => new RunCursor(run, (id) => this.#readPage.get(id)));
    // Replies go oldest first, a block at a time: below the first that is left are none.
    const firstReply = this.#db.prepare<[], number | null>("SELECT min(block) FROM reply").pluck().get() ?? Infinity;
    const upto = Math.max(...runs.map((run) => run.upto));
    return this.#begin(level, entries, upto, runs, (page) => {
      const found: Entry[] = [];
      for (const cursor of cursors) cursor.take((prefix) => pageOf(prefix, pages) <= page, found);
      return found
        .filter(([, location]) => shelfOf(location) !== REPLY_SHELF || blockOf(location) >= firstReply)
        .sort(byPrefix);
    });
  }

  #begin(level: number, entries: number, upto: number, replaces: readonly RunRow[], page: Job["page"]): Job {
    const id = ++this.#lastRun;
    return { id, level, pages: pagesFor(entries), upto, replaces, bloom: Bloom.for(entries), page, at: 0, entries: 0 };
  }

  #finish(job: Job): void {
    const remove = this.#db.prepare("DELETE FROM run WHERE id = ?");
    for (const { id, pages } of job.replaces) {
      remove.run(id);
      this.#garbage.push({ id, pages, at: 0 });
    }
    this.#db
      .prepare("INSERT INTO run(id, level, entries, pages, upto, bloom) VALUES (?, ?, ?, ?, ?, ?)")
      .run(job.id, job.level, job.entries, job.pages, job.upto, Buffer.from(job.bloom.bits.buffer));
    this.#db.exec("UPDATE runs SET generation = generation + 1");
    this.#job = null;
  }

  #drop(): void {
    const first = this.#garbage[0];
    if (first === undefined) return;
    const remove = this.#db.prepare("DELETE FROM run_page WHERE id = ?");
    const end = Math.min(first.pages, first.at + DROP_PAGES);
    for (; first.at < end; first.at++) remove.run(pageId(first.id, first.at));
    if (first.at === first.pages) this.#garbage.shift();
  }

  /** Drops pages that no run has: of merges that a crash ended. */
  #dropOrphans(): void {
    const runs = this.#runs().map(({ id }) => id);
    const first = this.#db
      .prepare<[number], number>("SELECT id FROM run_page WHERE id >= ? ORDER BY id LIMIT 1")
      .pluck();
    const remove = this.#db.prepare("DELETE FROM run_page WHERE id >= ? AND id < ?");
    for (let id = first.get(0); id !== undefined;) {
      const run = Math.floor(id / pageId(1, 0));
      if (!runs.includes(run)) remove.run(pageId(run, 0), pageId(run + 1, 0));
      this.#lastRun = Math.max(this.#lastRun, run);
      id = first.get(pageId(run + 1, 0));
    }
  }
}

/** Reads the entries of a run in order. */
class RunCursor {
  readonly #run: RunRow;
  readonly #read: (id: number) => Buffer | undefined;
  #page: Buffer | null = null;
  #next = 0;
  #at = 0;

  constructor(run: RunRow, read: (id: number) => Buffer | undefined) {
    this.#run = run;
    this.#read = read;
  }

  /** Appends entries as long as they are wanted. */
  take(wanted: (prefix: number) => boolean, found: Entry[]): void {
    for (;;) {
      const page = this.#page;
      for (; page !== null && this.#at < pageEntries(page); this.#at++) {
        const prefix = prefixAt(page, this.#at);
        if (!wanted(prefix)) return;
        found.push([prefix, locationAt(page, this.#at)]);
      }
      if (this.#next === this.#run.pages) return;
      const next = this.#read(pageId(this.#run.id, this.#next++));
      if (next === undefined) throw new Error(`page ${this.#next - 1} of run ${this.#run.id} is missing`);
      this.#page = next;
      this.#at = 0;
    }
  }
}
