import { hashTerm, termFrequencies } from "./terms.ts";

/** Cells of the table: terms that share one are counted together, which for rare ones hardly matters. */
const CELLS = 1 << 16;

/**
 * In how many passages each term comes up, learned while reading: a word that is everywhere says little.
 * Terms are known by their hash, so the table has one size whatever was read.
 */
export class TermCounts {
  private readonly cells: Uint32Array;
  passages: number;

  constructor(cells = new Uint32Array(CELLS), passages = 0) {
    this.cells = cells;
    this.passages = passages;
  }

  /** Counts a passage, or with `-1` takes one back. */
  add(text: string, sign: 1 | -1 = 1): void {
    this.passages += sign;
    const cells = new Set([...termFrequencies(text).keys()].map((term) => hashTerm(term) % CELLS));
    for (const cell of cells) this.cells[cell] = Math.max(0, (this.cells[cell] ?? 0) + sign);
  }

  /** The inverse document frequency of a term; what was never seen weighs most. */
  weight(term: string): number {
    const count = this.cells[hashTerm(term) % CELLS] ?? 0;
    return Math.log(1 + (this.passages - count + 0.5) / (count + 0.5));
  }

  /** `u32 passages`, then each cell that is not empty as `u16 cell, u32 count`; little-endian. */
  toBytes(): Uint8Array {
    const used = [...this.cells.entries()].filter(([, count]) => count > 0);
    const bytes = Buffer.alloc(4 + 6 * used.length);
    bytes.writeUInt32LE(this.passages);
    used.forEach(([cell, count], i) => {
      bytes.writeUInt16LE(cell, 4 + 6 * i);
      bytes.writeUInt32LE(count, 6 + 6 * i);
    });
    return bytes;
  }

  static fromBytes(bytes: Uint8Array): TermCounts {
    const view = Buffer.from(bytes);
    const counts = new TermCounts(undefined, view.readUInt32LE());
    for (let at = 4; at < view.length; at += 6) counts.cells[view.readUInt16LE(at)] = view.readUInt32LE(at + 2);
    return counts;
  }
}
