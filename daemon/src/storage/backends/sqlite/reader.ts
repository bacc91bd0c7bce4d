import { setImmediate as nextTurn } from "node:timers/promises";
import type Database from "better-sqlite3";
import { type Hash, hashFromBytes, hashToBytes, ownBuffer } from "@vlinder/protocol";
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
import {
  applyDelta,
  baseOf,
  type Block,
  SLOT,
  slotCount,
  SLOT_BYTES,
  slotData,
  slotFlags,
  slotHas,
  slotHash,
  slotLength,
} from "./block.ts";
import type { Bases } from "./bases.ts";
import type { NewBlock, Stored } from "./blocks-of.ts";
import { openForReading } from "./connection.ts";
import { IndexReader } from "./index-reader.ts";
import { blockOf, locationOf, shelfOf, slotOf } from "./location.ts";
import { hashPrefix } from "./prefix-table.ts";
import { pageInOrder } from "./scan.ts";
import { SoundIndex } from "./sound-index.ts";
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

/** An object as it was found. `base`: what it is a delta on, or itself; null where it can be no base. */
export interface Found {
  readonly bytes: Buffer;
  readonly location: number;
  readonly base: { readonly location: number; readonly bytes: Buffer };
}

/** One step of a sweep: between steps other work on the thread goes on. */
const SWEEP_ROWS = 256;
const SWEEP_BYTES = 1024 * 1024;
const SWEEP_BLOCKS = 1024;

const hashOrNull = (bytes: Buffer | null): Hash | null => (bytes === null ? null : hashFromBytes(bytes));

/** A connection with all that is prepared on it. */
class ReaderSession {
  readonly db: Database.Database;
  readonly index: IndexReader;
  readonly begin: Database.Statement<[]>;
  readonly commit: Database.Statement<[]>;
  /** Blocks from an id on. */
  readonly heads: Database.Statement<[number], [id: number, head: Buffer]>;
  readonly #version: Database.Statement<[], number>;
  readonly #block: Database.Statement<[number], Block>;
  #seenVersion = -1;
  readonly #blocksKept: number;
  /** The block in which a commit was found last. */
  #lastCommits: number | null = null;
  /** Of this snapshot: what is read together often lies together. */
  readonly #blocks = new Map<number, Block>();

  constructor(path: string, blocksKept: number) {
    this.#blocksKept = blocksKept;
    this.db = openForReading(path);
    this.index = new IndexReader(this.db);
    this.begin = this.db.prepare("BEGIN");
    this.commit = this.db.prepare("COMMIT");
    this.#version = this.db.prepare<[], number>("PRAGMA data_version").pluck();
    this.heads = this.db
      .prepare<[number], [number, Buffer]>("SELECT id, head FROM block WHERE id >= ? ORDER BY id")
      .raw();
    this.#block = this.db.prepare("SELECT head, data FROM block WHERE id = ?");
  }

  refresh(): void {
    const version = this.#version.get() ?? 0;
    if (version === this.#seenVersion) return;
    this.#blocks.clear();
    this.index.refresh();
    this.#seenVersion = version;
  }

  find(shelf: number, hash: Buffer, prefix = hashPrefix(hash)): Found | null {
    if (shelf === COMMIT_SHELF && this.#lastCommits !== null) {
      const last = this.#lastCommits;
      const near = this.#findIn(last, shelf, hash) ?? this.#findIn(last - 1, shelf, hash);
      if (near !== null) {
        this.#lastCommits = blockOf(near.location);
        return near;
      }
    }
    const found = this.#find(shelf, hash, prefix);
    // A commit's parent mostly lies in the same block or the one before: who follows a history need not look it up.
    if (shelf === COMMIT_SHELF && found !== null) this.#lastCommits = blockOf(found.location);
    return found;
  }

  #findIn(id: number, shelf: number, hash: Buffer): Found | null {
    const block = this.block(id);
    if (block === undefined) return null;
    for (let slot = slotCount(block) - 1; slot >= 0; slot--) {
      if (block.head[slot * SLOT_BYTES + 1] !== hash[0] || !slotHas(block.head, slot, hash)) continue;
      const flags = slotFlags(block.head, slot);
      if ((flags & SLOT.removed) !== 0 || (flags & SLOT.shelf) !== shelf) continue;
      return this.#object(locationOf(id, slot, shelf), flags, slotData(block, slot));
    }
    return null;
  }

