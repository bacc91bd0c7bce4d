import type Database from "better-sqlite3";
import { type Hash, hashFromBytes, hashToBytes } from "@vlinder/protocol";
import {
  type Kind,
  KINDS,
  type Moves,
  type ObjectName,
  type ReflogEntry,
  type StoredBranch,
  type StoredNote,
  type StoredObject,
} from "../../object-storage.ts";
import { openForReading } from "./connection.ts";
import { RecentRows } from "./recent-rows.ts";
import { REPLY_SHELF, SHELVES } from "./schema.ts";
import { type HashParts, hashOfParts, hashParts, ShelfRows } from "./shelf-rows.ts";
import { storageError } from "./storage-error.ts";

interface BranchRow {
  readonly hash: Buffer;
  readonly name: string;
  readonly head: Buffer | null;
  readonly sealed: number;
  readonly deleted: Buffer | null;
}

interface MoveRow {
  readonly previous: number | null;
  readonly branch: Buffer;
  readonly name: string;
  readonly from: Buffer | null;
  readonly to: Buffer | null;
  readonly time: number;
  readonly why: string;
}

interface NamedRow {
  readonly prefix: number;
  readonly tail: Buffer;
}

const hashOrNull = (bytes: Buffer | null): Hash | null => (bytes === null ? null : hashFromBytes(bytes));

/** A connection with all that is prepared on it. */
class ReaderSession {
  readonly db: Database.Database;
  readonly recent: RecentRows;
  readonly data: readonly ShelfRows<Buffer>[];
  readonly replyIds: ShelfRows<number>;
  readonly reply: Database.Statement<[number], { data: Buffer; time: number }>;
  readonly begin: Database.Statement<[]>;
  readonly commit: Database.Statement<[]>;
  readonly #version: Database.Statement<[], number>;
  #seenVersion = -1;

  constructor(path: string) {
    this.db = openForReading(path);
    this.recent = new RecentRows(this.db);
    this.data = SHELVES.map((_, shelf) => new ShelfRows<Buffer>(this.db, this.recent, shelf, "data"));
    this.replyIds = new ShelfRows<number>(this.db, this.recent, REPLY_SHELF, "id");
    this.reply = this.db.prepare("SELECT data, time FROM object_reply WHERE id = ?");
    this.begin = this.db.prepare("BEGIN");
    this.commit = this.db.prepare("COMMIT");
    this.#version = this.db.prepare<[], number>("PRAGMA data_version").pluck();
  }

  refresh(): void {
    const version = this.#version.get() ?? 0;
    if (version === this.#seenVersion) return;
    this.recent.refresh();
    this.#seenVersion = version;
  }
}

/**
 * Reads on the calling thread. All reads of one turn of the event loop see one snapshot: taking and leaving a
 * snapshot costs several times what a read in it does. It is left at the end of the turn, as an old
 * one would keep the log from being emptied, and as soon as a transaction is acknowledged.
 */
export class Reader {
  readonly #path: string;
  #session: ReaderSession | null = null;
  #inSnapshot = false;

  constructor(path: string) {
    this.#path = path;
  }

