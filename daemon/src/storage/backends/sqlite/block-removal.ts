import type Database from "better-sqlite3";
import { KINDS } from "../../object-storage.ts";
import { type Block, SLOT, slotCount, slotData, slotFlags, slotLength, writeSlot } from "./block.ts";
import { blockOf, slotOf } from "./location.ts";

/** Shelves on which deltas are stored, and so bases. */
const WITH_DELTAS: ReadonlySet<number> = new Set([KINDS.indexOf("node"), KINDS.indexOf("commit")]);
const EMPTY = Buffer.alloc(0);

/** Takes objects out of blocks, in a transaction of the caller's. Slots stay, so that locations do. */
export class BlockRemoval {
  readonly #db: Database.Database;
  readonly #read: Database.Statement<[number], Block>;
  readonly #update: Database.Statement<[Buffer, Buffer, number]>;
  readonly #delete: Database.Statement<[number]>;
  readonly #newest: number;

  constructor(db: Database.Database) {
    this.#db = db;
    // What is removed must not stay readable in free pages. (Between removals FAST zeroes what moves within a page.)
    db.pragma("secure_delete = ON");
    this.#read = db.prepare("SELECT head, data FROM block WHERE id = ?");
    this.#update = db.prepare("UPDATE block SET head = ?, data = ? WHERE id = ?");
    this.#delete = db.prepare("DELETE FROM block WHERE id = ?");
    // The id of the newest must not be given again: readers know by it how far they are.
    this.#newest = db.prepare<[], number>("SELECT coalesce(max(id), 0) FROM block").pluck().get() ?? 0;
  }

  end(): void {
    this.#db.pragma("secure_delete = FAST");
  }

  /** Removes what is at these locations; bytes that deltas may rest on stay. Returns how many of each shelf. */
  remove(locations: Iterable<number>): Map<number, number> {
    const removed = new Map<number, number>();
    for (const [id, slots] of Map.groupBy(locations, blockOf)) {
      this.#rewrite(id, (block) => {
        const gone = new Set(slots.map(slotOf));
        return (slot) => {
          const flags = slotFlags(block.head, slot);
          if (!gone.has(slot) || (flags & SLOT.removed) !== 0) return flags;
          const shelf = flags & SLOT.shelf;
          removed.set(shelf, (removed.get(shelf) ?? 0) + 1);
          return shelf | SLOT.removed | (WITH_DELTAS.has(shelf) && (flags & SLOT.delta) === 0 ? SLOT.base : 0);
        };
      });
    }
    return removed;
  }

  /** Drops replies older than `before` from these blocks; returns how many. */
  dropReplies(blocks: readonly number[], before: number): number {
    let dropped = 0;
    for (const id of blocks) {
      const kept: number[] = [];
      this.#rewrite(id, (block) => (slot) => {
        const flags = slotFlags(block.head, slot);
        if ((flags & SLOT.removed) !== 0) return flags;
        const time = slotData(block, slot).readDoubleLE();
        if (time >= before) {
          kept.push(time);
          return flags;
        }
        dropped++;
        return (flags & SLOT.shelf) | SLOT.removed;
      });
      if (kept.length === 0) this.#db.prepare("DELETE FROM reply WHERE block = ?").run(id);
      else this.#db.prepare("UPDATE reply SET oldest = ? WHERE block = ?").run(Math.min(...kept), id);
    }
    return dropped;
  }

  /** Drops the bytes of removed objects on which no delta rests. */
  dropBases(locations: Iterable<number>): void {
    for (const [id, slots] of Map.groupBy(locations, blockOf)) {
      const gone = new Set(slots.map(slotOf));
      this.#rewrite(id, (block) => (slot) => {
        const flags = slotFlags(block.head, slot);
        return gone.has(slot) ? flags & ~SLOT.base : flags;
      });
    }
  }

  /** Gives slots other flags; those that are removed, and no base, lose their bytes. A block with nothing left goes. */
  #rewrite(id: number, flagsFor: (block: Block) => (slot: number) => number): void {
    const block = this.#read.get(id);
    if (block === undefined) return;
    const flagsOf = flagsFor(block);
    const head = Buffer.from(block.head);
    const parts: Buffer[] = [];
    let left = false;
    for (let slot = 0; slot < slotCount(block); slot++) {
      const flags = flagsOf(slot);
      const empty = (flags & SLOT.removed) !== 0 && (flags & SLOT.base) === 0;
      writeSlot(head, slot, flags, empty ? 0 : slotLength(block.head, slot));
      if (empty) continue;
      left = true;
      parts.push(slotData(block, slot));
    }
    if (left) this.#update.run(head, Buffer.concat(parts), id);
    else if (id === this.#newest) this.#update.run(head, EMPTY, id);
    else this.#delete.run(id);
  }
}