  #find(shelf: number, hash: Buffer, prefix: number): Found | null {
    for (const location of this.index.candidates(prefix)) {
      if (shelfOf(location) !== shelf) continue;
      const block = this.block(blockOf(location));
      const slot = slotOf(location);
      if (block === undefined || slot >= slotCount(block) || !slotHas(block.head, slot, hash)) continue;
      const flags = slotFlags(block.head, slot);
      if ((flags & SLOT.removed) !== 0 || (flags & SLOT.shelf) !== shelf) continue;
      return this.#object(location, flags, slotData(block, slot));
    }
    return null;
  }

  bytesAt(block: Block, slot: number): Buffer {
    return this.#object(0, slotFlags(block.head, slot), slotData(block, slot)).bytes;
  }

  block(id: number): Block | undefined {
    const known = this.#blocks.get(id);
    if (known !== undefined) return known;
    const block = this.#block.get(id);
    if (block === undefined) return undefined;
    if (this.#blocks.size >= this.#blocksKept) this.#blocks.clear();
    this.#blocks.set(id, block);
    return block;
  }

  #object(location: number, flags: number, data: Buffer): Found {
    if ((flags & SLOT.delta) === 0) return { bytes: data, location, base: { location, bytes: data } };
    const at = baseOf(data);
    const block = this.block(blockOf(at));
    // Without its base it is damaged, and its hash will say so.
    const bytes = block === undefined ? Buffer.alloc(0) : slotData(block, slotOf(at));
    return { bytes: bytes.length === 0 ? bytes : applyDelta(bytes, data), location, base: { location: at, bytes } };
  }
}

const COMMIT_SHELF = KINDS.indexOf("commit");

/** Blocks of a snapshot that are kept at hand, 4 KB each. */
const BLOCKS_KEPT = 64;

/**
 * Reads on the calling thread. All reads of one turn of the event loop see one snapshot: taking and leaving a
 * snapshot costs several times what a read in it does. It is left at the end of the turn, as an old
 * one would keep the log from being emptied, and as soon as a transaction is acknowledged.
 */
export class Reader {
  readonly #path: string;
  readonly #blocksKept: number;
  #session: ReaderSession | null = null;
  #inSnapshot = false;

  constructor(path: string, blocksKept = BLOCKS_KEPT) {
    this.#path = path;
    this.#blocksKept = blocksKept;
  }

  find(shelf: number, hash: Buffer, prefix?: number): Found | null {
    return this.#read((session) => session.find(shelf, hash, prefix));
  }

  /** Whether there is surely nothing with this prefix of what this process has stored; with no look at the file. */
  surelyLacks(prefix: number): boolean {
    return this.#session?.index.surelyLacks(prefix) === true;
  }

