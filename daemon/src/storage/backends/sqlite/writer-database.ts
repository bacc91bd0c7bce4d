import type { WriterOptions } from "./connection.ts";
import { type Failure, failureOf } from "./failure.ts";
import { remember } from "./recent-rows.ts";
import { REPLY_SHELF, SHELVES } from "./schema.ts";
import { type HashParts, hashParts } from "./shelf-rows.ts";
import { type UnpackedReply, type UnpackedTransaction, unpackTransaction } from "./unpacked-transaction.ts";
import type { FoundConflict } from "./writer-branches.ts";
import { WriterSession } from "./writer-session.ts";

/** What became of a transaction. */
export type Outcome = null | { readonly conflict: FoundConflict } | { readonly failure: Failure };

interface RowOfPrefix {
  readonly id: number;
  readonly prefix: number;
}

/** New rows of a shelf in the transaction under way. */
interface Added {
  first: number;
  readonly prefixes: number[];
}

/** A database as the writer thread has it. After a failure it closes the connection; the next work opens it again. */
export class WriterDatabase {
  readonly options: WriterOptions;
  #session: WriterSession | null = null;
  #rows = 0;

  constructor(options: WriterOptions) {
    this.options = options;
  }

  /** @throws what opening throws */
  open(): void {
    this.#open();
  }

  /**
   * Applies transactions in order in one transaction of SQLite, so that they share its fsync. Each may fail
   * alone by its own conflict, which is found before anything of it is written. When anything else fails, all
   * are undone and each is tried by itself.
   */
  apply(buffers: readonly ArrayBuffer[]): Outcome[] {
    try {
      return this.#transaction((session) =>
        buffers.map((buffer) => this.#applyOne(session, unpackTransaction(buffer))),
      );
    } catch (error) {
      if (buffers.length > 1) return buffers.flatMap((buffer) => this.apply([buffer]));
      return [{ failure: failureOf(error, this.options.path) }];
    }
  }

  /** @param hashes one after another; those that are not there are no error */
  remove(shelf: number, hashes: Buffer): void {
    this.#transaction((session) => {
      session.folding.finish();
      const gone = new Map<number, RowOfPrefix>();
      for (let at = 0; at < hashes.length; at += 32) {
        const parts = hashParts(hashes.subarray(at, at + 32));
        const id = session.find[shelf]?.find(parts);
        if (id !== undefined) gone.set(id, { id, prefix: parts.prefix });
      }
      // What is removed must not stay readable in free pages.
      session.db.pragma("secure_delete = ON");
      this.#delete(session, shelf, [...gone.values()]);
      session.db.pragma("secure_delete = FAST");
    });
  }

  /** At most `limit`; returns how many. */
  dropReplies(before: number, limit: number): number {
    return this.#transaction((session) => {
      const rows = session.db
        .prepare<[number, number], RowOfPrefix>(
          "SELECT id, prefix FROM object_reply WHERE time < ? ORDER BY time LIMIT ?",
        )
        .all(before, limit);
      const ids = new Set(rows.map(({ id }) => id));
      for (const [, id] of session.recent.entries(REPLY_SHELF)) {
        if (!ids.has(id)) continue;
        session.folding.finish();
        break;
      }
      this.#delete(session, REPLY_SHELF, rows);
      return rows.length;
    });
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

  close(): void {
    const session = this.#session;
    this.#session = null;
    session?.db.close();
  }

  #open(): WriterSession {
    if (this.#session?.isBehind === true) this.close();
    if (this.#session !== null) return this.#session;
    const session = new WriterSession(this.options);
    this.#session = session;
    this.#rows = session.highest.reduce((sum, highest) => sum + (highest.get() ?? 0), 0);
    return session;
  }

  #transaction<T>(work: (session: WriterSession) => T): T {
    try {
      let session = this.#open();
      session.db.exec("BEGIN IMMEDIATE");
      while (session.isBehind) {
        // Another process wrote between opening and locking.
        this.close();
        session = this.#open();
        session.db.exec("BEGIN IMMEDIATE");
      }
      const result = work(session);
      session.db.exec("COMMIT");
      return result;
    } catch (error) {
      // Closing rolls back. What is in memory may be ahead of the file now, and is read again.
      this.close();
      throw error;
    }
  }

  #applyOne(session: WriterSession, { objects, branches, replies, notes }: UnpackedTransaction): Outcome {
    const conflict = session.branches.check(branches);
    if (conflict !== null) return { conflict };
    const added = new Map<number, Added>();
    for (const { shelf, hash, bytes } of objects) {
      const parts = hashParts(hash);
      if (session.find[shelf]?.find(parts) === undefined) this.#insert(session, shelf, parts, [bytes], added);
    }
    for (const reply of replies) this.#addReply(session, reply, added);
    let count = 0;
    for (const [shelf, { first, prefixes }] of added) {
      session.addRecent(shelf, first, prefixes);
      count += prefixes.length;
    }
    for (const move of branches) session.branches.move(move);
    for (const { name, bytes } of notes) {
      if (bytes === null) session.dropNote.run(name);
      else session.setNote.run(name, bytes);
    }
    this.#rows += count;
    session.folding.step(count, this.#rows);
    return null;
  }

  #addReply(session: WriterSession, { key, request, reply, time }: UnpackedReply, added: Map<number, Added>): void {
    const parts = hashParts(key);
    if (session.find[REPLY_SHELF]?.find(parts) !== undefined) return;
    this.#insert(session, REPLY_SHELF, parts, [Buffer.concat([request, reply]), time], added);
  }

  #insert(session: WriterSession, shelf: number, parts: HashParts, rest: unknown[], added: Map<number, Added>): void {
    const { prefix, tail } = parts;
    const id = Number(session.insert[shelf]?.run(prefix, tail, ...rest).lastInsertRowid);
    const list = added.get(shelf);
    if (list === undefined) added.set(shelf, { first: id, prefixes: [prefix] });
    else list.prefixes.push(prefix);
    const { recent, folding } = session;
    if (recent.candidates(shelf, prefix).length > 0) folding.index(shelf, prefix, id);
    remember(recent.generation(folding.current), shelf, prefix, id);
  }

  /** Deletes rows that the index has, and keeps the table's count. */
  #delete({ db, highest }: WriterSession, shelf: number, rows: readonly RowOfPrefix[]): void {
    const name = SHELVES[shelf];
    const row = db.prepare(`DELETE FROM object_${name} WHERE id = ?`);
    const entry = db.prepare(`DELETE FROM index_${name} WHERE prefix = ? AND id = ?`);
    const gap = db.prepare<[number], number>("SELECT ids FROM gap WHERE shelf = ?").pluck().get(shelf) ?? 0;
    const count = (highest[shelf]?.get() ?? 0) - gap - rows.length;
    for (const { id, prefix } of rows) {
      row.run(id);
      entry.run(prefix, id);
    }
    // Ids above the highest that is left are given again, so they are no gap.
    db.prepare("INSERT OR REPLACE INTO gap(shelf, ids) VALUES (?, ?)").run(shelf, (highest[shelf]?.get() ?? 0) - count);
  }
}
