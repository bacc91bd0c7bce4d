import type Database from "better-sqlite3";
import { baseOf, type Block, SLOT, slotCount, slotData, slotFlags } from "./block.ts";
import type { BlockRemoval } from "./block-removal.ts";
import { locationOf } from "./location.ts";

/** Blocks of one step, so that writes wait for milliseconds. */
const LOOKED_AT = 2000;
const DROPPED = 200;

/**
 * Finds removed objects whose bytes no delta needs any more, and drops these. Steps may have writes between
 * them: a new delta rests on what is there, or on what another delta that is there rests on; its block comes behind those
 * that were looked at; and what is removed never comes back to its place. What is removed meanwhile is for the next time.
 */
export class UnusedBases {
  #unused = new Set<number>();
  #next = 0;
  #doing: "finding" | "asking" | "dropping" = "finding";

  /** One step, in a transaction of the caller's. Returns whether there is more to do. */
  step(db: Database.Database, removal: BlockRemoval): boolean {
    if (this.#doing === "dropping") return this.#drop(removal);
    if (this.#doing === "finding" ? this.#find(db) : this.#ask(db)) return true;
    this.#next = 0;
    this.#doing = this.#doing === "finding" ? "asking" : "dropping";
    return this.#unused.size > 0;
  }

  #find(db: Database.Database): boolean {
    const rows = db
      .prepare<[number, number], [number, Buffer]>("SELECT id, head FROM block WHERE id >= ? ORDER BY id LIMIT ?")
      .raw()
      .all(this.#next, LOOKED_AT);
    for (const [id, head] of rows) {
      for (let slot = 0; slot < slotCount({ head }); slot++) {
        const flags = slotFlags(head, slot);
        if ((flags & SLOT.base) !== 0) this.#unused.add(locationOf(id, slot, flags & SLOT.shelf));
      }
      this.#next = id + 1;
    }
    return rows.length === LOOKED_AT;
  }

  #ask(db: Database.Database): boolean {
    const rows = db
      .prepare<[number, number], Block & { id: number }>(
        "SELECT id, head, data FROM block WHERE id >= ? ORDER BY id LIMIT ?",
      )
      .iterate(this.#next, LOOKED_AT);
    let looked = 0;
    for (const block of rows) {
      for (let slot = 0; slot < slotCount(block); slot++) {
        if ((slotFlags(block.head, slot) & SLOT.delta) !== 0) this.#unused.delete(baseOf(slotData(block, slot)));
      }
      this.#next = block.id + 1;
      looked++;
    }
    return looked === LOOKED_AT;
  }

  #drop(removal: BlockRemoval): boolean {
    const some: number[] = [];
    for (const location of this.#unused) {
      some.push(location);
      this.#unused.delete(location);
      if (some.length === DROPPED) break;
    }
    removal.dropBases(some);
    return this.#unused.size > 0;
  }
}
