import type { Hash } from "@vlinder/protocol";

export interface SegmentRow {
  /** The newest commit of the segment, by which it is found. */
  readonly top: Hash;
  readonly body: Uint8Array;
}

/**
 * Where the history index keeps its rows. It may lose any of them, or all, at any time: what it has is only ever a
 * way to be faster. So nothing here throws: what can't be read is not there, what can't be written is left out.
 */
export interface SegmentStorage {
  /** What `put` was given, or null. Damaged bytes may come back: the reader checks them. */
  get(top: Hash): Uint8Array | null;
  /** All or nothing; a row whose top is there already is replaced. `unfinished` replaces what was there of it. */
  put(rows: readonly SegmentRow[], unfinished: readonly Hash[]): void;
  /** Commits below which the last build has not been yet. */
  unfinished(): Hash[];
  close(): void;
}

/** For agents whose objects are in memory too. */
export class MemorySegments implements SegmentStorage {
  readonly #rows = new Map<Hash, Uint8Array>();
  #unfinished: readonly Hash[] = [];

  get(top: Hash): Uint8Array | null {
    return this.#rows.get(top) ?? null;
  }

  put(rows: readonly SegmentRow[], unfinished: readonly Hash[]): void {
    for (const { top, body } of rows) this.#rows.set(top, body);
    this.#unfinished = [...unfinished];
  }

  unfinished(): Hash[] {
    return [...this.#unfinished];
  }

  close(): void {}
}
