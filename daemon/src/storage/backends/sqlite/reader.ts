import { setImmediate as nextTurn } from "node:timers/promises";
import { type Hash, hashFromBytes, hashToBytes, ownBuffer } from "@vlinder/protocol";
import {
  type Neighbour,
  type Kind,
  KINDS,
  type Moves,
  type ObjectName,
  type ReflogEntry,
  type StoredBranch,
  type StoredNote,
  type StoredObject,
} from "../../object-storage.ts";
import { SLOT, slotCount, slotFlags, slotHash, slotLength } from "./block.ts";
import type { Bases } from "./bases.ts";
import type { NewBlock, Stored } from "./blocks-of.ts";
import { locationOf } from "./location.ts";
import { type Found, ReaderSession } from "./reader-session.ts";
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

/** One step of a sweep: between steps other work on the thread goes on. */
const SWEEP_ROWS = 256;
const SWEEP_BYTES = 1024 * 1024;
const SWEEP_BLOCKS = 1024;

const hashOrNull = (bytes: Buffer | null): Hash | null => (bytes === null ? null : hashFromBytes(bytes));

/** Objects of which it is remembered that they are stored. */
const KNOWN = 1000;

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
  /** Shelves of objects that were stored when a transaction had them again: to find one needs a snapshot. */
  readonly #known = new Map<Hash, number>();
  #session: ReaderSession | null = null;
  #inSnapshot = false;
  /** Of this snapshot. */
  #beside: { readonly location: number; readonly beside: Neighbour }[] = [];

  constructor(path: string, blocksKept = BLOCKS_KEPT) {
    this.#path = path;
    this.#blocksKept = blocksKept;
  }

  find(shelf: number, hash: Buffer, prefix?: number): Found | null {
    return this.#read((session) => session.find(shelf, hash, prefix));
  }

  at(location: number, shelf: number, hash: Buffer): Found | null {
    return this.#read((session) => session.at(location, shelf, hash));
  }

  /** What else of its shelf is in the block of what was found just now: behind the answer, unless the snapshot is left before. */
  tellBeside(location: number, beside: Neighbour): void {
    this.#beside.push({ location, beside });
  }

  /** Whether there is surely nothing with this prefix of what this process has stored; with no look at the file. */
  surelyLacks(prefix: number): boolean {
    return this.#session?.index.surelyLacks(prefix) === true;
  }

  /**
   * What is there, for a transaction that is made now; to be used at once. Of what others store and remove it knows what they did
   * before `lookAgain`.
   */
  stored(bases: Bases): Stored {
    return {
      has: (shelf, hash, prefix) => {
        if (this.surelyLacks(prefix)) return false;
        if (this.#known.get(hash) === shelf) return true;
        if (this.find(shelf, hashToBytes(hash), prefix) === null) return false;
        if (this.#known.size >= KNOWN) this.#known.clear();
        this.#known.set(hash, shelf);
        return true;
      },
      base: (shelf, lineage) => {
        const known = bases.get(lineage);
        if (known !== undefined || lineage.stored === null) return known ?? null;
        const found = this.find(shelf, hashToBytes(lineage.stored));
        if (found === null || found.base.bytes.length === 0) return null;
        return { ...found.base, bytes: ownBuffer(found.base.bytes) };
      },
    };
  }

  /** Blocks that this process has stored. */
  landed(first: number, blocks: readonly NewBlock[]): void {
    this.#session?.index.stored(first, blocks);
  }

  /** Something may have been stored or removed of which nobody has told. */
  lookAgain(): void {
    this.#session?.index.doubt();
    this.removed();
  }

  /** Something was removed. */
  removed(): void {
    this.#known.clear();
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
  async *sweep(kinds: readonly Kind[], index = new SoundIndex()): AsyncGenerator<readonly StoredObject[]> {
    while (this.#read((session) => index.check(session.index))) await nextTurn();
    yield* this.#inOrder(kinds, (session, id, _, slot) => {
      const block = session.block(id);
      if (block === undefined) return null;
      const shelf = slotFlags(block.head, slot) & SLOT.shelf;
      const place = locationOf(id, slot, shelf);
      if (!index.isFound(session.index, block, slot, place)) return null;
      const hash = hashFromBytes(slotHash(block.head, slot));
      return { kind: KINDS[shelf] as Kind, hash, bytes: session.bytesAt(block, slot), place };
    });
  }

  /** The same, by the heads of blocks alone. */
  names(kind: Kind): AsyncGenerator<readonly ObjectName[]> {
    return this.#inOrder([kind], (_, __, head, slot) => {
      return { hash: hashFromBytes(slotHash(head, slot)), size: slotLength(head, slot) };
    });
  }

  /** All of some kinds, as they lie, in steps between which others have the thread. Blocks that have none of them are not read. */
  async *#inOrder<T extends { readonly hash: Hash; readonly bytes?: Uint8Array }>(
    kinds: readonly Kind[],
    take: (session: ReaderSession, id: number, head: Buffer, slot: number) => T | null,
  ): AsyncGenerator<readonly T[]> {
    const shelves = kinds.reduce((bits, kind) => bits | (1 << KINDS.indexOf(kind)), 0);
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
          for (const slot of slotsOf(head, shelves)) {
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
    this.#beside = [];
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
    this.#beside = [];
    session?.db.close();
  }

  /** What is left of a snapshot that was left before is told to nobody: something may have been removed since. */
  #endTurn(): void {
    try {
      for (const { location, beside } of this.#beside) this.#read((session) => session.beside(location, beside));
    } catch {
      // The next read says so to who asks.
    }
    this.leaveSnapshot();
  }

  #read<T>(work: (session: ReaderSession) => T): T {
    try {
      const session = (this.#session ??= new ReaderSession(this.#path, this.#blocksKept));
      if (!this.#inSnapshot) {
        session.begin.run();
        this.#inSnapshot = true;
        setImmediate(() => this.#endTurn());
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

/** Slots of some shelves, a bit each, that are not empty. */
function slotsOf(head: Buffer, shelves: number): number[] {
  const slots: number[] = [];
  for (let slot = 0; slot < slotCount({ head }); slot++) {
    const flags = slotFlags(head, slot);
    if ((flags & SLOT.removed) === 0 && (shelves & (1 << (flags & SLOT.shelf))) !== 0) slots.push(slot);
  }
  return slots;
}

function entryOf({ branch, name, from, to, time, why }: MoveRow): ReflogEntry {
  const iso = new Date(time).toISOString();
  return { branch: hashFromBytes(branch), name, from: hashOrNull(from), to: hashOrNull(to), time: iso, why };
}
