import { statSync } from "node:fs";
import type Database from "better-sqlite3";
import { BlockRemoval } from "./block-removal.ts";
import { type Block, SLOT, slotCount, slotFlags, slotLength } from "./block.ts";
import type { WriterOptions } from "./connection.ts";
import { failureOf } from "./failure.ts";
import { LogRoom } from "./log-room.ts";
import type { MadeTransaction, Outcome } from "./messages.ts";
import type { Say } from "./migrate.ts";
import { REPLY_SHELF, SHELVES } from "./shelves.ts";
import { type UnpackedTransaction, unpackTransaction } from "./unpacked-transaction.ts";
import { UnusedBases } from "./unused-bases.ts";
import { WriterSession } from "./writer-session.ts";

/** A database as the writer thread has it. After a failure it closes the connection; the next work opens it again. */
export class WriterDatabase {
  readonly options: WriterOptions;
  #session: WriterSession | null = null;
  /** Null: nothing was removed since bases were looked for. At the beginning nobody knows. */
  #bases: UnusedBases | null = new UnusedBases();

  readonly #say: Say | undefined;

  /** @param say told of what opening does to the file when that takes long */
  constructor(options: WriterOptions, say?: Say) {
    this.options = options;
    this.#say = say;
  }

  /** The session's view. @throws what opening throws */
  open(): number {
    return this.#open().view;
  }