  objects(kind: Kind, hashes: readonly Hash[]): (Uint8Array | null)[] {
    return this.#read((session) => {
      const rows = session.data[KINDS.indexOf(kind)] as ShelfRows<Buffer>;
      return hashes.map((hash) => rows.find(hashParts(hashToBytes(hash))) ?? null);
    });
  }

  /** The bytes of a reply: hash of the request, then the reply. */
  reply(key: Hash): { readonly data: Buffer; readonly time: number } | null {
    return this.#read((session) => {
      const id = session.replyIds.find(hashParts(hashToBytes(key)));
      return id === undefined ? null : (session.reply.get(id) ?? null);
    });
  }

  branches(): StoredBranch[] {
    return this.#read(({ db }) =>
      db
        .prepare<[], BranchRow>("SELECT hash, name, head, sealed, deleted FROM branch ORDER BY hash")
        .all()
        .map(({ hash, name, head, sealed, deleted }) => ({
          id: hashFromBytes(hash),
          name,
          head: hashOrNull(head),
          sealed: sealed !== 0,
          deleted: Array.from({ length: (deleted?.length ?? 0) / 32 }, (_, i) =>
            hashFromBytes(deleted as Buffer, 32 * i),
          ),
        })),
    );
  }

  reflog(branch: Hash | null, limit: number): ReflogEntry[] {
    return this.#read(({ db }) => {
      const columns = 'r.previous, b.hash AS branch, r.name, r."from", r."to", r.time, r.why';
      const tables = "reflog r CROSS JOIN branch b ON b.id = r.branch";
      if (branch === null) {
        const all = db.prepare<[number], MoveRow>(`SELECT ${columns} FROM ${tables} ORDER BY r.id DESC LIMIT ?`);
        return all.all(limit).map(entryOf);
      }
      const newest = db.prepare<[Buffer], number>("SELECT newest FROM branch WHERE hash = ?").pluck();
      const entry = db.prepare<[number], MoveRow>(`SELECT ${columns} FROM ${tables} WHERE r.id = ?`);
      const entries: ReflogEntry[] = [];
      let id = newest.get(hashToBytes(branch)) ?? null;
      while (id !== null && entries.length < limit) {
        const row = entry.get(id);
        if (row === undefined) break;
        entries.push(entryOf(row));
        id = row.previous;
      }
      return entries;
    });
  }

  moves(after: number, limit: number): Moves {
    return this.#read(({ db }) => {
      const rows = db
        .prepare<[number, number], MoveRow & { id: number }>(
          `SELECT r.id, r.previous, b.hash AS branch, r.name, r."from", r."to", r.time, r.why
           FROM reflog r CROSS JOIN branch b ON b.id = r.branch WHERE r.id > ? ORDER BY r.id LIMIT ?`,
        )
        .all(after, limit + 1);
      const entries = rows.slice(0, limit);
      return { entries: entries.map(entryOf), next: rows.length > limit ? (entries.at(-1)?.id ?? null) : null };
    });
  }

  notes(prefix: string): StoredNote[] {
    return this.#read(({ db }) =>
      db
        .prepare<[string, number, string], { name: string; bytes: Buffer }>(
          "SELECT name, data AS bytes FROM note WHERE name >= ? AND substr(name, 1, ?) = ? ORDER BY name",
        )
        .all(prefix, prefix.length, prefix),
    );
  }

  scan(kind: Kind, after: Hash | null, limit: number): StoredObject[] {
    return this.#inOrder<{ data: Buffer }>("data", kind, after, limit).map(([hash, { data: bytes }]) => {
      return { kind, hash, bytes };
    });
  }

  names(kind: Kind, after: Hash | null, limit: number): ObjectName[] {
    return this.#inOrder<{ size: number }>("length(data) AS size", kind, after, limit).map(([hash, { size }]) => {
      return { hash, size };
    });
  }

  /** Rows of a kind behind a hash, in order: those of the index, and those that are not in it yet. */
  #inOrder<T>(column: string, kind: Kind, after: Hash | null, limit: number): [Hash, T & NamedRow][] {
    return this.#read(({ db, recent }) => {
      const from: HashParts = after === null ? { prefix: -1, tail: Buffer.alloc(0) } : hashParts(hashToBytes(after));
      const indexed = db
        .prepare<[number, number, Buffer, number], T & NamedRow>(
          `SELECT i.prefix, o.tail, ${column} FROM index_${kind} i CROSS JOIN object_${kind} o ON o.id = i.id
           WHERE i.prefix >= ? AND o.prefix = i.prefix AND (i.prefix > ? OR o.tail > ?)
           ORDER BY i.prefix, o.tail LIMIT ?`,
        )
        .all(from.prefix, from.prefix, from.tail, limit);
      const last = indexed.length === limit ? indexed.at(-1)?.prefix : undefined;
      const rows = [...indexed, ...recentRows<T>(column, db, recent, kind, from, last ?? Infinity, limit)];
      const byHash = new Map(rows.map((row) => [hashOfParts(row.prefix, row.tail) as Hash, row]));
      return [...byHash]
        .filter(([hash]) => after === null || hash > after)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .slice(0, limit);
    });
  }

  /** How many rows each kind has, without counting them: the highest id less the ids that are not there. */
  counts(): Record<Kind, number> {
    return this.#read(({ db }) => {
      const gaps = new Map(db.prepare<[], [number, number]>("SELECT shelf, ids FROM gap").raw().all());
      const counts = KINDS.map((kind, shelf) => {
        const highest = db.prepare<[], number>(`SELECT coalesce(max(id), 0) FROM object_${kind}`).pluck().get() ?? 0;
        return [kind, highest - (gaps.get(shelf) ?? 0)] as const;
      });
      return Object.fromEntries(counts) as Record<Kind, number>;
    });
  }

  /** Lets the next read see what was committed meanwhile. */
  leaveSnapshot(): void {
    if (!this.#inSnapshot) return;
    this.#inSnapshot = false;
    try {
      this.#session?.commit.run();
    } catch {
      // Nothing was to be stored, and a closed connection has left its snapshot too; the next read opens another.
      this.close();
    }
  }

  close(): void {
    const session = this.#session;
    this.#session = null;
    this.#inSnapshot = false;
    session?.db.close();
  }

  #read<T>(work: (session: ReaderSession) => T): T {
    try {
      const session = (this.#session ??= new ReaderSession(this.#path));
      if (!this.#inSnapshot) {
        session.begin.run();
        this.#inSnapshot = true;
        setImmediate(() => this.leaveSnapshot());
        session.refresh();
      }
      return work(session);
    } catch (error) {
      // The next read opens it anew.
      this.close();
      throw storageError(error, this.#path);
    }
  }
}

/** The first rows after `from` that are not in the index, with prefixes up to `last`; at least `limit` where there are so many. */
function recentRows<T>(
  column: string,
  db: Database.Database,
  recent: RecentRows,
  kind: Kind,
  from: HashParts,
  last: number,
  limit: number,
): (T & NamedRow)[] {
  const entries: [number, number][] = [];
  for (const entry of recent.entries(KINDS.indexOf(kind))) {
    if (entry[0] >= from.prefix && entry[0] <= last) entries.push(entry);
  }
  entries.sort(([a], [b]) => a - b);
  const row = db.prepare<[number, number], T & NamedRow>(
    `SELECT prefix, tail, ${column} FROM object_${kind} WHERE id = ? AND prefix = ?`,
  );
  const rows: (T & NamedRow)[] = [];
  for (const [prefix, id] of entries) {
    if (rows.length >= limit && prefix !== rows.at(-1)?.prefix) break;
    const found = row.get(id, prefix);
    const isAfter = prefix > from.prefix || (found?.tail.compare(from.tail) ?? 0) > 0;
    if (found !== undefined && isAfter) rows.push(found);
  }
  return rows;
}

function entryOf({ branch, name, from, to, time, why }: MoveRow): ReflogEntry {
  const iso = new Date(time).toISOString();
  return { branch: hashFromBytes(branch), name, from: hashOrNull(from), to: hashOrNull(to), time: iso, why };
}