  /** What is there, for a transaction that is made now; to be used at once. */
  stored(bases: Bases): Stored {
    return this.#read((session) => ({
      has: (shelf, hash, prefix) => {
        return session.index.mayHave(prefix) && session.find(shelf, hashToBytes(hash), prefix) !== null;
      },
      base: (shelf, lineage) => {
        const known = bases.get(lineage);
        if (known !== undefined || lineage.stored === null) return known ?? null;
        const found = session.find(shelf, hashToBytes(lineage.stored));
        if (found === null || found.base.bytes.length === 0) return null;
        return { ...found.base, bytes: ownBuffer(found.base.bytes) };
      },
    }));
  }

  /** Blocks that this process has stored. */
  landed(first: number, blocks: readonly NewBlock[]): void {
    this.#session?.index.stored(first, blocks);
  }

  /** This process may have stored something of which nobody has told. */
  lookAgain(): void {
    this.#session?.index.doubt();
    this.leaveSnapshot();
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
    const shelf = KINDS.indexOf(kind);
    return this.#read((session) => pageInOrder(session, shelf, after === null ? null : hashToBytes(after), limit)).map(
      ({ hash, bytes }) => ({ kind, hash: hashFromBytes(hash), bytes }),
    );
  }

  /** In the order in which they were stored. `index`: what is known of the index already. */
  async *sweep(kind: Kind, index = new SoundIndex()): AsyncGenerator<readonly StoredObject[]> {
    const shelf = KINDS.indexOf(kind);
    while (this.#read((session) => index.check(session.index))) await nextTurn();
    yield* this.#inOrder(shelf, (session, id, _, slot) => {
      const block = session.block(id);
      if (block === undefined || !index.isFound(session.index, block, slot, locationOf(id, slot, shelf))) return null;
      return { kind, hash: hashFromBytes(slotHash(block.head, slot)), bytes: session.bytesAt(block, slot) };
    });
  }

  /** The same, by the heads of blocks alone. */
  names(kind: Kind): AsyncGenerator<readonly ObjectName[]> {
    return this.#inOrder(KINDS.indexOf(kind), (_, __, head, slot) => {
      return { hash: hashFromBytes(slotHash(head, slot)), size: slotLength(head, slot) };
    });
  }

  /** All of a shelf, as they lie, in steps between which others have the thread. Blocks that have none of it are not read. */
  async *#inOrder<T extends { readonly hash: Hash; readonly bytes?: Uint8Array }>(
    shelf: number,
    take: (session: ReaderSession, id: number, head: Buffer, slot: number) => T | null,
  ): AsyncGenerator<readonly T[]> {
    for (let next: number | null = 0; next !== null;) {
      const from: number = next;
      const batch: T[] = [];
      let bytes = 0;
      next = this.#read((session) => {
        let blocks = 0;
        // One at a time: a step may be done after a few.
        for (const [id, head] of session.heads.iterate(from)) {
          if (bytes >= SWEEP_BYTES || batch.length >= SWEEP_ROWS || blocks === SWEEP_BLOCKS) return id;
          blocks++;
          for (const slot of slotsOf(head, shelf)) {
            const taken = take(session, id, head, slot);
            if (taken === null) continue;
            bytes += taken.bytes?.length ?? 0;
            batch.push(taken);
          }
        }
        return null;
      });
      if (batch.length > 0) yield batch;
      // Who reads it may come back without ever letting others in between.
      await nextTurn();
    }
  }

  /** How many objects each kind has. */
  counts(): Record<Kind, number> {
    return this.#read(({ db }) => {
      const counts = new Map(db.prepare<[], [number, number]>("SELECT id, objects FROM shelf").raw().all());
      return Object.fromEntries(KINDS.map((kind, shelf) => [kind, counts.get(shelf) ?? 0])) as Record<Kind, number>;
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
      const session = (this.#session ??= new ReaderSession(this.#path, this.#blocksKept));
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

/** Slots of a shelf that are not empty. */
function slotsOf(head: Buffer, shelf: number): number[] {
  const slots: number[] = [];
  for (let slot = 0; slot < slotCount({ head }); slot++) {
    const flags = slotFlags(head, slot);
    if ((flags & SLOT.removed) === 0 && (flags & SLOT.shelf) === shelf) slots.push(slot);
  }
  return slots;
}

function entryOf({ branch, name, from, to, time, why }: MoveRow): ReflogEntry {
  const iso = new Date(time).toISOString();
  return { branch: hashFromBytes(branch), name, from: hashOrNull(from), to: hashOrNull(to), time: iso, why };
}
