import { asBuffer, ownBuffer } from "@vlinder/protocol";
import type { Lineage } from "../../object-storage.ts";
import { applyDelta, undoOf } from "./block.ts";
import type { Base, NewBlock } from "./blocks-of.ts";
import { locationOf } from "./location.ts";
import type { Found } from "./reader-session.ts";

/** A base of which it is known in which state of which database it is true. */
class Noted implements Base {
  readonly of: object;
  readonly location: number;
  #bytes: Buffer;
  /** As long as nobody has asked for the base: what makes it of the bytes of a newer version. */
  #undo: string | null;

  constructor(of: object, location: number, bytes: Buffer, undo: Buffer | null) {
    this.of = of;
    this.location = location;
    this.#bytes = bytes;
    this.#undo = undo?.toString("latin1") ?? null;
  }

  get bytes(): Buffer {
    if (this.#undo !== null) {
      this.#bytes = ownBuffer(applyDelta(this.#bytes, Buffer.from(this.#undo, "latin1")));
      this.#undo = null;
    }
    return this.#bytes;
  }
}

/** What a database's next versions of objects can be differences to, noted at the lineages. */
export class Bases {
  /** Another one after each change of what lies where: notes of before, and of other databases, are not believed. */
  #now: object = {};

  /** Undefined: nothing is noted that is true. */
  get({ base }: Lineage): Base | undefined {
    return base instanceof Noted && base.of === this.#now ? base : undefined;
  }

  note(lineage: Lineage, { location, bytes }: Base): void {
    lineage.base = new Noted(this.#now, location, bytes, null);
  }

  /**
   * Of an object that was read, and is kept: the base stays with it as what undoes the difference. Of most of them nothing new is ever stored,
   * and as a copy it would be half of what they take.
   */
  noteRead(lineage: Lineage, { base, delta }: Found, bytes: Buffer): void {
    lineage.base = new Noted(this.#now, base.location, bytes, delta === null ? null : undoOf(base.bytes, delta));
  }

  /** Takes in what was stored, in blocks with ids from `first` on. */
  landed(first: number, blocks: readonly NewBlock[]): void {
    for (const [at, { items }] of blocks.entries()) {
      for (let slot = 0; slot < items.length; slot++) {
        const { shelf, bytes, base, lineage } = items[slot] as NewBlock["items"][number];
        if (lineage === undefined) continue;
        if (base === null)
          this.note(lineage, { location: locationOf(first + at, slot, shelf), bytes: asBuffer(bytes) });
        else if (lineage.base !== base) this.note(lineage, base);
      }
    }
  }

  /** Objects were removed, or lie elsewhere. */
  clear(): void {
    this.#now = {};
  }
}