  /**
   * Applies transactions in order in one transaction of SQLite, so that they share its fsync. Each may fail
   * alone by its own conflict, or as it was made by what is not so any more, which is found before anything of it is written.
   * When anything else fails, all are undone and each is tried by itself.
   */
  apply(made: readonly MadeTransaction[]): Outcome[] {
    try {
      return this.#transaction((session) =>
        made.map(({ packed, view }) => {
          if (view !== null && view !== session.view) return { behind: session.view };
          return this.#applyOne(session, unpackTransaction(packed));
        }),
      );
    } catch (error) {
      if (made.length > 1) return made.flatMap((one) => this.apply([one]));
      return [{ failure: failureOf(error, this.options.path) }];
    }
  }

  /** Does work on the index that is owed. It waits for no fsync: a later transaction's has it too, and what is lost is done again. */
  tidy(): void {
    if (this.#session?.index.isDue !== true) return;
    const { db } = this.#session;
    const level = db.pragma("synchronous", { simple: true }) as number;
    db.pragma("synchronous = NORMAL");
    this.#transaction((session) => session.index.step());
    if (this.#session?.db === db) db.pragma(`synchronous = ${level}`);
  }

  /** Makes room in the log for the next transactions. */
  growLog(): void {
    const session = this.#session;
    if (session === null || this.options.durability !== "disk") return;
    const log = new LogRoom(`${this.options.path}-wal`);
    if (!log.isScarce(session.log().pages)) return;
    // Under the lock of a transaction, as nobody else appends then.
    atOnce(session.db, () => {
      if (!begins(session)) return;
      log.grow();
      session.commit.run();
    });
  }

  /** Removes what is at these locations, as far as it is there. */
  remove(locations: Float64Array): void {
    this.#removal((session, removal) => {
      for (const [shelf, count] of removal.remove(locations)) session.count.run(-count, shelf);
    });
    this.#bases = new UnusedBases();
  }

  /** Looks at `limit` blocks of replies at most; returns how many. */
  dropReplies(before: number, limit: number): number {
    return this.#removal((session, removal) => {
      const blocks = session.db
        .prepare<[number, number], number>("SELECT block FROM reply WHERE oldest < ? ORDER BY block LIMIT ?")
        .pluck()
        .all(before, limit);
      session.count.run(-removal.dropReplies(blocks, before), REPLY_SHELF);
      return blocks.length;
    });
  }

  /** One step of dropping bytes that were kept for deltas which are gone too. Returns whether there is more to do. */
  dropBases(): boolean {
    const bases = this.#bases;
    if (bases === null) return false;
    try {
      if (this.#removal(({ db }, removal) => bases.step(db, removal))) return true;
      this.#bases = null;
      return false;
    } catch (error) {
      // The step is undone, and it is not known any more what is left.
      this.#bases = new UnusedBases();
      throw error;
    }
  }

  /**
   * Takes at most so many bytes of free pages out of the file; returns how many. When none is left, the log is emptied
   * too, as old versions of pages are in it. Null: a reader stands in the way.
   */
  reclaim(bytes: number): number | null {
    const { db } = this.#open();
    const free = (): number => db.pragma("freelist_count", { simple: true }) as number;
    const size = db.pragma("page_size", { simple: true }) as number;
    const before = free();
    if (before > 0) {
      db.pragma(`incremental_vacuum(${Math.max(1, Math.floor(bytes / size))})`);
      const freed = before - free();
      if (freed > 0) return freed * size;
    }
    const [busy] = db.prepare<[], [number, number, number]>("PRAGMA wal_checkpoint(TRUNCATE)").raw().get() ?? [1];
    return busy === 0 ? 0 : null;
  }

  /** Pages in the log, and how many of them are not in the file yet; null when the database is not open. */
  log(): { readonly pages: number; readonly owed: number } | null {
    return this.#session?.log() ?? null;
  }

  /** Moves what is left of the log into the file; the next transaction then starts the log anew. */
  emptyLog(): void {
    this.#session?.db.pragma("wal_checkpoint(PASSIVE)");
  }

  /** Of a log with more bytes, empties it and gives its space back. False: somebody reads, and stands in the way; nobody waited for that. */
  cutLog(bytes: number): boolean {
    const db = this.#session?.db;
    if (db === undefined || (statSync(`${this.options.path}-wal`, { throwIfNoEntry: false })?.size ?? 0) <= bytes)
      return true;
    return atOnce(db, () => {
      const [busy] = db.prepare<[], [number, number, number]>("PRAGMA wal_checkpoint(TRUNCATE)").raw().get() ?? [1];
      return busy === 0;
    });
  }

  close(): void {
    const session = this.#session;
    this.#session = null;
    session?.db.close();
  }

  #open(): WriterSession {
    if (this.#session?.isBehind === true) this.close();
    return this.#current();
  }

  #current(): WriterSession {
    return (this.#session ??= new WriterSession(this.options, this.#say));
  }

  /** In a transaction, which may be behind what others have written. */
  #locked(): WriterSession {
    const session = this.#current();
    session.begin.run();
    return session;
  }

  #removal<T>(work: (session: WriterSession, removal: BlockRemoval) => T): T {
    return this.#transaction((session) => {
      const removal = new BlockRemoval(session.db);
      const result = work(session, removal);
      removal.end();
      return result;
    });
  }

  #transaction<T>(work: (session: WriterSession) => T): T {
    try {
      let session = this.#locked();
      while (session.isBehind) {
        // Another process has written since it was opened.
        this.close();
        session = this.#locked();
      }
      const result = work(session);
      session.commit.run();
      return result;
    } catch (error) {
      // Closing rolls back. What is in memory may be ahead of the file now, and is read again.
      this.close();
      throw error;
    }
  }

  #applyOne(session: WriterSession, { blocks, branches, notes }: UnpackedTransaction): Outcome {
    const conflict = session.branches.check(branches);
    if (conflict !== null) return { conflict };
    let first = 0;
    let added = 0;
    const counts = SHELVES.map(() => 0);
    for (const block of blocks) {
      const id = Number(session.addBlock.run(block.head, block.data).lastInsertRowid);
      if (first === 0) first = id;
      for (let slot = 0; slot < slotCount(block); slot++) {
        const shelf = slotFlags(block.head, slot) & SLOT.shelf;
        counts[shelf] = (counts[shelf] as number) + 1;
      }
      added += slotCount(block);
      if ((slotFlags(block.head, 0) & SLOT.shelf) === REPLY_SHELF) {
        const times = replyTimes(block);
        session.addReplies.run(id, Math.min(...times), Math.max(...times));
      }
    }
    for (const [shelf, count] of counts.entries()) if (count > 0) session.count.run(count, shelf);
    for (const move of branches) session.branches.move(move);
    for (const { name, bytes } of notes) {
      if (bytes === null) session.dropNote.run(name);
      else session.setNote.run(name, bytes);
    }
    session.index.add(added);
    if (session.index.isOverdue) session.index.step();
    return { first };
  }
}

/** Does work that waits for nobody's lock. */
function atOnce<T>(db: Database.Database, work: () => T): T {
  const timeout = db.pragma("busy_timeout", { simple: true }) as number;
  db.pragma("busy_timeout = 0");
  try {
    return work();
  } finally {
    db.pragma(`busy_timeout = ${timeout}`);
  }
}

/** Begins a transaction; false: somebody else has one. */
function begins({ begin }: WriterSession): boolean {
  try {
    begin.run();
    return true;
  } catch (error) {
    if ((error as { code?: unknown }).code === "SQLITE_BUSY") return false;
    throw error;
  }
}

/** When each reply of a block was given. */
function replyTimes(block: Block): number[] {
  const times: number[] = [];
  let at = 0;
  for (let slot = 0; slot < slotCount(block); slot++) {
    times.push(block.data.readDoubleLE(at));
    at += slotLength(block.head, slot);
  }
  return times;
}
