import { asBuffer } from "@vlinder/protocol";
import type { Lineage } from "../../object-storage.ts";
import type { Base, NewBlock } from "./blocks-of.ts";
import { locationOf } from "./location.ts";

interface Noted extends Base {
  readonly of: object;
}

/** What a database's next versions of objects can be differences to, noted at the lineages. */
export class Bases {
  /** Another one after each change of what lies where: notes of before, and of other databases, are not believed. */
  #now: object = {};

  /** Undefined: nothing is noted that is true. */
  get({ base }: Lineage): Base | undefined {
    const noted = base as Noted | null;
    return noted?.of === this.#now ? noted : undefined;
  }

  note(lineage: Lineage, { location, bytes }: Base): Base {
    const noted: Noted = { of: this.#now, location, bytes };
    lineage.base = noted;
    return noted;
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
